"""The finding of one check, and its text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from flagmw._cookies.domains import canonical_domain, cookie_domain, host_name, in_url, is_address, is_public_suffix
from flagmw._support.addresses import is_loopback
from flagmw._web.inbound import clean_path
from flagmw.vendors.base import Vendor, VendorTraits

LISTED = 20

Level: TypeAlias = Literal["OK", "WARN", "FAIL"]
Verdicts: TypeAlias = Iterator[tuple[Level, str, str | None]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        level: "WARN" works but deserves a look; "FAIL" does not work.
        subject: what was looked at; begins with the vendor's name where it is about one.
        cure: what to do about it.
    """

    level: Level
    subject: str
    text: str
    cure: str | None = None


@dataclass(frozen=True, slots=True)
class SitePage:
    """The page of the site that visitors are thought to be on."""

    host: str
    path: str
    secure: bool


def run_check(subject: str, verdicts: Verdicts) -> list[Finding]:
    """Return the findings of a check. Its own failure is a finding too."""
    findings: list[Finding] = []
    try:
        findings.extend(Finding(level, subject, text, cure) for level, text, cure in verdicts)
    except Exception as error:
        findings.append(unchecked(subject, error))
    return findings


def unchecked(subject: str, error: Exception) -> Finding:
    return Finding("FAIL", subject, f"this could not be checked: {type(error).__name__}")


def page_of(site: str | None) -> SitePage | None:
    """Return the page at *site*, or None if it is no URL."""
    try:
        parts = urlsplit(site or "")
        name, _ = parts.hostname or "", parts.port
        host = host_name(in_url(name if name.isascii() else name.encode("idna").decode("ascii")))
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    return SitePage(host, clean_path(parts.path or "/"), parts.scheme == "https")


def is_local(vendor: Vendor) -> bool:
    """True when *vendor* has no service, or one on this machine."""
    base_url = VendorTraits.of(vendor).base_url
    host = urlsplit(base_url).hostname or "" if isinstance(base_url, str) else "localhost"
    return is_loopback(host)


def shown_url(url: str) -> str:
    """Return *url* without what may be private in it: user and password, query and fragment."""
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?[^/@]*@", r"\1", re.sub(r"[?#].*", "", url))[:200]


def listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(listed[:LISTED]) + more if listed else "nothing"


def shown_ms(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)} ms"


def shown_span(seconds: float) -> str:
    return f"{timedelta(seconds=round(seconds))} h" if seconds < 86400 else f"{seconds / 86400:.0f} days"


def domain_verdict(wish: str, page: SitePage, level: Level, cure: str) -> tuple[Level, str, str | None]:
    """Return the verdict on *wish* as the Domain of cookies of the page."""
    domain, named = cookie_domain(wish, page.host), canonical_domain(wish)
    if domain is not None:
        return "OK", f"{page.host} may set cookies for {domain}", None
    if "." not in page.host or is_address(page.host):
        return "OK", f"{page.host} can set cookies for itself only", None
    if named is None:
        text = "what cookies should be for is no domain name"
    elif is_public_suffix(named):
        text = f"{named} is a public suffix, for which browsers take no cookies"
    else:
        text = f"{page.host} may not set cookies for {named}"
    return level, f"{text}; they are for this host alone, and its neighbours do not see them", cure


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 when anything fails, else 0."""
    return int(any(finding.level == "FAIL" for finding in findings))
