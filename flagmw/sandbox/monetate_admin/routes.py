"""Routes of Monetate's emulated management APIs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flagmw.sandbox.body import read_body
from flagmw.sandbox.faults import SCOPE_KEY, Rule
from flagmw.sandbox.ledger import shown_headers
from flagmw.sandbox.monetate_admin.call import Endpoint, ManagementCall
from flagmw.sandbox.monetate_admin.errors import Refusal
from flagmw.sandbox.monetate_admin.openapi import description
from flagmw.sandbox.monetate_admin.stream import session_lines
from flagmw.sandbox.monetate_admin.table import ENDPOINTS
from flagmw.sandbox.monetate_admin.tokens import admitted, refreshed

if TYPE_CHECKING:
    from flagmw.sandbox.state import Sandbox

OPENAPI = "/openapi/monetate"
# Session Stream comes by SFTP; this is the sandbox's own way to it.
STREAM = "/__sandbox__/monetate/{retailer}/session-stream"
AUTH, METADATA, DATA = "/api/auth/v0/", "/api/metadata/v1/", "/api/data/v1/"
MAX_BODY = 32 << 20
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
Document = dict[str, Any]


def route_of(path: str) -> str | None:
    """Return "auth", "metadata" or "data" for a path of these APIs; else None."""
    for name, root in (("auth", AUTH), ("metadata", METADATA), ("data", DATA)):
        if path.startswith(root):
            return name
    return None


def routes(sandbox: Sandbox) -> list[Route]:
    """Return the routes; addresses with and without a slash at their end are the same."""
    management = Management(sandbox)
    return [
        Route(OPENAPI, management.openapi, methods=["GET"]),
        Route(STREAM, management.stream, methods=["GET"]),
        Route(f"{AUTH}refresh", management.refresh, methods=["GET"]),
        Route(f"{AUTH}refresh/", management.refresh, methods=["GET"]),
        Route(f"{METADATA}{{retailer}}/production/metadata/{{rest:path}}", management.metadata, methods=_METHODS),
        Route(f"{DATA}{{retailer}}/production/{{rest:path}}", management.data, methods=_METHODS),
    ]


class Management:
    """The handlers of the routes, over one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def openapi(self, request: Request) -> Response:
        """Answer with the description of these routes."""
        return _json(200, description(_own_url(request)))

    async def stream(self, request: Request) -> Response:
        """Answer with the sessions of a retailer's visitors, as Session Stream has them."""
        named = request.path_params["retailer"]
        retailer = next((one for one in self._sandbox.scenario.monetate if one.retailer == named), None)
        if retailer is None:
            return _json(404, Refusal(404, f"There is no retailer {named}.").document())
        return Response(b"".join(session_lines(self._sandbox, retailer)), 200, {"content-type": "application/x-ndjson"})

    async def refresh(self, request: Request) -> Response:
        """Answer the Auth API."""
        try:
            self._fail_on_demand(request)
            status, document = 200, refreshed(self._sandbox, request.headers, request.query_params)
        except Refusal as refusal:
            status, document = refusal.status, refusal.document()
        return self._answer(request, "refresh", status, document)

    async def metadata(self, request: Request) -> Response:
        """Answer the Metadata API."""
        return await self._api(request, "metadata")

    async def data(self, request: Request) -> Response:
        """Answer the Data API."""
        return await self._api(request, "data")

    async def _api(self, request: Request, api: str) -> Response:
        name, headers = api, {}
        try:
            retailer, token = admitted(self._sandbox, request.headers, request.path_params["retailer"])
            raw = await read_body(request, MAX_BODY)
            self._fail_on_demand(request)
            rest, named = request.path_params["rest"], request.path_params["retailer"]
            if api == "data" and rest.rstrip("/") == "data":
                # The article on the Data API has the schema where the retailer is meant to stand.
                rest, named = f"data/{named}", retailer.retailer
            if named != retailer.retailer:
                raise Refusal(404, f"The token is not for the retailer {named}.")
            endpoint, values = found(request.method, api, rest)
            name = endpoint.name
            call = ManagementCall(
                self._sandbox,
                retailer,
                self._sandbox.monetate.store_of(retailer, self._sandbox.clock()),
                token,
                f"{_own_url(request)}{request.url.path}",
                values,
                dict(request.query_params),
                _body(raw) if endpoint.takes else {},
            )
            status, document = endpoint.status, endpoint.handler(call)
        except Refusal as refusal:
            status, document = refusal.status, refusal.document()
            if status == 429 and retailer.admin.retry_after:
                headers = {"retry-after": "1"}
        return self._answer(request, name, status, document, headers)

    def _fail_on_demand(self, request: Request) -> None:
        fault: Rule | None = request.scope.get(SCOPE_KEY)
        if fault is not None and fault.kind == "error":
            raise Refusal(fault.code if fault.code >= 400 else 500)

    def _answer(
        self, request: Request, name: str, status: int, document: Document, headers: dict[str, str] | None = None
    ) -> Response:
        """Return the answer, and write the ledger's entry: never a header or a body, where credentials may stand."""
        fault: Rule | None = request.scope.get(SCOPE_KEY)
        self._sandbox.ledger.request(
            {
                "time": self._sandbox.clock(), "vendor": "monetate", "action": name, "method": request.method,
                "path": request.url.path, "headers": shown_headers(dict(request.headers)), "aliases": [], "lint": [],
                "fault": fault.kind if fault else None, "answer": {"status": status, "results": []},
            }
        )  # fmt: skip
        # A fault can have its own status beside the one in the body.
        sent = fault.status if fault is not None and fault.kind == "error" and fault.status else status
        return _json(sent, document, fault, headers)


def found(method: str, api: str, rest: str) -> tuple[Endpoint, dict[str, str]]:
    """Return the endpoint of a path, and the values in it.

    Raises:
        Refusal: there is none, or not with this method.
    """
    elsewhere = False
    for endpoint, pattern in _patterns():
        match = pattern.fullmatch(rest.rstrip("/")) if endpoint.api == api else None
        if match is not None:
            if endpoint.method == method:
                return endpoint, {name: unquote(value) for name, value in match.groupdict().items()}
            elsewhere = True
    raise Refusal(405, f"{method} is not supported here.") if elsewhere else Refusal(404)


@cache
def _patterns() -> Sequence[tuple[Endpoint, re.Pattern[str]]]:
    def pattern(path: str) -> re.Pattern[str]:
        text = path.rstrip("/").replace("{id}", r"(?P<id>\d{1,18})")
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", text))

    return [(endpoint, pattern(endpoint.path)) for endpoint in ENDPOINTS]


def _body(raw: bytes | None) -> Document:
    if raw is None:
        raise Refusal(413, "The body is too large.")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refusal(400, "The body is not JSON.") from None
    if not isinstance(document, dict):
        raise Refusal(400, "The body must be an object.")
    return document


def _own_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _json(
    status: int, document: Document, fault: Rule | None = None, headers: dict[str, str] | None = None
) -> Response:
    body = orjson.dumps(document)
    if fault is not None and fault.kind == "trailing_comma":
        body = body[:-1] + b",}"
    if fault is not None and fault.kind == "comments":
        body = b"/* an answer */\n" + body
    return Response(body, status, {"content-type": "application/json", **(headers or {})})
