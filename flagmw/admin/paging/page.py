"""One page of a list, and what fetches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flagmw.admin.flow.effects import Flow

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a list.

    Attributes:
        total: how many rows the vendor says there are, None when it does not.
        limit: how many rows the vendor would have sent at most, None when it does not say.
        next: the address of the next page, None after the last or when pages have none.
    """

    rows: Sequence[Row]
    total: int | None = None
    limit: int | None = None
    next: str | None = None


Fetch: TypeAlias = Callable[[int, int], Flow[Page]]
"""`fetch(offset, limit)` returns a page."""

FetchNext: TypeAlias = Callable[[str | None], Flow[Page]]
"""`fetch(address)` returns the page at an address, the first one for None."""
