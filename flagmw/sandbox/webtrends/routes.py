"""Routes of the emulated OTS REST API (rest-1.2) of Webtrends Optimize.

Source: Webtrends OTS REST API guide. Where that is silent (which code a wrong token gets, the order of checks),
this module decides, and says so beside the line.
"""

from __future__ import annotations

import gzip
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from flagmw.sandbox.body import read_body
from flagmw.sandbox.faults import SCOPE_KEY, Rule
from flagmw.sandbox.ledger import shown_cookies, shown_headers
from flagmw.sandbox.segments import VisitFacts
from flagmw.sandbox.state import Sandbox
from flagmw.sandbox.webtrends.calls import ApiCall, Refused, control, force, track
from flagmw.sandbox.webtrends.codes import http_status
from flagmw.sandbox.webtrends.cookies import BadCookie, CookieCodec
from flagmw.sandbox.webtrends.lint import lint
from flagmw.sandbox.webtrends.model import Account
from flagmw.sandbox.webtrends.request import (
    BASE,
    MAX_BODY,
    VENDOR,
    BadTransfer,
    Malformed,
    Params,
    decode_body,
    read_fields,
    read_params,
    read_target,
)
from flagmw.sandbox.webtrends.response import Answer, Visitor, render, spoil

NAME = VENDOR


def route_of(path: str) -> str | None:
    """Return "control" or "track" for a path of this vendor (the name that fault rules use); else None."""
    return path[len(BASE) + 1 :].partition("/")[0] if path.startswith(f"{BASE}/") else None


def routes(sandbox: Sandbox) -> list[Route]:
    """Return the vendor's routes."""

    async def endpoint(request: Request) -> Response:
        return await _Exchange(sandbox, request).run()

    return [Route(f"{BASE}/{{rest:path}}", endpoint, methods=["POST"])]


