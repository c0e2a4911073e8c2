"""FastAPI adapter: ASGI middleware, a dependency, and `request.flags`."""

from __future__ import annotations

from typing import Annotated

try:
    from fastapi import Depends, FastAPI
    from starlette.requests import HTTPConnection, Request
except ImportError as error:
    raise ImportError("flagmw.fastapi needs FastAPI: pip install 'flagmw[fastapi]'") from error

from flagmw import asgi
from flagmw._web.matched_route import loaders
from flagmw.asgi import FlagsMiddleware
from flagmw.flags.flags import Flags

__all__ = ["FlagsDep", "FlagsMiddleware", "FlagsRequest", "flags_from", "install"]


class FlagsRequest(Request):
    """The type of requests after `install`, for annotations: `def view(request: FlagsRequest)`."""

    @property
    def flags(self) -> Flags:
        """This request's flags."""
        return flags_from(self)


def flags_from(request: HTTPConnection) -> Flags:
    """Return the flags of *request* (or of a WebSocket).

    Raises:
        RuntimeError: `FlagsMiddleware` is not mounted.
    """
    return asgi.flags_from(request.scope)


async def _dependency(request: HTTPConnection) -> Flags:
    # Unless they are decided already, this is where they are.
    return await flags_from(request).load()


loaders.add(_dependency)
FlagsDep = Annotated[Flags, Depends(_dependency)]
"""A parameter of a path operation that is the request's flags: `def view(flags: FlagsDep)`."""


def install(app: FastAPI) -> None:
    """Add `request.flags` to requests and WebSockets, for views that are written like those of other frameworks.

    It is a property of Starlette's own class, so it is there for every application of the process.

    Raises:
        RuntimeError: something else has put an attribute of that name there.
    """
    if not isinstance(app, FastAPI):
        raise TypeError(f"install() takes the FastAPI application, not {type(app).__name__}")
    present = vars(HTTPConnection).get("flags")
    if present is None:
        HTTPConnection.flags = _property  # type: ignore[attr-defined]
    elif present is not _property:
        raise RuntimeError("request.flags is taken by another library: use FlagsDep or flags_from(request)")


_property = property(flags_from, doc="This request's `flagmw.Flags`.")
