"""The view that Starlette or FastAPI will call for a request, and whether its reads can wait.

Nothing is imported from these frameworks: their routes are recognised by their attributes, and what is not recognised
counts as a view whose reads cannot wait.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import partial
from typing import Any

from flagmw._support.cache import TwoGenerationCache

_KEPT = 2048
_DEPTH = 16
_FULL = 2  # `starlette.routing.Match.FULL`

# Dependencies that load the flags.
loaders: set[Callable[..., Any]] = set()

Scope = MutableMapping[str, Any]


class MatchedRoutes:
    """Say of requests whether the view that they match can wait at its first read of a flag.

    Answers are kept for the paths asked for last.

    Args:
        app: the application below the middleware, which need not be one of these frameworks.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._known: TwoGenerationCache[tuple[Any, ...], bool] = TwoGenerationCache(_KEPT, lambda _: 1)

    def can_wait(self, scope: Scope) -> bool:
        """Say whether a plain function will serve the request, or a coroutine that has `FlagsDep` as a parameter."""
        # In an application's own middleware it is in the scope; around an application it is what we were given.
        app = scope.get("app") or self._app
        routes = _routes_of(app)
        if routes is None:
            return False
        kind, path = scope["type"], scope["path"]
        key = (id(app), len(routes), kind, scope.get("method"), scope.get("root_path"), path)
        known = self._known.get(key)
        if known is None:
            known = _routes_wait(routes, dict(scope), 0)
            if len(path) <= 1024:
                self._known.put(key, known)
        return known


def _routes_of(app: Any) -> list[Any] | None:
    routes = getattr(getattr(app, "router", app), "routes", None)
    return routes if isinstance(routes, list) else None


def _routes_wait(routes: list[Any], scope: Scope, depth: int) -> bool:
    for route in routes:
        matches = getattr(route, "matches", None)
        if matches is None or hasattr(route, "host"):
            return False  # a foreign kind of route, or one that depends on the host
        match, child = matches(scope)
        if getattr(match, "value", None) == _FULL:
            return _route_waits(route, {**scope, **child}, depth)
    return False


def _route_waits(route: Any, scope: Scope, depth: int) -> bool:
    if depth >= _DEPTH:
        return False
    select = getattr(route, "_match", None)
    if select is not None:  # FastAPI's included routers
        _, child, selected, context = select(scope)
        dependant = getattr(context, "dependant", None)
        if dependant is not None:
            return _dependant_waits(dependant)
        return selected is not None and _route_waits(selected, {**scope, **child}, depth + 1)
    dependant = getattr(route, "dependant", None)
    if dependant is not None:
        return _dependant_waits(dependant)
    endpoint = getattr(route, "endpoint", None)
    if endpoint is not None:
        return _endpoint_waits(endpoint, scope)
    app = getattr(route, "_base_app", getattr(route, "app", None))
    if any(base.__name__ == "StaticFiles" for base in type(app).__mro__):
        return True  # files read no flags
    routes = _routes_of(app)
    return routes is not None and _routes_wait(routes, scope, depth + 1)


def _dependant_waits(dependant: Any) -> bool:
    calls = list(_calls(dependant, 0))
    if any(call in loaders for call in calls if _hashable(call)):
        return True
    # A coroutine among the dependencies may read as well. Those of the framework itself read headers only.
    return not any(_is_async(call) for call in calls if not _is_fastapis(call))


def _calls(dependant: Any, depth: int) -> Iterator[Callable[..., Any]]:
    if dependant.call is not None:
        yield dependant.call
    if depth < _DEPTH:
        for inner in dependant.dependencies:
            yield from _calls(inner, depth + 1)


def _endpoint_waits(endpoint: Any, scope: Mapping[str, Any]) -> bool:
    if scope["type"] != "http":
        return False
    if inspect.isclass(endpoint):  # HTTPEndpoint: a method for each method
        method = scope["method"].lower()
        handler = getattr(endpoint, method, None) or (getattr(endpoint, "get", None) if method == "head" else None)
        return hasattr(endpoint, "dispatch") and handler is not None and not _is_async(handler)
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
    return (inspect.isfunction(endpoint) or inspect.ismethod(endpoint)) and not _is_async(endpoint)


def _is_async(call: Any) -> bool:
    while isinstance(call, partial):
        call = call.func
    for function in (call, getattr(call, "__call__", None)):  # noqa: B004
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            return True
    return False


def _is_fastapis(call: Any) -> bool:
    module = getattr(call, "__module__", None) or type(call).__module__
    return module.partition(".")[0] == "fastapi" or type(call).__module__.partition(".")[0] == "fastapi"


def _hashable(call: Any) -> bool:
    return type(call).__hash__ is not None
