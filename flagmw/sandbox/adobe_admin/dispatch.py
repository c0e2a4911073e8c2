"""From a call's path and version to its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from urllib.parse import unquote

from flagmw.sandbox.adobe_admin.call import AdminCall, ApiRoute, Served
from flagmw.sandbox.adobe_admin.errors import ApiError, unsupported
from flagmw.sandbox.adobe_admin.settings import RIGHTS
from flagmw.sandbox.adobe_admin.table import ENDPOINTS


def serve(call: AdminCall, method: str, path: str, version: int) -> Served:
    """Answer a call.

    Args:
        path: below `/{tenant}/target`, percent-encoded as it came.

    Raises:
        ApiError: it is refused.
    """
    endpoint, values = found(method, path)
    settings = call.settings
    if settings.strict_versions and version not in endpoint.versions:
        raise unsupported()
    if RIGHTS.index(settings.right) < RIGHTS.index(endpoint.right):
        raise ApiError(403, "Forbidden", f"the role {endpoint.right} is needed")
    document = endpoint.handler(replace(call, values=values))
    return Served(endpoint, 201 if endpoint.creates and not settings.legacy_200 else 200, document)


def found(method: str, path: str) -> tuple[ApiRoute, dict[str, str]]:
    """Return the endpoint of a path, and the values in it.

    Raises:
        ApiError: there is none, or not with this method.
    """
    trimmed = path.rstrip("/")
    elsewhere = False
    for endpoint, pattern in _patterns():
        match = pattern.fullmatch(trimmed)
        if match is not None:
            if endpoint.method == method:
                return endpoint, {name: unquote(value) for name, value in match.groupdict().items()}
            elsewhere = True
    if elsewhere:
        raise ApiError(405, "Method.Not.Allowed", f"{method} is not supported here")
    raise ApiError(404, "NotFound", "there is no such resource")


@cache
def _patterns() -> Sequence[tuple[ApiRoute, re.Pattern[str]]]:
    return [
        (route, re.compile(route.path.replace("{id}", r"(?P<id>\d{1,18})").replace("{name}", r"(?P<name>[^/]+)")))
        for route in ENDPOINTS
    ]
