"""What the ASGI edge promises servers, applications and frameworks."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
import websockets.asyncio.client
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection

from flagmw import Flags, Static, Visit, current
from flagmw._decide.vendor_client import VendorClient
from flagmw._exchange.context import Context
from flagmw._support.counters import Counters
from flagmw._support.deadline import Deadline
from flagmw._support.log import Throttle
from flagmw.asgi import FlagsMiddleware, flags_from
from flagmw.codes import ErrorCode
from flagmw.config import build
from flagmw.fastapi import FlagsDep, install
from flagmw.outbox.memory import MemoryOutbox
from flagmw.sandbox import SandboxServer
from flagmw.types import VisitorState
from tests.contracts.edges.driver import (
    BROWSER,
    DOMAIN,
    Make,
    Page,
    Probe,
    Sent,
    asgi_call,
    http_scope,
    never,
    webtrends,
)
from tests.support.busy import HELD_UP_S
from tests.support.raw_vendor import RawVendor

ROOT = Path(__file__).parents[3]


def start(**more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")], **more}


def body(data: bytes = b"ok", **more: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, **more}


async def collect(app: Any, scope: dict[str, Any], received: list[Any] | None = None) -> list[Any]:
    """Run *app* and return all messages that it sent, as they came."""
    sent: list[Any] = []
    waiting = list(received or [])

    async def receive() -> Any:
        return waiting.pop(0) if waiting else await never()

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(20):
        await app(scope, receive, send)
    return sent


async def until(found: Callable[[], Any], seconds: float = 15.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (result := found()):
            await asyncio.sleep(0.005)
    return result


def sending(*messages: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


# Scope types and messages that are none of ours.


@pytest.mark.parametrize("kind", ["mystery", "x.custom"])
async def test_A4_unknown_scope_passes_untouched(amake: Make, kind: str) -> None:
    """The application gets the very objects that the server made."""
    got: list[Any] = []

    async def app(*given: Any) -> None:
        got.extend(given)

    scope = {"type": kind}
    given = (scope, object(), object())
    await FlagsMiddleware(app, flagmw=amake())(*given)  # type: ignore[arg-type]
    assert [a is b for a, b in zip(got, given, strict=True)] == [True] * 3
    assert scope == {"type": kind}


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.pathsend", "path": "/tmp/a"},
        {"type": "http.response.zerocopysend", "file": 7, "offset": 1, "count": 2},
        {"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": False},
        {"type": "http.response.push", "path": "/b", "headers": []},
        {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]},
        {"type": "http.response.debug", "info": {"template": None}},
        {"type": "http.response.of.tomorrow", "odd": object()},
    ],
    ids=lambda message: message["type"].rpartition("response.")[2],
)
async def test_A25_messages_of_extensions_pass_as_they_are(amake: Make, split: Static, message: Any) -> None:
    """Messages that the middleware does not know reach the server as the same objects, unchanged, in order."""
    before = dict(message)
    ends = [start(), message, body()]
    sent = await collect(FlagsMiddleware(sending(*ends), flagmw=amake(vendors=[split])), http_scope(Sent()))
    assert sent[1] is message
    assert message == before
    assert sent[2] is ends[2]
    assert [each["type"] for each in sent] == [each["type"] for each in ends]


async def test_message_that_serves_every_visitor_stays_as_it_is(amake: Make, split: Static) -> None:
    """An application may send one and the same message to all: no visitor's cookie gets into another's answer."""
    constant, end = start(), body()
    app = FlagsMiddleware(sending(constant, end), flagmw=amake(vendors=[split]))
    cookies = set()
    for _ in range(5):
        (first, _) = await collect(app, http_scope(Sent()))
        lines = [value for name, value in first["headers"] if name == b"set-cookie"]
        assert len(lines) == 1
        cookies.update(lines)
    assert len(cookies) == 5
    assert constant == start()


@pytest.mark.parametrize("status", [200, 304])
@pytest.mark.parametrize("touch", [True, False])
async def test_headers_that_can_be_read_only_once(amake: Make, split: Static, status: int, touch: bool) -> None:
    """The specification allows any iterable of headers: none of them is lost, changed response or not."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if touch:
            assert flags_from(scope)["ta_A"] in "ab"
        await send(start(status=status, headers=iter([[b"x-a", b"1"], [b"x-b", b"2"]])))
        await send(body(b""))

    (first, _) = await collect(FlagsMiddleware(app, flagmw=amake(vendors=[split])), http_scope(Sent()))
    assert [tuple(header) for header in first["headers"]][:2] == [(b"x-a", b"1"), (b"x-b", b"2")]


