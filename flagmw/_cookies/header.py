"""Read the Cookie header and write Set-Cookie.

Those drop the whole header at one odd name, unquote in quadratic time, or let CR and LF through attributes.
Vendors' names may hold a space (`_wt.control-1-ta_Project 1`), which RFC 6265 does not call a token but
browsers accept and return.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from flagmw._cookies.domains import is_domain
from flagmw._cookies.rule import CookieRule
from flagmw.codes import ErrorCode

HEADER_MAX_BYTES = 16 * 1024
PAIRS_MAX = 200
MAX_AGE_MAX_S = 400 * 86400  # RFC 6265bis: browsers cap a lifetime there

# Printable ASCII without what ends a name or a pair. A space may stand inside, not at the ends.
_NAME = re.compile(r"[!-:<>-~](?:[ -:<>-~]*[!-:<>-~])?")
# RFC 6265 section 4.1.1, cookie-octet.
_OCTETS = re.compile(r"[!#-+\--:<-\[\]-~]*")
# What a codec may allow beyond that (raw JSON in a value): any printable ASCII but the separator.
_PRINTABLE = re.compile(r"[ -:<-~]*")


@dataclass(slots=True)
class ParsedCookies:
    """The parts of a Cookie header.

    Attributes:
        own: for each rule, the vendor's cookies by name; the first of a name counts.
        site_bytes: the length of everything in the header that was not taken for a vendor.
        rejected: why cookies with a vendor's name were left out.
    """

    own: list[dict[str, str]] = field(repr=False)
    site_bytes: int = 0
    rejected: list[ErrorCode] = field(default_factory=list)


def read(headers: Iterable[str], rules: list[CookieRule]) -> ParsedCookies:
    """Pick the vendors' own cookies out of the raw Cookie *headers* (there may be several in HTTP/2).

    At most 16 KiB and 200 pairs are looked at; the rest is left alone. Values are never unquoted or decoded.
    """
    parsed = ParsedCookies([{} for _ in rules])
    budget, pairs = HEADER_MAX_BYTES, PAIRS_MAX
    prefixes = _prefixes(*[rule.prefixes for rule in rules])
    for header in headers:
        parsed.site_bytes += len(header)
        looked_at = header if len(header) <= budget else _whole_pairs(header, budget)
        budget -= min(len(header), budget)
        for pair in looked_at.split(";", pairs)[:pairs]:
            pairs -= 1
            pair = pair.lstrip(" \t")
            if not pair.startswith(prefixes):
                continue
            name, equals, value = pair.partition("=")
            name = name.rstrip(" \t")
            if not equals:
                continue
            for party_cookies, rule in zip(parsed.own, rules, strict=True):
                if not rule.reads(name):
                    continue
                value = value.strip(" \t")
                fault = _fault(name, value, rule)
                if fault is None and name in party_cookies:
                    fault = ErrorCode.COOKIE_DUPLICATE
                if fault is not None:
                    parsed.rejected.append(fault)
                    continue
                party_cookies[name] = value
                parsed.site_bytes -= len(name) + len(value) + 3
    parsed.site_bytes = max(0, parsed.site_bytes)
    return parsed


def _whole_pairs(header: str, length: int) -> str:
    """Return the pairs that lie within *length* characters: half a value is another value."""
    return header[:length] if header[length] == ";" else header[:length].rpartition(";")[0]


def _fault(name: str, value: str, rule: CookieRule) -> ErrorCode | None:
    if len(value) > rule.max_bytes:
        return ErrorCode.COOKIE_SIZE
    if not _NAME.fullmatch(name):
        return ErrorCode.COOKIE_NAME
    # One pair of quotes around a value is some client's doing; the codec strips it.
    bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return None if _value_ok(bare, rule) else ErrorCode.COOKIE_VALUE


def _value_ok(value: str, rule: CookieRule) -> bool:
    # Cookie-octets are all printable, and most vendors' values are nothing else.
    return rule.value_ok(value) and (rule.value_ok is octets_ok or _PRINTABLE.fullmatch(value) is not None)


@lru_cache(maxsize=64)
def _prefixes(*groups: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(prefix for prefixes in groups for prefix in prefixes)


def writable(name: str, value: str, rule: CookieRule) -> ErrorCode | None:
    """Say why a vendor may not set this cookie at the visitor, or None if it may."""
    if not _NAME.fullmatch(name) or "=" in name or not rule.writes(name):
        return ErrorCode.COOKIE_NAME
    if len(value) > rule.max_bytes or len(name) + len(value) > 4096:
        return ErrorCode.COOKIE_SIZE
    return None if _value_ok(value, rule) else ErrorCode.COOKIE_VALUE


def octets_ok(value: str) -> bool:
    """Say whether *value* is made of cookie-octets (RFC 6265 section 4.1.1) alone."""
    return _OCTETS.fullmatch(value) is not None


def format_set_cookie(
    name: str, value: str, *, max_age_s: int | None, domain: str | None, secure: bool, http_only: bool
) -> str:
    """Return the value of a Set-Cookie header; *name* and *value* go out raw.

    Raises:
        ValueError: a part could break out of its place in the header. Callers check with `writable` first;
            this is the last gate.
    """
    if not _NAME.fullmatch(name) or "=" in name:
        raise ValueError("cookie name has characters that cannot be sent")
    if not _PRINTABLE.fullmatch(value):
        raise ValueError("cookie value has characters that cannot be sent")
    return f"{name}={value}{_attributes(max_age_s, domain, secure, http_only)}"


# A site's cookies have but a few attributes among them.
@lru_cache(maxsize=256)
def _attributes(max_age_s: int | None, domain: str | None, secure: bool, http_only: bool) -> str:
    parts = [""]
    if max_age_s is not None:
        parts.append(f"Max-Age={min(max(0, max_age_s), MAX_AGE_MAX_S)}")
    parts.append("Path=/")
    if domain is not None:
        if not is_domain(domain):
            raise ValueError("cookie domain has characters that cannot be sent")
        parts.append(f"Domain={domain}")
    if secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    parts.append("SameSite=Lax")
    return "; ".join(parts)
