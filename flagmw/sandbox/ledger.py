"""The ledger of everything that the emulated vendors received.

Three bounded lists (requests, views, conversions). Secrets and cookie values are never in it; a cookie is
shown as its name and the first 12 hex digits of its SHA-256, enough to see whether two are the same.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from flagmw.sandbox.secrets import hidden

LIMIT = 100_000
Entry = dict[str, Any]

# The ledger's page on which the request being served began; None outside of one.
_page: ContextVar[int | None] = ContextVar("flagmw_sandbox_page", default=None)

_HEADERS = ("user-agent", "x-forwarded-for", "content-type", "content-encoding", "accept-encoding")


class Ledger:
    """Keep the last *limit* entries of each list and count what fell out. Thread-safe."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._secrets: frozenset[str] = frozenset()
        self._page = 0
        self.clear()

    def hide(self, secrets: Iterable[str]) -> None:
        """Keep these texts out of what is written from now on, wherever they stand in a request."""
        self._secrets |= {secret for secret in secrets if len(secret) > 3}

    def begin(self) -> None:
        """Note that a request begins: what is cleared while it is under way does not come back with its end."""
        _page.set(self._page)

    def clear(self) -> None:
        """Forget everything, the counters and the views already counted too."""
        with self._lock:
            self._page += 1
            self._n = 0
            self._lists: dict[str, deque[Entry]] = {
                name: deque(maxlen=self._limit) for name in ("requests", "views", "conversions")
            }
            self._dropped = dict.fromkeys(self._lists, 0)
            self._viewed: OrderedDict[Hashable, None] = OrderedDict()

    def request(self, entry: Entry) -> None:
        """Add a request; its number `n` counts from 1 since the last clear."""
        with self._lock:
            if self._stale():
                return
            self._n += 1
            self._add("requests", {"n": self._n, **entry})

    def view(self, key: Hashable, entry: Entry) -> bool:
        """Add a view, once per *key*; return whether it was new."""
        with self._lock:
            if self._stale() or key in self._viewed:
                return False
            self._viewed[key] = None
            if len(self._viewed) > self._limit:
                self._viewed.popitem(last=False)
            self._add("views", entry)
            return True

    def conversion(self, entry: Entry) -> None:
        """Add a conversion; repeats count, as the vendor's own block on them is obsolete."""
        with self._lock:
            if not self._stale():
                self._add("conversions", entry)

    def read(self, *, alias: str | None = None, metric: str | None = None, system_uid: str | None = None) -> Entry:
        """Return all lists as one JSON-ready object, oldest entry first.

        Args:
            alias: keep only what concerns this project.
            metric: keep only conversions of this metric and the requests that carried it.
            system_uid: keep only what this visitor did.
        """
        with self._lock:
            lists = {name: list(entries) for name, entries in self._lists.items()}
            dropped = dict(self._dropped)
        given = {"alias": alias, "metric": metric, "system_uid": system_uid}
        wanted = {name: value for name, value in given.items() if value is not None}
        matching = {name: [e for e in entries if _matches(e, wanted)] for name, entries in lists.items()}
        return {**matching, "dropped": dropped}

    def _stale(self) -> bool:
        return _page.get() not in (None, self._page)

    def _add(self, name: str, entry: Entry) -> None:
        entries = self._lists[name]
        if len(entries) == self._limit:
            self._dropped[name] += 1
        entries.append(hidden(entry, self._secrets))


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that the ledger keeps, lower-case."""
    return {name: headers[name] for name in _HEADERS if name in headers}


def shown_cookies(cookies: Mapping[str, str]) -> dict[str, str]:
    """Return cookie names with the first 12 hex digits of each value's SHA-256."""
    return {name: hashlib.sha256(value.encode()).hexdigest()[:12] for name, value in cookies.items()}


def _matches(entry: Entry, wanted: Mapping[str, str]) -> bool:
    for name, value in wanted.items():
        if name == "alias" and "aliases" in entry:
            decided = [result.get("alias") for result in entry["answer"].get("results", ())]
            if value not in entry["aliases"] and value not in decided:
                return False
        elif entry.get(name) != value:
            return False
    return True