async def test_start_without_headers(amake: Make, split: Static) -> None:
    """Headers are optional in the specification."""
    app = FlagsMiddleware(
        sending({"type": "http.response.start", "status": 200}, body()), flagmw=amake(vendors=[split])
    )
    (first, _) = await collect(app, http_scope(Sent()))
    assert [name for name, _ in first["headers"]] == [b"cache-control", b"set-cookie"]


async def test_state_of_the_request_keeps_what_is_there(amake: Make, split: Static) -> None:
    """The flags are at `scope["state"]["flags"]`, beside what others put there, while the application runs."""
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.append((scope["state"]["flags"] is flags_from(scope), scope["state"]["mine"]))

    state = {"mine": 1}
    scope = http_scope(Sent(), state=state)
    await collect(FlagsMiddleware(app, flagmw=amake(vendors=[split])), scope)
    assert got == [(True, 1)]
    assert scope["state"] is state
    assert state == {"mine": 1}


# Lifespan.


def outbox_threads() -> int:
    return sum(thread.name == "flagmw-outbox" for thread in threading.enumerate())


async def lifespan(app: Any) -> AsyncIterator[str]:
    """Play the server's part of the protocol; yields what the application sent."""
    sent: asyncio.Queue[Any] = asyncio.Queue()
    received: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.ensure_future(app({"type": "lifespan", "asgi": {"version": "3.0"}}, received.get, sent.put))
    for step in ("startup", "shutdown"):
        received.put_nowait({"type": f"lifespan.{step}"})
        yield (await asyncio.wait_for(sent.get(), 10))["type"]
    await asyncio.wait_for(task, 10)


async def polite(scope: Any, receive: Any, send: Any) -> None:
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


async def test_A4_lifespan_starts_and_closes(amake: Make, vendor: SandboxServer) -> None:
    """With the application up delivery runs; when the application has shut down and nothing is left it ends."""
    before = outbox_threads()
    app = FlagsMiddleware(polite, flagmw=amake(vendors=[webtrends(vendor.webtrends_url)]))
    seen = []
    async for answered in lifespan(app):
        seen.append((answered, outbox_threads() - before))
    assert seen[0] == ("lifespan.startup.complete", 1) and seen[1][0] == "lifespan.shutdown.complete"
    end = time.monotonic() + 20
    while outbox_threads() > before:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_A4_failed_startup_passes(amake: Make) -> None:
    """The application's own failure to start reaches the server with its message, and nothing is started."""
    before = outbox_threads()
    failed = {"type": "lifespan.startup.failed", "message": "no database"}
    app = FlagsMiddleware(sending(failed), flagmw=amake())
    assert await collect(app, {"type": "lifespan"}) == [failed]
    assert outbox_threads() == before


