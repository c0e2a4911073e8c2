"""A small shop on bare ASGI: `uvicorn --app-dir integrations/plain_asgi app:app`."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import Any

from flagmw.asgi import FlagsMiddleware, flags_from

sys.path.append(str(Path(__file__).parents[1]))  # for what the shops share

import common

fm = common.flagmw()


def page(title: str, body: str) -> str:
    return f"<!doctype html><title>{title}</title><h1>{title}</h1>{body}"


def home(scope: dict[str, Any]) -> str:
    hero = flags_from(scope).payload("ta_Hero", default={"title": "Welcome"})
    link = '<p><a href="/checkout">Go to checkout</a></p>'
    return page("Shop", f"<p>{escape(str(hero['title']))}</p>{link}")


def checkout(scope: dict[str, Any]) -> str:
    flags = flags_from(scope)
    variant = flags.variant("ta_Project1")
    button = "Buy now" if flags.is_on("ta_Project1") else "Place order"
    return page(
        "Checkout",
        f'<p id="variant" data-reason="{variant.reason}" data-code="{variant.error_code or ""}"'
        f' data-visitor="{escape(variant.ids.get("system_uid", ""))}">{escape(variant.key)}</p>'
        f"{common.variants(flags)}"
        f'<form method="post" action="/buy"><button>{button}</button></form>',
    )


def buy(scope: dict[str, Any]) -> str:
    track = common.buy(flags_from(scope))
    return page("Thank you", f'<p id="track">{track}</p>')


VIEWS: dict[tuple[str, str], Callable[[dict[str, Any]], str]] = {
    ("GET", "/"): home,
    ("GET", "/checkout"): checkout,
    ("POST", "/buy"): buy,
}


async def shop(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    view = VIEWS.get((scope["method"], scope["path"]))
    status, kind, body = 200, "text/html; charset=utf-8", ""
    if view is not None:
        body = view(scope)
    elif scope["path"] == "/health":
        kind, body = "application/json", json.dumps(fm.health())
    elif scope["path"] == "/stream":
        await stream(scope, send)
        return
    else:
        status, body = 404, page("Not found", "")
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})
    await send({"type": "http.response.body", "body": body.encode()})


async def stream(scope: dict[str, Any], send: Callable[[Any], Awaitable[None]]) -> None:
    flags = flags_from(scope)
    variant = flags["ta_Project1"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for n in range(3):
        await send({"type": "http.response.body", "body": f"{n}: {variant}\n".encode(), "more_body": True})
    flags.track("Page_Stream_End")
    await send({"type": "http.response.body", "body": b""})


app = FlagsMiddleware(shop, flagmw=fm)
