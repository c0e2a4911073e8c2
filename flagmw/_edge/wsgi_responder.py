"""One WSGI response: its start is edited, its tracks are committed before its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flagmw._edge.edge import Edge
from flagmw._exchange.protocol import RequestExchange
from flagmw._web import response as response_headers
from flagmw.flags.current import set_current, swap_current
from flagmw.flags.flags import Flags

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def watch_file_wrapper(environ: WSGIEnvironment) -> Callable[[object], bool]:
    """Return a test whether a body is what the server's own file wrapper made: servers look for that very object."""
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is None or isinstance(wrapper, type):
        return lambda body: wrapper is not None and isinstance(body, wrapper)
    files: list[object] = []

    def watched(*args: Any) -> Any:
        files.append(wrapper(*args))
        return files[-1]

    # uWSGI's and mod_wsgi's are functions, whose results have no type that we could know.
    environ["wsgi.file_wrapper"] = watched
    return lambda body: any(body is file for file in files)


class Start:
    """Hold the response's start until the first piece of its body, as servers hold its headers.

    What the view reads in between still makes the response private.
    """

    __slots__ = ("_edge", "_exchange", "_gone", "_held", "_start_response", "_unread", "_write", "flags")

    def __init__(self, edge: Edge, exchange: RequestExchange, flags: Flags, start_response: StartResponse) -> None:
        self._edge, self._exchange, self.flags, self._start_response = edge, exchange, flags, start_response
        self._held: tuple[Any, ...] | None = None
        self._write: Callable[[bytes], object] | None = None
        self._gone = self._unread = False

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        more = () if exc_info is None else (exc_info,)
        if self._gone or (self._held is not None and exc_info is None):
            # A second start: the server knows whether that can still be.
            self.release()
            return self._start_response(status, headers, *more)
        self._held = (status, headers, *more)
        return self._written

    def release(self) -> None:
        """Let the start through, with the headers that it has now."""
        if self._held is None:
            return
        (status, headers, *more), self._held = self._held, None
        flags, cookies = self.flags, self._exchange.set_cookies
        self._unread = not flags.touched
        no_store = self._exchange.no_store
        if flags.touched or cookies or no_store:
            try:
                edited = response_headers.edit(
                    headers, int(status[:3]), cookies, touched=flags.touched, no_store=no_store
                )
                headers = headers if edited is None else edited
            except Exception as error:
                self._edge.internal_error(error)
        # Some servers return no function to write with.
        self._gone = True
        self._write = self._start_response(status, headers, *more)

    def is_settled(self) -> bool:
        """Say whether the server has the start, which goes out now if nothing of the body can change it any more."""
        if self._held is not None and self.flags.touched:
            self.release()
        return self._gone

    def over(self) -> None:
        """Note whether flags were looked at too late to make the response private."""
        if self._unread and self.flags.touched:
            self._edge.touched_late()

    def _written(self, data: bytes) -> object:
        self.release()
        # None where the server has no such function: it fails as it would without us.
        return self._write(data)  # type: ignore[misc]


class End:
    """Commit what is left, once."""

    __slots__ = ("_done", "_edge", "_exchange", "flags", "start")

    def __init__(self, edge: Edge, exchange: RequestExchange | None, flags: Flags, start: Start | None) -> None:
        self._edge, self._exchange, self.flags, self.start, self._done = edge, exchange, flags, start, False

    def commit(self) -> None:
        if self._exchange is None:
            return
        recorder = self._exchange.recorder
        recorder.answered = True
        if recorder.pending:
            self._edge.commit(self._exchange)

    def __call__(self) -> None:
        if not self._done:
            self._done = True
            self.commit()
            if self.start is not None:
                self.start.over()
            if self._exchange is not None and self.start is not None and self._edge.shadows:
                self._edge.ask_shadow(self._exchange, self.start.flags, on_loop=False)


class Body:
    """Pass a body through, piece by piece, and see its end; `close()` of the application's is called once.

    The flags are current while the application makes a piece, and only then: a server may make the pieces of several
    responses in turn, and need not call `close()` in the thread that made them.
    """

    __slots__ = ("_body", "_end", "_first", "_iterator")

    def __init__(self, body: Iterable[bytes], end: End) -> None:
        self._body, self._end = body, end
        self._iterator: Iterator[bytes] | None = None
        self._first: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def draw(self) -> None:
        """Take the first piece, and keep it for the server.

        What goes wrong with it is raised as by the application's call, whose body no server will close.
        """
        try:
            self._first.append(self._next())
        except StopIteration:
            pass
        except BaseException:
            self.close()
            raise

    def __next__(self) -> bytes:
        return self._first.pop() if self._first else self._next()

    def _next(self) -> bytes:
        outer = swap_current(self._end.flags)
        try:
            if self._iterator is None:
                self._iterator = iter(self._body)
            piece = next(self._iterator)
        except StopIteration:
            self._passed()
            raise
        except BaseException:
            self._end.commit()
            raise
        finally:
            set_current(outer)
        self._passed()
        return piece

    def _passed(self) -> None:
        """Let the start through with the first piece, or when there is none; commit before the visitor has it."""
        if self._end.start is not None:
            self._end.start.release()
        self._end.commit()

    def close(self) -> None:
        body, self._body = self._body, ()
        outer = swap_current(self._end.flags)
        try:
            close = getattr(body, "close", None)
            if close is not None:
                close()
        finally:
            set_current(outer)
            self._end()


class SizedBody(Body):
    """A body whose length the server may ask for: with one piece it knows the Content-Length."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]
