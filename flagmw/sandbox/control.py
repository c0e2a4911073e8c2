"""The sandbox's own routes, under /__sandbox__/: ledger, faults, scenario, reset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flagmw.exceptions import ConfigError
from flagmw.sandbox.scenario import Scenario
from flagmw.sandbox.state import Sandbox

PREFIX = "/__sandbox__"
Handler = Callable[[Request], Awaitable[Any]]


def routes(sandbox: Sandbox) -> list[Route]:
    """Return the control routes; what a caller got wrong is answered 422 with {"error": text}."""

    async def health(request: Request) -> Any:
        return {"status": "ok", "scenario": sandbox.scenario.name}

    async def ledger(request: Request) -> Any:
        if request.method == "DELETE":
            sandbox.ledger.clear()
            return None
        names = ("alias", "metric", "system_uid")
        return sandbox.ledger.read(**{name: request.query_params.get(name) for name in names})

    async def faults(request: Request) -> Any:
        if request.method == "DELETE":
            sandbox.faults.replace(())
        elif request.method == "PUT":
            sandbox.faults.replace(_rules(await _json(request)))
        return {"rules": sandbox.faults.shown()}

    async def scenario(request: Request) -> Any:
        if request.method == "PUT":
            sandbox.replace(Scenario.from_mapping(await _json(request)))
        return sandbox.scenario.to_mapping()

    async def rotate_keys(request: Request) -> Any:
        wanted = await _json(request)
        domain = wanted.get("domain_id")
        if domain is not None and (not isinstance(domain, int) or sandbox.scenario.account(domain) is None):
            raise ConfigError("domain_id: no account of the scenario has it")
        sandbox.rotate_keys(domain, forget=bool(wanted.get("forget", False)))
        return None

    async def reset(request: Request) -> Any:
        sandbox.reset()
        return None

    async def redirected(request: Request) -> Any:
        sandbox.ledger.request(
            {
                "time": sandbox.clock(), "vendor": "sandbox", "action": "redirected", "path": request.url.path,
                "aliases": [], "lint": ["redirect: must not be followed"], "answer": {"status": 200, "results": []},
            }
        )  # fmt: skip
        return {"redirected": True}

    table: list[tuple[str, Handler, list[str]]] = [
        ("health", health, ["GET"]),
        ("ledger", ledger, ["GET", "DELETE"]),
        ("faults", faults, ["GET", "PUT", "DELETE"]),
        ("scenario", scenario, ["GET", "PUT"]),
        ("rotate-keys", rotate_keys, ["POST"]),
        ("reset", reset, ["POST"]),
        ("redirected", redirected, ["GET", "POST"]),
    ]
    return [Route(f"{PREFIX}/{path}", _answering(handler), methods=methods) for path, handler, methods in table]


def _answering(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    @wraps(handler)
    async def endpoint(request: Request) -> Response:
        try:
            result, status = await handler(request), 200
        except ConfigError as error:
            result, status = {"error": str(error)}, 422
        if result is None:
            return Response(status_code=204)
        return Response(orjson.dumps(result), status, media_type="application/json")

    return endpoint


async def _json(request: Request) -> dict[str, Any]:
    body = await request.body()
    try:
        parsed = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"the body is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ConfigError("the body must be a JSON object")
    return parsed


def _rules(body: dict[str, Any]) -> list[Any]:
    rules = body.get("rules")
    if not isinstance(rules, list):
        raise ConfigError('rules: send {"rules": [...]}')
    return rules
