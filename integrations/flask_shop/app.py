"""A small shop on Flask: `gunicorn --chdir integrations/flask_shop -k gthread --threads 8 app:app`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from flask import Flask, Response, request

from flagmw.flask import init_app

sys.path.append(str(Path(__file__).parents[1]))  # for what the shops share

import common

fm = common.flagmw()
app = Flask(__name__)
init_app(app, fm)


def page(title: str, body: str) -> str:
    return f"<!doctype html><title>{title}</title><h1>{title}</h1>{body}"


@app.get("/")
def home() -> str:
    hero = request.flags.payload("ta_Hero", default={"title": "Welcome"})
    link = '<p><a href="/checkout">Go to checkout</a></p>'
    return page("Shop", f"<p>{escape(str(hero['title']))}</p>{link}")


@app.get("/checkout")
def checkout() -> str:
    variant = request.flags.variant("ta_Project1")
    button = "Buy now" if request.flags.is_on("ta_Project1") else "Place order"
    return page(
        "Checkout",
        f'<p id="variant" data-reason="{variant.reason}" data-code="{variant.error_code or ""}"'
        f' data-visitor="{escape(variant.ids.get("system_uid", ""))}">{escape(variant.key)}</p>'
        f"{common.variants(request.flags)}"
        f'<form method="post" action="/buy"><button>{button}</button></form>',
    )


@app.post("/buy")
def buy() -> str:
    track = common.buy(request.flags)
    return page("Thank you", f'<p id="track">{track}</p>')


@app.get("/stream")
def stream() -> Response:
    flags = request.flags
    variant = flags["ta_Project1"]

    def pieces() -> Iterator[str]:
        for n in range(3):
            yield f"{n}: {variant}\n"
        flags.track("Page_Stream_End")

    return Response(pieces(), mimetype="text/plain")


@app.get("/health")
def health() -> dict[str, object]:
    return fm.health()
