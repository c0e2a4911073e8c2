"""An ASGI scope as the engine reads it, and the types of ASGI."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from flagmw._web.inbound import mounted, mounted_raw

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_WIRE = {name: name.encode() for name in ("host", "user-agent", "sec-purpose", "purpose")}


class ScopeRequest:
    """An ASGI scope as the engine reads it."""

    __slots__ = ("_headers", "_named", "_root", "_scope", "answers", "live", "method", "path")

    # What the site's functions have said already, by option; set where they were asked before.
    answers: dict[str, Any]

    def __init__(self, scope: Scope) -> None:
        # Not the scope itself, into which flags come that know their request: circles are left to the collector.
        self._scope = dict(scope)
        # The scope itself, for as long as the application runs and where functions of the site may want its session.
        self.live: Scope | None = None
        headers = scope["headers"]
        self._headers: Sequence[tuple[bytes, bytes]] = headers if isinstance(headers, list | tuple) else [*headers]
        self._named: dict[bytes, bytes] | None = None
        self.method: str = scope.get("method", "GET")
        self._root: str = scope.get("root_path") or ""
        self.path: str = mounted(scope["path"], self._root) if self._root else scope["path"]

    @property
    def request(self) -> Any:
        scope = self._scope if self.live is None else self.live
        starlette = sys.modules.get("starlette.requests")
        if starlette is None:
            return scope
        return starlette.Request(scope) if scope["type"] == "http" else starlette.HTTPConnection(scope)

    @property
    def scheme(self) -> str:
        scheme: str = self._scope.get("scheme", "http")
        return scheme

    @property
    def raw_path(self) -> str:
        raw: bytes | None = self._scope.get("raw_path")
        if not raw:
            return quote(self.path)
        path = raw.partition(b"?")[0].decode("latin-1")
        return mounted_raw(path, self._root) if self._root else path

    @property
    def query(self) -> str:
        query: bytes = self._scope.get("query_string", b"")
        return query.decode("latin-1")

    @property
    def peer(self) -> str | None:
        client = self._scope.get("client")
        return client[0] if client else None

    def headers(self, name: str) -> list[str]:
        wanted = name.encode("latin-1")
        return [value.decode("latin-1") for key, value in self._headers if key == wanted]

    def header(self, name: str) -> str | None:
        # Servers send names in lower case (ASGI, HTTP connection scope).
        named = self._named
        if named is None:
            # The first of a name is the one that counts: later ones are put in before it.
            named = self._named = dict(reversed(self._headers))
        value = named.get(_WIRE.get(name) or name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")
