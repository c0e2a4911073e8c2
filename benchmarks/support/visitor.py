"""The visitor, the page and the vendors that all sections use."""

from __future__ import annotations

import atexit
import itertools
import os
import secrets
import shutil
import tempfile
from dataclasses import fields
from functools import cache
from typing import Any

from flagmw import Flagmw, Webtrends
from flagmw.config import Config
from flagmw.types import Visit

TOKEN = "t" * 32
PAGE = "https://www.mysite.com/"
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0.0.0"
VALUE = "WT3" + "a" * 196 + "~"
OUTBOX = "BENCH_OUTBOX"
_numbers = itertools.count()
KEYS = [secrets.token_urlsafe(32)]


def vendor_cookies(domain: int = 11, who: int | str = 0) -> dict[str, str]:
    """Return the six cookies, of 200 bytes each, of a visitor who is in four tests."""
    names = (f"mode-{domain}", *(f"control-{domain}-ta_{test}" for test in "ABCD"))
    return {f"_wt.user-{domain}": f"WT3{who:0>196}~", **{f"_wt.{name}": VALUE for name in names}}


def header(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


COOKIES = header(vendor_cookies())


def another() -> dict[str, str]:
    """Return the cookies of a visitor like no one before: calls for one and the same may be made once for all."""
    return vendor_cookies(who=next(_numbers))


def visit() -> Visit:
    """Return a page view of another visitor."""
    return Visit(url=PAGE, user_agent=USER_AGENT, cookies=another())


def webtrends(url: str, domain: int = 11, **options: Any) -> Webtrends:
    """Return the vendor at the stub; it counts no views, so that late calls may be hedged."""
    name = f"wt{domain}"
    return Webtrends(domain, TOKEN, PAGE, base_url=url, name=name, prefix=f"{domain}/", exposure="off", **options)


@cache
def outbox() -> str:
    """Return an outbox on disk, in a directory that is removed when this process ends, or whoever named it says."""
    folder = os.environ.get(OUTBOX)
    if folder is None:
        folder = tempfile.mkdtemp(prefix="flagmw-bench-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return f"sqlite://{folder}"


def flagmw(url: str, *, domains: tuple[int, ...] = (11,), **options: Any) -> Flagmw:
    settings = {"deadline_ms": 5000, "max_in_flight": 256, "outbox": outbox(), **options}
    return Flagmw(vendors=[webtrends(url, domain) for domain in domains], **settings)


def has(option: str) -> bool:
    """True when this version of flagmw has an option."""
    return any(field.name == option for field in fields(Config))


def reuses() -> dict[str, dict[str, Any]]:
    """Return the options that make decisions be used again, by how they are remembered."""
    if not has("reuse_s"):
        return {}
    return {"reused by memory": {"reuse_s": 300}, "reused by cookie": {"reuse_s": 300, "signing_keys": KEYS}}


def asking() -> dict[str, Any]:
    """Return the options that make every request a call."""
    return {"reuse_s": 0} if has("reuse_s") else {}


class Jar:
    """The cookies of one browser, whose visitor was here before unless *cookies* says otherwise."""

    def __init__(self, cookies: dict[str, str] | None = None) -> None:
        self._cookies = vendor_cookies() if cookies is None else dict(cookies)
        self.header = header(self._cookies)

    def take(self, line: str) -> None:
        """Keep what a Set-Cookie line says."""
        name, _, value = line.partition(";")[0].partition("=")
        self._cookies[name.strip()] = value
        self.header = header(self._cookies)
