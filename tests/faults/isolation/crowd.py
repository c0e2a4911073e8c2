"""Two hundred visitors at one process: a vendor that gives everybody back who they are, and who looks for anybody else.

Everything that a request brings with it names its visitor: user agent, cookie, path. Everything that comes back must
name the same one: the decided variants, the cookies, what `current()` says in the view at any time, the tracks.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2

from flagmw import Flagmw, Visit, asgi, current, wsgi
from flagmw._cookies.rule import CookieRule
from flagmw.codes import ErrorCode, Reason
from flagmw.flags import Flags
from flagmw.outbox.base import Lease, OutboxStats
from flagmw.types import (
    Call,
    CookieChange,
    Decision,
    Delivered,
    Event,
    Flow,
    Outcome,
    Track,
    Variant,
    VisitorState,
)
from flagmw.vendors.base import Participation

VISITORS = 200
THREADS = 8
TASKS = 400
NAMES = tuple(f"visitor{n:03}" for n in range(VISITORS))


@dataclass(frozen=True)
class Turn:
    """One request: the n-th of all, by this visitor."""

    n: int

    @property
    def who(self) -> str:
        return NAMES[self.n * 7 % VISITORS]

    @property
    def first(self) -> bool:
        """Whether the browser has no cookies yet."""
        return self.n % 3 == 0

    @property
    def buys(self) -> bool:
        return self.n % 5 == 0

    @property
    def excluded(self) -> bool:
        """Whether the path is one that flags are not decided for."""
        return self.n % 16 == 15

    @property
    def path(self) -> str:
        return f"/static/{self.who}/{self.n}" if self.excluded else f"/shop/{self.who}/{self.n}"

    @property
    def agent(self) -> str:
        return f"Mozilla/5.0 ({self.who})"

    @property
    def cookie(self) -> str:
        return f"site={self.who}" if self.first else f"site={self.who}; echo_id={self.who}; echo_old={self.n}"

    @property
    def flags(self) -> dict[str, str]:
        """What a view must see."""
        if self.excluded:
            return {}
        return _variants(self.agent, "" if self.first else self.who, self.path)

    @property
    def set_cookies(self) -> set[str]:
        """What the response must set, as name=value."""
        if self.excluded:
            return set()
        return {f"echo_turn={self.who}.{self.n}", *([f"echo_id={self.who}"] if self.first else [])}


def _variants(agent: str, known: str, path: str) -> dict[str, str]:
    who = agent[13:-1]
    return {"ta_agent": who, "ta_cookie": known or "nobody", "ta_path": path, f"ta_{who}": who}


class Echo:
    """A vendor that derives everything from the visitor. With an address it is asked over a transport."""

    at_most_once = False
    prefix = ""

    def __init__(self, base_url: str | None) -> None:
        self.name, self.base_url = "echo", base_url
        self.cookies = CookieRule(
            prefixes=("echo_",),
            reads=lambda name: name.startswith("echo_"),
            writes=lambda name: name.startswith("echo_"),
            value_ok=lambda value: True,
        )

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        agent, known, path = visit.user_agent or "", state.cookies.get("echo_id", ""), visit.path
        if self.base_url is not None:
            told = json.dumps([agent, known, path]).encode()
            reply = yield Call(method="POST", url=self.base_url, headers={"user-agent": agent}, body=told)
            agent, known, path = json.loads(reply.body)
        variants = _variants(agent, known, path)
        who, n = path.split("/")[2:]
        return Decision(
            vendor=self.name,
            variants={
                alias: Variant(alias=alias, key=key, vendor=self.name, reason=Reason.SPLIT)
                for alias, key in variants.items()
            },
            cookies=(
                CookieChange(name="echo_id", value=agent[13:-1]),
                CookieChange(name="echo_turn", value=f"{who}.{n}"),
            ),
        )

    def participation(self, track: Track, state: VisitorState) -> Participation:
        return Participation(("ta_agent",), state.cookies)

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        return [Delivered() for _ in batch]
        yield


class EchoTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """A service without a network: returns what it is sent, after a while that differs."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        time.sleep(random.choice((0, 0, 0.0005)))
        return httpx2.Response(200, content=request.read())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        content = await request.aread()
        await pause()
        return httpx2.Response(200, content=content)


