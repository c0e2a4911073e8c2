"""Rules for one party's cookies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType

NOT_DECISIVE = MappingProxyType({"decisive": False})


@dataclass(frozen=True, slots=True, kw_only=True)
class CookieRule:
    """The names and limits of one vendor's cookies.

    Attributes:
        prefixes: what its names start with; a quick test before *reads*.
        reads: whether a cookie of this name is the vendor's own and is sent to it.
        writes: whether the vendor may set a cookie of this name at the visitor.
        value_ok: whether a value may pass, in either direction (checked besides the octets of RFC 6265).
        max_bytes: the longest value that passes.
        http_only: keep these cookies from the page's scripts even where the vendor's others are open to them.
        priority: the higher, the sooner a cookie is given up when cookies take too much room.
        alias_of: the alias that loses its place in the test when this cookie is given up, if any.
        newness: a number that is greater for the newer of two values of a cookie, as far as the values tell; None for a
            value that the vendor cannot use. It is called only when a visitor sends the same name more than once.
        namespace: what the names of the vendor's other cookies start with, such as those of its script in the page.
    """

    prefixes: tuple[str, ...]
    reads: Callable[[str], bool]
    writes: Callable[[str], bool]
    value_ok: Callable[[str], bool]
    max_bytes: int = 1024
    http_only: bool = False
    priority: Callable[[str], int] = lambda name: 0
    alias_of: Callable[[str], str | None] = lambda name: None
    # Decisions do not depend on these: those that were remembered without them hold.
    newness: Callable[[str, str], float | None] = field(default=lambda name, value: 0.0, metadata=NOT_DECISIVE)
    namespace: tuple[str, ...] = field(default=(), metadata=NOT_DECISIVE)
