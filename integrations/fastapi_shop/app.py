"""A small shop on FastAPI: `uvicorn --app-dir integrations/fastapi_shop app:app`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from flagmw.fastapi import FlagsDep, FlagsMiddleware, install

sys.path.append(str(Path(__file__).parents[1]))  # for what the shops share

import common

fm = common.flagmw()
app = FastAPI()
app.add_middleware(FlagsMiddleware, flagmw=fm)
install(app)


def page(title: str, body: str) -> str:
    return f"<!doctype html><title>{title}</title><h1>{title}</h1>{body}"


@app.get("/", response_class=HTMLResponse)
async def home(flags: FlagsDep) -> str:
    hero = flags.payload("ta_Hero", default={"title": "Welcome"})
    link = '<p><a href="/checkout">Go to checkout</a></p>'
    return page("Shop", f"<p>{escape(str(hero['title']))}</p>{link}")


@app.get("/checkout", response_class=HTMLResponse)
async def checkout(flags: FlagsDep) -> str:
    variant = flags.variant("ta_Project1")
    button = "Buy now" if flags.is_on("ta_Project1") else "Place order"
    return page(
        "Checkout",
        f'<p id="variant" data-reason="{variant.reason}" data-code="{variant.error_code or ""}"'
        f' data-visitor="{escape(variant.ids.get("system_uid", ""))}">{escape(variant.key)}</p>'
        f"{common.variants(flags)}"
        f'<form method="post" action="/buy"><button>{button}</button></form>',
    )


@app.post("/buy", response_class=HTMLResponse)
async def buy(request: Request) -> str:
    track = common.buy(request.flags)
    return page("Thank you", f'<p id="track">{track}</p>')


@app.get("/stream")
async def stream(flags: FlagsDep) -> StreamingResponse:
    variant = flags["ta_Project1"]

    async def pieces() -> AsyncIterator[str]:
        for n in range(3):
            yield f"{n}: {variant}\n"
        flags.track("Page_Stream_End")

    return StreamingResponse(pieces(), media_type="text/plain")


@app.get("/health")
async def health() -> dict[str, object]:
    return fm.health()
