"""Outgoing cookies: the Set-Cookie headers of one response, within the budget."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from logging import ERROR, WARNING

from flagmw._cookies import header as cookie_header
from flagmw._cookies.domains import cookie_domain, is_address, registrable_domain
from flagmw._cookies.forms import HOST_ONLY, Form, forms
from flagmw._exchange.context import Context
from flagmw.codes import ErrorCode
from flagmw.config.config import Config
from flagmw.types import CookieChange, Decision, Visit, VisitorState

COOKIES_MAX = 40
# A response's header has its limits too: proxies take 4 KiB or 8 KiB of it.
DELETIONS_MAX = 40
COOKIE_HEADER_MAX = 7800  # gunicorn and others refuse a header field of more than about 8,190 bytes


def room_for(config: Config, site_bytes: int) -> int:
    """Return how many bytes of a Cookie header vendors' cookies may take beside the site's own."""
    return min(config.cookie_budget, COOKIE_HEADER_MAX - site_bytes)


def header_bytes(jars: Iterable[Mapping[str, str]]) -> int:
    """Return the size of the cookies in *jars* in a Cookie header, as "name=value; "."""
    return sum(len(name) + len(value) + 3 for jar in jars for name, value in jar.items())


def deletions(kept: Mapping[str, Form | None], host: str, path: str, *, secure: bool) -> list[str]:
    """Return lines that delete cookies in every form in which they can reach *path* but the one that is kept.

    Args:
        kept: by the cookie's name, the form that stays; None to delete all. What comes first is deleted first.
    """
    rows: list[tuple[int, str, Form]] = []
    for name, form_kept in kept.items():
        if cookie_header.needs_secure(name) and not secure:
            continue
        for rank, form in enumerate([HOST_ONLY] if cookie_header.is_host_only(name) else forms(host, path)):
            if form != form_kept:
                # The two usual forms of all cookies come before the rare ones of any.
                rows.append((max(0, rank - 1), name, form))
    rows.sort(key=lambda row: row[0])
    return [
        cookie_header.format_set_cookie(
            name, "", max_age_s=0, domain=domain, secure=secure, http_only=False, path=where
        )
        for _, name, (domain, where) in rows[:DELETIONS_MAX]
    ]


class OutgoingCookies:
    """One visitor's cookies, a jar per vendor.

    Args:
        repeated: the vendor's place and the name of each cookie that the visitor holds in several forms. If a decision
            sets it, the other forms are deleted: browsers could send one of them first with the next page.

    Attributes:
        now: each vendor's cookies by name, as the visitor has them after this response.
        set_cookies: the Set-Cookie values that make it so.
        lasting: whether the same lines are due whenever the visitor comes like this: none merely renews a cookie, and
            none was dropped for want of room.
    """

    def __init__(
        self,
        context: Context,
        visit: Visit,
        states: Sequence[VisitorState],
        repeated: Collection[tuple[int, str]] = (),
    ) -> None:
        self._context, self._visit, self._states, self._repeated = context, visit, states, repeated
        self.now = [dict(state.cookies) for state in states]
        self.set_cookies: tuple[str, ...] = ()
        self.lasting = True

    def change(self, decisions: Sequence[Decision]) -> set[tuple[int, str]]:
        """Apply the cookie changes of *decisions*, one per vendor, in order.

        Returns:
            (place of the vendor, alias) of those that lost their cookie for want of room.
        """
        wanted: list[tuple[int, CookieChange]] = []
        for place, (vendor, decision) in enumerate(zip(self._context.config.vendors, decisions, strict=True)):
            held = self._states[place].cookies
            for change in {change.name: change for change in decision.cookies}.values():
                if held.get(change.name) == change.value and (place, change.name) not in self._repeated:
                    if not self._due(change):
                        continue  # the visitor has it already, as nearly all have
                    self.lasting = False
                fault = cookie_header.writable(change.name, change.value, vendor.cookies)
                if cookie_header.needs_secure(change.name) and not self._is_secure():
                    fault = ErrorCode.COOKIE_NAME
                if fault is None:
                    wanted.append((place, change))
                    continue
                self._context.counts.add("cookie_rejected", vendor.name, fault)
                self._context.throttle.log(ERROR, fault, "a vendor's cookie was not set", vendor=vendor.name)
        for place, change in wanted:
            if change.max_age_s == 0:
                self.now[place].pop(change.name, None)
            else:
                self.now[place][change.name] = change.value
        evicted = self._evict()
        lines: list[str] = []
        if self._repeated:
            lines += self._other_forms([c for c in wanted if (c[0], c[1].name) in self._repeated])
        for place, change in wanted:
            if (place, change.name) in evicted:
                continue
            lines.extend(self._lines(place, change))
        for place, name in sorted(evicted):
            domain = next((c.domain for c in decisions[place].cookies if c.domain is not None), None)
            lines.extend(self._lines(place, CookieChange(name=name, value="", max_age_s=0, domain=domain)))
        self.set_cookies = tuple(lines)
        if not evicted:
            return set()
        self.lasting = False
        vendors = self._context.config.vendors
        return {(place, alias) for place, name in evicted if (alias := vendors[place].cookies.alias_of(name))}

    def _due(self, change: CookieChange) -> bool:
        """Say whether a cookie that the visitor has is to be deleted, or is sent again so that it lives on."""
        life_s = change.max_age_s
        if life_s is None:
            return False
        return life_s == 0 or self._context.refreshed.due(change.name, change.value, self._visit.now, life_s)

    def room(self) -> int:
        """Return how many bytes of the visitor's Cookie header are still free for cookies of ours."""
        return room_for(self._context.config, self._visit.site_cookie_bytes) - header_bytes(self.now)

    def _evict(self) -> set[tuple[int, str]]:
        """Drop the least important cookies until the visitor's Cookie header stays small enough to be accepted."""
        config = self._context.config
        room = room_for(config, self._visit.site_cookie_bytes)
        total = header_bytes(self.now)
        if total <= room and sum(map(len, self.now)) <= COOKIES_MAX:
            return set()
        # "name=value; " in the header; what comes first is kept first.
        sized = [
            (vendor.cookies.priority(name), place, index, name, len(name) + len(value) + 3)
            for place, (vendor, jar) in enumerate(zip(config.vendors, self.now, strict=True))
            for index, (name, value) in enumerate(jar.items())
        ]
        evicted: set[tuple[int, str]] = set()
        for _, place, _, name, size in sorted(sized, reverse=True):
            if total <= room and len(sized) - len(evicted) <= COOKIES_MAX:
                break
            if not config.vendors[place].cookies.writes(name):
                continue  # the vendor only reads it: another party owns it
            total -= size
            evicted.add((place, name))
            del self.now[place][name]
            self._context.counts.add("cookie_rejected", config.vendors[place].name, ErrorCode.COOKIE_BUDGET)
        if evicted:
            self._context.throttle.log(
                WARNING,
                ErrorCode.COOKIE_BUDGET,
                "cookies were dropped: the Cookie header would be too large",
                cookies=len(evicted),
                room=room,
            )
        return evicted

    def _other_forms(self, changes: Sequence[tuple[int, CookieChange]]) -> list[str]:
        """Return lines that delete the forms of repeated cookies in which *changes* do not set them."""
        self.lasting = False  # they depend on the page's path
        wish, host = self._context.config.cookie_domain, self._visit.host
        kept: dict[str, Form | None] = {
            change.name: (cookie_domain(wish or change.domain, host), "/") for _, change in changes
        }
        return deletions(kept, host, self._visit.path, secure=self._is_secure())

    def _is_secure(self) -> bool:
        setting = self._context.config.cookie_secure
        return self._visit.secure if setting == "auto" else bool(setting)

    def _lines(self, place: int, change: CookieChange) -> Iterable[str]:
        context, visit, config = self._context, self._visit, self._context.config
        vendor = config.vendors[place]
        known = self._states[place].cookies.get(change.name)
        delete = change.max_age_s == 0
        if delete and known is None:
            return
        if not delete and change.max_age_s is not None:
            context.refreshed.sent(change.name, change.value, visit.now)
        wish = config.cookie_domain or change.domain
        if delete and wish is None:
            wish = registrable_domain(visit.host)
        domain = None if cookie_header.is_host_only(change.name) else cookie_domain(wish, visit.host)
        if (
            wish is not None
            and domain is None
            and not cookie_header.is_host_only(change.name)
            and "." in visit.host
            and not is_address(visit.host)
        ):
            context.counts.add("cookie_rejected", vendor.name, ErrorCode.COOKIE_DOMAIN)
            context.throttle.log(
                WARNING,
                ErrorCode.COOKIE_DOMAIN,
                "a vendor's cookie domain does not fit the host: the cookie is for the host only",
                vendor=vendor.name,
            )
        secure = self._is_secure()
        http_only = vendor.cookies.http_only or not config.hybrid
        # A deletion has to name the domain that the cookie was set with, which is unknown: send both.
        for where in (None, domain) if delete and domain is not None else (domain,):
            yield cookie_header.format_set_cookie(
                change.name, change.value, max_age_s=change.max_age_s, domain=where, secure=secure, http_only=http_only
            )
