"""The vendors' cookies of one visitor: as they came, as they are after this response, and the lines that make it so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from logging import ERROR, WARNING

from cachetools import LRUCache

from flagmw import _cookies
from flagmw._domains import cookie_domain, is_address, registrable_domain
from flagmw._guard import PerMinute
from flagmw._locks import Lock
from flagmw._log import Throttle
from flagmw._stats import Counts
from flagmw.codes import ErrorCode
from flagmw.config import Config
from flagmw.types import CookieChange, Decision, Visit, VisitorState

COOKIES_MAX = 40
COOKIE_HEADER_MAX = 7800  # gunicorn and others refuse a header field of more than about 8,190 bytes
REFRESH_S = 86_400.0


class Refreshed:
    """Remember when a cookie with this very value was last sent, to send it again only once a day."""

    def __init__(self, size: int = 50_000) -> None:
        self._lock = Lock()
        self._sent: LRUCache[int, float] = LRUCache(size)

    def due(self, name: str, value: str, now: float, life_s: int) -> bool:
        """Say whether it is time to send the cookie again; one that lives but hours is sent at half its life."""
        key = hash((name, value))
        with self._lock:
            sent = self._sent.get(key)
            # A clock that went back must not keep a cookie from being renewed.
            if sent is not None and 0 <= now - sent < min(REFRESH_S, life_s / 2):
                return False
            self._sent[key] = now
            return True


@dataclass(slots=True)
class Context:
    """What all exchanges of one `Flagmw` share."""

    config: Config
    counts: Counts
    throttle: Throttle
    clock: Callable[[], float]
    tracks: PerMinute = field(default_factory=lambda: PerMinute(120))
    refreshed: Refreshed = field(default_factory=Refreshed)


class Jars:
    """One visitor's cookies, a jar per vendor.

    Attributes:
        now: each vendor's cookies by name, as the visitor has them after this response.
        set_cookies: the Set-Cookie values that make it so.
    """

    def __init__(self, context: Context, visit: Visit, states: Sequence[VisitorState]) -> None:
        self._context, self._visit, self._states = context, visit, states
        self.now = [dict(state.cookies) for state in states]
        self.set_cookies: tuple[str, ...] = ()

    def change(self, decisions: Sequence[Decision]) -> set[tuple[int, str]]:
        """Take in what *decisions* (one per vendor, in order) do to cookies.

        Returns:
            (number of the vendor, alias) of those that lost their cookie for want of room.
        """
        wanted: list[tuple[int, CookieChange]] = []
        for n, (vendor, decision) in enumerate(zip(self._context.config.vendors, decisions, strict=True)):
            for change in {change.name: change for change in decision.cookies}.values():
                fault = _cookies.writable(change.name, change.value, vendor.cookies)
                if fault is None:
                    wanted.append((n, change))
                    continue
                self._context.counts.add("cookie_rejected", vendor.name, fault)
                self._context.throttle.log(ERROR, fault, "a vendor's cookie was not set", vendor=vendor.name)
        for n, change in wanted:
            if change.max_age_s == 0:
                self.now[n].pop(change.name, None)
            else:
                self.now[n][change.name] = change.value
        evicted = self._evict()
        lines: list[str] = []
        for n, change in wanted:
            if (n, change.name) in evicted:
                continue
            lines.extend(self._lines(n, change))
        domains = [next((c.domain for c in each.cookies if c.domain is not None), None) for each in decisions]
        for n, name in sorted(evicted):
            domain = domains[n]
            lines.extend(self._lines(n, CookieChange(name=name, value="", max_age_s=0, domain=domain)))
        self.set_cookies = tuple(lines)
        vendors = self._context.config.vendors
        return {(n, alias) for n, name in evicted if (alias := vendors[n].cookies.alias_of(name))}

    def _evict(self) -> set[tuple[int, str]]:
        """Drop the least important cookies until the visitor's Cookie header stays small enough to be accepted."""
        config = self._context.config
        room = min(config.cookie_budget, COOKIE_HEADER_MAX - self._visit.site_cookie_bytes)
        # "name=value; " in the header; what comes first is kept first.
        sized = [
            (vendor.cookies.priority(name), n, place, name, len(name) + len(value) + 3)
            for n, (vendor, jar) in enumerate(zip(config.vendors, self.now, strict=True))
            for place, (name, value) in enumerate(jar.items())
        ]
        total = sum(size for *_, size in sized)
        if total <= room and len(sized) <= COOKIES_MAX:
            return set()
        evicted: set[tuple[int, str]] = set()
        for _, n, _, name, size in sorted(sized, reverse=True):
            if total <= room and len(sized) - len(evicted) <= COOKIES_MAX:
                break
            total -= size
            evicted.add((n, name))
            del self.now[n][name]
            self._context.counts.add("cookie_rejected", config.vendors[n].name, ErrorCode.COOKIE_BUDGET)
        self._context.throttle.log(
            WARNING, ErrorCode.COOKIE_BUDGET, "cookies were not set for want of room", cookies=len(evicted), room=room
        )
        return evicted

    def _lines(self, n: int, change: CookieChange) -> Iterable[str]:
        context, visit, config = self._context, self._visit, self._context.config
        vendor = config.vendors[n]
        known = self._states[n].cookies.get(change.name)
        delete = change.max_age_s == 0
        if delete:
            if known is None:
                return
        else:
            life_s = change.max_age_s
            due = life_s is not None and context.refreshed.due(change.name, change.value, visit.now, life_s)
            if known == change.value and not due:
                return
        wish = config.cookie_domain or change.domain
        if delete and wish is None:
            wish = registrable_domain(visit.host)
        domain = cookie_domain(wish, visit.host)
        if wish is not None and domain is None and "." in visit.host and not is_address(visit.host):
            context.counts.add("cookie_rejected", vendor.name, ErrorCode.COOKIE_DOMAIN)
            context.throttle.log(
                WARNING,
                ErrorCode.COOKIE_DOMAIN,
                "a vendor names a cookie domain foreign to the host",
                vendor=vendor.name,
            )
        secure = visit.secure if config.cookie_secure == "auto" else bool(config.cookie_secure)
        http_only = vendor.cookies.http_only or not config.hybrid
        # A deletion has to name the domain the cookie was set with, which nobody knows: say both.
        for where in (None, domain) if delete and domain is not None else (domain,):
            yield _cookies.format_set_cookie(
                change.name, change.value, max_age_s=change.max_age_s, domain=where, secure=secure, http_only=http_only
            )
