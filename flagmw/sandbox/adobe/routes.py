"""Routes of the emulated Adobe Target: Delivery API and rule artifact.

Source: Adobe Target developer guide ("Delivery API", "On-device decisioning") and Adobe's OpenAPI file. What those
leave open is decided here as the vendor's own clients show it.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flagmw.sandbox.adobe.decide import artifact
from flagmw.sandbox.adobe.model import TargetAccount
from flagmw.sandbox.adobe.request import MAX_BODY, VENDOR, DeliveryRequest, Refused, read_delivery
from flagmw.sandbox.adobe.response import DeliveryExchange
from flagmw.sandbox.adobe_admin import routes as management
from flagmw.sandbox.adobe_admin.serving import served
from flagmw.sandbox.body import read_body
from flagmw.sandbox.faults import SCOPE_KEY, Rule
from flagmw.sandbox.ledger import shown_headers
from flagmw.sandbox.state import Sandbox

NAME = VENDOR
DELIVERY = "/rest/v1/delivery"
ASSETS = "/adobe-assets"
_RULES = re.compile(
    rf"{ASSETS}/([A-Za-z0-9-]+)/(production|staging|development)/v1/(?:([0-9A-Fa-f-]{{36}})/)?rules\.json"
)
_MESSAGES = {420: "Too many requests with same session ID", 413: "Request entity too large"}


def route_of(path: str) -> str | None:
    """Return "delivery", "artifact" or the like for a path of this vendor (the name that fault rules use); else None.

    The management APIs have names of their own: "admin", "ims", "profiles".
    """
    if path == DELIVERY:
        return "delivery"
    return "artifact" if path.startswith(f"{ASSETS}/") else management.route_of(path)


def routes(sandbox: Sandbox) -> list[Route]:
    """Return the vendor's routes."""

    async def delivery(request: Request) -> Response:
        return await _Delivery(sandbox, request).run()

    async def rules(request: Request) -> Response:
        return _artifact(sandbox, request)

    return [
        Route(DELIVERY, delivery, methods=["POST"]),
        Route(f"{ASSETS}/{{rest:path}}", rules, methods=["GET"]),
        *management.routes(sandbox),
    ]


class _Delivery:
    """One request and its answer, with their entry in the ledger."""

    def __init__(self, sandbox: Sandbox, request: Request) -> None:
        self._sandbox, self._request = sandbox, request
        self._fault: Rule | None = request.scope.get(SCOPE_KEY)
        self._delivery: DeliveryRequest | None = None
        self._exchange: DeliveryExchange | None = None

    async def run(self) -> Response:
        try:
            body = await self._read()
            delivery = self._delivery = read_delivery(self._request.scope["query_string"], body)
            account = served(self._sandbox, self._account(delivery))
            with self._sandbox.adobe_visitors.at_work(account.client, delivery.session) as now:
                await asyncio.sleep(account.latency_ms / 1000)
                if now > account.max_per_session:
                    raise Refused(_MESSAGES[420], 420)
                return self._answered(account, delivery)
        except Refused as refused:
            return self._respond(refused.status, {"status": refused.status, "message": str(refused)})

    def _answered(self, account: TargetAccount, delivery: DeliveryRequest) -> Response:
        fault = self._fault
        if fault is not None and fault.kind == "error" and fault.alias is None:
            raise Refused(_MESSAGES.get(fault.code, "a fault rule asks for this failure"), fault.code)
        self._exchange = DeliveryExchange(self._sandbox, account, delivery, fault)
        answer = self._exchange.answer()
        if delivery.context.get("beacon") is True:
            return self._respond(204, None)
        if fault is not None:
            _spoil(answer, fault)
        return self._respond(200, answer)

    async def _read(self) -> bytes:
        body = await read_body(self._request, MAX_BODY)
        if body is None:
            raise Refused(_MESSAGES[413], 413)
        return body

    def _account(self, delivery: DeliveryRequest) -> TargetAccount:
        """Return the account: by client code, else by organization, else by the host's first label."""
        host = self._request.headers.get("host", "").partition(".")[0]
        for account in self._sandbox.scenario.adobe:
            if account.client == (delivery.client or host):
                return account
            if delivery.client is None and delivery.org_id is not None and account.org_id == delivery.org_id:
                return account
        raise Refused("client is unknown")

    def _respond(self, status: int, document: dict[str, Any] | None) -> Response:
        self._record(status)
        if document is None:
            return Response(status_code=status)
        body = orjson.dumps(document)
        if self._fault is not None and self._fault.kind == "trailing_comma":
            body = body[:-1] + b",}"
        if self._fault is not None and self._fault.kind == "comments":
            body = b"/* an answer */\n" + body
        headers = {"content-type": "application/json;charset=UTF-8"}
        if "gzip" in self._request.headers.get("accept-encoding", "").lower():
            body, headers["content-encoding"] = gzip.compress(body, 1, mtime=0), "gzip"
        return Response(body, status, headers)

    def _record(self, status: int) -> None:
        delivery, exchange = self._delivery, self._exchange
        body = delivery.body if delivery else {}
        self._sandbox.ledger.request(
            {
                "time": self._sandbox.clock(),
                "vendor": NAME,
                "action": "delivery",
                "path": self._request.url.path,
                "headers": shown_headers(dict(self._request.headers)),
                "sdk": self._request.headers.get("x-exc-sdk"),
                "session": delivery.session if delivery else None,
                "aliases": [wanted.name for wanted in delivery.wanted] if delivery else [],
                "sections": sorted({wanted.section for wanted in delivery.wanted}) if delivery else [],
                "notifications": [notification["id"] for notification in delivery.notifications] if delivery else [],
                "context": body.get("context"),
                "lint": [],
                "fault": self._fault.kind if self._fault else None,
                "answer": {"status": status, "results": exchange.results if exchange else []},
                "system_uid": exchange.device if exchange else None,
            }
        )


def _spoil(answer: dict[str, Any], fault: Rule) -> None:
    """Put a fault's ids into an answer."""
    if fault.kind == "huge_cookie":
        answer["id"]["tntId"] = answer["id"]["tntId"].ljust(fault.size(), "a")
    elif fault.kind == "bad_cookie":
        value = "x; Domain=evil.test\r\nX-Evil: 1" if fault.value is None else fault.value
        if fault.name == "edgeHost":
            answer["edgeHost"] = value
        else:
            answer["id"]["tntId"] = value


def _artifact(sandbox: Sandbox, request: Request) -> Response:
    """Answer with the rules, or 304 for those that the caller has; what is not there is 403, as on such networks."""
    match = _RULES.fullmatch(request.url.path)
    account = next((known for known in sandbox.scenario.adobe if match and known.client == match[1]), None)
    status, body, etag = 403, b"", ""
    if match is not None and account is not None:
        body = orjson.dumps(artifact(served(sandbox, account), match[3]))
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        status = 304 if request.headers.get("if-none-match") == etag else 200
    sandbox.ledger.request(
        {
            "time": sandbox.clock(), "vendor": NAME, "action": "artifact", "path": request.url.path,
            "headers": shown_headers(dict(request.headers)), "aliases": [], "lint": [],
            "answer": {"status": status, "results": []},
        }
    )  # fmt: skip
    headers = {"etag": etag, "content-type": "application/json"} if etag else {}
    return Response(body if status == 200 else b"", status, headers)