class Watched:
    """An outbox that looks at each event as it comes, and keeps none."""

    def __init__(self, found: Found) -> None:
        self._found = found

    def put_many(self, events: Sequence[Event], now: float) -> Sequence[str]:
        for event in events:
            data, visit = event.track.data, event.visit
            turn = Turn(int(data["n"]))
            wanted = {"echo_id": turn.who, "echo_turn": f"{turn.who}.{turn.n}"}
            if not turn.first:
                wanted["echo_old"] = str(turn.n)
            seen = (data["who"], event.track.metric, visit.user_agent, visit.path, dict(visit.cookies))
            self._found.expect("track", seen, (turn.who, f"bought_{turn.who}", turn.agent, turn.path, wanted))
            self._found.note("tracks")
        return [event.id for event in events]

    def claim(self, now: float, limit: int, lease_s: float, skip: object = ()) -> Lease | None:
        return None

    def ack(self, lease: Lease, outcomes: Sequence[Outcome], now: float) -> None: ...

    def release(self, lease: Lease, now: float) -> None: ...

    def next_due(self, now: float, skip: object = ()) -> float | None:
        return None

    def stats(self, now: float) -> OutboxStats:
        return OutboxStats()

    def close(self) -> None: ...


class Found:
    """What was looked at, and what did not fit. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.mix_ups: list[str] = []

    def note(self, what: str, times: int = 1) -> None:
        with self._lock:
            self.counts[what] += times

    def expect(self, what: str, seen: object, wanted: object) -> None:
        if seen != wanted:
            with self._lock:
                self.mix_ups.append(f"{what}: saw {seen!r}, not {wanted!r}")


class Known(Echo):
    """As `Echo`, and its visitors are known by their id, so that what was decided is used again.

    What it says depends on the visitor alone, as the same answer serves several pages. Two out of three visitors have
    an id; the third is new with every request, and nobody else's decision may be theirs.
    """

    exposure, decides_by = "off", "site"

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        known = state.cookies.get("echo_id", "")
        told = json.dumps([visit.user_agent, known]).encode()
        reply = yield Call(method="POST", url=self.base_url or "", headers={}, body=told)
        agent, known = json.loads(reply.body)
        return Decision(
            vendor=self.name,
            variants={
                alias: Variant(alias=alias, key=key, vendor=self.name, reason=Reason.SPLIT)
                for alias, key in _variants(agent, known, agent).items()
            },
            cookies=(CookieChange(name="echo_id", value=agent[13:-1]),),
        )

    def identity(self, state: VisitorState) -> str:
        return state.cookies.get("echo_id", "")


def flagmw(found: Found, *, remote: bool) -> Flagmw:
    """Return what decides, through a transport if *remote*."""
    return Flagmw(
        vendors=[Echo("http://127.0.0.1:9/echo" if remote else None)],
        exclude=["/static/*"],
        deadline_ms=60_000,  # what is looked for is a mix-up, not the time
        max_in_flight=2 * TASKS,
        pool_size=2 * THREADS,
        outbox=Watched(found),
        transport=EchoTransport(),
        cookie_secure=False,
    )


def check(found: Found, turn: Turn, body: bytes, set_cookies: Iterable[str]) -> None:
    """Look at one response: body, cookies, all of this visitor and this very request."""
    found.note("requests")
    found.expect("body", json.loads(body), [turn.flags] * 3)
    pairs = [line.partition(";")[0] for line in set_cookies]
    found.expect("cookies", (set(pairs), len(pairs)), (turn.set_cookies, len(turn.set_cookies)))


def nobody(found: Found, when: str) -> None:
    """Look whether flags are left over outside of any request."""
    found.expect(f"current() {when}", current().error_code, ErrorCode.NO_REQUEST)


def look(found: Found, turn: Turn, own: Flags) -> dict[str, str]:
    """Compare what `current()` says now with the request's own flags; return it."""
    now = current()
    if turn.excluded:
        found.expect("current()", now.error_code, ErrorCode.NO_REQUEST)
    else:
        found.expect("current() object", now is own, True)
        found.expect("variant", now["ta_agent"], turn.who)
    return dict(now)


def buy(turn: Turn) -> None:
    if turn.buys and not turn.excluded:
        current().track(f"bought_{turn.who}", data={"who": turn.who, "n": turn.n})


async def pause() -> None:
    """Let others go first, mostly for one round, sometimes for longer."""
    odds = random.random()
    if odds < 0.02:
        await asyncio.sleep(odds / 10)
    elif odds < 0.7:
        await asyncio.sleep(0)


