"""The cookie `mt.v` of Monetate, which holds the visitor's monetateId."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flagmw._cookies.rule import CookieRule
from flagmw.types import CookieChange, Visit
from flagmw.vendors.common.values import unquoted

COOKIE = "mt.v"
COOKIE_LIFE_S = 365 * 86400
ID_CHARS = 64

_ID = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


class Cookies:
    """The cookies of one account: `mt.v` alone."""

    def rule(self) -> CookieRule:
        """Return the rule for the cookie."""
        return CookieRule(
            prefixes=(COOKIE,),
            reads=lambda name: name == COOKIE,
            writes=lambda name: name == COOKIE,
            value_ok=id_ok,
            max_bytes=ID_CHARS + 2,
            # The last part is the time at which the id was made.
            newness=lambda name, value: float(unquoted(value).rpartition(".")[2]) if id_ok(unquoted(value)) else None,
        )

    def read(self, cookies: Mapping[str, str]) -> str | None:
        """Return the monetateId in the visitor's cookie; None if there is none or it is malformed."""
        monetate_id = unquoted(cookies.get(COOKIE, ""))
        return monetate_id if id_ok(monetate_id) else None

    def changes(self, monetate_id: str | None) -> tuple[CookieChange, ...]:
        """Return the cookie that keeps *monetate_id*; nothing for None."""
        return () if monetate_id is None else (CookieChange(COOKIE, monetate_id, COOKIE_LIFE_S),)


def id_ok(text: str) -> bool:
    """Say whether *text* has the form of a monetateId: "2.<random>.<milliseconds>"."""
    return len(text) <= ID_CHARS and _ID.fullmatch(text) is not None


def new_id(visit: Visit) -> str:
    """Return a monetateId for a new visitor, in the vendor's form."""
    return f"2.{int(visit.fresh_id[:8], 16) & 0x7FFFFFFF}.{int(visit.now * 1000)}"
