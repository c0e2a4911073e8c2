"""Read the Cookie header and write Set-Cookie.

The parsers of the standard library and of frameworks do not fit: they drop the whole header at one unusual name,
unquote in quadratic time, or let CR and LF through attributes.
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
_PATH = re.compile(r"/[!-:<-~]*")


@dataclass(slots=True)
class ParsedCookies:
    """The parts of a Cookie header.

    Attributes:
        own: for each rule, the vendor's cookies by name. Of several of a name a usable one counts, the newest as far as
            their values tell, else the first.
        site_bytes: the length of everything in the header that was not taken for a vendor.
        rejected: why cookies with a vendor's name were left out.
        repeated: the place of the rule and the name of each cookie that was sent more than once.
    """

    own: list[dict[str, str]] = field(repr=False)
    site_bytes: int = 0
    rejected: list[ErrorCode] = field(default_factory=list)
    repeated: set[tuple[int, str]] = field(default_factory=set)


def read(headers: Iterable[str], rules: list[CookieRule]) -> ParsedCookies:
    """Pick the vendors' own cookies out of the raw Cookie *headers* (there may be several in HTTP/2).

    At most 16 KiB and 200 pairs are looked at; the rest is left alone. Values are never unquoted or decoded.
    """
    parsed = ParsedCookies([{} for _ in rules])
    budget, pairs = HEADER_MAX_BYTES, PAIRS_MAX
    prefixes = _prefixes(*[rule.prefixes for rule in rules])
    unfit: set[tuple[int, str]] = set()
    for header in headers:
        parsed.site_bytes += len(header)
        looked_at = header if len(header) <= budget else _whole_pairs(header, budget)
        budget -= min(len(header), budget)
        separate = looked_at if "," not in looked_at else _without_joints(looked_at, rules)
        for pair in separate.split(";", pairs)[:pairs]:
            pairs -= 1
            pair = pair.lstrip(" \t")
            if not pair.startswith(prefixes):
                continue
            name, equals, value = pair.partition("=")
            name = name.rstrip(" \t")
            if not equals:
                continue
            for place, rule in enumerate(rules):
                if not rule.reads(name):
                    continue
                value, party_cookies = value.strip(" \t"), parsed.own[place]
                fault = _fault(name, value, rule)
                if fault is not None:
                    parsed.rejected.append(fault)
                    unfit.add((place, name))
                    continue
                if name in party_cookies:
                    parsed.rejected.append(ErrorCode.COOKIE_DUPLICATE)
                    parsed.repeated.add((place, name))
                    if not _is_newer(rule, name, value, party_cookies[name]):
                        continue
                    parsed.site_bytes += len(name) + len(party_cookies[name]) + 3
                party_cookies[name] = value
                parsed.site_bytes -= len(name) + len(value) + 3
    if unfit:
        parsed.repeated.update((place, name) for place, name in unfit if name in parsed.own[place])
    parsed.site_bytes = max(0, parsed.site_bytes)
    return parsed


def _whole_pairs(header: str, length: int) -> str:
    """Return the pairs that lie within *length* characters: half a value is another value."""
    return header[:length] if header[length] == ";" else header[:length].rpartition(";")[0]


def _is_newer(rule: CookieRule, name: str, value: str, before: str) -> bool:
    newness = rule.newness(name, value)
    if newness is None:
        return False
    newness_before = rule.newness(name, before)
    return newness_before is None or newness > newness_before


# A comma, and what looks like the beginning of a cookie. Quotes and braces are inside of JSON.
_JOINT = re.compile(r',[ \t]*(?=([^=;,"{}\s][^=;,"{}]*)=)')


def _without_joints(header: str, rules: list[CookieRule]) -> str:
    """Return *header* with semicolons for the commas by which a server or proxy has joined Cookie headers.

    A comma is such a joint if a vendor's cookie follows, or if it is in a vendor's cookie whose value cannot hold it.
    Others may belong to the site's values.
    """
    pairs = []
    for pair in header.split(";"):
        if "," not in pair:
            pairs.append(pair)
            continue
        rest = pair
        while (joint := _joint(rest, rules)) is not None:
            pairs.append(rest[: joint.start()])
            rest = rest[joint.end() :]
        pairs.append(rest)
    return ";".join(pairs)


def _joint(pair: str, rules: list[CookieRule]) -> re.Match[str] | None:
    name, equals, value = pair.partition("=")
    rule = _rule_of(name.strip(" \t"), rules)
    if rule is not None and _fault(name.strip(" \t"), value.strip(" \t"), rule) is None:
        return None
    for joint in _JOINT.finditer(pair, len(name) + len(equals)):
        if rule is not None or _rule_of(joint[1].rstrip(" \t"), rules) is not None:
            return joint
    return None


def _rule_of(name: str, rules: list[CookieRule]) -> CookieRule | None:
    return next((rule for rule in rules if name.startswith(rule.prefixes) and rule.reads(name)), None)


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


def needs_secure(name: str) -> bool:
    """Say whether browsers take a cookie of this name only with the attribute Secure."""
    return name.lower().startswith(("__secure-", "__host-", "__http-"))


def is_host_only(name: str) -> bool:
    """Say whether browsers take a cookie of this name only without a domain and for the path /."""
    return name.lower().startswith("__host-")


def is_path(path: str) -> bool:
    """Say whether *path* can stand in a Path attribute."""
    return _PATH.fullmatch(path) is not None


def octets_ok(value: str) -> bool:
    """Say whether *value* is made of cookie-octets (RFC 6265 section 4.1.1) alone."""
    return _OCTETS.fullmatch(value) is not None


def format_set_cookie(
    name: str,
    value: str,
    *,
    max_age_s: int | None,
    domain: str | None,
    secure: bool,
    http_only: bool,
    path: str = "/",
) -> str:
    """Return the value of a Set-Cookie header; *name* and *value* go out raw.

    A name with a prefix of RFC 6265bis gets the attributes that browsers demand: `__Host-` no domain, `__Http-`
    HttpOnly.

    Raises:
        ValueError: a part could break out of its place in the header, or browsers would refuse the prefix. Callers
            check with `writable` and `needs_secure` first; this is the last gate.
    """
    if not _NAME.fullmatch(name) or "=" in name:
        raise ValueError("cookie name has characters that cannot be sent")
    if not _PRINTABLE.fullmatch(value):
        raise ValueError("cookie value has characters that cannot be sent")
    if name.startswith("__"):
        if needs_secure(name) and not secure:
            raise ValueError("cookie name has a prefix that demands a secure connection")
        if is_host_only(name):
            if path != "/":
                raise ValueError("cookie name has a prefix that demands the path /")
            domain = None
        http_only = http_only or name.lower().startswith(("__http-", "__host-http-"))
    return f"{name}={value}{_attributes(max_age_s, domain, secure, http_only, path)}"


# A site's cookies have but a few attributes among them.
@lru_cache(maxsize=256)
def _attributes(max_age_s: int | None, domain: str | None, secure: bool, http_only: bool, path: str) -> str:
    parts = [""]
    if max_age_s is not None:
        parts.append(f"Max-Age={min(max(0, max_age_s), MAX_AGE_MAX_S)}")
    if not is_path(path):
        raise ValueError("cookie path has characters that cannot be sent")
    parts.append(f"Path={path}")
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