# With reuse

KEYS = ("k1-3f9a0c7be24d581690abcdef1234567890",)


class Browsers:
    """The cookies of 200 browsers, each behind two processes that share nothing but their keys."""

    def __init__(self, found: Found, *, memory_mb: int = 1) -> None:
        self.found = found
        self.jars: dict[str, dict[str, str]] = {name: {} for name in NAMES}
        self.fms = [
            Flagmw(
                vendors=[Known("http://127.0.0.1:9/echo")],
                deadline_ms=60_000,
                max_in_flight=2 * TASKS,
                pool_size=2 * THREADS,
                transport=EchoTransport(),
                cookie_secure=False,
                signing_keys=KEYS,
                memory_mb=memory_mb,
            )
            for _ in range(2)
        ]

    def cookie(self, turn: Turn) -> str:
        """Return the Cookie header of the visitor's browser; of some only vendor's cookie, so that memory serves."""
        jar = {} if turn.first else dict(self.jars[turn.who])
        if turn.n % 4 == 1:
            jar.pop("flagmw", None)
        if turn.n % 50 == 7:
            # Somebody tries it with the token of the visitor before.
            other = self.jars[NAMES[(turn.n * 7 - 7) % VISITORS]].get("flagmw")
            jar |= {} if other is None else {"flagmw": other}
        return "; ".join([f"site={turn.who}", *(f"{name}={value}" for name, value in jar.items())])

    def check(self, turn: Turn, cookie: str, body: bytes, set_cookies: Iterable[str]) -> None:
        self.found.note("requests")
        variants = json.loads(body)
        reason = variants.pop("reason")
        known = variants.pop("ta_cookie")
        self.found.expect(
            "variants", variants, {"ta_agent": turn.who, "ta_path": turn.agent, f"ta_{turn.who}": turn.who}
        )
        self.found.expect("whose cookie it was decided by", known in (turn.who, "nobody"), True)
        self.found.note("reused", reason == Reason.CACHED)
        if "echo_id" not in cookie:
            self.found.expect("a stranger's reason", reason, Reason.SPLIT)
        for line in set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            if name == "echo_id":
                self.found.expect("id", value, turn.who)
            self.jars[turn.who][name] = value


def shown(own: Flags) -> bytes:
    variants: dict[str, str] = dict(own)
    return json.dumps({**variants, "reason": own.variant("ta_agent").reason}).encode()


async def reusing_over_asgi(found: Found, requests: int) -> None:
    """Serve *requests* of browsers that come again, in many tasks at once."""
    browsers = Browsers(found)

    async def view(scope: Any, receive: Any, send: Any) -> None:
        own = asgi.flags_from(scope)
        await pause()
        found.expect("current() object", current() is own, True)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": shown(own)})

    apps = [asgi.FlagsMiddleware(view, flagmw=fm) for fm in browsers.fms]
    numbers = iter(range(requests))

    async def serve() -> None:
        for n in numbers:
            turn = Turn(n)
            cookie = browsers.cookie(turn)
            messages = await _asked(apps[n % 2], turn, cookie)
            lines = [value.decode("latin-1") for name, value in messages[0]["headers"] if name == b"set-cookie"]
            browsers.check(turn, cookie, b"".join(message.get("body", b"") for message in messages[1:]), lines)

    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(serve())
    for fm in browsers.fms:
        await fm.aclose()


