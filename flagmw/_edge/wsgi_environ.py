"""A WSGI environ as the engine reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from flagmw._web.inbound import mounted, mounted_raw

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_ENVIRON = {name: f"HTTP_{name.upper().replace('-', '_')}" for name in ("host", "user-agent", "sec-purpose", "purpose")}


def full_path(environ: WSGIEnvironment) -> str:
    """Return the decoded path, with the mount point."""
    root: str = environ.get("SCRIPT_NAME", "")
    path: str = environ.get("PATH_INFO", "")
    # One that is in PATH_INFO as well is the mount point only if the server was asked for just that path.
    if root and not (mounted(path, root) == path and unquote(_raw_path(environ) or "", "latin-1") == path):
        path = root + path
    # One character per byte (PEP 3333, "Unicode Issues").
    return (path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")) or "/"


def _raw_path(environ: WSGIEnvironment) -> str | None:
    """Return the path as it was sent, if the server tells."""
    for name in ("RAW_URI", "REQUEST_URI"):
        raw = environ.get(name)
        if isinstance(raw, str) and raw.startswith("/"):
            return raw.partition("?")[0]
    return None


class EnvironRequest:
    """A WSGI environ as the engine reads it: as it was before the flags, which know their request, came into it."""

    __slots__ = ("_environ", "answers", "path")

    # What the site's functions have said already, by option; set where they were asked on a loop.
    answers: dict[str, Any]

    def __init__(self, environ: WSGIEnvironment, path: str) -> None:
        self._environ, self.path = environ.copy(), path

    @property
    def request(self) -> Any:
        return self._environ

    @property
    def method(self) -> str:
        return str(self._environ.get("REQUEST_METHOD", "GET"))

    @property
    def scheme(self) -> str:
        return str(self._environ.get("wsgi.url_scheme", "http"))

    @property
    def raw_path(self) -> str:
        raw = _raw_path(self._environ)
        if raw is None:
            return quote(self.path)
        root: str = self._environ.get("SCRIPT_NAME", "")
        return mounted_raw(raw, root.encode("latin-1", "replace").decode("utf-8", "replace")) if root else raw

    @property
    def query(self) -> str:
        return str(self._environ.get("QUERY_STRING", ""))

    @property
    def peer(self) -> str | None:
        return self._environ.get("REMOTE_ADDR") or None

    def headers(self, name: str) -> list[str]:
        # Servers join repeated headers, and drop or refuse names with an underscore.
        value = self._environ.get("HTTP_" + name.upper().replace("-", "_"))
        return [] if value is None else [value]

    def header(self, name: str) -> str | None:
        value: str | None = self._environ.get(_ENVIRON.get(name) or "HTTP_" + name.upper().replace("-", "_"))
        return value
