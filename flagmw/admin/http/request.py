"""A request to a management API, before credentials are added."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from flagmw.types import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """What an operation wants sent.

    Attributes:
        operation: the client's method, "activities.ab.get".
        template: the path with its names in braces, for metrics.
        right: the vendor's name of the right that the call needs, None when it is not known.
        cost: how many calls of the vendor's limit it uses.
        changes: whether the vendor does something that a second call would do again.
        repeat_throttled: whether it is sent again after a 429, which means that it was not done.
    """

    operation: str
    template: str
    call: Call
    right: str | None = None
    cost: int = 1
    changes: bool = True
    repeat_throttled: bool = True

    @property
    def path(self) -> str:
        """Return the path of the URL, for texts."""
        return urlsplit(self.call.url).path
