"""Types of `Flagmw` and of the frameworks' requests, for `make types` and `make types-pyright`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from django.http import HttpResponse
from fastapi import FastAPI

from flagmw import Flagmw, Flags, Static
from flagmw.django import FlagsRequest as DjangoRequest
from flagmw.fastapi import FlagsDep, install
from flagmw.fastapi import FlagsRequest as FastApiRequest
from flagmw.flask import request as flask_request

app = FastAPI()
install(app)


def right() -> Flagmw:
    """Options of the right names and types are taken."""
    return Flagmw(
        vendors=[Static(flags={"ta_Checkout": "a"})],
        defaults={"ta_Checkout": "control"},
        deadline_ms=300,
        cookie_secure="auto",
        paths=["/*"],
        consent=lambda inbound: "full",
    )


def wrong() -> None:
    """Each of these is refused; an ignore that is not needed is an error of its own."""
    Flagmw(deadlin_ms=300)  # type: ignore[call-arg]
    Flagmw(deadline_ms="300")  # type: ignore[arg-type]
    Flagmw(mode="sometimes")  # type: ignore[arg-type]
    Flagmw(client_ip=True)  # type: ignore[arg-type]


def django_view(request: DjangoRequest) -> HttpResponse:
    """A Django view reads the flags of its request."""
    assert_type(request.flags, Flags)
    assert_type(request.flags["ta_Checkout"], str)
    return HttpResponse(request.GET.get("q", ""))


@app.get("/dependency")
async def by_dependency(flags: FlagsDep) -> str:
    """A dependency of FastAPI is the flags."""
    assert_type(flags, Flags)
    return flags["ta_Checkout"]


@app.get("/request")
def by_request(request: FastApiRequest) -> str:
    """A request of FastAPI has the flags, beside all that Starlette's has."""
    assert_type(request.flags["ta_Checkout"], str)
    return request.flags["ta_Checkout"] + request.url.path


def flask_view() -> str:
    """The request of Flask has the flags, beside all that Flask's has."""
    assert_type(flask_request.flags, Flags)
    return flask_request.flags["ta_Checkout"] + flask_request.path
