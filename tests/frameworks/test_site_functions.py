"""`consent`, `bots` and `identify` have the framework's own request, and may be coroutines."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import flask
import pytest
from asgiref.sync import sync_to_async
from django.utils.asyncio import async_unsafe
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import flagmw.fastapi
import flagmw.flask
from flagmw import Flagmw, Identity, Inbound
from flagmw.asgi import FlagsMiddleware
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Answer, AsgiEdge, Make
from tests.contracts.edges.test_both import Probe, total
from tests.frameworks.sites import DJANGO, SITES, Asked, Site


def shown(asked: Asked) -> Answer:
    """Read a flag."""
    return Answer(asked.flags["ta_A"].encode())


class Reading:
    """The three functions, which note the type of the request that they get."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def _note(self, option: str, inbound: Inbound) -> str:
        self.seen.append((option, type(inbound.request).__mro__[0].__name__))
        return str(inbound.request.headers["X-User"])

    def consent(self, inbound: Inbound) -> bool:
        return self._note("consent", inbound) == "ada"

    def bots(self, inbound: Inbound) -> bool:
        return self._note("bots", inbound) != "ada"

    def identify(self, inbound: Inbound) -> Identity:
        return Identity(self._note("identify", inbound))

    async def aconsent(self, inbound: Inbound) -> bool:
        await asyncio.sleep(0)
        return self.consent(inbound)

    async def abots(self, inbound: Inbound) -> bool:
        await asyncio.sleep(0)
        return self.bots(inbound)

    async def aidentify(self, inbound: Inbound) -> Identity:
        await asyncio.sleep(0)
        return self.identify(inbound)


@pytest.mark.parametrize("mode", ["eager", "auto", "lazy"])
@pytest.mark.parametrize("color", ["", "a"])
def test_framework_request(site: Site, make: Make, mode: str, color: str) -> None:
    """Each function, plain or async, reads the framework's own request; each is asked once."""
    probe, reading = Probe(), Reading()
    options = {name: getattr(reading, color + name) for name in ("consent", "bots", "identify")}
    fm = make(vendors=[probe], mode=mode, **options)
    site.get(site.mount(shown, fm), headers=[("X-User", "ada")])
    if mode != "lazy" or probe.visits:
        assert [visit.user_id for visit in probe.visits] == ["ada"]
        assert [option for option, _ in reading.seen] == ["consent", "bots", "identify"]
    assert {kind for _, kind in reading.seen} <= {"WSGIRequest", "ASGIRequest", "Request"}
    assert not [label for label in fm.counts() if label[0] in ("identify_failed", "gate_failed", "internal_error")]


@pytest.mark.parametrize("mode", ["eager", "auto"])
@pytest.mark.parametrize("color", ["plain", "async"])
def test_flask_session(make: Make, mode: str, color: str) -> None:
    """`flask.session` works in the functions, in the view's context or in one of their own."""
    probe = Probe()

    def identify(inbound: Inbound) -> Identity:
        assert inbound.request is flask.request._get_current_object()  # type: ignore[attr-defined]
        return Identity(flask.session.get("user"))

    async def aidentify(inbound: Inbound) -> Identity:
        await asyncio.sleep(0)
        return identify(inbound)

    fm = make(vendors=[probe], identify=aidentify if color == "async" else identify, mode=mode)
    app = flask.Flask(__name__)
    app.secret_key = "k"
    app.add_url_rule("/", view_func=lambda: login(fm))
    flagmw.flask.init_app(app, fm)
    client = app.test_client()
    assert client.get("/").status_code == 200
    assert client.get("/").status_code == 200
    assert [visit.user_id for visit in probe.visits] == [None, "ada"]
    assert total(fm, "identify_failed") == 0
    asyncio.run(fm.aclose(2.0))


def login(fm: Flagmw) -> str:
    """Read a flag, then log the visitor in."""
    key = flagmw.flask.request.flags["ta_A"]
    flask.session["user"] = "ada"
    return key


