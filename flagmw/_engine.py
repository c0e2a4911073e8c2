"""One request's exchange with the vendors, without any I/O: settle what they decided, collect what happened.

Settling means: variants by precedence, cookies checked and cut to the budget, and the flags. Collecting means:
each track becomes one event per vendor, with the cookies that the visitor has after this very response.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from logging import ERROR, WARNING
from typing import Any

from cachetools import LRUCache

from flagmw import _cookies, _saved
from flagmw._domains import cookie_domain, is_address
from flagmw._ids import uuid7, visitor_key
from flagmw._log import Throttle
from flagmw._stats import Counts
from flagmw._tracks import make_track
from flagmw.codes import ErrorCode
from flagmw.config import Config
from flagmw.flags import Flags
from flagmw.types import CookieChange, Decision, Event, Track, Variant, Visit, VisitorState

COOKIES_MAX = 40
COOKIE_HEADER_MAX = 7800  # gunicorn and others refuse a header field of more than about 8,190 bytes
REFRESH_S = 86_400.0


class Refreshed:
    """Remember when a cookie with this very value was last sent, to send it again only once a day."""

    def __init__(self, size: int = 50_000) -> None:
        self._lock = threading.Lock()
        self._sent: LRUCache[int, float] = LRUCache(size)

    def due(self, name: str, value: str, now: float) -> bool:
        key = hash((name, value))
        with self._lock:
            if now - self._sent.get(key, -REFRESH_S) < REFRESH_S:
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
    refreshed: Refreshed = field(default_factory=Refreshed)


class Exchange:
    """What one request and the vendors have to say to each other.

    Args:
        states: each configured vendor's own cookies of this visitor, in the order of the vendors.
        sink: where events go at once; None collects them until `drain`.
    """

    def __init__(
        self,
        context: Context,
        visit: Visit,
        states: Sequence[VisitorState],
        sink: Callable[[Sequence[Event]], None] | None = None,
    ) -> None:
        self.visit = visit
        self.states = states
        self.sink = sink
        self._context = context
        self._jars = [dict(state.cookies) for state in states]
        self._events: list[Event] = []
        self._set_cookies: tuple[str, ...] = ()

    # Settle

    def undecided(self, code: ErrorCode) -> Flags:
        """Return flags for a request that no vendor is asked about."""
        config = self._context.config
        return Flags(defaults=config.defaults, error_code=code, on=config.on, recorder=self)

    def settle(self, decisions: Sequence[Decision]) -> Flags:
        """Return the flags that *decisions* (one per vendor, in order) make together."""
        config = self._context.config
        variants: dict[str, Variant] = {}
        misses: dict[str, ErrorCode] = {}
        code: ErrorCode | None = None
        for vendor, decision in zip(config.vendors, decisions, strict=True):
            code = code or decision.error or decision.notice
            for alias, variant in decision.variants.items():
                flag = vendor.prefix + alias
                if flag not in variants:
                    variants[flag] = variant if not vendor.prefix else replace(variant, alias=flag)
            for alias, miss in decision.misses.items():
                misses.setdefault(vendor.prefix + alias, miss)
            for rejected in decision.rejected:
                self._context.counts.add("answer_rejected", vendor.name, rejected)
        lost = self._bake(decisions)
        for alias in lost:
            if alias in variants:
                del variants[alias]
                misses[alias] = ErrorCode.COOKIE_BUDGET
        return Flags(variants, defaults=config.defaults, misses=misses, error_code=code, on=config.on, recorder=self)

    def _bake(self, decisions: Sequence[Decision]) -> set[str]:
        """Turn cookie changes into Set-Cookie values; return the flags that lost their cookie for want of room."""
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
                self._jars[n].pop(change.name, None)
            else:
                self._jars[n][change.name] = change.value
        evicted = self._evict()
        lines: list[str] = []
        for n, change in wanted:
            if (n, change.name) in evicted:
                continue
            lines.extend(self._lines(n, change))
        for n, name in evicted:
            if name in self.states[n].cookies:
                lines.extend(self._lines(n, CookieChange(name=name, value="", max_age_s=0)))
        self._set_cookies = tuple(lines)
        vendors = self._context.config.vendors
        return {vendors[n].prefix + alias for n, name in evicted if (alias := vendors[n].cookies.alias_of(name))}

    def _evict(self) -> set[tuple[int, str]]:
        """Drop the least important cookies until the visitor's Cookie header stays small enough to be accepted."""
        config = self._context.config
        room = min(config.cookie_budget, COOKIE_HEADER_MAX - self.visit.site_cookie_bytes)
        # "name=value; " in the header; what comes first is kept first.
        sized = [
            (vendor.cookies.priority(name), n, place, name, len(name) + len(value) + 3)
            for n, (vendor, jar) in enumerate(zip(config.vendors, self._jars, strict=True))
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
            del self._jars[n][name]
            self._context.counts.add("cookie_rejected", config.vendors[n].name, ErrorCode.COOKIE_BUDGET)
        self._context.throttle.log(
            WARNING, ErrorCode.COOKIE_BUDGET, "cookies were not set for want of room", cookies=len(evicted), room=room
        )
        return evicted

    def _lines(self, n: int, change: CookieChange) -> Iterable[str]:
        context, visit, config = self._context, self.visit, self._context.config
        vendor = config.vendors[n]
        known = self.states[n].cookies.get(change.name)
        delete = change.max_age_s == 0
        if delete and known is None:
            return
        if known == change.value and (
            change.max_age_s is None or not context.refreshed.due(change.name, change.value, visit.now)
        ):
            return
        wish = config.cookie_domain or change.domain
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

    # What `Flags` reports

    @property
    def set_cookies(self) -> tuple[str, ...]:
        """Set-Cookie values that are due for this visitor."""
        return self._set_cookies

    def mismatch(self, alias: str) -> None:
        self._context.counts.add("type_mismatch", "", ErrorCode.TYPE_MISMATCH)

    def save(self) -> bytes:
        return _saved.dump(self.visit, self._jars)

    def track(
        self,
        metric: str,
        *,
        data: Mapping[str, Any] | None,
        aliases: Iterable[str] | None,
        vendors: Iterable[str] | None,
        key: str | None,
        value: float | None,
        currency: str | None,
        items: Sequence[Mapping[str, Any]] | None,
    ) -> str | None:
        context = self._context
        try:
            track = make_track(
                metric,
                data=data,
                aliases=aliases,
                vendors=vendors,
                key=key,
                value=value,
                currency=currency,
                items=items,
                now=context.clock(),
            )
            events = self._events_of(track)
        except ValueError as error:
            if context.config.debug:
                raise
            context.counts.add("track_dropped", "", ErrorCode.BAD_DATA)
            context.throttle.log(ERROR, ErrorCode.BAD_DATA, f"a track was dropped: {error}")
            return None
        if not events:
            context.counts.add("track_skipped", "", ErrorCode.SKIPPED)
            return None
        if self.sink is not None:
            self.sink(events)
        else:
            self._events.extend(events)
        return track.id

    def _events_of(self, track: Track) -> list[Event]:
        events: list[Event] = []
        for n, vendor in enumerate(self._context.config.vendors):
            if track.vendors is not None and vendor.name not in track.vendors:
                continue
            own = track
            if vendor.prefix and track.aliases is not None:
                stripped = tuple(a.removeprefix(vendor.prefix) for a in track.aliases if a.startswith(vendor.prefix))
                own = replace(track, aliases=stripped)
            part = vendor.participation(own, VisitorState(self._jars[n]))
            if not part.aliases:
                continue
            events.append(
                Event(
                    id=uuid7(track.occurred_at),
                    vendor=vendor.name,
                    kind="track",
                    track=own,
                    aliases=part.aliases,
                    visit=replace(self.visit, cookies=part.cookies),
                    visitor_key=visitor_key(vendor.name, self.visit.user_id, part.cookies),
                    at_most_once=vendor.at_most_once,
                )
            )
        return events

    def drain(self) -> list[Event]:
        """Return the events collected so far and forget them."""
        events, self._events = self._events, []
        return events

    @property
    def pending(self) -> bool:
        """Whether events are waiting to be drained."""
        return bool(self._events)


def failed(vendor: str, code: ErrorCode, *, trips: bool = False) -> Decision:
    """Return the decision of a vendor that was not asked, or did not answer."""
    return Decision(vendor=vendor, error=code, trips=trips)
