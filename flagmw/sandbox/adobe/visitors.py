"""Devices, sessions and counted ids of Adobe Target's visitors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

LIMIT = 100_000


class Visitors:
    """The memory of all accounts. Thread-safe, and bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everybody."""
        with self._lock:
            self._devices: OrderedDict[tuple[str, str], str] = OrderedDict()
            self._seen: OrderedDict[Hashable, None] = OrderedDict()
            self._under_way: dict[tuple[str, str], int] = {}

    def device(self, client: str, third_party_id: str, device: str) -> str:
        """Return the device under which a site's id is known: the first that it came with, here *device* if new."""
        with self._lock:
            known = self._devices.setdefault((client, third_party_id), device)
            if len(self._devices) > LIMIT:
                self._devices.popitem(last=False)
            return known

    def first(self, key: Hashable) -> bool:
        """True when *key* is seen for the first time."""
        with self._lock:
            if key in self._seen:
                return False
            self._seen[key] = None
            if len(self._seen) > LIMIT:
                self._seen.popitem(last=False)
            return True

    @contextmanager
    def at_work(self, client: str, session: str) -> Iterator[int]:
        """Hold one request of *session*; gives how many there are now."""
        key = (client, session)
        with self._lock:
            self._under_way[key] = self._under_way.get(key, 0) + 1
            now = self._under_way[key]
        try:
            yield now
        finally:
            with self._lock:
                left = self._under_way.get(key, 1) - 1
                if left > 0:
                    self._under_way[key] = left
                else:
                    self._under_way.pop(key, None)