async def test_A4_application_without_lifespan(amake: Make) -> None:
    """What an application raises that knows no lifespan passes, for that is how servers find out."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "only http"

    with pytest.raises(AssertionError, match="only http"):
        await FlagsMiddleware(app, flagmw=amake())({"type": "lifespan"}, never, never)  # type: ignore[arg-type]


@pytest.mark.parametrize("required", [True, False])
async def test_A4_outbox_that_cannot_be_used(amake: Make, tmp_path: Path, required: bool) -> None:
    """With outbox_required the server is told not to start, and why; without it starts."""
    (tmp_path / "outbox").mkdir()
    fm = amake(vendors=[Probe()], outbox=f"sqlite://{tmp_path}/outbox", outbox_required=required)
    # A file comes where the directory was, after the configuration was checked.
    (tmp_path / "outbox").rmdir()
    (tmp_path / "outbox").touch()
    said = await collect(
        FlagsMiddleware(sending({"type": "lifespan.startup.complete"}), flagmw=fm), {"type": "lifespan"}
    )
    if required:
        assert [message["type"] for message in said] == ["lifespan.startup.failed"]
        assert said[0]["message"] == "flagmw: the outbox is required and cannot be used: File exists"
        assert not fm.counts().get(("internal_error", "", "INTERNAL"))
    else:
        assert said == [{"type": "lifespan.startup.complete"}]


def test_A4_uvicorn_does_not_start_without_its_outbox(tmp_path: Path) -> None:
    """A real server ends with its code for an application that did not start, and logs why."""
    (tmp_path / "shop_app.py").write_text(
        "from pathlib import Path\n"
        "from fastapi import FastAPI\n"
        "from flagmw import Flagmw, Static\n"
        "from flagmw.fastapi import FlagsMiddleware\n"
        "app = FastAPI()\n"
        f"fm = Flagmw(vendors=[Static(flags={{}})], outbox='sqlite://{tmp_path}/outbox', outbox_required=True)\n"
        "app.add_middleware(FlagsMiddleware, flagmw=fm)\n"
        f"Path('{tmp_path}/outbox').rmdir()\n"
        f"Path('{tmp_path}/outbox').touch()\n"
    )
    words = [sys.executable, "-m", "uvicorn", "--app-dir", str(tmp_path), "shop_app:app", "--port", "0"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (ended.returncode, "the outbox is required and cannot be used" in ended.stderr) == (3, True)


async def test_A4_start_that_fails_does_not_keep_the_application_down(
    amake: Make, vendor: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any HTTP library the application starts and serves its pages with defaults; the failure is counted."""
    monkeypatch.setitem(sys.modules, "httpcore2", None)
    monkeypatch.setitem(sys.modules, "httpcore", None)
    fm = amake(vendors=[webtrends(vendor.webtrends_url)], transport="httpx2")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await polite(scope, receive, send)
            return
        await send(start())
        await send(body(flags_from(scope)["ta_Project1"].encode()))

    wrapped = FlagsMiddleware(app, flagmw=fm)
    steps = lifespan(wrapped)
    assert await anext(steps) == "lifespan.startup.complete"
    assert fm.counts()[("internal_error", "", "INTERNAL")] == 1
    assert (await asgi_call(wrapped, http_scope(Sent()))).body == b"control"
    assert [step async for step in steps] == ["lifespan.shutdown.complete"]


# Streams.


async def test_A2_track_of_a_stream_that_falls_silent(amake: Make, vendor: SandboxServer) -> None:
    """A track made in a stream that then waits for hours is delivered without waiting for the next piece."""
    quiet = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        flags = flags_from(scope)
        await send(start())
        await send(body(b": hello\n\n", more_body=True))
        flags.track("opened", aliases=["ta_Project1"])
        await quiet.wait()
        await send(body(b""))

    fm = amake(vendors=[webtrends(vendor.webtrends_url)], outbox=MemoryOutbox())
    task = asyncio.ensure_future(asgi_call(FlagsMiddleware(app, flagmw=fm), http_scope(Sent())))
    await until(lambda: vendor.ledger(metric="opened")["conversions"])
    assert not task.done()
    quiet.set()
    await task


async def test_last_track_of_a_stream_is_stored_before_its_end(amake: Make, vendor: SandboxServer) -> None:
    """A client that saw the whole of a stream has all its tracks in the store, the last one too."""

    class Store(MemoryOutbox):
        def put_many(self, events: Any, now: float) -> Any:
            time.sleep(0.01)
            return super().put_many(events, now)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        for n in range(3):
            await send(body(b"x", more_body=True))
            flags_from(scope).track(f"m{n}", aliases=["ta_Project1"])
        await send(body(b""))

    store = Store()
    fm = amake(vendors=[webtrends(vendor.webtrends_url)], outbox=store)
    at_end: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            at_end.append(store.stats(time.time()).accepted)

    await FlagsMiddleware(app, flagmw=fm)(http_scope(Sent()), never, send)
    assert at_end == [3]


async def test_slow_outbox_does_not_hold_up_the_event_loop(amake: Make, vendor: SandboxServer) -> None:
    """While a request waits for its 50 ms the loop goes on serving others."""

    writing, served = threading.Event(), threading.Event()
    went_on: list[bool] = []

    class Slow(MemoryOutbox):
        submit = None  # it can only be waited for

        def put_many(self, events: Any, now: float) -> Any:
            writing.set()
            went_on.append(served.wait(HELD_UP_S))
            return super().put_many(events, now)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        flags_from(scope).track("x", aliases=["ta_Project1"])
        await send(start())
        await send(body())

    fm = amake(vendors=[webtrends(vendor.webtrends_url)], outbox=Slow())
    page = asyncio.ensure_future(asgi_call(FlagsMiddleware(app, flagmw=fm), http_scope(Sent())))
    # The store goes on only when the loop has turned a hundred times while it wrote, and another page was served.
    await until(writing.is_set)
    for _ in range(100):
        await asyncio.sleep(0)
    assert (await asgi_call(FlagsMiddleware(show, flagmw=fm), http_scope(Sent()))).status == 200
    served.set()
    assert (await page).status == 200
    assert await asyncio.to_thread(fm.flush, 5)
    assert went_on == [True]


