"""FastAPI: the dependency, `request.flags`, and websockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from starlette.requests import HTTPConnection

from flagmw import Flagmw, Flags, Static, asgi, current
from flagmw.codes import ErrorCode
from flagmw.fastapi import FlagsDep, FlagsMiddleware, flags_from, install
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Sent, asgi_call, http_scope, webtrends


@pytest.fixture
async def everyone() -> AsyncIterator[Flagmw]:
    """Flags from a table."""
    fm = Flagmw(vendors=[Static(flags={"ta_A": "b"})], deadline_ms=5000)
    yield fm
    await fm.aclose(2.0)


@pytest.fixture
async def shopper(vendor: SandboxServer) -> AsyncIterator[Flagmw]:
    """Flags from the sandbox."""
    fm = Flagmw(vendors=[webtrends(vendor.webtrends_url)], deadline_ms=5000)
    yield fm
    assert fm.outbox_stats().balanced()
    await fm.aclose(2.0)


@pytest.fixture
def app(everyone: Flagmw) -> FastAPI:
    app = FastAPI()
    app.add_middleware(FlagsMiddleware, flagmw=everyone)
    return app


def browser(app: FastAPI) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://www.mysite.com")


@pytest.fixture
def installed(app: FastAPI) -> Iterator[FastAPI]:
    """The application with `request.flags`, for the time of a test."""
    there = "flags" in vars(HTTPConnection)
    install(app)
    yield app
    if not there:
        del HTTPConnection.flags  # type: ignore[attr-defined]


async def layout(flags: FlagsDep) -> str:
    """Return the layout of the page, as a dependency that has the flags as its own."""
    return flags["ta_A"] * 2


async def test_flags_as_a_parameter(app: FastAPI) -> None:
    """`FlagsDep` is the request's flags in coroutines, in plain functions, and in dependencies of dependencies."""

    @app.get("/async")
    async def view(flags: FlagsDep, twice: Annotated[str, Depends(layout)]) -> str:
        assert isinstance(flags, Flags) and current() is flags
        return flags["ta_A"] + twice

    @app.get("/sync")
    def view_sync(flags: FlagsDep) -> str:
        assert current() is flags
        return flags["ta_A"]

    async with browser(app) as client:
        assert (await client.get("/async")).json() == "bbb"
        page = await client.get("/sync")
    assert page.json() == "b"
    assert page.headers["cache-control"] == "private"
    schema = app.openapi()["paths"]["/async"]["get"]
    assert "parameters" not in schema


async def test_flags_of_the_request(installed: FastAPI) -> None:
    """After `install` views may write `request.flags`, as in other frameworks; installing again is harmless."""
    install(installed)

    @installed.get("/")
    async def view(request: Request) -> str:
        assert request.flags is request.state.flags is flags_from(request)  # type: ignore[attr-defined]
        return str(request.flags["ta_A"])  # type: ignore[attr-defined]

    async with browser(installed) as client:
        assert (await client.get("/")).json() == "b"


async def test_A8_http_exception(app: FastAPI) -> None:
    """An error page of the framework's that comes after a flag was read is private as well."""

    @app.get("/")
    async def view(flags: FlagsDep) -> None:
        raise HTTPException(403, flags["ta_A"])

    async with browser(app) as client:
        page = await client.get("/")
    assert (page.status_code, page.json()) == (403, {"detail": "b"})
    assert page.headers["cache-control"] == "private"


async def test_A13_background_task(shopper: Flagmw, vendor: SandboxServer) -> None:
    """A background task tracks for the visitor whose request has started it."""
    app = FastAPI()
    app.add_middleware(FlagsMiddleware, flagmw=shopper)

    def later() -> None:
        current().track("mail sent", aliases=["ta_Project1"])

    @app.get("/")
    async def view(flags: FlagsDep, tasks: BackgroundTasks) -> str:
        tasks.add_task(later)
        return flags.variant("ta_Project1").ids["system_uid"]

    async with browser(app) as client:
        uid = (await client.get("/")).json()
    assert await asyncio.to_thread(shopper.flush, 5)
    (conversion,) = vendor.ledger(metric="mail sent")["conversions"]
    assert conversion["system_uid"] == uid


async def test_A14_mounted_application(app: FastAPI, everyone: Flagmw) -> None:
    """An application below another, both with our middleware, is decided for once and has the same flags."""
    inner = FastAPI()
    inner.add_middleware(FlagsMiddleware, flagmw=everyone)

    @inner.get("/page")
    async def view(flags: FlagsDep) -> str:
        return flags["ta_A"]

    app.mount("/inner", inner)
    page = await asgi_call(app, http_scope(Sent("/inner/page")))
    assert page.body == b'"b"'
    assert page.values("cache-control") == ["private"]


async def test_A3_websocket(shopper: Flagmw, vendor: SandboxServer) -> None:
    """A websocket has flags as a parameter, its cookies on the accept, and its tracks are delivered."""
    app = FastAPI()
    app.add_middleware(FlagsMiddleware, flagmw=shopper)

    @app.websocket("/ws")
    async def view(socket: WebSocket, flags: FlagsDep) -> None:
        assert flags is flags_from(socket)
        await socket.accept()
        await socket.send_text(flags["ta_Project1"])
        flags.track("opened", aliases=["ta_Project1"])
        await socket.close()

    scope = {**http_scope(Sent("/ws")), "type": "websocket", "scheme": "wss", "subprotocols": []}
    scope.pop("method")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert len([name for name, _ in sent[0]["headers"] if name == b"set-cookie"]) == 6
    assert sent[1]["text"] in ("control", "variation")
    assert await asyncio.to_thread(shopper.flush, 5)
    assert len(vendor.ledger(metric="opened")["conversions"]) == 1


async def test_flags_without_the_middleware_name_the_cure() -> None:
    """A view that finds no flags is told what to mount."""
    app = FastAPI()

    @app.get("/")
    async def view(flags: FlagsDep) -> None:
        raise AssertionError("not reached")

    async with browser(app) as client:
        with pytest.raises(RuntimeError, match=r"mount flagmw.*FlagsMiddleware"):
            await client.get("/")


async def test_A31_install_takes_the_application(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else is refused by name, and so is a name that another library has taken."""
    with pytest.raises(TypeError, match="takes the FastAPI application, not FlagsMiddleware"):
        install(FlagsMiddleware(app, flagmw=Flagmw()))  # type: ignore[arg-type]
    monkeypatch.setattr(HTTPConnection, "flags", "theirs", raising=False)
    with pytest.raises(RuntimeError, match="taken by another library: use FlagsDep"):
        install(app)


async def test_excluded_path(everyone: Flagmw) -> None:
    """On an excluded path the parameter is there, undecided, and the response stays as it is."""
    fm = Flagmw(vendors=[Static(flags={"ta_A": "b"})], exclude=["/health"])
    app = FastAPI()
    app.add_middleware(FlagsMiddleware, flagmw=fm)

    @app.get("/health")
    async def view(flags: FlagsDep) -> str:
        return f"{flags['ta_A']} {flags.error_code}"

    page = await asgi_call(app, http_scope(Sent("/health")))
    assert page.body == f'"control {ErrorCode.EXCLUDED}"'.encode()
    assert page.values("cache-control") == []
    assert FlagsMiddleware is asgi.FlagsMiddleware
    await fm.aclose(2.0)
