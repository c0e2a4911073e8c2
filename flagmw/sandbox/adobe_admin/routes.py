"""Routes of the emulated management APIs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flagmw.sandbox.adobe_admin import ims, profileapi
from flagmw.sandbox.adobe_admin.batch import size
from flagmw.sandbox.adobe_admin.call import AdminCall
from flagmw.sandbox.adobe_admin.dispatch import serve
from flagmw.sandbox.adobe_admin.errors import ApiError, GatewayError, invalid
from flagmw.sandbox.adobe_admin.gateway import admitted, count
from flagmw.sandbox.adobe_admin.openapi import description
from flagmw.sandbox.adobe_admin.serving import store_of
from flagmw.sandbox.adobe_admin.versions import WITH_BODY, version_of
from flagmw.sandbox.faults import SCOPE_KEY, Rule
from flagmw.sandbox.ledger import shown_headers

if TYPE_CHECKING:
    from flagmw.sandbox.state import Sandbox

OPENAPI = "/openapi"
PROFILES = "/rest/v1/profiles/"
TOKEN, EXCHANGE = "/ims/token/v3", "/ims/exchange/jwt"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_KINDS = {"thirdPartyId": "thirdPartyId", "marketingCloudVisitorId": "marketingCloudVisitorId"}
Handler = Callable[[Request], Awaitable[Response]]


def route_of(path: str) -> str | None:
    """Return "admin", "ims" or "profiles" for a path of these APIs; else None."""
    if path.startswith("/ims/"):
        return "ims"
    if path.startswith((PROFILES, "/m2/")):
        return "profiles"
    parts = path.split("/")
    return "admin" if len(parts) > 3 and parts[2] == "target" else None


def routes(sandbox: Sandbox) -> list[Route]:
    """Return the routes."""
    management = Management(sandbox)
    return [
        Route(OPENAPI, management.openapi, methods=["GET"]),
        Route(TOKEN, management.token, methods=["POST"]),
        Route(EXCHANGE, management.exchange, methods=["POST"]),
        Route(f"{EXCHANGE}/", management.exchange, methods=["POST"]),
        Route(f"{PROFILES}{{rest:path}}", management.profile, methods=["GET"]),
        Route("/m2/{client}/profile/update", management.update, methods=["GET", "POST"]),
        Route("/m2/{client}/profile/batchUpdate", management.bulk(1), methods=["POST"]),
        Route("/m2/{client}/v2/profile/batchUpdate", management.bulk(2), methods=["POST"]),
        Route("/m2/{client}/profile/batchStatus", management.status, methods=["GET"]),
        Route("/{tenant}/target/{rest:path}", management.admin, methods=_METHODS),
    ]


class Management:
    """The handlers of the routes, over one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def openapi(self, request: Request) -> Response:
        """Answer with the description of these routes."""
        return _json(200, description(_own_url(request)))

    async def token(self, request: Request) -> Response:
        """Answer OAuth server-to-server."""
        return await self._ims(request, ims.client_credentials)

    async def exchange(self, request: Request) -> Response:
        """Answer the JWT exchange."""
        return await self._ims(request, ims.exchange)

    async def admin(self, request: Request) -> Response:
        """Answer a call of the Admin API."""
        sandbox, name = self._sandbox, "admin"
        try:
            status, document, name = await self._served(request)
        except GatewayError as error:
            status, document = error.status, error.document()
        except ApiError as error:
            status, document = error.status, error.document(sandbox.clock())
        self._record(request, name, status)
        return _json(status, document, request)

    async def profile(self, request: Request) -> Response:
        """Answer with a profile."""
        kind, _, own = _raw_path(request).removeprefix(PROFILES).rpartition("/")
        try:
            account = profileapi.account_of(self._sandbox, request.query_params.get("client"))
            profileapi.check_token(self._sandbox, account, request.headers)
            if kind and kind not in _KINDS:
                raise profileapi.ProfileError(404, f"{kind} is no kind of id")
            document = profileapi.fetched(self._sandbox, account, _KINDS.get(kind, "tnt"), unquote(own))
            status = 200
        except profileapi.ProfileError as error:
            status, document = error.status, error.document()
        self._record(request, "fetchProfile", status)
        return _json(status, document, request)

    async def update(self, request: Request) -> Response:
        """Answer a single update."""

        async def handler() -> str:
            account = self._profile_account(request)
            query = request.scope["query_string"].decode("latin-1")
            body = await request.body()
            most = profileapi.MAX_POST if request.method == "POST" else profileapi.MAX_GET
            if len(query) + len(body) > most:
                raise profileapi.ProfileError(413, f"the request is larger than {most} bytes")
            pairs = parse_qsl(query, keep_blank_values=True)
            pairs += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
            return profileapi.updated(self._sandbox, account, pairs)

        return await self._xml(request, "updateProfile", handler)

    def bulk(self, version: int) -> Handler:
        """Return the handler of bulk updates of a version."""

        async def answer(request: Request) -> Response:
            async def handler() -> str:
                account = self._profile_account(request)
                count(self._sandbox, account)
                body = bytearray()
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > profileapi.MAX_UPLOAD:
                        raise profileapi.ProfileError(413, "the batch is larger than 50 MB")
                try:
                    # A full batch takes seconds to read: visitors are served meanwhile.
                    batch = await asyncio.to_thread(profileapi.rows_of, bytes(body))
                except ValueError as problem:
                    return profileapi.answer_of(False, str(problem))
                return profileapi.uploaded(self._sandbox, account, version, batch, _own_url(request))

            return await self._xml(request, f"bulkUpdateV{version}", handler)

        return answer

    async def status(self, request: Request) -> Response:
        """Answer with the state of a bulk update."""

        async def handler() -> str:
            account = self._profile_account(request)
            details = request.query_params.get("showDetails") == "true"
            return profileapi.status(self._sandbox, account, request.query_params.get("batchId"), details=details)

        return await self._xml(request, "bulkStatus", handler)

    def _profile_account(self, request: Request) -> Any:
        account = profileapi.account_of(self._sandbox, request.path_params["client"])
        profileapi.check_token(self._sandbox, account, request.headers)
        return account

    async def _xml(self, request: Request, name: str, handler: Callable[[], Awaitable[str]]) -> Response:
        status = 200
        try:
            answer = Response(await handler(), media_type="text/xml")
        except profileapi.ProfileError as error:
            status, answer = error.status, _json(error.status, error.document())
        except GatewayError as error:
            status, answer = error.status, _json(error.status, error.document())
        self._record(request, name, status)
        return answer

    async def _ims(self, request: Request, handler: Callable[[Sandbox, Mapping[str, str]], dict[str, Any]]) -> Response:
        fields = dict(request.query_params)
        form = await request.body()
        fields |= dict(parse_qsl(form.decode("utf-8", "replace")))
        try:
            status, document = 200, handler(self._sandbox, fields)
        except ims.Refusal as refusal:
            status, document = refusal.status, refusal.document()
        self._record(request, "token", status)
        return _json(status, document, request)

    async def _served(self, request: Request) -> tuple[int, dict[str, Any], str]:
        sandbox, headers = self._sandbox, request.headers
        account = admitted(sandbox, request.path_params["tenant"], headers)
        path = "/" + _raw_path(request).split("/target/", 1)[1].lstrip("/")
        body = await _body(request)
        count(sandbox, account, size(body) if path.rstrip("/") == "/batch" else 1)
        fault: Rule | None = request.scope.get(SCOPE_KEY)
        if fault is not None and fault.kind == "error":
            code = fault.code if fault.code >= 400 else 500
            raise ApiError(code, "Internal.Error", "a fault rule made the sandbox fail")
        query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        call = AdminCall(sandbox, account, store_of(sandbox, account), serve, query=query, body=body)
        served = serve(call, request.method, path, version_of(request.method, headers))
        return served.status, served.document, served.endpoint.name

    def _record(self, request: Request, name: str, status: int) -> None:
        """Write the ledger's entry: never a query, a header or a body, in which credentials may stand."""
        fault: Rule | None = request.scope.get(SCOPE_KEY)
        self._sandbox.ledger.request(
            {
                "time": self._sandbox.clock(), "vendor": "adobe", "action": name, "method": request.method,
                "path": request.url.path, "headers": shown_headers(dict(request.headers)), "aliases": [], "lint": [],
                "fault": fault.kind if fault else None, "answer": {"status": status, "results": []},
            }
        )  # fmt: skip


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    if request.method not in WITH_BODY or not raw:
        return {}
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError(400, "Malformed.Json", "the body is not JSON") from None
    if not isinstance(document, dict):
        raise invalid("body", "must be an object")
    return document


def _own_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _raw_path(request: Request) -> str:
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    return bytes(raw).partition(b"?")[0].decode("latin-1")


def _json(status: int, document: dict[str, Any], request: Request | None = None) -> Response:
    body = orjson.dumps(document)
    fault: Rule | None = request.scope.get(SCOPE_KEY) if request is not None else None
    if fault is not None and fault.kind == "trailing_comma":
        body = body[:-1] + b",}"
    if fault is not None and fault.kind == "comments":
        body = b"/* an answer */\n" + body
    return Response(body, status, {"content-type": "application/json;charset=UTF-8"})
