"""Route of the emulated Engine API of Monetate.

Source: developer.monetate.com, "Engine API". Only 200 and 400 are documented; the other statuses are this module's.
"""

from __future__ import annotations

import gzip
import hashlib
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from flagmw.sandbox.body import read_body
from flagmw.sandbox.faults import SCOPE_KEY, Rule
from flagmw.sandbox.ledger import shown_cookies, shown_headers
from flagmw.sandbox.monetate.decide import DecisionEvent, ShownAction, decide, open_token, situation
from flagmw.sandbox.monetate.lint import lint
from flagmw.sandbox.monetate.model import Retailer
from flagmw.sandbox.monetate.request import MAX_BODY, EngineRequest, Refused, read
from flagmw.sandbox.monetate.response import document, render
from flagmw.sandbox.monetate_admin import routes as management
from flagmw.sandbox.state import Sandbox

NAME = "monetate"
BASE = "/api/engine/v1"

_DECISIONS = ("decision:DecisionRequest", "decision:ServerSideRequest", "decision:PersonalizationFlagRequest")


def route_of(path: str) -> str | None:
    """Return the name of a path of this vendor, as fault rules use it; else None.

    The management APIs have names of their own: "auth", "metadata", "data".
    """
    return "decide" if path.startswith(f"{BASE}/decide/") else management.route_of(path)


def routes(sandbox: Sandbox) -> list[Route]:
    """Return the vendor's routes."""

    async def endpoint(request: Request) -> Response:
        body = await read_body(request, MAX_BODY)
        if body is None:
            return PlainTextResponse("the body is too large\n", 413)
        return _Exchange(sandbox, request).run(body)

    return [Route(f"{BASE}/decide/{{retailer}}", endpoint, methods=["POST"]), *management.routes(sandbox)]


