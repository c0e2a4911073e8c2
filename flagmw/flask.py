"""Flask adapter: `init_app(app, flagmw)`, then `request.flags` in views and templates."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, cast

try:
    import flask
    from flask import Flask
    from werkzeug.wrappers import Request
except ImportError as error:
    raise ImportError("flagmw.flask needs Flask: pip install 'flagmw[flask]'") from error

from flagmw import wsgi
from flagmw._edge.wsgi_environ import EnvironRequest
from flagmw.codes import ErrorCode
from flagmw.flags.flags import Flags
from flagmw.runtime import Flagmw
from flagmw.wsgi import FlagsMiddleware

__all__ = ["FlagsMiddleware", "FlagsRequest", "flags_from", "init_app", "request"]


class FlagsRequest(flask.Request):
    """The type of requests after `init_app`, for annotations and type checkers."""

    flags: Flags


request = cast(FlagsRequest, flask.request)
"""`flask.request`, with the type that has `flags`."""


def init_app(app: Flask, flagmw: Flagmw) -> None:
    """Put the WSGI middleware around *app* and `flags` on its requests. Once more with the same *flagmw* is harmless.

    In a `test_request_context`, which passes no middleware, the flags are undecided.

    Raises:
        RuntimeError: the app has another `Flagmw`, or its request class has a `flags` of its own.
        TypeError: *app* or *flagmw* is something else.
    """
    if not isinstance(app, Flask):
        raise TypeError(f"init_app() takes the Flask application, not {type(app).__name__}")
    if not isinstance(flagmw, Flagmw):
        raise TypeError(f"init_app() takes a Flagmw(...) beside the application, not {type(flagmw).__name__}")
    mounted = app.extensions.get("flagmw", flagmw)
    if mounted is not flagmw:
        raise RuntimeError(f"this application has {mounted!r} already: call init_app() with that, or only once")
    if "flagmw" in app.extensions:
        return
    if hasattr(app.request_class, "flags"):
        raise RuntimeError("request.flags is taken by the application's request class: rename that attribute")
    app.extensions["flagmw"] = flagmw
    app.request_class = _with_flags(app.request_class, flagmw)
    app.wsgi_app = _FlaskMiddleware(app, flagmw)  # type: ignore[method-assign]


def flags_from(request: Request) -> Flags:
    """Return the flags of *request*; undecided ones where its path is excluded.

    Raises:
        RuntimeError: `init_app` was not called.
    """
    if wsgi.KEY not in request.environ:
        raise RuntimeError("no flags on this request: call flagmw.flask.init_app(app, flagmw)")
    return wsgi.flags_from(request.environ)


class _FlaskMiddleware(FlagsMiddleware):
    """The WSGI middleware, whose requests know Flask's."""

    def __init__(self, app: Flask, flagmw: Flagmw) -> None:
        super().__init__(app.wsgi_app, flagmw=flagmw)
        self._flask = app

    def _request(self, environ: dict[str, Any], path: str) -> EnvironRequest:
        if not self._edge.asks_site:
            return super()._request(environ, path)
        mark = environ[_MARK] = object()
        return _FlaskRequest(environ, path, self._flask, mark)


_MARK = "flagmw.flask.request"


class _FlaskRequest(EnvironRequest):
    """A request whose `request` is Flask's, with its session and `g`.

    Args:
        mark: tells this request from others, whose context may be the current one.
    """

    __slots__ = ("_app", "_mark")

    def __init__(self, environ: dict[str, Any], path: str, app: Flask, mark: object) -> None:
        super().__init__(environ, path)
        self._app, self._mark = app, mark

    @property
    def request(self) -> Any:
        return cast(Any, flask.request)._get_current_object()

    def in_context(self, ask: Callable[[], Any]) -> Any:
        """Call *ask* in the view's context, or before the view in one of its own, which has no body to read."""
        if self._has_context():
            return ask()
        environ = {**self._environ, "wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        with self._app.request_context(environ):
            return ask()

    def _has_context(self) -> bool:
        return flask.has_request_context() and flask.request.environ.get(_MARK) is self._mark


def _with_flags(base: type[Any], flagmw: Flagmw) -> type[Any]:
    def flags(request: Request) -> Flags:
        undecided = Flags(defaults=flagmw.config.defaults, error_code=ErrorCode.NO_REQUEST)
        request.environ.setdefault(wsgi.KEY, undecided)
        return flags_from(request)

    return type(base.__name__, (base,), {"flags": property(flags, doc="This request's `flagmw.Flags`.")})
