"""The confirmation page and redirect of an override link.

A click on a link does not prove that the visitor agrees: anybody with the link can make somebody else open it. So an
override is kept only after a confirmation on flagmw's page. No other page can confirm: the form carries a value that
belongs to a cookie of this browser.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qsl, quote

from flagmw._support.link_token import OVERRIDE, without_token_in_query
from flagmw._web.inbound import clean_path
from flagmw._web.overrides import Override
from flagmw.types import Inbound

YES = f"{OVERRIDE}_ok"
ASKED_S = 900

_NONCE = re.compile(r"[0-9a-f]{32}")
_QUERY_CHARS = 8192


@dataclass(frozen=True, slots=True)
class Page:
    """A response in place of the application's; cookies are not among the headers."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


def is_opened(inbound: Inbound) -> bool:
    """Say whether a person opens the address in a window, so that a question can be seen and answered."""
    if inbound.method != "GET" or inbound.scheme not in ("http", "https"):
        return False
    destination = inbound.header("sec-fetch-dest")
    if destination is not None:
        return destination == "document"
    return "text/html" in (inbound.header("accept") or "").lower()


def nonce_of(cookie: str | None) -> str:
    """Return the value that this browser's question is bound to: its own of before, or a new one."""
    return cookie if cookie is not None and _NONCE.fullmatch(cookie) else os.urandom(16).hex()


def said_yes(inbound: Inbound, token: str, cookie: str | None) -> bool:
    """Say whether the request carries the yes to *token* that belongs to this browser's cookie."""
    if cookie is None or not _NONCE.fullmatch(cookie) or YES not in inbound.query:
        return False
    if inbound.header("sec-fetch-site") not in (None, "same-origin"):
        return False
    given = dict(_pairs(inbound.query)).get(YES, "")
    return hmac.compare_digest(given.encode(), _yes(token, cookie).encode())


def redirect(inbound: Inbound) -> Page:
    """Return the way to the same page without the token in its address."""
    return Page(303, (("Location", _clean_address(inbound)), *_GUARDS))


def question(inbound: Inbound, token: str, override: Override, host: str, nonce: str) -> Page:
    """Return the page that asks whether this browser is to keep *override*."""
    chosen = [f"{alias}: {key}" for alias, key in override.variants.items()]
    chosen += ["tests in staging"] if override.staging else []
    chosen += [f"a preview of {name}" for name in override.preview]
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(override.until))
    query_pairs = [(name, value) for name, value in _pairs(inbound.query) if not name.startswith(OVERRIDE)]
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in [*query_pairs, (OVERRIDE, token)]
    )
    body = _HTML.format(
        host=escape(host),
        until=until,
        chosen="".join(f"<li>{escape(part)}</li>" for part in chosen),
        hidden=hidden,
        yes_name=YES,
        yes=_yes(token, nonce),
        no=escape(_clean_address(inbound)),
    )
    return Page(200, (("Content-Type", "text/html; charset=utf-8"), *_GUARDS), body.encode("utf-8", "replace"))


def _yes(token: str, nonce: str) -> str:
    return hashlib.sha256(f"{nonce}.{token}".encode("utf-8", "replace")).hexdigest()


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query[-_QUERY_CHARS:], keep_blank_values=True)[:100]


def _clean_address(inbound: Inbound) -> str:
    # One slash in front: two would make the first segment a host.
    path = "/" + clean_path(inbound.raw_path).lstrip("/")
    query = quote(
        without_token_in_query(inbound.query), safe="/?:@!$&'()*+,;=-._~%[]", encoding="latin-1", errors="replace"
    )
    return f"{path}?{query}" if query else path


_GUARDS = (
    ("Cache-Control", "private, no-store"),
    # The address contains the token, which no other site may see; and no page may be laid over the button.
    ("Referrer-Policy", "no-referrer"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Robots-Tag", "noindex"),
)

_HTML = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Chosen variants</title>
<style>body {{ font: 1rem/1.5 sans-serif; margin: 3rem auto; max-width: 36rem; padding: 0 1rem }}</style></head>
<body><h1>Show chosen variants in this browser?</h1>
<p>This link is for testers of {host}. With a yes, this browser is shown these until {until}, and nothing that is done
in it meanwhile is counted:</p>
<ul>{chosen}</ul>
<form method="get">{hidden}<button name="{yes_name}" value="{yes}">Yes, show them</button></form>
<p><a href="{no}">No, show the page as it is</a></p>
<p>You did not ask for this link? Then choose no.</p>
</body></html>
"""
