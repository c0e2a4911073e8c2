"""The cookies of one account of Webtrends Optimize: their names, and how values are read and written.

`_wt.user-{domainId}` is the visitor, `_wt.mode-{domainId}` normal or staging, and each
`_wt.control-{domainId}-{alias}` one project's decision. Others of the vendor's (`_wt.conversion-`, the browser
tag's own) are none of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

from flagmw._cookies.header import octets_ok
from flagmw._cookies.rule import CookieRule
from flagmw.vendors.webtrends.response import ALIAS


class Cookies:
    """What one account's cookies are called and hold.

    Args:
        encrypted: values are the vendor's ciphertext; plain ones are percent-encoded at the visitor.
    """

    def __init__(self, domain_id: str, *, encrypted: bool) -> None:
        self.user, self.mode = f"_wt.user-{domain_id}", f"_wt.mode-{domain_id}"
        self._control, self.encrypted = f"_wt.control-{domain_id}-", encrypted

    def rule(self) -> CookieRule:
        return CookieRule(
            prefixes=(self.user, self.mode, self._control),
            reads=self.own,
            writes=self.own,
            value_ok=octets_ok,
            max_bytes=1024,
            priority=lambda name: 0 if name == self.user else 1 if name == self.mode else 2,
            alias_of=self.alias_of,
        )

    def own(self, name: str) -> bool:
        return name == self.user or name == self.mode or self.alias_of(name) is not None

    def control(self, alias: str) -> str:
        """Return the name of the control cookie of project *alias*."""
        return self._control + alias

    def is_control(self, name: str) -> bool:
        return name.startswith(self._control)

    def alias_of(self, name: str) -> str | None:
        """Return the project whose control cookie *name* is, None if it is none."""
        if not name.startswith(self._control):
            return None
        alias = name[len(self._control) :]
        return alias if ALIAS.fullmatch(alias) else None

    def read(self, cookies: Mapping[str, str]) -> dict[str, str]:
        """Return cookies as the vendor gave them: some clients add quotes; plain values were encoded by us."""
        bare = {
            name: value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
            for name, value in cookies.items()
        }
        return {name: value if self.encrypted else unquote(value) for name, value in bare.items() if octets_ok(value)}

    def written(self, value: str) -> str:
        """Return the vendor's *value* as the visitor gets it."""
        return value if self.encrypted else quote(value, safe="")
