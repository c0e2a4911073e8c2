"""Call either edge as a server does, with views that are written once for both."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, TypeVar

from flagmw import Flagmw, Flags, Variant, Visit, Webtrends, asgi, wsgi
from flagmw._cookies.rule import CookieRule
from flagmw.codes import ErrorCode
from flagmw.types import Decision, Dropped, Event, Flow, Outcome, Track, VisitorState
from flagmw.vendors.base import Participation

DOMAIN = 2490593
TOKEN = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
TIMEOUT_S = 20.0

Headers = list[tuple[str, str]]
App = Any
Make = Callable[..., Flagmw]
T = TypeVar("T")


@dataclass(frozen=True)
class Sent:
    """A request on its way to the server."""

    path: str = "/"
    method: str = "GET"
    query: str = ""
    headers: Sequence[tuple[str, str]] = ()
    cookies: dict[str, str] = field(default_factory=dict)
    host: str = "www.mysite.com"
    scheme: str = "https"
    peer: str | None = "198.51.100.23"
    root: str = ""
    agent: str = BROWSER

    def all_headers(self) -> Headers:
        headers = [("host", self.host), ("user-agent", self.agent), *self.headers]
        if self.cookies:
            headers.append(("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        return headers


@dataclass
class Page:
    """What the client got. `headers` are exactly those that the server was given, in their order."""

    status: int = 0
    headers: Headers = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known.lower() == name]

    @property
    def cookies(self) -> dict[str, str]:
        """What a browser without cookies would keep: deletions are left out."""
        lines = [line for line in self.values("set-cookie") if "; Max-Age=0;" not in line]
        return dict(line.partition(";")[0].split("=", 1) for line in lines)  # type: ignore[misc]


@dataclass
class Seen:
    """A request as a view sees it; `holder` is the scope or the environ."""

    edge: str
    holder: Any
    path: str

    @property
    def flags(self) -> Flags:
        return (asgi if self.edge == "asgi" else wsgi).flags_from(self.holder)


@dataclass
class Answer:
    """What a view returns; a body that is no bytes is streamed."""

    body: bytes | Iterable[bytes] = b"ok"
    status: int = 200
    headers: Sequence[tuple[str, str]] = (("Content-Type", "text/plain"),)


View = Callable[[Seen], Answer]


# ASGI.


def http_scope(sent: Sent, **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": sent.scheme,
        "path": sent.root + sent.path,
        "raw_path": (sent.root + sent.path).encode(),
        "root_path": sent.root,
        "query_string": sent.query.encode(),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in sent.all_headers()],
        "client": (sent.peer, 50000) if sent.peer else None,
        "server": (sent.host, 443),
        **more,
    }


def asgi_app(view: View) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        answer = view(Seen("asgi", scope, scope["path"].removeprefix(scope.get("root_path", ""))))
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if isinstance(answer.body, bytes):
            await send({"type": "http.response.body", "body": answer.body})
            return
        for chunk in answer.body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def never() -> Any:
    """Receive nothing: the client is there and silent."""
    await asyncio.Event().wait()


async def asgi_call(
    app: App, scope: dict[str, Any], arrived: Callable[[bytes], Awaitable[None] | None] | None = None
) -> Page:
    """Serve one request; *arrived* is told of every piece of the body and may raise what a server raises."""
    page, messages = Page(), [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else await never()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert page.status == 0, "a second start"
            page.status = message["status"]
            page.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            assert page.status, "a body before the start"
            if message.get("body"):
                page.chunks.append(message["body"])
                waits = arrived(message["body"]) if arrived is not None else None
                if waits is not None:
                    await waits

    async with asyncio.timeout(TIMEOUT_S):
        await app(scope, receive, send)
    return page


# WSGI.


def environ(sent: Sent, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "REQUEST_METHOD": sent.method,
        "SCRIPT_NAME": sent.root,
        "PATH_INFO": sent.path.encode().decode("latin-1"),
        "RAW_URI": sent.root + sent.path + (f"?{sent.query}" if sent.query else ""),
        "QUERY_STRING": sent.query,
        "SERVER_NAME": sent.host,
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": sent.scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if sent.peer:
        made["REMOTE_ADDR"] = sent.peer
    for name, value in sent.all_headers():
        key = "HTTP_" + name.upper().replace("-", "_")
        # As servers do: repeated headers are joined, and cookies with a semicolon.
        joint = "; " if key == "HTTP_COOKIE" else ","
        made[key] = f"{made[key]}{joint}{value}" if key in made else value
    return {**made, **more}


def wsgi_app(view: View) -> App:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"].encode("latin-1").decode()
        answer = view(Seen("wsgi", environ, path))
        start_response(f"{answer.status} Status", list(answer.headers))
        return [answer.body] if isinstance(answer.body, bytes) else answer.body

    return app


def wsgi_call(app: App, environ: dict[str, Any], arrived: Callable[[bytes], None] | None = None) -> Page:
    """Serve one request; `close()` of the body is called whatever happens, as servers do."""
    page = Page()

    def start_response(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info is not None and page.chunks:
            raise exc_info[1].with_traceback(exc_info[2])
        assert exc_info is not None or page.status == 0, "a second start without exc_info"
        page.status, page.headers = int(status[:3]), headers
        return page.chunks.append

    body = app(environ, start_response)
    try:
        for chunk in body:
            assert page.status, "a body before the start"
            if chunk:
                page.chunks.append(chunk)
                if arrived is not None:
                    arrived(chunk)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    return page


# Both.


class Edge:
    """One of the edges behind a face that is the same for both, and synchronous."""

    name: str

    def app(self, view: View) -> App:
        """Return *view* as an application without the middleware."""
        raise NotImplementedError

    def mount(self, view: View, fm: Flagmw) -> App:
        """Return *view* as an application with the middleware."""
        return self.wrap(self.app(view), fm)

    def wrap(self, app: App, fm: Flagmw) -> App:
        """Return *app* with the middleware around it."""
        raise NotImplementedError

    def call(self, app: App, sent: Sent, arrived: Callable[[bytes], None] | None = None) -> Page:
        raise NotImplementedError

    def at_once(self, app: App, sents: Sequence[Sent]) -> list[Page]:
        """Serve all *sents* at the same time."""
        raise NotImplementedError

    def close(self, fm: Flagmw) -> None:
        raise NotImplementedError

    def get(self, app: App, path: str = "/", **sent: Any) -> Page:
        return self.call(app, Sent(path, **sent))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to do where no event loop is."""


