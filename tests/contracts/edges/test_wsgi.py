"""What the WSGI edge promises servers and applications (PEP 3333)."""

from __future__ import annotations

import io
import itertools
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from flagmw import Flagmw, Static, current
from flagmw.codes import ErrorCode
from flagmw.outbox.memory import MemoryOutbox
from flagmw.sandbox import SandboxServer
from flagmw.wsgi import FlagsMiddleware, flags_from
from tests.contracts.edges.driver import Make, Sent, environ, webtrends, wsgi_call

OK = [("Content-Type", "text/plain")]


class Spy:
    """A body of two pieces that notes what is done with it."""

    def __init__(self, *, fail: str = "") -> None:
        self.log: list[str] = []
        self._fail = fail

    def __iter__(self) -> Iterator[bytes]:
        self.log.append("iter")
        if self._fail == "iter":
            raise RuntimeError("iter")
        yield b"one"
        if self._fail == "next":
            raise RuntimeError("next")
        yield b"two"

    def close(self) -> None:
        self.log.append("close")
        if self._fail == "close":
            raise RuntimeError("close")


def returning(body: Any, *, status: str = "200 OK", read: bool = True) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        if read:
            assert flags_from(environ)["ta_A"]
        start_response(status, list(OK))
        return body

    return app


def ignore(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
    return lambda data: None


@pytest.fixture
def fm(wmake: Make, split: Static) -> Flagmw:
    return wmake(vendors=[split])


# Bodies.


def test_A18_file_wrapper_identity(fm: Flagmw) -> None:
    """What the server's own file wrapper made is returned as the very same object: servers compare it."""
    made: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(OK))
        made.append(environ["wsgi.file_wrapper"](io.BytesIO(b"data"), 1024))
        return made[-1]

    body = FlagsMiddleware(app, flagmw=fm)(environ(Sent(), **{"wsgi.file_wrapper": FileWrapper}), ignore)
    assert body is made[0]
    assert type(body) is FileWrapper


def test_A18_file_wrapper_that_is_a_function(fm: Flagmw) -> None:
    """Some servers' wrapper is a function that returns the file itself: that object comes back too, others do not."""
    file = io.BytesIO(b"data")
    made: list[Any] = []

    def wrapper(file: Any, size: int = 8192) -> Any:
        made.append(size)
        return file

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(OK))
        wrapped = environ["wsgi.file_wrapper"](file, 1024)
        return wrapped if environ["PATH_INFO"] == "/" else iter(wrapped)

    mounted = FlagsMiddleware(app, flagmw=fm)
    assert mounted(environ(Sent(), **{"wsgi.file_wrapper": wrapper}), ignore) is file
    assert made == [1024]
    page = wsgi_call(mounted, environ(Sent("/other"), **{"wsgi.file_wrapper": wrapper}))
    assert page.body == b"data"


@pytest.mark.parametrize("body", [[], [b""], [b"one"], [b"one", b"two"], (b"one",)], ids=repr)
def test_A22_lists_are_returned_as_they_are(fm: Flagmw, body: Any) -> None:
    """A list or tuple, an empty one too, is the very same object: its length is the server's to use."""
    assert FlagsMiddleware(returning(body), flagmw=fm)(environ(Sent()), ignore) is body


class Sized:
    """One piece that is no list, but has a length."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[bytes]:
        yield b"12345"


def served(app: Any, **extra: Any) -> bytes:
    """Return the whole answer as the standard library's server writes it, without the second at which it did."""
    out, errors = io.BytesIO(), io.StringIO()
    handler = SimpleHandler(io.BytesIO(), out, errors, environ(Sent(), **extra))
    handler.run(app)
    assert errors.getvalue() == ""
    return re.sub(rb"Date: [^\r]*\r\n", b"", out.getvalue())


@pytest.mark.parametrize("make_body", [Sized, list, lambda: [b"12345"], lambda: iter([b"1"])], ids=range(4))
def test_A22_content_length_stays_the_server_s(wmake: Make, everyone_b: Static, make_body: Any) -> None:
    """A server that works the Content-Length out of a body's length does so with the middleware as well."""
    plain = served(lambda environ, start_response: (start_response("200 OK", list(OK)), make_body())[1])
    app = FlagsMiddleware(
        lambda environ, start_response: (start_response("200 OK", list(OK)), make_body())[1],
        flagmw=wmake(vendors=[everyone_b]),
    )
    assert served(app) == plain


@pytest.mark.parametrize("body", ["text", ["text"], b"bytes", [1], 7, None], ids=repr)
def test_A22_wrong_bodies_are_left_to_the_server(fm: Flagmw, body: Any) -> None:
    """What is no body at all meets the same server error as without the middleware."""

    def outcome(app: Any) -> Any:
        made = app(environ(Sent()), ignore)
        try:
            pieces = list(made)
        except TypeError as error:
            return str(error)
        finally:
            getattr(made, "close", list)()
        return pieces

    assert outcome(FlagsMiddleware(returning(body), flagmw=fm)) == outcome(
        lambda environ, start_response: returning(body, read=False)(environ, start_response)
    )


