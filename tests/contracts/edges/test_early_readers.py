"""Servers that read the status early, or share a state between requests."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import flask
import httpx
import httpx2
import pytest

from flagmw import Flagmw, Identity, Static, Variant, current
from flagmw.asgi import FlagsMiddleware as AsgiMiddleware
from flagmw.asgi import flags_from as asgi_flags_from
from flagmw.codes import ErrorCode, Reason
from flagmw.flask import init_app
from flagmw.testing import FakeVendor
from flagmw.types import Decision, Flow, Visit, VisitorState
from flagmw.wsgi import FlagsMiddleware, flags_from
from tests.contracts.edges.driver import Headers, Make, Sent, environ, http_scope
from tests.support.raw_vendor import free_port

HTML = [("Content-Type", "text/html")]
ROOT = Path(__file__).resolve().parents[3]


class EarlyReader:
    """A WSGI server that takes status and headers when the application returns, as granian and others do."""

    def __init__(self) -> None:
        self.status, self.headers, self.body, self.errors = "200 OK", Headers(), b"", list[BaseException]()

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> None:
        self.status, self.headers = status, headers

    def serve(self, app: Any, sent: Sent | None = None) -> EarlyReader:
        try:
            body = app(environ(sent or Sent()), self.start_response)
        except Exception as error:
            self.status, self.headers = "500 Internal Server Error", []
            self.errors.append(error)
            return self
        taken = self.status, self.headers
        try:
            self.body = b"".join(body)
        except Exception as error:
            self.errors.append(error)
        finally:
            getattr(body, "close", int)()
            self.status, self.headers = taken
        return self

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known.lower() == name]


class Body:
    """Pieces without a length, which note when they are closed."""

    def __init__(self, *pieces: bytes, before: Callable[[], object] = int) -> None:
        self.drawn, self.closed, self._pieces, self._before = 0, 0, pieces, before

    def __iter__(self) -> Iterator[bytes]:
        self._before()
        for piece in self._pieces:
            self.drawn += 1
            yield piece

    def close(self) -> None:
        self.closed += 1


def generator(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("404 Not Found", list(HTML))
    yield flags_from(environ)["ta_A"].encode()


def never_yields(environ: Any, start_response: Any) -> Iterable[bytes]:
    flags_from(environ)["ta_A"]
    start_response("404 Not Found", list(HTML))
    yield from ()


def body_that_reads(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("404 Not Found", list(HTML))
    return Body(b"", b"x", before=lambda: flags_from(environ)["ta_A"])


def iterator(environ: Any, start_response: Any) -> Iterable[bytes]:
    flags_from(environ)["ta_A"]
    start_response("404 Not Found", list(HTML))
    return iter([b"a", b"b"])


def listed(environ: Any, start_response: Any) -> Iterable[bytes]:
    flags_from(environ)["ta_A"]
    start_response("404 Not Found", list(HTML))
    return [b"a"]


def second_thoughts(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", list(HTML))
    try:
        raise KeyError(flags_from(environ)["ta_A"])
    except KeyError:
        start_response("404 Not Found", list(HTML), sys.exc_info())
    yield b"sorry"


APPS = [generator, never_yields, body_that_reads, iterator, listed, second_thoughts]


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.__name__)
@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_status_and_headers_are_there_when_the_application_returns(
    wmake: Make, split: Static, app: Any, mode: str
) -> None:
    """The status is the application's, the visitor's cookie is set, and no shared cache may keep the page."""
    page = EarlyReader().serve(FlagsMiddleware(app, flagmw=wmake(vendors=[split], mode=mode)))
    assert page.errors == []
    assert page.status == "404 Not Found"
    assert [value.partition("=")[0] for value in page.values("set-cookie")] == ["flagmw_uid"]
    assert page.values("cache-control") == ["private"]


@pytest.mark.parametrize(("read", "drawn"), [(True, 0), (False, 1)])
def test_no_more_than_the_first_piece_is_drawn(wmake: Make, split: Static, read: bool, drawn: int) -> None:
    """A stream stays one: nothing is drawn where the flags were read already, else one piece."""
    body = Body(b"1", b"2", b"3")

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if read:
            flags_from(environ)["ta_A"]
        start_response("404 Not Found", list(HTML))
        return body

    server = EarlyReader()
    made: Any = FlagsMiddleware(app, flagmw=wmake(vendors=[split]))(environ(Sent()), server.start_response)
    assert server.status == "404 Not Found"
    assert body.drawn == drawn
    assert list(made) == [b"1", b"2", b"3"]
    made.close()
    assert body.closed == 1


def test_body_that_nobody_reads_is_closed(wmake: Make, split: Static) -> None:
    """As for HEAD: the server closes without a look, the piece that was drawn is lost, and close runs once."""
    body = Body(b"1", b"2")

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", list(HTML))
        return body

    made: Any = FlagsMiddleware(app, flagmw=wmake(vendors=[split]))(environ(Sent()), EarlyReader().start_response)
    made.close()
    made.close()
    assert body.closed == 1


class Stop(BaseException):
    """What a server throws into a worker that took too long."""


@pytest.mark.parametrize("error", [ValueError("mine"), Stop("mine")], ids=["error", "stop"])
@pytest.mark.parametrize("at", ["iter", "first piece", "second piece"])
def test_error_in_a_piece(wmake: Make, split: Static, error: BaseException, at: str) -> None:
    """One in the first piece comes out of the call, so that the answer is the server's 500; close runs once always."""
    closed: list[int] = []

    class Failing:
        def __iter__(self) -> Iterator[bytes]:
            if at == "iter":
                raise error
            return self.pieces()

        def pieces(self) -> Iterator[bytes]:
            if at == "second piece":
                yield b"1"
            raise error

        def close(self) -> None:
            closed.append(1)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(HTML))
        return Failing()

    mounted = FlagsMiddleware(app, flagmw=wmake(vendors=[split]))
    server = EarlyReader()
    with pytest.raises(type(error), match="mine"):
        made: Any = mounted(environ(Sent()), server.start_response)
        assert at == "second piece"
        try:
            list(made)
        finally:
            made.close()
    assert closed == [1]
    assert current().error_code is ErrorCode.NO_REQUEST


