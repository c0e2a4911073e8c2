"""A Django request as the engine reads it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from django.http import HttpRequest

from flagmw._edge.asgi_scope import ScopeRequest
from flagmw._edge.wsgi_environ import EnvironRequest


def holder(request: HttpRequest) -> MutableMapping[str, Any]:
    """Return where the edges keep flags: the ASGI scope, or the WSGI environ."""
    scope: MutableMapping[str, Any] | None = getattr(request, "scope", None)
    return request.META if scope is None else scope


class _Environ(EnvironRequest):
    request: HttpRequest
    path = scheme = ""


class _Scope(ScopeRequest):
    request: HttpRequest
    scheme = ""


def inbound_of(request: HttpRequest) -> _Environ | _Scope:
    """Return *request* as the engine reads it."""
    scope = getattr(request, "scope", None)
    inbound = _Environ(request.META, request.path) if scope is None else _Scope(scope)
    # Django has decoded the path, and its settings say which header of a proxy means https.
    inbound.request, inbound.path, inbound.scheme = request, request.path, request.scheme or "http"
    return inbound