def reusing_over_wsgi(found: Found, requests: int) -> None:
    """The same in eight threads."""
    browsers = Browsers(found)

    def view(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [shown(wsgi.flags_from(environ))]

    apps = [wsgi.FlagsMiddleware(view, flagmw=fm) for fm in browsers.fms]

    def serve(n: int) -> None:
        turn = Turn(n)
        cookie = browsers.cookie(turn)
        headers, body = _called(apps[n % 2], turn, cookie)
        browsers.check(turn, cookie, body, [value for name, value in headers if name.lower() == "set-cookie"])

    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(serve, range(requests)):
            pass
    for fm in browsers.fms:
        fm.close()


# The ASGI edge


async def over_asgi(found: Found, requests: int, *, remote: bool) -> None:
    """Serve *requests* in many tasks at once; each task takes the next request, whoever's it is."""
    fm = flagmw(found, remote=remote)

    async def view(scope: Any, receive: Any, send: Any) -> None:
        turn = Turn(int(scope["path"].rpartition("/")[2]))
        own = asgi.flags_from(scope)
        await pause()
        before = look(found, turn, own)
        await pause()
        if turn.n % 4 == 0:
            between = await asyncio.create_task(below(turn, own))
        else:
            between = await below(turn, own)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        start = json.dumps([before, between])[:-1].encode() + b", "
        await send({"type": "http.response.body", "body": start, "more_body": True})
        await pause()
        end = json.dumps(look(found, turn, own)).encode() + b"]"
        await send({"type": "http.response.body", "body": end})

    async def below(turn: Turn, own: Flags) -> dict[str, str]:
        await pause()
        buy(turn)
        await pause()
        return look(found, turn, own)

    app = asgi.FlagsMiddleware(view, flagmw=fm)
    numbers = iter(range(requests))

    async def serve() -> None:
        for n in numbers:
            turn = Turn(n)
            messages = await _asked(app, turn)
            headers = messages[0]["headers"]
            cookies = [value.decode("latin-1") for name, value in headers if name == b"set-cookie"]
            check(found, turn, b"".join(message.get("body", b"") for message in messages[1:]), cookies)
            nobody(found, "after a response")

    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(serve())
    await fm.aclose()
    _look_at_counts(found, fm, requests)


async def _asked(app: Callable[..., Awaitable[None]], turn: Turn, cookie: str | None = None) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)
        await pause()

    headers = [
        ("host", "www.mysite.com"),
        ("user-agent", turn.agent),
        ("cookie", turn.cookie if cookie is None else cookie),
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "method": "GET",
        "scheme": "http",
        "path": turn.path,
        "raw_path": turn.path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return messages


# The WSGI edge


def over_wsgi(found: Found, requests: int, *, remote: bool) -> None:
    """Serve *requests* in eight threads; each takes the next request, whoever's it is."""
    fm = flagmw(found, remote=remote)

    def view(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        turn = Turn(int(environ["PATH_INFO"].rpartition("/")[2]))
        own = wsgi.flags_from(environ)
        before = look(found, turn, own)
        rest(turn)
        start_response("200 OK", [("Content-Type", "text/plain")])
        if turn.n % 2:
            return [json.dumps([before, below(turn, own), look(found, turn, own)]).encode()]
        return stream(turn, own, before)

    def stream(turn: Turn, own: Flags, before: Mapping[str, str]) -> Iterator[bytes]:
        yield json.dumps([before, below(turn, own)])[:-1].encode() + b", "
        rest(turn)
        yield json.dumps(look(found, turn, own)).encode() + b"]"

    def below(turn: Turn, own: Flags) -> dict[str, str]:
        buy(turn)
        rest(turn)
        return look(found, turn, own)

    def rest(turn: Turn) -> None:
        if turn.n % 11 == 0:
            time.sleep(0)  # another thread's turn

    app = wsgi.FlagsMiddleware(view, flagmw=fm)
    numbers, lock = iter(range(requests)), threading.Lock()
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            while True:
                with lock:
                    n = next(numbers, None)
                if n is None:
                    return
                turn = Turn(n)
                headers, body = _called(app, turn)
                check(found, turn, body, [value for name, value in headers if name.lower() == "set-cookie"])
                nobody(found, "after a response")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=serve, name=f"visitors-{n}") for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fm.close()
    if failures:
        raise failures[0]
    _look_at_counts(found, fm, requests)


def _called(app: Any, turn: Turn, cookie: str | None = None) -> tuple[list[tuple[str, str]], bytes]:
    started: list[list[tuple[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        started.append(headers)
        return lambda data: None

    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": turn.path,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "www.mysite.com",
        "HTTP_USER_AGENT": turn.agent,
        "HTTP_COOKIE": turn.cookie if cookie is None else cookie,
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
    }
    body = app(environ, start_response)
    try:
        content = b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    return started[-1], content


def _look_at_counts(found: Found, fm: Flagmw, requests: int) -> None:
    """Every request that is decided for got a decision, and nothing was lost or rejected on the way."""
    counts = {what: count for (what, _, _), count in fm.counts().items()}
    counts.pop("commit_late", None)  # slow is not wrong
    found.expect("counters", counts, {"decided": sum(not Turn(n).excluded for n in range(requests))})
    found.note("expected tracks", sum(Turn(n).buys and not Turn(n).excluded for n in range(requests)))
