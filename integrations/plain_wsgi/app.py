"""A small shop on bare WSGI: `gunicorn --chdir integrations/plain_wsgi -k gthread --threads 8 app:app`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from flagmw.wsgi import FlagsMiddleware, flags_from

sys.path.append(str(Path(__file__).parents[1]))  # for what the shops share

import common

fm = common.flagmw()


def page(title: str, body: str) -> str:
    return f"<!doctype html><title>{title}</title><h1>{title}</h1>{body}"


def home(environ: dict[str, Any]) -> str:
    hero = flags_from(environ).payload("ta_Hero", default={"title": "Welcome"})
    link = '<p><a href="/checkout">Go to checkout</a></p>'
    return page("Shop", f"<p>{escape(str(hero['title']))}</p>{link}")


def checkout(environ: dict[str, Any]) -> str:
    flags = flags_from(environ)
    variant = flags.variant("ta_Project1")
    button = "Buy now" if flags.is_on("ta_Project1") else "Place order"
    return page(
        "Checkout",
        f'<p id="variant" data-reason="{variant.reason}" data-code="{variant.error_code or ""}"'
        f' data-visitor="{escape(variant.ids.get("system_uid", ""))}">{escape(variant.key)}</p>'
        f"{common.variants(flags)}"
        f'<form method="post" action="/buy"><button>{button}</button></form>',
    )


def buy(environ: dict[str, Any]) -> str:
    track = common.buy(flags_from(environ))
    return page("Thank you", f'<p id="track">{track}</p>')


def stream(environ: dict[str, Any]) -> Iterator[bytes]:
    flags = flags_from(environ)
    variant = flags["ta_Project1"]

    def pieces() -> Iterator[bytes]:
        for n in range(3):
            yield f"{n}: {variant}\n".encode()
        flags.track("Page_Stream_End")

    return pieces()


VIEWS: dict[tuple[str, str], Callable[[dict[str, Any]], str]] = {
    ("GET", "/"): home,
    ("GET", "/checkout"): checkout,
    ("POST", "/buy"): buy,
}


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    view = VIEWS.get((environ["REQUEST_METHOD"], path))
    status, kind, body = "200 OK", "text/html; charset=utf-8", ""
    if view is not None:
        body = view(environ)
    elif path == "/health":
        kind, body = "application/json", json.dumps(fm.health())
    elif path == "/stream":
        pieces = stream(environ)
        start_response(status, [("Content-Type", "text/plain")])
        return pieces
    else:
        status, body = "404 Not Found", page("Not found", "")
    start_response(status, [("Content-Type", kind)])
    return [body.encode()]


app = FlagsMiddleware(shop, flagmw=fm)
