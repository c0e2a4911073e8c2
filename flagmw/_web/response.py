"""Response headers: cookies and cache rules.

Rules: a response for which flags were looked at is this visitor's own. One that shared caches may store gets
no cookie. 304 and 1xx get none ever (RFC 9111 sections 3 and 4.3.4: a 304 would freshen what others are served).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Header = tuple[str, str]

_DIRECTIVE = re.compile(r'([^\s=,;"]+)(?:\s*=\s*("(?:[^"\\]|\\.)*+"|[^\s,"]*))?')
# Fields that speak to shared caches alone and outweigh Cache-Control there (RFC 9213 and its forerunners).
_SHARED_FIELDS = frozenset({"surrogate-control", "edge-control", "x-accel-expires"})
# The end of the names of CDNs' own fields (RFC 9213).
CDN_SUFFIX = "cdn-cache-control"
# Fields that say something to caches.
CACHE_FIELDS = frozenset({"cache-control", "vary", "expires", *_SHARED_FIELDS})
# Fields of most responses that say nothing to caches.
NEUTRAL_FIELDS = frozenset({"content-type", "content-length", "set-cookie", "location", "date", "server", "etag"})
# What is added to a response for which flags were read, where the application says nothing to caches.
PRIVATE_HEADERS: Sequence[Header] = (("cache-control", "private"), ("vary", "Cookie"))


def edit(
    headers: Sequence[Header], status: int, cookies: Sequence[str], *, touched: bool, no_store: bool = False
) -> list[Header] | None:
    """Return the new list of headers, or None when the response stays exactly as it is.

    Args:
        headers: the application's, names in any case.
        cookies: Set-Cookie values that are due for this visitor.
        touched: whether the view looked at the flags.
        no_store: whether no cache at all may store the response.
    """
    if status < 200 or status == 304 or not (touched or cookies or no_store):
        return None
    if touched and not no_store and _says_nothing_of_caches(headers):
        # The common case, without taking everything apart.
        return [*headers, *PRIVATE_HEADERS, *_added(headers, cookies)]
    if not touched and not no_store and shared_cacheable(headers):
        return None
    edited = [
        header for header in headers if header[0].lower() not in ("cache-control", "vary") and not _invites(*header)
    ]
    directives = _values(headers, "cache-control")
    edited.append(("cache-control", "private, no-store" if no_store else _private(directives)))
    vary = _values(headers, "vary")
    if touched:
        vary = _with_cookie(vary)
    if vary:
        edited.append(("vary", vary))
    edited += _added(headers, cookies)
    return edited


def _added(headers: Sequence[Header], cookies: Sequence[str]) -> list[Header]:
    """Return *cookies* as header lines, without those that the application sets itself."""
    taken = {_cookie_name(value) for name, value in headers if name.lower() == "set-cookie"} if cookies else ()
    return [("set-cookie", cookie) for cookie in cookies if _cookie_name(cookie) not in taken]


# In both spellings of frameworks.
_NEUTRAL_NAMES = NEUTRAL_FIELDS | {name.title() for name in NEUTRAL_FIELDS}


def _says_nothing_of_caches(headers: Sequence[Header]) -> bool:
    for name, _ in headers:
        if name in _NEUTRAL_NAMES:
            continue
        name = name.lower()
        if name in CACHE_FIELDS or name.endswith(CDN_SUFFIX):
            return False
    return True


def may_wait(headers: Sequence[Header]) -> bool:
    """Say whether a response's start may wait for its body: it may be stored, and is no stream of events."""
    directives = _directives(_values(headers, "cache-control"))
    kept_from_caches = "no-store" in directives or "no-cache" in directives or directives.get("private") == ""
    return not kept_from_caches and not _values(headers, "content-type").startswith("text/event-stream")


def shared_cacheable(headers: Sequence[Header]) -> bool:
    """Say whether the application lets shared caches store this response (RFC 9111 section 3)."""
    if any(_invites(name, value) for name, value in headers):
        return True
    directives = _directives(_values(headers, "cache-control"))
    # `private="field"` keeps only that field from shared caches, not the response.
    if directives.get("private") == "" or "no-store" in directives:
        return False
    if "public" in directives or _positive(directives.get("s-maxage")):
        return True
    if directives:
        return _positive(directives.get("max-age"))
    expires = _values(headers, "expires").strip()
    return bool(expires) and expires not in ("0", "-1")


def _invites(name: str, value: str) -> bool:
    """Say whether a field tells shared caches, over the head of Cache-Control, that they may store the response."""
    name = name.lower()
    if name not in _SHARED_FIELDS and not name.endswith(CDN_SUFFIX):
        return False
    if name == "x-accel-expires":
        return value.strip() != "0"
    directives = _directives(value)
    return not directives.keys() & {"private", "no-store"} and directives.get("max-age") != "0"


def _private(value: str) -> str:
    """Return Cache-Control for one visitor alone, keeping what is stricter and what browsers may use."""
    remaining = [
        match[0]
        for match in _DIRECTIVE.finditer(value)
        if match[1].lower() not in ("public", "s-maxage", "private", "stale-while-revalidate")
    ]
    if any(part.lower() == "no-store" for part in remaining):
        return ", ".join(remaining if not re.search(r"\bprivate\b", value, re.I) else ["private", *remaining])
    return ", ".join(["private", *remaining])


def _with_cookie(vary: str) -> str:
    names = [name.strip() for name in vary.split(",") if name.strip()]
    if "*" in names or any(name.lower() == "cookie" for name in names):
        return vary
    return ", ".join([*names, "Cookie"])


def _values(headers: Sequence[Header], wanted: str) -> str:
    return ", ".join(value for name, value in headers if name.lower() == wanted)


def _directives(value: str) -> dict[str, str]:
    return {match[1].lower(): (match[2] or "").strip('"') for match in _DIRECTIVE.finditer(value)}


def _positive(seconds: str | None) -> bool:
    return seconds is not None and seconds.isascii() and seconds.isdigit() and int(seconds[:12]) > 0


def _cookie_name(value: str) -> str:
    return value.partition("=")[0].strip()
