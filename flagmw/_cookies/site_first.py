"""Cookie headers in an order in which `http.cookies.SimpleCookie` finds the site's cookies.

That parser ends at what it cannot read, such as JSON with quotes, and drops everything at a name with a space. Vendors
set both, and frameworks that use the parser would lose the site's session.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flagmw._cookies.rule import CookieRule

_READABLE = re.compile(
    r"""[!#$%&'*+,\-./0-9:<>?@A-Z^_`a-z|~(){}]+=("[^"\\]*"|[!#$%&'*+,\-./0-9:<=>?@A-Z\[\]^_`a-z|~(){}]*)"""
)


def looks_readable(header: str) -> bool:
    """Say quickly whether nothing in *header* can be unreadable, as in nearly all."""
    return '"' not in header and header.count(" ") == header.count("; ")


def site_first(header: str, rules: Sequence[CookieRule]) -> str | None:
    """Return *header* with the vendors' unreadable cookies behind all others; None where there are none."""
    names = tuple(name for rule in rules for name in (*rule.prefixes, *rule.namespace))
    others: list[str] = []
    unreadable: list[str] = []
    for pair in header.split(";"):
        pair = pair.strip(" \t")
        if not pair:
            continue
        is_theirs = pair.startswith(names) and not _READABLE.fullmatch(pair)
        (unreadable if is_theirs else others).append(pair)
    if not unreadable:
        return None
    # At an empty pair the parser ends and keeps what it has. Others skip it.
    return "; ".join([*others, "", *unreadable])
