"""A call whose body is a part of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flagmw.types import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCall(Call):
    """A request that sends a file in pieces, so that memory stays small however large the file is.

    Attributes:
        file: what is sent; it is opened for each attempt.
        size: its length in bytes, sent as Content-Length.
    """

    file: Path = field(repr=False)
    size: int
