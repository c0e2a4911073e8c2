"""A Django request as the engine reads it."""

from __future__ import annotations

from collections.abc import Coroutine, MutableMapping
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest

from flagmw._edge.asgi_scope import ScopeRequest
from flagmw._edge.wsgi_environ import EnvironRequest


def holder(request: HttpRequest) -> MutableMapping[str, Any]:
    """Return where the edges keep flags: the ASGI scope, or the WSGI environ."""
    scope: MutableMapping[str, Any] | None = getattr(request, "scope", None)
    return request.META if scope is None else scope


class WsgiInbound(EnvironRequest):
    """A request under WSGI, with Django's view of it."""

    request: Any = None
    path = scheme = ""

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run an async function of the site; what it does with the database happens in the request's thread."""

        async def main() -> Any:
            return await coroutine

        return async_to_sync(main)()


class AsgiInbound(ScopeRequest):
    """A request under ASGI, with Django's view of it."""

    request: Any = None
    scheme = ""


def inbound_of(request: HttpRequest) -> WsgiInbound | AsgiInbound:
    """Return *request* as the engine reads it."""
    scope = getattr(request, "scope", None)
    inbound = WsgiInbound(request.META, request.path) if scope is None else AsgiInbound(scope)
    # Django has decoded the path, and its settings say which header of a proxy means https.
    inbound.request, inbound.path, inbound.scheme = request, request.path, request.scheme or "http"
    return inbound
