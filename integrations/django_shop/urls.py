"""The pages of the shop. Views are the same under WSGI and ASGI; only a stream is made for the one or the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from html import escape

import common
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from flagmw.django import from_settings


def page(title: str, body: str) -> HttpResponse:
    return HttpResponse(f"<!doctype html><title>{title}</title><h1>{title}</h1>{body}")


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    hero = request.flags.payload("ta_Hero", default={"title": "Welcome"})
    link = '<p><a href="/checkout">Go to checkout</a></p>'
    return page("Shop", f"<p>{escape(str(hero['title']))}</p>{link}")


@require_safe
def checkout(request: HttpRequest) -> HttpResponse:
    variant = request.flags.variant("ta_Project1")
    button = "Buy now" if request.flags.is_on("ta_Project1") else "Place order"
    return page(
        "Checkout",
        f'<p id="variant" data-reason="{variant.reason}" data-code="{variant.error_code or ""}"'
        f' data-visitor="{escape(variant.ids.get("system_uid", ""))}">{escape(variant.key)}</p>'
        f"{common.variants(request.flags)}"
        f'<form method="post" action="/buy"><button>{button}</button></form>',
    )


@require_POST
def buy(request: HttpRequest) -> HttpResponse:
    track = common.buy(request.flags)
    return page("Thank you", f'<p id="track">{track}</p>')


@require_safe
def stream(request: HttpRequest) -> StreamingHttpResponse:
    flags = request.flags
    variant = flags["ta_Project1"]

    def pieces() -> Iterator[str]:
        for n in range(3):
            yield f"{n}: {variant}\n"
        flags.track("Page_Stream_End")

    async def pieces_async() -> AsyncIterator[str]:
        for piece in pieces():
            yield piece

    # Under ASGI Django collects what an ordinary iterator yields before it sends any of it.
    body = pieces_async() if isinstance(request, ASGIRequest) else pieces()
    return StreamingHttpResponse(body, content_type="text/plain")


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse(from_settings().health())


urlpatterns = [
    path("", home),
    path("checkout", checkout),
    path("buy", buy),
    path("stream", stream),
    path("health", health),
]
