"""Routes of the emulated Edge API of Contentstack Personalize.

Source: Contentstack's Personalize Edge API reference and the behaviour of its client. What those leave open is decided
here: 202 for events, 204 for attributes and merges, the codes of errors other than a project that is not found.
"""

from __future__ import annotations

import gzip
import uuid
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flagmw.sandbox.body import read_body
from flagmw.sandbox.contentstack import request as wire
from flagmw.sandbox.contentstack.audience import AudienceFacts
from flagmw.sandbox.contentstack.decide import manifest
from flagmw.sandbox.contentstack.model import Project
from flagmw.sandbox.contentstack.response import ANY_ORIGIN, named_uid, render
from flagmw.sandbox.contentstack_admin.serving import served
from flagmw.sandbox.faults import SCOPE_KEY, Rule
from flagmw.sandbox.ledger import shown_headers
from flagmw.sandbox.state import Sandbox

NAME = "contentstack"
BASE = "/contentstack"

_ROUTES = {
    "/manifest": ("GET", "manifest"),
    "/events": ("POST", "events"),
    "/user-attributes": ("PATCH", "attributes"),
    "/user-attributes/actions/merge": ("POST", "merge"),
}


def route_of(path: str) -> str | None:
    """Return "manifest", "events", "attributes" or "merge" for a path of this vendor; else None."""
    return _ROUTES.get(path.removeprefix(BASE), (None, None))[1] if path.startswith(f"{BASE}/") else None


def routes(sandbox: Sandbox) -> list[Route]:
    """Return the vendor's routes."""

    async def endpoint(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=ANY_ORIGIN)
        return await _Exchange(sandbox, request).run()

    return [Route(BASE + path, endpoint, methods=[method, "OPTIONS"]) for path, (method, _) in _ROUTES.items()]