async def test_A11_server_that_tells_of_the_client_s_leaving(amake: Make, vendor: SandboxServer) -> None:
    """What `send` raises reaches the application as it is, also at the very start of the response."""
    caught: list[BaseException] = []
    gone = OSError("gone")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        flags_from(scope).track("x", aliases=["ta_Project1"])
        try:
            await send(start())
        except OSError as error:
            caught.append(error)
            raise

    async def send(message: Any) -> None:
        raise gone

    fm = amake(vendors=[webtrends(vendor.webtrends_url)])
    with pytest.raises(OSError, match="gone"):
        await FlagsMiddleware(app, flagmw=fm)(http_scope(Sent()), never, send)
    assert caught == [gone]
    assert await asyncio.to_thread(fm.flush, 5)
    assert len(vendor.ledger(metric="x")["conversions"]) == 1


# Cancellation.


async def show(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(body(flags_from(scope)["ta_Project1"].encode()))


async def test_A10_A12_five_hundred_cancels_during_decide(
    amake: Make, vendor: SandboxServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Visitors who leave while the vendor is asked cost nothing: no slot, no breaker, no log line, no connection."""
    fm = amake(vendors=[webtrends(vendor.webtrends_url)], max_in_flight=20, outbox="memory://")
    app = FlagsMiddleware(show, flagmw=fm)
    assert (await asgi_call(app, http_scope(Sent()))).body in (b"control", b"variation")
    vendor.faults([{"kind": "delay", "ms": 3000, "route": "control"}])
    cancelled = undecided = batches = 0
    with caplog.at_level(logging.INFO, "flagmw"):
        while cancelled < 500:
            tasks = [asyncio.ensure_future(asgi_call(app, http_scope(Sent()))) for _ in range(20)]
            await asyncio.sleep(0.0005 * (batches % 25))
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            gone = sum(isinstance(result, asyncio.CancelledError) for result in results)
            # On a machine that is too busy to connect in time a page is served with defaults before it is cancelled.
            assert {result.body for result in results if isinstance(result, Page)} <= {b"control"}
            assert gone + sum(isinstance(result, Page) for result in results) == 20
            cancelled, undecided, batches = cancelled + gone, undecided + 20 - gone, batches + 1
            assert batches < 500
            await asyncio.sleep(0.02 if gone < 20 else 0)
    vendor.clear_faults()
    print(f"{cancelled} cancelled, {undecided} served before they were")
    assert fm.health()["vendors"]["wt"]["in_flight"] == 0
    if not undecided:
        assert fm.health()["vendors"]["wt"]["breaker"] == "closed"
        assert [record for record in caplog.records if record.name.startswith("flagmw")] == []

    async def everybody() -> bool:
        pages = await asyncio.gather(*(asgi_call(app, http_scope(Sent())) for _ in range(20)))
        return all(page.values("set-cookie") for page in pages)

    async with asyncio.timeout(15):
        while not await everybody():
            await asyncio.sleep(0.1)
    assert fm.health()["vendors"]["wt"] == {"breaker": "closed", "next_probe_s": 0.0, "in_flight": 0, "hedges": 0}


async def test_A10_cancel_while_waiting_for_a_slot() -> None:
    """The one probe of a failing vendor, cancelled before it began, gives its turn to the next."""
    with RawVendor() as silent:
        config = build({"vendors": [webtrends(silent.url)], "max_in_flight": 1})
        context = Context(config, Counters(), Throttle(logging.getLogger("flagmw")), time.time)
        lane = VendorClient(config.vendors[0], context)

        def ask() -> asyncio.Task[Any]:
            visit, deadline = Visit(url="https://www.mysite.com/"), Deadline.after(5.0, time.monotonic())
            return asyncio.ensure_future(lane.ask(visit, VisitorState(), deadline))

        holder = ask()
        await until(lambda: lane.health()["in_flight"])
        for _ in range(5):
            lane.breaker.failure(time.monotonic() - 10)
        assert lane.health()["breaker"] == "half-open"
        waiting = ask()
        await asyncio.sleep(0)
        for task in (waiting, holder):
            task.cancel()
            assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
            assert lane.breaker.allow(time.monotonic())
        assert lane.health()["in_flight"] == 0
        await lane.aio.aclose()


async def test_A12_timeout_of_the_application(amake: Make, vendor: SandboxServer) -> None:
    """The application's own `asyncio.timeout` works through the middleware, outside of it and inside."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            async with asyncio.timeout(0.02):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("inside")
        flags_from(scope).track("x", aliases=["ta_Project1"])
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    fm = amake(vendors=[webtrends(vendor.webtrends_url)])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await FlagsMiddleware(app, flagmw=fm)(http_scope(Sent()), never, never)  # type: ignore[arg-type]
    assert seen == ["inside", "cancelled"]
    assert current().error_code is ErrorCode.NO_REQUEST
    assert await asyncio.to_thread(fm.flush, 5)
    assert len(vendor.ledger(metric="x")["conversions"]) == 1


# WebSockets.


def socket_scope(**more: Any) -> dict[str, Any]:
    scope = http_scope(Sent("/ws", scheme="wss"))
    del scope["method"]
    return {**scope, "type": "websocket", "subprotocols": [], **more}


async def test_A3_websocket_has_flags_and_cookies_on_accept(amake: Make, vendor: SandboxServer) -> None:
    """A WebSocket is decided for like a page; its cookies leave with the handshake, after the application's own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        variant = flags_from(scope)["ta_Project1"]
        assert current()["ta_Project1"] == variant
        await send({"type": "websocket.accept", "headers": [(b"x-a", b"1")]})
        await send({"type": "websocket.send", "text": variant})
        await send({"type": "websocket.close", "code": 1000})

    fm = amake(vendors=[webtrends(vendor.webtrends_url)])
    accept, message, _ = await collect(FlagsMiddleware(app, flagmw=fm), socket_scope())
    assert message["text"] in ("control", "variation")
    assert accept["headers"][0] == (b"x-a", b"1")
    assert {name for name, _ in accept["headers"][1:]} == {b"set-cookie"}
    names = [value.partition(b"=")[0].decode() for _, value in accept["headers"][1:]]
    assert f"_wt.user-{DOMAIN}" in names
    assert len(names) == len(set(names)) == 6
    # A wss connection is a secure one.
    assert all(b"; Secure" in value for _, value in accept["headers"][1:])


async def test_A3_websocket_that_is_refused_is_untouched(amake: Make, split: Static) -> None:
    """A close before the handshake and a denial response pass as they are."""
    for refusal in (
        [{"type": "websocket.close", "code": 4003}],
        [
            {"type": "websocket.http.response.start", "status": 403, "headers": []},
            {"type": "websocket.http.response.body", "body": b"no"},
        ],
    ):
        app = FlagsMiddleware(sending(*refusal), flagmw=amake(vendors=[split]))
        sent = await collect(app, socket_scope())
        assert [a is b for a, b in zip(sent, refusal, strict=True)] == [True] * len(refusal)


async def test_A26_websocket_whose_application_sets_the_cookie_itself(amake: Make, split: Static) -> None:
    """The application wins in a handshake as it does in a page."""
    own = (b"Set-Cookie", b"flagmw_uid=mine")
    app = FlagsMiddleware(sending({"type": "websocket.accept", "headers": [own]}), flagmw=amake(vendors=[split]))
    (accept,) = await collect(app, socket_scope())
    assert list(accept["headers"]) == [own]


async def test_A3_tracks_of_an_open_websocket_are_delivered(amake: Make, vendor: SandboxServer) -> None:
    """What happens in a WebSocket counts at once, although the connection stays open and nothing is sent."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        flags_from(scope).track("joined", aliases=["ta_Project1"])
        await asyncio.Event().wait()

    fm = amake(vendors=[webtrends(vendor.webtrends_url)])
    task = asyncio.ensure_future(collect(FlagsMiddleware(app, flagmw=fm), socket_scope()))
    await until(lambda: vendor.ledger(metric="joined")["conversions"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# Frameworks.


def client(app: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False),
        base_url="https://www.mysite.com",
        headers={"user-agent": BROWSER},
    )


async def test_A16_sync_views_in_the_thread_pool(amake: Make, vendor: SandboxServer) -> None:
    """A plain `def` view, which the framework runs in a thread, has flags, `current()` and tracks."""
    app = FastAPI()
    fm = amake(vendors=[webtrends(vendor.webtrends_url)])
    app.add_middleware(FlagsMiddleware, flagmw=fm)

    @app.get("/")
    def view(flags: FlagsDep) -> dict[str, Any]:
        assert threading.current_thread() is not threading.main_thread()
        assert current() is flags
        flags.track("seen", aliases=["ta_Project1"])
        return {"variant": flags["ta_Project1"]}

    async with client(app) as browser:
        answers = await asyncio.gather(*(browser.get("/") for _ in range(8)))
    assert {answer.json()["variant"] for answer in answers} <= {"control", "variation"}
    assert await asyncio.to_thread(fm.flush, 10)
    assert len(vendor.ledger(metric="seen")["conversions"]) == 8


async def test_A17_threads_and_tasks_of_an_async_view(amake: Make, everyone_b: Static) -> None:
    """`asyncio.to_thread` and tasks carry the flags along; a bare executor does not, and says so."""
    app = FastAPI()
    app.add_middleware(FlagsMiddleware, flagmw=amake(vendors=[everyone_b]))

    @app.get("/")
    async def view(flags: FlagsDep) -> list[bool]:
        loop = asyncio.get_running_loop()

        async def task() -> Flags:
            return current()

        return [
            await asyncio.to_thread(current) is flags,
            await asyncio.create_task(task()) is flags,
            await loop.run_in_executor(None, contextvars.copy_context().run, current) is flags,
            (await loop.run_in_executor(None, current)).error_code is ErrorCode.NO_REQUEST,
        ]

    async with client(app) as browser:
        assert (await browser.get("/")).json() == [True] * 4


@pytest.mark.parametrize("outside", [True, False])
async def test_A17_base_http_middleware_in_the_stack(amake: Make, everyone_b: Static, outside: bool) -> None:
    """Starlette's own kind of middleware, inside or outside of ours, changes nothing for the view or its headers."""
    app = FastAPI()
    app.add_middleware(FlagsMiddleware, flagmw=amake(vendors=[everyone_b]))

    async def dispatch(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-seen"] = request.scope["state"]["flags"]["ta_A"]
        return response

    wrapped: Any = BaseHTTPMiddleware(app, dispatch=dispatch) if outside else app
    if not outside:
        inner = FastAPI()
        inner.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
        inner.add_middleware(FlagsMiddleware, flagmw=amake(vendors=[everyone_b]))
        app = wrapped = inner

    @app.get("/")
    async def view(flags: FlagsDep) -> dict[str, str]:
        return {"flag": flags["ta_A"], "current": current()["ta_A"]}

    async with client(wrapped) as browser:
        answer = await browser.get("/")
    assert answer.json() == {"flag": "b", "current": "b"}
    assert (answer.headers["x-seen"], answer.headers["vary"]) == ("b", "Cookie")


async def test_A14_mounted_sub_application(amake: Make) -> None:
    """Mounted around a site and around one of its parts, one decision is made, for the whole path."""
    probe = Probe()
    fm = amake(vendors=[probe])
    part, site = FastAPI(), Starlette()

    @part.get("/cart")
    async def view(request: Request) -> dict[str, str]:
        return {"flag": flags_from(request.scope)["ta_P"]}

    site.mount("/shop", FlagsMiddleware(part, flagmw=fm))
    async with client(FlagsMiddleware(site, flagmw=fm)) as browser:
        assert (await browser.get("/shop/cart")).json() == {"flag": "p"}
    assert [visit.path for visit in probe.visits] == ["/shop/cart"]
    # The part alone has the same path.
    async with client(site) as browser:
        assert (await browser.get("/shop/cart")).json() == {"flag": "p"}
    assert [visit.path for visit in probe.visits] == ["/shop/cart"] * 2


async def test_A8_framework_s_own_error_page(amake: Make, vendor: SandboxServer) -> None:
    """An exception of a view becomes the framework's 500, once, and the track before it counts."""
    app = FastAPI()
    fm = amake(vendors=[webtrends(vendor.webtrends_url)])
    app.add_middleware(FlagsMiddleware, flagmw=fm)
    runs: list[int] = []

    @app.get("/")
    async def view(flags: FlagsDep) -> None:
        runs.append(1)
        flags.track("tried", aliases=["ta_Project1"])
        raise RuntimeError("mine")

    async with client(app) as browser:
        answer = await browser.get("/")
    assert (answer.status_code, answer.text, runs) == (500, "Internal Server Error", [1])
    assert await asyncio.to_thread(fm.flush, 5)
    assert len(vendor.ledger(metric="tried")["conversions"]) == 1


async def test_A13_background_task_of_the_framework(amake: Make, vendor: SandboxServer) -> None:
    """A background task runs after the response and still finds the flags and the visitor."""
    app = FastAPI()
    fm = amake(vendors=[webtrends(vendor.webtrends_url)])
    app.add_middleware(FlagsMiddleware, flagmw=fm)

    def later() -> None:
        current().track("mailed", aliases=["ta_Project1"])

    @app.get("/")
    async def view(flags: FlagsDep, tasks: BackgroundTasks) -> dict[str, str]:
        tasks.add_task(later)
        return {"uid": flags.variant("ta_Project1").ids["system_uid"]}

    async with client(app) as browser:
        uid = (await browser.get("/")).json()["uid"]
    assert await asyncio.to_thread(fm.flush, 5)
    assert [entry["system_uid"] for entry in vendor.ledger(metric="mailed")["conversions"]] == [uid]


async def test_fastapi_has_flags_as_a_parameter_and_on_the_request(amake: Make, everyone_b: Static) -> None:
    """`FlagsDep`, `request.state.flags` and, after `install`, `request.flags` are one object; in sockets too."""
    app = FastAPI()
    app.add_middleware(FlagsMiddleware, flagmw=amake(vendors=[everyone_b], exclude=["/out"]))
    install(app)
    install(app)

    @app.get("/")
    async def view(request: Request, flags: FlagsDep) -> list[bool]:
        return [request.flags is flags, request.state.flags is flags, request.flags["ta_A"] == "b"]  # type: ignore[attr-defined]

    @app.get("/out")
    async def out(request: Request) -> str:
        return request.flags.error_code  # type: ignore[attr-defined, no-any-return]

    @app.get("/stream")
    async def stream(flags: FlagsDep) -> StreamingResponse:
        def pieces() -> Iterator[str]:
            yield flags["ta_A"]
            yield current()["ta_A"]

        return StreamingResponse(pieces())

    @app.websocket("/ws")
    async def talk(socket: WebSocket, flags: FlagsDep) -> None:
        await socket.accept()
        await socket.send_text(str(socket.flags is flags))  # type: ignore[attr-defined]
        await socket.close()

    async with client(app) as browser:
        assert (await browser.get("/")).json() == [True, True, True]
        assert (await browser.get("/out")).json() == "EXCLUDED"
        assert (await browser.get("/stream")).text == "bb"
    accept, message, *_ = await collect(app, socket_scope(), [{"type": "websocket.connect"}])
    assert (accept["type"], message["text"]) == ("websocket.accept", "True")


async def test_fastapi_without_the_middleware_names_the_cure() -> None:
    """A view that asks for flags where nothing is mounted fails with what to mount."""
    app = FastAPI()

    @app.get("/")
    async def view(flags: FlagsDep) -> None: ...

    with pytest.raises(RuntimeError, match=r"mount flagmw\.asgi\.FlagsMiddleware"):
        await collect(app, http_scope(Sent()), [{"type": "http.request", "body": b""}])


def test_install_refuses_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that is no FastAPI application, or an attribute that another library took, is an error that says so."""
    with pytest.raises(TypeError, match="takes the FastAPI application, not Starlette"):
        install(Starlette())  # type: ignore[arg-type]
    monkeypatch.setattr(HTTPConnection, "flags", "taken", raising=False)
    with pytest.raises(RuntimeError, match="use FlagsDep"):
        install(FastAPI())


# Real servers.


class Uvicorn:
    """A server in a thread, on a free port."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        config = uvicorn.Config(app, log_level="critical", access_log=False, log_config=None, **options)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)

    def __enter__(self) -> Uvicorn:
        self.thread.start()
        end = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < end
            time.sleep(0.005)
        return self

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.listener.close()


async def test_A3_websocket_through_a_real_server(amake: Make, vendor: SandboxServer) -> None:
    """The handshake of a real server brings the cookies, and the next one sends them back."""
    app = FastAPI()
    fm = amake(vendors=[webtrends(vendor.webtrends_url)])
    app.add_middleware(FlagsMiddleware, flagmw=fm)

    @app.websocket("/ws")
    async def talk(socket: WebSocket, flags: FlagsDep) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(f"{text} {flags['ta_Project1']}")

    with Uvicorn(app, ws="websockets-sansio", lifespan="on") as server:
        address = f"ws://127.0.0.1:{server.port}/ws"
        said = []
        headers: dict[str, str] = {}
        for _ in range(2):
            async with websockets.asyncio.client.connect(address, additional_headers=headers) as connection:
                await connection.send("hello")
                said.append(await connection.recv())
                assert connection.response is not None
                lines = connection.response.headers.get_all("set-cookie")
                cookies = [line.partition(";")[0] for line in lines]
                headers = headers or {"cookie": "; ".join(cookies)}
    assert said[0] == said[1] in ("hello control", "hello variation")
    assert len({request["system_uid"] for request in vendor.ledger()["requests"]}) == 1


async def test_A10_client_of_a_real_server_that_hangs_up(amake: Make, vendor: SandboxServer) -> None:
    """Clients that hang up while the vendor is asked, or in the middle of a stream, leave nothing behind."""
    app = FastAPI()
    fm = amake(vendors=[webtrends(vendor.webtrends_url)])
    app.add_middleware(FlagsMiddleware, flagmw=fm)
    ended = threading.Event()

    @app.get("/stream")
    async def stream(flags: FlagsDep) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            try:
                flags.track("opened", aliases=["ta_Project1"])
                while True:
                    yield "x" * 1000
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        return StreamingResponse(pieces())

    def hang_up(after_bytes: int) -> None:
        with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
            sock.sendall(b"GET /stream HTTP/1.1\r\nhost: www.mysite.com\r\nuser-agent: Mozilla/5.0\r\n\r\n")
            while after_bytes > 0:
                after_bytes -= len(sock.recv(1000))

    with Uvicorn(app, lifespan="on") as server:
        vendor.faults([{"kind": "delay", "ms": 100, "route": "control", "times": 10}])
        for _ in range(10):
            await asyncio.to_thread(hang_up, 0)
        await asyncio.to_thread(hang_up, 3000)
        assert await asyncio.to_thread(ended.wait, 15)
        await until(lambda: fm.health()["vendors"]["wt"]["in_flight"] == 0)
        await until(lambda: vendor.ledger(metric="opened")["conversions"])
        assert fm.health()["vendors"]["wt"]["breaker"] == "closed"


def test_A32_test_client_without_lifespan_ends_cleanly(vendor: SandboxServer) -> None:
    """In a process that never starts a lifespan everything starts lazily, is delivered at exit, and ends."""
    code = """
        import json, sys, threading
        from fastapi import FastAPI
        from starlette.testclient import TestClient
        from flagmw import Flagmw, Webtrends
        from flagmw.fastapi import FlagsDep, FlagsMiddleware
        vendor = Webtrends(2490593, "7a32f9364bd1ea68668a0e50bd815e79109a03720951", "https://www.mysite.com",
                           base_url=sys.argv[1])
        app = FastAPI()
        app.add_middleware(FlagsMiddleware, flagmw=Flagmw(vendors=[vendor], deadline_ms=5000, outbox="memory://"))
        @app.get("/")
        def view(flags: FlagsDep) -> str:
            flags.track("at exit", aliases=["ta_Project1"])
            return flags["ta_Project1"]
        client = TestClient(app, headers={"user-agent": "Mozilla/5.0"})
        print(json.dumps([threading.active_count(), client.get("/").json()]))
    """
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(line[8:] for line in code.splitlines()), vendor.webtrends_url],
        capture_output=True,
        text=True,
        timeout=40,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    threads, variant = json.loads(done.stdout)
    assert threads == 1
    assert variant in ("control", "variation")
    assert len(vendor.ledger(metric="at exit")["conversions"]) == 1
    assert time.monotonic() - started < 2 * HELD_UP_S