@pytest.mark.parametrize("color", ["plain", "async"])
@pytest.mark.parametrize("inside", [False, True])
def test_starlette_session(make: Make, color: str, inside: bool) -> None:
    """The session is there where its middleware is above; below it for functions that are asked at the first read."""
    if inside and color == "async":
        pytest.skip("async functions are asked before the application")
    probe = Probe()

    def identify(inbound: Inbound) -> Identity:
        return Identity(inbound.request.session.get("user"))

    async def aidentify(inbound: Inbound) -> Identity:
        return identify(inbound)

    def view(request: Request) -> PlainTextResponse:
        key = flagmw.fastapi.flags_from(request)["ta_A"]
        request.session["user"] = "ada"
        return PlainTextResponse(key)

    fm = make(vendors=[probe], identify=aidentify if color == "async" else identify, mode="auto")
    routed: Any = Starlette(routes=[Route("/", view)])
    if inside:
        routed.add_middleware(SessionMiddleware, secret_key="k")
        app: Any = FlagsMiddleware(routed, flagmw=fm)
    else:
        app = SessionMiddleware(FlagsMiddleware(routed, flagmw=fm), secret_key="k")
    with AsgiEdge() as edge:
        first = edge.get(app)
        edge.get(app, headers=[("cookie", first.values("set-cookie")[0].partition(";")[0])])
        edge.close(fm)
    assert [visit.user_id for visit in probe.visits] == [None, "ada"]
    assert total(fm, "identify_failed") == 0


def test_django_user_under_asgi(make: Make) -> None:
    """A plain function may read `request.user`, a database query, which Django refuses on the loop."""

    @async_unsafe("You cannot call this from an async context")
    def query() -> str:
        return "ada"

    for kind in DJANGO:
        with SITES[kind]() as site:
            for identify in (lambda inbound: Identity(query()), coroutine(lambda: sync_to_async(query)())):
                probe = Probe()
                fm = make(vendors=[probe], identify=identify)
                site.get(site.mount(shown, fm))
                assert [visit.user_id for visit in probe.visits] == ["ada"], (kind, fm.counts())
                site.close(fm)


def coroutine(ask: Any) -> Any:
    """Return an `identify` that awaits what *ask* returns."""

    async def identify(inbound: Inbound) -> Identity:
        return Identity(await ask())

    return identify


@pytest.mark.parametrize("color", ["plain", "async"])
def test_failures_are_logged(
    site: Site, make: Make, caplog: pytest.LogCaptureFixture, vendor: SandboxServer, color: str
) -> None:
    """The log has the exception's text, and the traceback at DEBUG, from `identify` as from `bots` and `consent`."""

    def plain(inbound: Inbound) -> Any:
        raise LookupError("no table visitors")

    async def asynchronous(inbound: Inbound) -> Any:
        raise LookupError("no table visitors")

    caplog.set_level(logging.DEBUG, "flagmw")
    for option in ("consent", "bots", "identify"):
        caplog.clear()
        fm = make(vendors=[Probe()], **{option: plain if color == "plain" else asynchronous})
        site.get(site.mount(shown, fm))
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert [option in record.getMessage() for record in errors] == [True]
        assert "LookupError: no table visitors" in errors[0].getMessage()
        assert errors[0].name == "flagmw"
        traces = [record for record in caplog.records if record.exc_info]
        assert [record.levelno for record in traces] == [logging.DEBUG]
        site.close(fm)


def test_slow_coroutine(site: Site, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """An async function gets the deadline; the visitor is nobody then."""

    async def identify(inbound: Inbound) -> Identity:
        await asyncio.sleep(30)
        return Identity("late")

    probe = Probe()
    fm = make(vendors=[probe], identify=identify, deadline_ms=50)
    site.get(site.mount(shown, fm))
    assert total(fm, "identify_failed") == 1
    assert "identify took longer than 50 ms" in caplog.text
    assert [visit.user_id for visit in probe.visits] == [None]