class _Exchange:
    """One request and its answer, with their entry in the ledger."""

    def __init__(self, sandbox: Sandbox, request: Request) -> None:
        self._sandbox = sandbox
        self._request = request
        self._raw_path: bytes = request.scope.get("raw_path") or quote(request.url.path).encode()
        self._target = read_target(self._raw_path)
        self._headers = dict(request.headers)
        self._fault: Rule | None = request.scope.get(SCOPE_KEY)
        self._fields: Mapping[str, Any] = {}
        self._params: Params | None = None
        self._account: Account | None = None
        self._visitor: Visitor | None = None
        self._answer = Answer()
        self._results: list[dict[str, Any]] = []

    async def run(self) -> Response:
        try:
            body = decode_body(await self._read(), self._headers.get("content-encoding", "").strip().lower())
        except BadTransfer as bad:
            self._record(bad.status)
            return PlainTextResponse(f"{bad}\n", bad.status)
        try:
            self._run(body)
        except Malformed as bad:
            self._refuse(bad.code)
        except Refused as refused:
            self._refuse(refused.code, refused.about)
        self._answer.close()
        return self._respond()

    async def _read(self) -> bytes:
        body = await read_body(self._request, MAX_BODY)
        if body is None:
            raise BadTransfer(413, "the body is too large")
        return body

    def _run(self, body: bytes) -> None:
        content_type = self._headers.get("content-type", "").partition(";")[0].strip().lower()
        self._fields = read_fields(self._request.scope["query_string"], content_type, body)
        account = self._account = self._find_account()
        self._authorise(account)
        codec = self._sandbox.webtrends_keys.codec(account)
        params = self._params = read_params(self._fields, self._headers)
        visitor, mode, refused = self._meet(account, codec, params)
        log: list[str] | None = [] if params.debug else None
        # From here on the caller is trusted, so that every answer brings user and mode cookies.
        self._visitor = visitor
        self._answer = Answer(account, codec, visitor, mode, encrypted=params.encrypted, log=log)
        if refused is not None or params.malformed:
            raise refused or Refused(300)
        facts = VisitFacts(
            params.url, params.data, self._headers.get("user-agent", ""), self._ip(), params.referer or ""
        )
        note = log.append if log is not None else _ignore
        call = ApiCall(
            self._sandbox, self._target, params, facts, account, codec, visitor, mode, self._answer, note,
            self._fault, self._results,
        )  # fmt: skip
        if self._fault is not None and self._fault.kind == "error" and self._fault.alias is None:
            force(call, self._fault.code)
        elif not params.url:
            raise Refused(103)
        elif self._target.action == "track":
            track(call)
        else:
            control(call)

    def _find_account(self) -> Account:
        target = self._target
        if target.action not in ("control", "track"):
            raise Refused(202, target.action)
        if not target.guid:
            raise Refused(602)
        if not (target.domain.isascii() and target.domain.isdecimal()):
            raise Refused(604, target.domain)
        account = self._sandbox.scenario.account(int(target.domain))
        if account is None:
            raise Refused(101, target.domain)
        return account

    def _authorise(self, account: Account) -> None:
        target = self._target
        if account.blocked:
            raise Refused(207, target.domain)
        token = self._fields.get("keyToken")
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(), account.key_token.encode()):
            # Which code a wrong token gets is undocumented; these two are the ones that speak of tokens.
            sent = self._fields.get("cookies")
            if isinstance(sent, Mapping) and any(str(name).startswith("_wt.control-") for name in sent):
                raise Refused(104, target.guid)
            raise Refused(105, f"{target.domain} testAlias {','.join(target.aliases or ())}")
        if target.action == "control" and target.aliases == ():
            raise Refused(603, target.guid)

    def _meet(self, account: Account, codec: CookieCodec, params: Params) -> tuple[Visitor, str, Refused | None]:
        """Return the visitor and the mode; a new visitor and the refusal when their cookies are bad."""
        user, mode = (params.cookies.get(f"_wt.{kind}-{account.domain_id}") for kind in ("user", "mode"))
        now_ms, rng = int(self._sandbox.clock() * 1000), self._sandbox.rng
        try:
            payload = codec.open(f"_wt.user-{account.domain_id}", user) if user else None
            visitor = Visitor.meet(payload, now_ms, account.session_ms, rng)
            # Which of the two wins is undocumented: the parameter is the more deliberate one.
            return visitor, params.s_mode or (codec.read_mode(mode) if mode else "normal"), None
        except (BadCookie, ValueError):
            stranger = Visitor.meet(None, now_ms, account.session_ms, rng)
            return stranger, params.s_mode or "normal", Refused(102, str(account.domain_id))

    def _ip(self) -> str:
        peer = self._request.client.host if self._request.client else ""
        return self._headers.get("x-forwarded-for", peer).partition(",")[0].strip()

    def _refuse(self, code: int, about: str = "") -> None:
        self._answer.error(code, about)
        self._results.append({"alias": None, "code": code})

    def _respond(self) -> Response:
        elements, fault = self._answer.elements, self._fault
        if fault is not None:
            spoil(elements, fault, self._target.domain)
        status = 200
        code = elements[0]["body"].get("message", {}).get("errorCode")
        if len(elements) == 1 and code is not None and self._account is not None and self._account.http_errors:
            status = http_status(code)
        self._record(status)
        quirks = self._account is not None and self._account.sample_quirks
        body = render(elements, quirks=quirks, fault=fault.kind if fault else "")
        headers = {"content-type": "application/json;charset=UTF-8"}
        if "gzip" in self._headers.get("accept-encoding", "").lower():
            body, headers["content-encoding"] = gzip.compress(body, 1, mtime=0), "gzip"
        return Response(body, status, headers)

    def _record(self, status: int) -> None:
        target, params, query = self._target, self._params, self._request.scope["query_string"]
        uid = self._visitor.uid if self._visitor else None
        notes = lint(target, self._raw_path, query, self._headers, self._fields)
        self._sandbox.ledger.request(
            {
                "time": self._sandbox.clock(),
                "vendor": NAME,
                "action": target.action,
                "path": self._raw_path.decode("latin-1"),
                "headers": shown_headers(self._headers),
                "url": params.url if params else None,
                "s_mode": params.s_mode if params else None,
                "track": params.track if params else None,
                "aliases": list(target.aliases or ()),
                "metric": params.metric if params else None,
                "cookies": shown_cookies(params.cookies) if params else {},
                "data": dict(params.data) if params else {},
                "debug": params.debug if params else False,
                "lint": notes,
                "fault": self._fault.kind if self._fault else None,
                "answer": {"status": status, "results": self._results},
                "system_uid": uid,
            }
        )


def _ignore(line: str) -> None:
    """Take a log line nobody asked for."""