@pytest.mark.parametrize("read", [0, 1, 2, 3])
def test_A19_close_is_called_once(fm: Flagmw, read: int) -> None:
    """`close()` of the application's body runs exactly once, however much was read and however often it is called."""
    spy = Spy()
    body: Any = FlagsMiddleware(returning(spy), flagmw=fm)(environ(Sent()), ignore)
    pieces = list(itertools.islice(body, read))
    body.close()
    body.close()
    assert spy.log == ["iter", "close"][read == 0 :]
    assert pieces == [b"one", b"two"][:read]
    assert current().error_code is ErrorCode.NO_REQUEST


@pytest.mark.parametrize("fail", ["iter", "next", "close"])
def test_A19_close_after_an_error(wmake: Make, vendor: SandboxServer, fail: str) -> None:
    """It runs once after an error of the body too; the error passes, and tracks count."""
    spy = Spy(fail=fail)
    fm = wmake(vendors=[webtrends(vendor.webtrends_url)])

    def app(environ: Any, start_response: Any) -> Any:
        flags_from(environ).track("x", aliases=["ta_Project1"])
        start_response("200 OK", list(OK))
        return spy

    with pytest.raises(RuntimeError, match=fail):
        wsgi_call(FlagsMiddleware(app, flagmw=fm), environ(Sent()))
    assert spy.log == ["iter", "close"]
    assert current().error_code is ErrorCode.NO_REQUEST
    assert fm.flush(5)
    assert len(vendor.ledger(metric="x")["conversions"]) == 1


def test_A19_body_without_close(fm: Flagmw) -> None:
    """A plain iterator needs none."""
    page = wsgi_call(FlagsMiddleware(returning(iter([b"one", b"two"])), flagmw=fm), environ(Sent()))
    assert page.chunks == [b"one", b"two"]


# start_response.


def test_A20_start_response_again_with_exc_info(fm: Flagmw) -> None:
    """An application that replaces its response hands exc_info on, and the new one has the cookies once."""
    calls: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        calls.append((status, headers, exc_info))
        return lambda data: None

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(OK))
        try:
            raise KeyError("mine")
        except KeyError:
            start_response("500 Oops", [("Content-Type", "text/html")], sys.exc_info())
        return [b"sorry"]

    FlagsMiddleware(app, flagmw=fm)(environ(Sent()), start_response)
    ((status, headers, exc_info),) = calls  # the first had not left yet
    assert status == "500 Oops" and exc_info[0] is KeyError
    assert [name for name, _ in headers].count("set-cookie") == 1


def test_A20_start_response_again_after_the_headers_left(fm: Flagmw) -> None:
    """The server raises the application's exception again, and it passes through."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", list(OK))
        yield b"one"
        try:
            raise KeyError("mine")
        except KeyError:
            start_response("500 Oops", list(OK), sys.exc_info())
        yield b"never"

    with pytest.raises(KeyError, match="mine"):
        wsgi_call(FlagsMiddleware(app, flagmw=fm), environ(Sent()))


def test_untouched_response_passes_the_very_headers(wmake: Make, everyone_b: Static) -> None:
    """Where nothing is added the server gets the application's own list, and the application writes to the server."""
    got: list[Any] = []
    mine = list(OK)

    def start_response(*given: Any) -> Any:
        got.append(given)
        return got.append

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", mine)(b"piece")
        return []

    FlagsMiddleware(app, flagmw=wmake(vendors=[everyone_b]))(environ(Sent()), start_response)
    assert got == [("200 OK", mine), b"piece"]
    assert got[0][1] is mine


def test_edited_response_leaves_the_application_s_list_alone(fm: Flagmw) -> None:
    """An application may keep one list of headers for all visitors: no cookie gets into it."""
    constant = list(OK)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", constant)
        return [b"ok"]

    mounted = FlagsMiddleware(app, flagmw=fm)
    cookies = {wsgi_call(mounted, environ(Sent())).cookies["flagmw_uid"] for _ in range(5)}
    assert len(cookies) == 5
    assert constant == OK


def test_A21_write_keeps_the_order(fm: Flagmw) -> None:
    """What an application writes leaves before what it returns, with the headers before both."""

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", list(OK))
        write(b"one")
        write(b"two")
        return [b"three"]

    page = wsgi_call(FlagsMiddleware(app, flagmw=fm), environ(Sent()))
    assert page.chunks == [b"one", b"two", b"three"]
    assert page.cookies.keys() == {"flagmw_uid"}


