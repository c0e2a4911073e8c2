"""Routes of the emulated Management API of Contentstack Personalize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flagmw.sandbox.body import read_body
from flagmw.sandbox.contentstack.model import Project
from flagmw.sandbox.contentstack_admin.call import AdminCall
from flagmw.sandbox.contentstack_admin.errors import ROUTE, ApiError
from flagmw.sandbox.contentstack_admin.openapi import description
from flagmw.sandbox.contentstack_admin.serving import store_of
from flagmw.sandbox.contentstack_admin.store import Document, ProjectStore
from flagmw.sandbox.contentstack_admin.table import ENDPOINTS, MANAGE, READ, TOOL_ENDPOINTS, Endpoint
from flagmw.sandbox.faults import SCOPE_KEY, Rule
from flagmw.sandbox.ledger import shown_headers

if TYPE_CHECKING:
    from flagmw.sandbox.state import Sandbox

NAME = "contentstack"
BASE = "/contentstack-admin"
OPENAPI = "/openapi/contentstack"
AUTHTOKEN = "sandbox-authtoken"
TOKENS = {"sandbox-manage-token": MANAGE, "sandbox-read-token": READ}
CLIENT_ID, LIFE_S = "sandbox-client", 3600
MAX_BODY = 1024 * 1024


def route_of(path: str) -> str | None:
    """Return "admin" for a path of this API; else None."""
    return "admin" if path.startswith(f"{BASE}/") else None


def routes(sandbox: Sandbox) -> list[Route]:
    """Return the routes."""

    async def openapi(request: Request) -> Response:
        return _json(200, description(str(request.base_url).rstrip("/") + BASE))

    async def token(request: Request) -> Response:
        status, document = _token(sandbox, dict(parse_qsl((await request.body()).decode("utf-8", "replace"))))
        _record(sandbox, request, "token", status)
        return _json(status, document)

    async def admin(request: Request) -> Response:
        document: Any
        try:
            status, document = await _served(sandbox, request)
        except ApiError as error:
            status, document = error.status, error.document()
        _record(sandbox, request, "admin", status)
        return _json(status, document)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return [
        *(Route(path, openapi, methods=["GET"]) for path in (OPENAPI, f"{BASE}/openapi")),
        Route(f"{BASE}/token", token, methods=["POST"]),
        Route(f"{BASE}/{{rest:path}}", admin, methods=methods),
    ]


async def _served(sandbox: Sandbox, request: Request) -> tuple[int, Any]:
    _admit(sandbox, request)
    fault: Rule | None = request.scope.get(SCOPE_KEY)
    if fault is not None and fault.kind == "error":
        raise ApiError(fault.code if fault.code >= 400 else 500, "", "the sandbox was told to fail")
    path = request.url.path.removeprefix(BASE)
    endpoint, values = _endpoint(request.method, path)
    store = _store(sandbox, request) if endpoint.of_project else _no_project()
    body = await _body(request)
    call = AdminCall(sandbox, store, values, dict(request.query_params), body)
    return endpoint.status, endpoint.handler(call)


def _admit(sandbox: Sandbox, request: Request) -> None:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    scope = None
    if request.headers.get("authtoken") == AUTHTOKEN:
        scope = MANAGE
    elif scheme.lower() == "bearer":
        issued = sandbox.personalize.tokens.get(bearer)
        scope = TOKENS.get(bearer) or (issued[0] if issued and sandbox.clock() < issued[1] else None)
    if scope is None:
        raise ApiError(401, "", "You're not allowed in here unless you're logged in.")
    if not sandbox.personalize.admits(sandbox.clock()):
        raise ApiError(429, "", "Too many requests")
    if request.method != "GET" and scope != MANAGE:
        raise ApiError(403, "personalize.FORBIDDEN", f"The scope {MANAGE} is required")


def _endpoint(method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
    for endpoint in (*ENDPOINTS, *TOOL_ENDPOINTS):
        values = endpoint.values(path) if endpoint.method == method else None
        if values is not None:
            return endpoint, values
    raise ApiError(404, ROUTE, f"Cannot {method} {path}")


def _no_project() -> ProjectStore:
    uid = "0" * 24
    return ProjectStore(uid, Project(project_uid=uid))


def _store(sandbox: Sandbox, request: Request) -> ProjectStore:
    uid = request.headers.get("x-project-uid", "")
    if not uid:
        raise ApiError(400, "personalize.PROJECT_UID_REQUIRED", "The header x-project-uid is required")
    project = sandbox.scenario.project(uid)
    if project is None:
        raise ApiError(404, "personalize.PROJECTS.NOT_FOUND", "Project not found")
    return store_of(sandbox, project)


async def _body(request: Request) -> Document:
    if request.method not in ("POST", "PUT"):
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(400, "personalize.CONTENT_TYPE", "Content-Type must be application/json")
    raw = await read_body(request, MAX_BODY)
    try:
        document = orjson.loads(raw) if raw is not None else None
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise ApiError(400, "personalize.BAD_REQUEST", "The body must be a JSON object")
    return document


def _token(sandbox: Sandbox, fields: dict[str, str]) -> tuple[int, Document]:
    state = sandbox.personalize
    good = fields.get("grant_type") == "refresh_token" and fields.get("client_id") == CLIENT_ID
    if not good or fields.get("refresh_token") != state.refresh_token:
        return 400, {"error": "invalid_grant", "error_description": "the refresh token is not valid"}
    state.issued += 1
    access, state.refresh_token = f"sandbox-access-{state.issued}", f"sandbox-refresh-{state.issued}"
    state.tokens[access] = (MANAGE, sandbox.clock() + LIFE_S)
    return 200, {
        "access_token": access,
        "refresh_token": state.refresh_token,
        "token_type": "Bearer",
        "expires_in": LIFE_S,
        "organization_uid": "sandbox-organization",
        "user_uid": "sandbox-user",
    }


def _record(sandbox: Sandbox, request: Request, action: str, status: int) -> None:
    """Write the ledger's entry: never a credential or a body."""
    fault: Rule | None = request.scope.get(SCOPE_KEY)
    sandbox.ledger.request(
        {
            "time": sandbox.clock(), "vendor": NAME, "action": action, "method": request.method,
            "path": request.url.path, "headers": shown_headers(dict(request.headers)), "aliases": [], "lint": [],
            "fault": fault.kind if fault else None, "answer": {"status": status, "results": []},
        }
    )  # fmt: skip


def _json(status: int, document: Any) -> Response:
    if status == 204:
        return Response(status_code=204)
    return Response(orjson.dumps(document), status, {"content-type": "application/json; charset=utf-8"})
