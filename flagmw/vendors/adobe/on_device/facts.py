"""Facts of a visit for the conditions of on-device rules.

Source: Adobe Target developer guide, "On-device decisioning": `user`, `page`, `referring`, `mbox`, `geo` and the time;
each text has a copy in lower case, under its name with `_lc`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from flagmw._cookies.domains import public_suffix
from flagmw.types import Visit
from flagmw.vendors.adobe.request import Facts

# The first that matches names the browser; the group holds its version. A name may stand anywhere in a word:
# HeadlessChrome is chrome.
_BROWSERS = tuple(
    (name, re.compile(pattern, re.IGNORECASE | re.ASCII))
    for name, pattern in (
        ("edge", r"Edg(?:e|iOS|A)?/([\w.]+)"),
        ("mobile safari", r"Version/([\w.]+).+?Mobile/\w+\sSafari"),
        ("safari", r"Version/([\w.]+).+?Safari"),
        ("chrome", r"Chrome/v?([\w.]+)"),
        ("firefox", r"Firefox/([\w.-]+)\Z"),
        ("ie", r"(?:MS|\()IE\s([\w.]+)"),
        ("ie", r"Trident.+rv[:\s]([\w.]+).+like\sGecko"),
    )
)
_HINTED = tuple(
    (name.lower(), re.compile(rf'{name}";v="([0-9.]+)"', re.IGNORECASE))
    for name in ("Chrome", "Edge", "Safari", "Firefox")
)
_SYSTEMS = (
    ("iOS", re.compile(r"iPhone|iPad|iPod")),
    ("Android", re.compile(r"Android [\d.]+;")),
    ("linux", re.compile(r" Linux ")),
    ("Unix", re.compile(r"FreeBSD|OpenBSD|CrOS")),
    ("windows", re.compile(r"[( ]Windows ")),
    ("mac", re.compile(r"Macintosh;")),
)
# A label of at most 63 characters, in ASCII: what a browser sends of an international name is punycode.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DIGITS = re.compile(r"[0-9]+")
# RFC 3986, appendix B, with the parts of the authority. As in Adobe's client, what stands before an @ is a user's name,
# wherever the @ is.
_URL = re.compile(
    r"(?:[^:/?#]+:)?(?://(?:[^:@]*(?::[^:@]*)?@)?(?P<host>[^:/?#]*)(?::[0-9]*)?)?"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:\#(?P<fragment>.*))?",
    re.DOTALL,
)
_SPOKEN = {"Windows": "windows", "Macintosh": "mac", "Mac OS": "mac", "macOS": "mac", "Linux": "linux"}


def situation(visit: Visit, given: Facts, wanted: frozenset[str]) -> dict[str, Any]:
    """Return the parts *wanted* of the facts that conditions can read."""
    parts: dict[str, Callable[[], Any]] = {
        "user": lambda: user(visit.user_agent or "", given.hints),
        "page": lambda: _page(visit.url),
        "referring": lambda: _page(visit.referer or ""),
        "mbox": lambda: _lowered(_nested(given.parameters)),
        "geo": lambda: _place(given.geo),
    }
    facts = {name: make() for name, make in parts.items() if name in wanted}
    if wanted & {"current_timestamp", "current_time", "current_day"}:
        now = datetime.fromtimestamp(visit.now, UTC)
        facts["current_timestamp"] = int(visit.now * 1000)
        facts["current_time"] = f"{now:%H%M}"
        facts["current_day"] = now.isoweekday()
    return facts


def user(user_agent: str, hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return browser and system of a visitor; client hints count before the user agent."""
    browser, version, system = _agent(user_agent)
    hinted = str(hints.get("browserUAWithFullVersion") or hints.get("browserUAWithMajorVersion") or "")
    named = _first(_HINTED, hinted)
    if named is not None:
        browser = named[0]
        version = named[1] if named[1] >= 0 else version
    platform = hints.get("platform")
    return {
        "browserType": browser,
        "browserVersion": version,
        "platform": system if platform is None else _SPOKEN.get(platform, platform),
        "locale": "en",
    }


@lru_cache(maxsize=512)
def _agent(user_agent: str) -> tuple[str, float, str]:
    browser, version = _first(_BROWSERS, user_agent) or ("unknown", -1)
    system = next((name for name, pattern in _SYSTEMS if pattern.search(user_agent)), "unknown")
    return browser, version, system


def _first(patterns: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> tuple[str, float] | None:
    for name, pattern in patterns:
        match = pattern.search(text)
        if match:
            digits = _DIGITS.match(match[1])
            return name, int(digits[0]) if digits else math.nan  # as parseInt says
    return None


@lru_cache(maxsize=64)
def _page(url: str) -> Mapping[str, Any]:
    match = _URL.match(url)
    assert match is not None  # every part may be missing
    host, path, query, fragment = (part or "" for part in match.group("host", "path", "query", "fragment"))
    domain, sub, top = _domain(host)
    page = {
        "url": url,
        "path": path,
        "query": query,
        "fragment": fragment,
        "domain": domain,
        "subdomain": sub,
        "topLevelDomain": top,
    }
    return {**page, **{f"{name}_lc": text.lower() for name, text in page.items()}}


def _domain(host: str) -> tuple[str, str, str]:
    """Return registrable domain, subdomain and public suffix; a host under no public suffix is all domain.

    Adobe's clients for servers go by the public suffix list, and those for browsers by the number of labels. Rules are
    made for both; what decides on a server has to agree with the server's.
    """
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 255 or labels[-1] == "local" or not all(_LABEL.fullmatch(label) for label in labels):
        return host, "", ""
    suffix = public_suffix(name)
    if suffix is None or suffix == name:
        return host, "", ""
    rest = name[: -len(suffix) - 1].split(".")
    sub = ".".join(rest[:-1])
    return f"{rest[-1]}.{suffix}", sub[4:] if sub.startswith("www") else sub, suffix


def _nested(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return *parameters* with the dots in their names as levels."""
    nested: dict[str, Any] = {}
    for name, value in parameters.items():
        *way, last = name.split(".") if all(name.split(".")) else [name]
        place = nested
        for step in way:
            below = place.setdefault(step, {})
            place = below if isinstance(below, dict) else {}
        place[last] = value
    return nested


def _lowered(values: Mapping[str, Any]) -> dict[str, Any]:
    lowered: dict[str, Any] = {}
    for name, value in values.items():
        lowered[name] = _lowered(value) if isinstance(value, dict) else value
        if isinstance(value, str):
            lowered[f"{name}_lc"] = value.lower()
    return lowered


def _place(geo: Mapping[str, Any]) -> dict[str, Any]:
    names = {"country": "countryCode", "region": "stateCode", "city": "city", "latitude": "latitude"}
    return {ours: geo[theirs] for ours, theirs in {**names, "longitude": "longitude"}.items() if theirs in geo}
