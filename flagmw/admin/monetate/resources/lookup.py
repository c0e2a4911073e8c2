"""A cache of single metadata objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flagmw._support.forksafe import Lock
from flagmw.admin.errors import NotFoundError

LIFE_S = 300.0
MAX_OBJECTS = 10_000


class Lookup:
    """Keep objects by id for some minutes, and that an id has none.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float], life_s: float = LIFE_S) -> None:
        self._clock, self._life_s = clock, life_s
        self._lock = Lock()
        self._kept: dict[int, tuple[float, Mapping[str, Any] | NotFoundError]] = {}

    def get(self, own: int) -> Any:
        """Return the object; None when it must be read.

        Raises:
            NotFoundError: it was not there a short while ago.
        """
        with self._lock:
            until, kept = self._kept.get(own, (0.0, None))
        if kept is None or self._clock() >= until:
            return None
        if isinstance(kept, NotFoundError):
            raise NotFoundError(
                kept.args[0], operation=kept.operation, status=kept.status, code=kept.code, request_id=kept.request_id
            )
        return dict(kept)

    def put(self, own: int, found: Mapping[str, Any]) -> None:
        """Keep an object."""
        self._put(own, dict(found))

    def put_missing(self, own: int, error: NotFoundError) -> None:
        """Keep that there is none."""
        self._put(own, error)

    def _put(self, own: int, found: Mapping[str, Any] | NotFoundError) -> None:
        with self._lock:
            if len(self._kept) >= MAX_OBJECTS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[own] = (self._clock() + self._life_s, found)
