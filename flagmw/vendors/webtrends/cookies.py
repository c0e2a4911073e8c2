"""Cookies of one Webtrends Optimize account: names and values.

`_wt.user-{domainId}` names the visitor, `_wt.mode-{domainId}` says normal or staging, and each
`_wt.control-{domainId}-{alias}` holds the decision of one project. Other cookies of the vendor (`_wt.conversion-`, the
browser tag's) are not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote

from flagmw._cookies.header import octets_ok
from flagmw._cookies.rule import CookieRule
from flagmw.types import CookieChange
from flagmw.vendors.common.values import object_or_empty, text_or_number, unquoted
from flagmw.vendors.webtrends.response import ALIAS, Element

MAX_COOKIES = 250  # more than any browser keeps of one site
MAX_AGE_MAX_S = 400 * 86400


class Cookies:
    """The cookies of one account.

    Args:
        encrypted: values are the vendor's ciphertext. Plain values are percent-encoded in the browser.
        session_timeouts: a session cookie ends after the time that the vendor names, not with the browser.
    """

    def __init__(self, domain_id: str, *, encrypted: bool, session_timeouts: bool) -> None:
        self._session_timeouts = session_timeouts
        self.user, self.mode = f"_wt.user-{domain_id}", f"_wt.mode-{domain_id}"
        self._control, self.encrypted = f"_wt.control-{domain_id}-", encrypted

    def rule(self) -> CookieRule:
        """Return the rule for the cookies of this account."""
        return CookieRule(
            prefixes=(self.user, self.mode, self._control),
            reads=self.belongs,
            writes=self.belongs,
            value_ok=octets_ok,
            max_bytes=1024,
            priority=lambda name: 0 if name == self.user else 1 if name == self.mode else 2,
            alias_of=self.alias_of,
            namespace=("_wt.",),
            newness=lambda name, value: 0.0 if self._usable(value) else None,
        )

    def _usable(self, value: str) -> bool:
        value = unquoted(value)
        return octets_ok(value) and (value.startswith("WT3") if self.encrypted else bool(value))

    def belongs(self, name: str) -> bool:
        """Say whether the cookie *name* is one of this account."""
        return name == self.user or name == self.mode or self.alias_of(name) is not None

    def control(self, alias: str) -> str:
        """Return the name of the control cookie of project *alias*."""
        return self._control + alias

    def is_control(self, name: str) -> bool:
        """Say whether the cookie *name* is a project's control cookie."""
        return name.startswith(self._control)

    def alias_of(self, name: str) -> str | None:
        """Return the project whose control cookie *name* is; None for other cookies."""
        if not name.startswith(self._control):
            return None
        alias = name[len(self._control) :]
        return alias if ALIAS.fullmatch(alias) else None

    def read(self, cookies: Mapping[str, str]) -> dict[str, str]:
        """Return the values as the vendor gave them, decoded if this client encoded them."""
        values = {name: unquoted(value) for name, value in cookies.items()}
        return {name: value if self.encrypted else unquote(value) for name, value in values.items() if octets_ok(value)}

    def changes(self, element: Element) -> list[CookieChange]:
        """Return the cookies that one element of an answer sets, in its order. The exchange checks them later."""
        if element.params.get("use1stPartyCookies") is False:
            return []
        domain = text_or_number(element.params.get("cookieDomain"))
        changes = []
        for name, cookie in islice(object_or_empty(element.body.get("cookies")).items(), MAX_COOKIES + 1):
            # Conversion cookies block repeats, which is unnecessary nowadays; the guide says to ignore them.
            if not isinstance(cookie, dict) or name.startswith("_wt.conversion-"):
                continue
            value = cookie.get("value")
            if isinstance(value, str):
                value = value if self.encrypted else quote(value, safe="")
                changes.append(CookieChange(name, value, self._lifetime(cookie), domain))
        return changes

    def _lifetime(self, cookie: Mapping[str, Any]) -> int | None:
        """Return seconds; None for a cookie that ends with the browser. The vendor's timeouts are milliseconds."""
        timeout, kind = cookie.get("timeout"), cookie.get("type")
        if type(timeout) is not int and not (isinstance(timeout, float) and math.isfinite(timeout)):
            return None
        if timeout <= 0:
            return 0
        if kind == "persisted" or (kind == "session" and self._session_timeouts):
            return min(math.ceil(timeout / 1000), MAX_AGE_MAX_S)
        return None
