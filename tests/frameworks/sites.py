"""One view, mounted in each framework as its users do, and called as a server calls it."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import re_path
from fastapi import FastAPI
from flask import Flask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

import flagmw.django
import flagmw.fastapi
import flagmw.flask
from flagmw import Flagmw, Flags
from tests.contracts.edges.driver import Answer, App, AsgiEdge, Edge, Page, Sent, WsgiEdge

METHODS = ["GET", "HEAD", "POST", "OPTIONS", "PUT"]
OURS = "flagmw.django.FlagsMiddleware"


@dataclass
class Asked:
    """What a view is given, whatever the framework."""

    path: str
    flags: Flags
    request: Any


View = Callable[[Asked], Answer]
Site = Edge


class Django:
    """A project whose only view is given to `mount`; its settings are in place until the site is left."""

    handler: Callable[[], App]
    async_views: bool

    def __init__(self) -> None:
        super().__init__()
        self._settings: list[Any] = []
        self.failed = False

    def call(self, *request: Any) -> Page:
        try:
            return super().call(*request)  # type: ignore[misc, no-any-return]
        except BaseException:
            self.failed = True
            raise

    def __exit__(self, *error: object) -> None:
        for settings in reversed(self._settings):
            settings.disable()
        if self.failed:
            # Where a stream fails, Django's ASGI handler leaves the file with the request's body open.
            with warnings.catch_warnings(action="ignore", category=ResourceWarning):
                gc.collect()
        super().__exit__(*error)  # type: ignore[misc]

    def configure(self, **settings: Any) -> None:
        self._settings.append(override_settings(**settings))
        self._settings[-1].enable()

    def app(self, view: View) -> App:
        return self.project(self.adapted(view), MIDDLEWARE=[])

    def mount(self, view: View, fm: Flagmw, *, above: Sequence[str] = (), below: Sequence[str] = ()) -> App:
        """Return the project with our middleware between those *above* and *below* it in the list."""
        return self.project(self.adapted(view), MIDDLEWARE=[*above, OURS, *below], FLAGMW=fm)

    def project(self, view: Callable[..., Any], **settings: Any) -> App:
        """Return a handler that serves Django's own *view* at every path."""
        urls = ModuleType("urls")
        urls.urlpatterns = [re_path("", view)]  # type: ignore[attr-defined]
        self.configure(ROOT_URLCONF=urls, **settings)
        return self.handler()

    def adapted(self, view: View, *, is_async: bool | None = None) -> Callable[..., Any]:
        def serve(request: Any) -> Any:
            flags = flagmw.django.flags_from(request) if hasattr(request, "flags") else Flags()
            answer = view(Asked(request.path_info, flags, request))
            response: Any
            if isinstance(answer.body, bytes):
                response = HttpResponse(answer.body, status=answer.status)
            else:
                body = asynchronous(answer.body) if isinstance(self, DjangoAsgi) else answer.body
                response = StreamingHttpResponse(body, status=answer.status)
            for name, value in answer.headers:
                if name.lower() == "set-cookie":
                    response.cookies.load(value)
                else:
                    response.headers[name] = value
            return response

        async def serve_async(request: Any) -> Any:
            return serve(request)

        return serve_async if (self.async_views if is_async is None else is_async) else serve


async def asynchronous(body: Any) -> AsyncIterator[bytes]:
    try:
        for piece in body:
            yield piece
            await asyncio.sleep(0)
    finally:
        if hasattr(body, "close"):
            body.close()


class DjangoWsgi(Django, WsgiEdge):  # type: ignore[misc]
    handler = WSGIHandler
    async_views = False


class DjangoAsgi(Django, AsgiEdge):  # type: ignore[misc]
    handler = ASGIHandler
    async_views = True


class FlaskSite(WsgiEdge):
    def app(self, view: Any) -> App:
        app = Flask("site")

        def serve(path: str) -> Any:
            from flask import request

            flags = flagmw.flask.flags_from(request) if "flagmw.flags" in request.environ else Flags()
            answer = view(Asked(request.path, flags, request))
            return app.response_class(answer.body, answer.status, list(answer.headers))

        rules: Any = {"methods": METHODS, "provide_automatic_options": False}
        app.add_url_rule("/", "root", lambda: serve(""), **rules)
        app.add_url_rule("/<path:path>", "page", serve, **rules)
        app.config["PROPAGATE_EXCEPTIONS"] = False
        return app

    def mount(self, view: Any, fm: Flagmw) -> App:
        app = self.app(view)
        flagmw.flask.init_app(app, fm)
        return app


class FastApiSite(AsgiEdge):
    def app(self, view: Any) -> App:
        app = FastAPI(openapi_url=None)

        async def serve(request: Request) -> Response:
            flags = flagmw.fastapi.flags_from(request) if "flagmw.flags" in request.scope else Flags()
            answer = view(Asked(request.scope["path"].removeprefix(request.scope["root_path"]), flags, request))
            response: Response
            if isinstance(answer.body, bytes):
                response = Response(answer.body, answer.status)
            else:
                response = StreamingResponse(asynchronous(answer.body), answer.status)
            sized = [header for header in response.raw_headers if header[0] == b"content-length"]
            response.raw_headers = [
                *((name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers),
                *(sized if answer.status not in (204, 304) else ()),
            ]
            return response

        app.add_route("/{path:path}", serve, methods=METHODS)
        return app

    def mount(self, view: Any, fm: Flagmw) -> App:
        app = self.app(view)
        app.add_middleware(flagmw.fastapi.FlagsMiddleware, flagmw=fm)
        return app


SITES: dict[str, Callable[[], Any]] = {
    "django_wsgi": DjangoWsgi,
    "django_asgi": DjangoAsgi,
    "flask": FlaskSite,
    "fastapi": FastApiSite,
}
DJANGO = ["django_wsgi", "django_asgi"]


def pieces(log: list[str], variant: str) -> Iterator[bytes]:
    """Make a body in three pieces, noting when each is made."""
    for n in range(3):
        log.append(f"made {n}")
        yield f"{n}{variant}".encode()


__all__ = ["DJANGO", "SITES", "Answer", "Asked", "Sent", "Site", "View", "pieces"]