class AsgiEdge(Edge):
    name = "asgi"

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def __exit__(self, *error: object) -> None:
        self._runner.close()

    def app(self, view: View) -> App:
        return asgi_app(view)

    def wrap(self, app: App, fm: Flagmw) -> App:
        return asgi.FlagsMiddleware(app, flagmw=fm)

    def call(self, app: App, sent: Sent, arrived: Callable[[bytes], None] | None = None) -> Page:
        return self._runner.run(asgi_call(app, http_scope(sent), arrived))

    def at_once(self, app: App, sents: Sequence[Sent]) -> list[Page]:
        async def together() -> list[Page]:
            return await asyncio.gather(*(asgi_call(app, http_scope(sent)) for sent in sents))

        return self._runner.run(together())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* on the loop that serves the requests."""
        return self._runner.run(work)

    def close(self, fm: Flagmw) -> None:
        self.run(fm.aclose(2.0))


class WsgiEdge(Edge):
    name = "wsgi"

    def app(self, view: View) -> App:
        return wsgi_app(view)

    def wrap(self, app: App, fm: Flagmw) -> App:
        return wsgi.FlagsMiddleware(app, flagmw=fm)

    def call(self, app: App, sent: Sent, arrived: Callable[[bytes], None] | None = None) -> Page:
        return wsgi_call(app, environ(sent), arrived)

    def at_once(self, app: App, sents: Sequence[Sent]) -> list[Page]:
        with ThreadPoolExecutor(len(sents)) as threads:
            return list(threads.map(lambda sent: self.call(app, sent), sents, timeout=TIMEOUT_S))

    def close(self, fm: Flagmw) -> None:
        fm.close(2.0)


EDGES = {"asgi": AsgiEdge, "wsgi": WsgiEdge}


@dataclass
class Visitor:
    """A browser in front of one application: keeps cookies and sends them back."""

    edge: Edge
    app: App
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str = "/", **sent: Any) -> Page:
        page = self.edge.call(self.app, replace(Sent(path, **sent), cookies=dict(self.cookies)))
        for line in page.values("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if "; Max-Age=0;" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return page


@contextlib.contextmanager
def leaving_after(chunks: int) -> Iterator[Callable[[bytes], None]]:
    """Make a client that goes away after so many pieces of a body: its server sees an OSError."""
    left = chunks

    def arrived(_: bytes) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise ClientGone

    try:
        yield arrived
    except ClientGone:
        pass


class ClientGone(OSError):
    """What a server raises from `send` when nobody is there any more."""


# Vendors.


def webtrends(base_url: str, **options: Any) -> Webtrends:
    """Return the sandbox's own account at *base_url*."""
    return Webtrends(DOMAIN, TOKEN, "https://www.mysite.com", **{"name": "wt", "base_url": base_url, **options})


def _own(cookie: str) -> bool:
    return cookie.startswith("probe")


class Probe:
    """A vendor that somebody else wrote: notes every visit, and gives everyone "p" for `ta_P`.

    Args:
        act: called with the visit in each `decide`; may raise.
        base_url: makes it a vendor that is asked over the network, in the runtime's eyes.
    """

    prefix, at_most_once = "", False
    cookies = CookieRule(prefixes=("probe",), reads=_own, writes=_own, value_ok=str.isalnum)

    def __init__(
        self, act: Callable[[Visit], object] | None = None, *, name: str = "probe", base_url: str | None = None
    ) -> None:
        self.name, self.visits, self._act = name, list[Visit](), act
        if base_url is not None:
            self.base_url = base_url

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        self.visits.append(visit)
        if self._act is not None:
            self._act(visit)
        return Decision(vendor=self.name, variants={"ta_P": Variant(alias="ta_P", key="p", vendor=self.name)})
        yield

    def participation(self, track: Track, state: VisitorState) -> Participation:
        return Participation(("ta_P",), dict(state.cookies))

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        return [Dropped(ErrorCode.NO_VENDOR) for _ in batch]
        yield


class HastyProbe(Probe):
    """One whose `decide` is no generator function: what it raises comes before there is a flow."""

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        raise ZeroDivisionError("a slip")