def test_written_pieces_and_a_generator_that_fails(wmake: Make, split: Static) -> None:
    """What was written has the status and headers with it, whatever comes after it."""
    pieces: list[Any] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("404 Not Found", list(HTML))(b"written")
        return Body(before=lambda: pieces.append("drawn"))

    def start_response(status: str, headers: Headers, exc_info: Any = None) -> Any:
        pieces.append(status)
        return pieces.append

    FlagsMiddleware(app, flagmw=wmake(vendors=[split]))(environ(Sent()), start_response)
    assert pieces == ["404 Not Found", b"written"]


def test_bodies_that_are_read_in_turn(wmake: Make) -> None:
    """A server that makes the pieces of several responses in one thread: each is made with its own flags current."""
    fm = wmake(vendors=[PerUser({"ta_Who": "x"})], identify=lambda inbound: Identity(inbound.header("x-visitor")))

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", list(HTML))
        for _ in range(3):
            yield current()["ta_Who"].encode()

    mounted = FlagsMiddleware(app, flagmw=fm)
    bodies: list[Any] = [
        mounted(environ(Sent(headers=[("X-Visitor", name)])), EarlyReader().start_response) for name in ("alice", "bob")
    ]
    assert [(next(bodies[0]), next(bodies[1])) for _ in range(3)] == [(b"alice", b"bob")] * 3
    assert current().error_code is ErrorCode.NO_REQUEST
    for body in bodies:
        body.close()


# The state of an ASGI request.


class PerUser(FakeVendor):
    """Gives everybody their own name."""

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        who = Variant(alias="ta_Who", key=visit.user_id or "nobody", vendor=self.name, reason=Reason.SPLIT)
        return Decision(vendor=self.name, variants={"ta_Who": who})
        yield


def per_user(make: Make, **options: Any) -> Flagmw:
    return make(
        vendors=[PerUser({"ta_Who": "x"})],
        identify=lambda inbound: Identity(user_id=inbound.header("x-visitor") or "nobody"),
        exclude=["/excluded"],
        **options,
    )


