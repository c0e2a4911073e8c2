"""Facts of a visit for the conditions of on-device rules.

Source: Adobe Target developer guide, "On-device decisioning": `user`, `page`, `referring`, `mbox`, `geo` and the time;
each text has a copy in lower case, under its name with `_lc`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from flagmw.types import Visit
from flagmw.vendors.adobe.request import Facts

# The first that matches names the browser; the group holds its version.
_BROWSERS = (
    ("edge", re.compile(r"\bEdg(?:e|iOS|A)?/(\d+)", re.IGNORECASE)),
    ("mobile safari", re.compile(r"\bVersion/(\d+).+?\bMobile/\w+ Safari", re.IGNORECASE)),
    ("safari", re.compile(r"\bVersion/(\d+).+?Safari", re.IGNORECASE)),
    ("chrome", re.compile(r"\bChrome/v?(\d+)", re.IGNORECASE)),
    ("firefox", re.compile(r"\bFirefox/(\d+)[\w.-]*$", re.IGNORECASE)),
    ("ie", re.compile(r"\bMSIE (\d+)|Trident/.+?\brv[: ](\d+)", re.IGNORECASE)),
)
_HINTED = tuple(
    (name.lower(), re.compile(rf'{name}";v="(\d+)', re.IGNORECASE)) for name in ("Chrome", "Edge", "Safari", "Firefox")
)
_SYSTEMS = (
    ("iOS", re.compile(r"iPhone|iPad|iPod")),
    ("Android", re.compile(r"Android [\d.]+;")),
    ("linux", re.compile(r" Linux ")),
    ("Unix", re.compile(r"FreeBSD|OpenBSD|CrOS")),
    ("windows", re.compile(r"[( ]Windows ")),
    ("mac", re.compile(r"Macintosh;")),
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
        browser, version = named
    platform = hints.get("platform")
    return {
        "browserType": browser,
        "browserVersion": version,
        "platform": system if platform is None else _SPOKEN.get(platform, platform),
        "locale": "en",
    }


@lru_cache(maxsize=512)
def _agent(user_agent: str) -> tuple[str, int, str]:
    browser, version = _first(_BROWSERS, user_agent) or ("unknown", -1)
    system = next((name for name, pattern in _SYSTEMS if pattern.search(user_agent)), "unknown")
    return browser, version, system


def _first(patterns: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> tuple[str, int] | None:
    for name, pattern in patterns:
        match = pattern.search(text)
        if match:
            return name, int(next(filter(None, match.groups())))
    return None


@lru_cache(maxsize=64)
def _page(url: str) -> Mapping[str, Any]:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        url, parts, host = "", urlsplit(""), ""
    labels = host.split(".")
    sub = labels[0] if len(labels) in (3, 4) and labels[0] != "www" else ""
    top = {1: "", 4: ".".join(labels[2:])}.get(len(labels), labels[-1])
    page = {
        "url": url,
        "path": parts.path,
        "query": parts.query,
        "fragment": parts.fragment,
        "domain": host,
        "subdomain": sub,
        "topLevelDomain": top,
    }
    return {**page, **{f"{name}_lc": text.lower() for name, text in page.items()}}


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