class _Exchange:
    """One request and its answer, with their entry in the ledger."""

    def __init__(self, sandbox: Sandbox, request: Request) -> None:
        self._sandbox, self._request = sandbox, request
        self._action = route_of(request.url.path) or ""
        self._query: bytes = request.scope["query_string"]
        self._headers = dict(request.headers)
        self._fault: Rule | None = request.scope.get(SCOPE_KEY)
        self._body = b""
        self._uid: str | None = None
        self._results: list[dict[str, Any]] = []
        self._notes: list[str] = []
        self._details: dict[str, Any] = {}

    async def run(self) -> Response:
        try:
            self._body = await self._read()
            status, headers, body = self._answer()
        except wire.Refused as refused:
            status, headers = refused.status, {}
            body = orjson.dumps({"error": refused.code, "message": str(refused)})
        self._record(status)
        headers = {**ANY_ORIGIN, **headers}
        if body:
            headers.setdefault("content-type", "application/json; charset=utf-8")
        if body and "gzip" in self._headers.get("accept-encoding", "").lower():
            body, headers["content-encoding"] = gzip.compress(body, 1, mtime=0), "gzip"
        return Response(body, status, headers)

    async def _read(self) -> bytes:
        body = await read_body(self._request, wire.MAX_BODY)
        if body is None:
            raise wire.Refused(413, "personalize.TOO_LARGE", "The body is too large.")
        return body

    def _answer(self) -> tuple[int, dict[str, str], bytes]:
        if self._action == "manifest" and wire.is_robot(self._headers):
            return 403, {"content-type": "text/html"}, b"<html><body><h1>403 Forbidden</h1></body></html>"
        project = self._project()
        if self._action == "manifest":
            return self._manifest(project)
        if self._action == "events":
            self._uid = wire.user_uid(self._headers, required=True)
            self._events(project, self._uid or "", wire.items(self._body))
            return 202, {}, b""
        if self._action == "attributes":
            self._uid = wire.user_uid(self._headers, required=True)
            self._details["attributes"] = values = wire.attributes(self._body)
            unknown = self._sandbox.contentstack_visitors.store(project, self._uid or "", values)
            self._notes += [f"attributes: the project has no {key[:64]!r}" for key in unknown]
            return 204, {}, b""
        source, target = wire.merged(self._body)
        self._uid, self._details["into"] = source, target
        self._sandbox.contentstack_visitors.merge(project, source, target)
        return 204, {}, b""

    def _project(self) -> Project:
        uid = self._headers.get("x-project-uid", "")
        if not uid:
            raise wire.Refused(400, "personalize.PROJECT_UID_REQUIRED", "The header X-Project-Uid is required.")
        project = served(self._sandbox, uid)
        if project is None or (self._fault is not None and self._fault.kind == "error"):
            raise wire.Refused(404, "personalize.MANIFEST.PROJECT_NOT_FOUND", "The project was not found.")
        return project

    def _manifest(self, project: Project) -> tuple[int, dict[str, str], bytes]:
        tags, live = wire.tags(self._query), wire.live_attributes(self._headers)
        sent = wire.user_uid(self._headers, required=False)
        minted = uuid.UUID(int=self._sandbox.rng.getrandbits(128), version=4) if sent is None else None
        self._uid = uid = sent if sent is not None else str(minted)
        peer = self._request.client.host if self._request.client else ""
        facts = AudienceFacts(
            page_url=self._headers.get("x-page-url", ""),
            referrer=self._headers.get("referer", ""),
            user_agent=self._headers.get("user-agent", ""),
            ip=self._headers.get("x-forwarded-for", peer).partition(",")[0].strip(),
            now=self._sandbox.clock(),
            attributes={**self._sandbox.contentstack_visitors.attributes(project, uid), **live},
        )
        document = manifest(project, uid, facts, tags)
        self._details |= {"tags": tags, "data": live, "url": facts.page_url or None, "minted": sent is None}
        self._results = [
            {"alias": entry["shortUid"], "variation": entry["activeVariantShortUid"], "code": None}
            for entry in document["experiences"]
        ]
        return 200, {wire.USER_UID: named_uid(uid, self._fault)}, render(document, self._fault)

    def _events(self, project: Project, uid: str, items: list[dict[str, str]]) -> None:
        now = self._sandbox.clock()
        self._details["items"] = items
        for item in items:
            who = {"vendor": NAME, "project_uid": project.project_uid, "system_uid": uid, "time": now}
            if item["type"] == "IMPRESSION":
                self._impression(project, uid, item["experienceShortUid"], item["variantShortUid"], who)
            else:
                self._conversion(project, uid, item["eventKey"], who)

    def _impression(self, project: Project, uid: str, short_uid: str, variant: str, who: dict[str, Any]) -> None:
        shown = {"alias": short_uid, "variation": variant}
        self._results.append({**shown, "code": None})
        experience = project.experience(short_uid)
        if experience is None or variant not in [known.short_uid for known in experience.variants]:
            self._notes.append(f"events: no variant {variant[:64]!r} of an experience {short_uid[:64]!r}")
            return
        self._sandbox.contentstack_visitors.saw(project, uid, short_uid, variant, who["time"])
        self._sandbox.personalize.counts.impression(project, experience, variant, uid, who["time"])
        # Counted once per visitor and variant, however often it is reported.
        self._sandbox.ledger.view((NAME, project.project_uid, uid, short_uid, variant), {**shown, **who})

    def _conversion(self, project: Project, uid: str, key: str, who: dict[str, Any]) -> None:
        self._results.append({"alias": None, "metric": key, "code": None})
        if key not in project.events:
            self._notes.append(f"events: the project has no event {key[:64]!r}")
        counted = self._sandbox.contentstack_visitors.converts(project, uid, key, who["time"])
        for experience, variant in counted:
            self._sandbox.personalize.counts.conversion(project, experience, variant, uid, key, who["time"])
            conversion = {"alias": experience.short_uid, "variation": variant, "metric": key}
            self._sandbox.ledger.conversion({**conversion, **who})
        if not counted:
            # The event is received but counts for no experience.
            self._sandbox.ledger.conversion({"alias": None, "variation": None, "metric": key, **who})

    def _record(self, status: int) -> None:
        keys = [result["metric"] for result in self._results if "metric" in result]
        self._sandbox.ledger.request(
            {
                "time": self._sandbox.clock(),
                "vendor": NAME,
                "action": self._action,
                "path": self._request.url.path,
                "headers": shown_headers(self._headers),
                "project_uid": self._headers.get("x-project-uid"),
                "aliases": [result["alias"] for result in self._results if result["alias"] is not None],
                "metric": keys[0] if keys else None,
                **self._details,
                "lint": [*wire.lint(self._action, self._query, self._headers, self._body), *self._notes],
                "fault": self._fault.kind if self._fault else None,
                "answer": {"status": status, "results": self._results},
                "system_uid": self._uid,
            }
        )