@pytest.mark.parametrize("mode", ["eager", "lazy"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_state_that_a_connection_shares(amake: Make, kind: str, mode: str) -> None:
    """Requests of one connection that are served at the same time: each sees its own visitor's flags in the state."""
    state: dict[str, Any] = {"pool": "everybody's"}
    all_in = asyncio.Barrier(3)
    seen: dict[str, list[str]] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        name = dict(scope["headers"])[b"x-visitor"].decode()
        await asgi_flags_from(scope).load()
        for _ in range(2):
            await all_in.wait()
            seen.setdefault(name, []).append(scope["state"]["flags"]["ta_Who"])
        assert scope["state"]["pool"] == "everybody's"

    mounted = AsgiMiddleware(app, flagmw=per_user(amake, mode=mode))
    names = ["alice", "bob", "carol"]
    scopes = [http_scope(Sent(headers=[("X-Visitor", name)]), type=kind, state=state) for name in names]
    await asyncio.gather(*(mounted(scope, None, None) for scope in scopes))
    assert seen == {name: [name, name] for name in names}
    assert state == {"pool": "everybody's"}
    assert all(scope["state"] is state for scope in scopes)


async def test_state_after_a_request_and_on_an_excluded_path(amake: Make) -> None:
    """Nothing of a visitor is left for the next request of the connection, nor is anything of the server's lost."""
    state: dict[str, Any] = {"flags": "the site's own"}
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["state"]["flags"])
        raise RuntimeError("mine")

    mounted = AsgiMiddleware(app, flagmw=per_user(amake))
    for path in ("/", "/excluded"):
        with pytest.raises(RuntimeError, match="mine"):
            await mounted(http_scope(Sent(path), state=state), None, None)
    assert seen[0]["ta_Who"] == "nobody"
    assert seen[1:] == ["the site's own"]
    assert state == {"flags": "the site's own"}


async def test_what_the_application_writes_is_there_for_middleware_outside(amake: Make) -> None:
    """Every way to write into a dictionary, and to take away, reaches the state that the server gave."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        own = scope["state"]
        own["a"] = 1
        own.update({"b": 2}, c=3)
        own |= {"d": 4}
        assert own.setdefault("e", 5) == own.setdefault("e", 6) == 5
        assert (own.pop("gone"), own.pop("gone", None)) == (0, None)
        del own["deleted"]
        assert own.copy() == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "flags": asgi_flags_from(scope)}

    state: dict[str, Any] = {"gone": 0, "deleted": 0}
    await AsgiMiddleware(app, flagmw=per_user(amake))(http_scope(Sent(), state=state), None, None)
    assert state == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}


# A view that asks its own application for a part of the page.


@pytest.mark.parametrize("path", ["/part", "/excluded"])
def test_flask_view_that_calls_its_own_application(wmake: Make, path: str) -> None:
    """Afterwards the view's own flags are the current ones again."""
    app = flask.Flask("shop")
    init_app(app, per_user(wmake))

    @app.get(path)
    def part() -> str:
        return current()["ta_Who"]

    @app.get("/page")
    def page() -> str:
        before = current()["ta_Who"]
        inner = app.test_client().get(path, headers={"x-visitor": "inner"}).text
        return f"{before} {inner} {current()['ta_Who']}"

    expected = "control" if path == "/excluded" else "inner"
    answer = app.test_client().get("/page", headers={"x-visitor": "outer"})
    assert answer.text == f"outer {expected} outer"
    answer.close()
    assert current().error_code is ErrorCode.NO_REQUEST


@pytest.mark.parametrize("path", ["/part", "/excluded"])
async def test_asgi_view_that_calls_its_own_application(amake: Make, path: str) -> None:
    """Afterwards the view's own flags are the current ones again."""

    async def answer(send: Any, text: str) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == path:
            await answer(send, current()["ta_Who"])
            return
        before = current()["ta_Who"]
        inner = await ask(path, "inner")
        await answer(send, f"{before} {inner} {current()['ta_Who']}")

    mounted: Any = AsgiMiddleware(app, flagmw=per_user(amake))

    async def ask(path: str, name: str) -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(mounted), base_url="http://shop") as client:
            return (await client.get(path, headers={"x-visitor": name})).text

    expected = "control" if path == "/excluded" else "inner"
    assert await ask("/page", "outer") == f"outer {expected} outer"
    assert current().error_code is ErrorCode.NO_REQUEST


# A real server that reads early.


def test_granian_serves_wsgi_with_status_and_cookies() -> None:
    """Under granian's WSGI a 404 is a 404, with the visitor's cookie and for nobody else."""
    port = free_port()
    command = ["granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--log-level", "critical"]
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / command[0]), *command[1:], f"{__name__}:shop"], cwd=ROOT
    )
    try:
        for path in ("generator", "never_yields", "iterator", "listed", "body_that_reads"):
            page = _get(f"http://127.0.0.1:{port}/{path}")
            assert page.status_code == 404
            assert page.headers["cache-control"] == "private"
            assert page.headers["set-cookie"].startswith("flagmw_uid=")
    finally:
        process.terminate()
        process.wait(20)


def _get(url: str) -> httpx2.Response:
    until = time.monotonic() + 30
    while True:
        try:
            return httpx2.get(url, timeout=5)
        except httpx2.TransportError:
            assert time.monotonic() < until, "granian did not serve"
            time.sleep(0.05)


def _shop(environ: Any, start_response: Any) -> Any:
    by_name: dict[str, Any] = {app.__name__: app for app in APPS}
    return by_name[environ["PATH_INFO"].strip("/")](environ, start_response)


shop = FlagsMiddleware(
    _shop, flagmw=Flagmw(vendors=[Static(flags={"ta_A": {"split": {"a": 1, "b": 1}}})], outbox="memory://")
)