class _Exchange:
    """One request and its answer; also what the ledger is sent about both."""

    def __init__(self, sandbox: Sandbox, request: Request) -> None:
        self._sandbox = sandbox
        self._request = request
        self._headers = dict(request.headers)
        self._fault: Rule | None = request.scope.get(SCOPE_KEY)
        self._request_body: EngineRequest | None = None
        self._visitor = ""
        self._minted = False
        self._results: list[dict[str, Any]] = []
        self._warnings: list[dict[str, str]] = []

    def run(self, body: bytes) -> Response:
        try:
            retailer = self._find_retailer()
            sent = self._request_body = read(body)
            if sent.channel != retailer.channel:
                raise Refused("is none of this retailer's", "channel")
            if self._fault is not None and self._fault.kind == "error":
                return self._respond(self._fault.code, errors=[{"message": "the engine failed, as was asked for"}])
            self._meet(sent)
            responses = self._decide(retailer, sent)
            self._record(retailer, sent)
        except Refused as refused:
            error = {"message": str(refused), **({"field": refused.where} if refused.where else {})}
            return self._respond(refused.status, errors=[error])
        return self._respond(200, responses)

    def _find_retailer(self) -> Retailer:
        name = self._request.path_params["retailer"]
        retailer = next((known for known in self._sandbox.scenario.monetate if known.retailer == name), None)
        if retailer is None:
            raise Refused(f"no retailer is named {name}", status=404)
        return retailer

    def _meet(self, sent: EngineRequest) -> None:
        """Note who is asking; a visitor without any id gets one."""
        # Which of the two wins when both are sent is undocumented; the vendor's own client sends only this one then.
        known = sent.device_id or sent.monetate_id
        self._minted = known is None
        self._visitor = known or f"2.{self._sandbox.rng.randrange(1 << 31)}.{int(self._sandbox.clock() * 1000)}"
        self._warnings += [dict(warning) for warning in sent.warnings]

    # What the engine does

    def _decide(self, retailer: Retailer, sent: EngineRequest) -> list[dict[str, Any]]:
        peer = self._request.client.host if self._request.client else ""
        facts = situation(sent.of, peer)
        responses = []
        for kind, event in sent.events:
            if kind not in _DECISIONS:
                continue
            question = DecisionEvent(
                self._visitor,
                facts,
                slots=event.get("slots") or event.get("filters") or (),
                action_types=event.get("actionTypes") or (),
                reporting=event.get("includeReporting", False),
                managed=event.get("manageImpressions", False),
                preview=sent.preview,
            )
            actions = decide(retailer, question)
            for shown in actions:
                self._note(shown)
            responses.append({"requestId": event["requestId"], "actions": [shown.action for shown in actions]})
        return responses

    def _note(self, shown: ShownAction) -> None:
        self._results.append({**shown.impression, "code": None})
        if not shown.managed:
            self._view(shown.impression, managed=False)

    def _view(self, impression: dict[str, Any], *, managed: bool) -> None:
        # Every impression counts, repeats too: nothing in the protocol tells one from another.
        self._sandbox.ledger.view(object(), {**self._entry(), **impression, "managed": managed})

    def _record(self, retailer: Retailer, sent: EngineRequest) -> None:
        by_id = {experience.id: experience for experience in retailer.experiences}
        for text in (token for event in sent.of("record:Impressions") for token in event["impressionIds"]):
            opened = open_token(text, self._visitor)
            experience = by_id.get(opened[0]) if opened else None
            if opened is None or experience is None:
                self._warnings.append({"message": "unknown impressionId"})
                continue
            label = opened[1]
            known = label in [variant.label for variant in experience.variants]
            impression = {"alias": experience.alias, "experience_id": experience.id, "variation": label}
            self._view({**impression, "control": not known}, managed=True)
        for key in (name for event in sent.of("record:PageEvents") for name in event["pageEvents"]):
            if retailer.page_events and key not in retailer.page_events:
                self._warnings.append({"message": "unknown page event"})
                continue
            self._convert(key, {})
        for event in sent.of("context:Purchase"):
            lines = event["purchaseLines"]
            self._convert("purchase", {"purchase_id": event["purchaseId"], "lines": lines})

    def _convert(self, metric: str, details: dict[str, Any]) -> None:
        self._sandbox.ledger.conversion({**self._entry(), "alias": None, "metric": metric, **details})

    def _entry(self) -> dict[str, Any]:
        return {"vendor": NAME, "time": self._sandbox.clock(), "system_uid": _short(self._visitor)}

    # How it answers

    def _respond(
        self, code: int, responses: list[dict[str, Any]] | None = None, *, errors: list[dict[str, str]] | None = None
    ) -> Response:
        fault = self._fault
        answer = document(code, responses or [], errors or [], self._warnings, self._visitor if self._minted else None)
        # A failure on demand comes in a success, unless a status is named: the body is what a client has to look at.
        status = (fault.status or 200) if fault is not None and fault.kind == "error" else code
        self._log(status, code)
        body = render(answer, fault)
        headers = {"content-type": "application/json"}
        if "gzip" in self._headers.get("accept-encoding", "").lower():
            body, headers["content-encoding"] = gzip.compress(body, 1, mtime=0), "gzip"
        return Response(body, status, headers)

    def _log(self, status: int, code: int) -> None:
        answer = {"status": status, "code": code, "results": self._results, "warnings": self._warnings}
        self._sandbox.ledger.request(
            {
                **self._entry(),
                "action": "decide",
                "path": self._request.scope.get("raw_path", quote(self._request.url.path).encode()).decode("latin-1"),
                "headers": shown_headers(self._headers),
                "aliases": [],
                **(_shown(self._request_body) if self._request_body is not None else {}),
                "lint": lint(self._request_body, self._headers),
                "fault": self._fault.kind if self._fault else None,
                "answer": answer,
            }
        )


def _shown(sent: EngineRequest) -> dict[str, Any]:
    """Return the ledger's entry of a request that could be read."""
    ids = {"deviceId": sent.device_id, "mt.v": sent.monetate_id, "customerId": sent.customer_id}
    recorded = [key for event in sent.of("record:PageEvents") for key in event["pageEvents"]]
    bought = ["purchase" for _ in sent.of("context:Purchase")]
    return {
        "action": "decide" if any(kind in _DECISIONS for kind, _ in sent.events) else "record",
        "url": next((event.get("url") for event in sent.of("context:PageView")), None),
        "metric": next(iter([*recorded, *bought]), None),
        "cookies": shown_cookies({name: value for name, value in ids.items() if value}),
        "events": [{**event, "eventType": kind} for kind, event in sent.events],
    }


def _short(visitor: str) -> str | None:
    """Return the ledger's name of a visitor: enough to tell one from another, and no id."""
    return hashlib.sha256(visitor.encode()).hexdigest()[:12] if visitor else None