def test_A21_generator_that_starts_late(fm: Flagmw) -> None:
    """An application that is a generator runs to its first piece in the call, and no further until it is read."""
    log: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        log.append("running")
        start_response("200 OK", list(OK))
        log.append(current()["ta_A"] and "current")
        yield b"one"
        log.append("asked for more")
        yield b"two"

    body: Any = FlagsMiddleware(app, flagmw=fm)(environ(Sent()), lambda *_: log.append("started") or ignore)
    assert log == ["running", "current", "started"]  # what the first piece needed still counts for the headers
    assert next(body) == b"one"
    assert log == ["running", "current", "started"]
    assert list(body) == [b"two"]
    body.close()


def test_broken_status_is_left_to_the_server(fm: Flagmw) -> None:
    """A status that is none reaches the server as it is."""
    got: list[Any] = []
    app = returning([b"ok"], status="fine")
    FlagsMiddleware(app, flagmw=fm)(environ(Sent()), lambda *given: got.append(given))  # type: ignore[arg-type]
    assert got == [("fine", OK)]


# The validator of the standard library, on the server's side and on the application's.

HTML = [("Content-Type", "text/html"), ("Set-Cookie", "a=1"), ("Vary", "Accept"), ("Cache-Control", "public")]
VALID: dict[str, Callable[[Any], Any]] = {
    "list": lambda start: (start("200 OK", list(OK)), [b"one"])[1],
    "empty": lambda start: (start("200 OK", list(OK)), [])[1],
    "no content": lambda start: (start("204 No Content", []), [])[1],
    "not modified": lambda start: (start("304 Not Modified", [("ETag", '"x"')]), [])[1],
    "headers": lambda start: (start("200 OK", list(HTML)), [b"one"])[1],
    "generator": lambda start: (start("200 OK", list(OK)), (piece for piece in (b"one", b"two")))[1],
    "closing": lambda start: (start("200 OK", list(OK)), Spy())[1],
    "written": lambda start: (start("200 OK", list(OK))(b"zero"), [b"one"])[1],
    "sized": lambda start: (start("200 OK", list(OK)), Sized())[1],
}


@pytest.mark.parametrize("kind", VALID)
@pytest.mark.parametrize("touch", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_wsgiref_validate(fm: Flagmw, kind: str, touch: bool, method: str) -> None:
    """Whatever a valid application does, what the server sees is valid as well, and so is what it is called with."""
    runs: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        runs.append(environ["REQUEST_METHOD"])
        if touch:
            assert flags_from(environ)["ta_A"]
        return VALID[kind](start_response)

    mounted: Any = validator(FlagsMiddleware(validator(app), flagmw=fm))
    request = environ(Sent(method=method), **{"wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr})
    wsgi_call(mounted, request)
    assert runs == [method]


# The outbox.


class Slow(MemoryOutbox):
    def put_many(self, events: Any, now: float) -> Any:
        time.sleep(0.005)
        return super().put_many(events, now)


def test_tracks_are_stored_before_the_response_leaves(wmake: Make, vendor: SandboxServer) -> None:
    """When the server has the body in hand, what the view tracked is in the store."""
    store = Slow()
    fm = wmake(vendors=[webtrends(vendor.webtrends_url)], outbox=store)

    def app(environ: Any, start_response: Any) -> Any:
        flags_from(environ).track("x", aliases=["ta_Project1"])
        start_response("200 OK", list(OK))
        return [b"ok"]

    assert FlagsMiddleware(app, flagmw=fm)(environ(Sent()), ignore) == [b"ok"]
    assert store.stats(time.time()).accepted == 1


def test_tracks_of_a_stream_are_stored_when_it_is_closed(wmake: Make, vendor: SandboxServer) -> None:
    """After `close()` the last track of a stream is in the store too."""
    store = Slow()
    fm = wmake(vendors=[webtrends(vendor.webtrends_url)], outbox=store)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", list(OK))
        for n in range(3):
            yield b"x"
            flags_from(environ).track(f"m{n}", aliases=["ta_Project1"])

    wsgi_call(FlagsMiddleware(app, flagmw=fm), environ(Sent()))
    assert store.stats(time.time()).accepted == 3


def test_commits_of_many_threads_wait_for_their_own_only(wmake: Make, vendor: SandboxServer) -> None:
    """Thirty threads that track at once all return in time, and every event is in the store."""
    store = MemoryOutbox()
    fm = wmake(vendors=[webtrends(vendor.webtrends_url)], outbox=store, pool_size=30, max_rate=1000)

    def app(environ: Any, start_response: Any) -> Any:
        flags_from(environ).track("x", aliases=["ta_Project1"])
        start_response("200 OK", list(OK))
        return [b"ok"]

    mounted = FlagsMiddleware(app, flagmw=fm)
    threads = [threading.Thread(target=wsgi_call, args=(mounted, environ(Sent()))) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert store.stats(time.time()).accepted == 30
    assert fm.flush(10)
    assert len(vendor.ledger(metric="x")["conversions"]) == 30
