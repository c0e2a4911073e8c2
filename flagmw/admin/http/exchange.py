"""Sending one request: limit, credentials, repeats, errors, notes."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flagmw.admin.auth.source import TokenSource
from flagmw.admin.auth.token import Token
from flagmw.admin.errors import AdminError, AuthError
from flagmw.admin.flow.effects import Flow, Send, Sleep
from flagmw.admin.http.call import FileCall
from flagmw.admin.http.fault import Fault, FaultReader, cleaned, error_of, unanswered, unreadable
from flagmw.admin.http.notes import CallNote
from flagmw.admin.http.planned import Planned, PlannedRequest, masked_url
from flagmw.admin.http.request import ApiRequest
from flagmw.admin.limits.window import Limiter, Unlimited
from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.types import Call, Reply
from flagmw.vendors.common.http_status import retry_after
from flagmw.vendors.common.json import loads

# Bytes in a second.
SLOWEST_UPLOAD = 250_000.0

logger = logging.getLogger("flagmw.admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How calls are made.

    Attributes:
        timeout_s: how long one call may take, in seconds.
        attempts: how often a call that may be repeated is made at most.
        max_wait_s: how long a call may wait for the limit, or for a vendor that throttles, in seconds.
        throttle_s: how long a vendor is left alone that throttles and does not say for how long.
        limit_statuses: with which the vendor says that there were too many calls.
        repeat_post: whether a POST is sent again after a 429, like GET, PUT and DELETE.
        max_answer_bytes: how large an answer may be, decompressed.
    """

    timeout_s: float = 60.0
    attempts: int = 3
    max_wait_s: float = 600.0
    throttle_s: float = 60.0
    limit_statuses: frozenset[int] = frozenset({429})
    repeat_post: bool = False
    max_answer_bytes: int = 64 << 20


class Exchange:
    """Makes the calls of one client. Holds no connection: its flows are run by a driver.

    Args:
        vendor: for notes and logs.
        faults: reads the vendor's error answers.
        auth: credentials; None for calls that carry none.
        limiter: decides when a call may be made.
        on_call: is told of every call; an exception in it is logged and has no other effect.
        rng: returns numbers from 0 to 1, for the back-off.
    """

    def __init__(
        self,
        vendor: str,
        faults: FaultReader,
        auth: TokenSource | None,
        *,
        policy: Policy | None = None,
        limiter: Limiter | None = None,
        on_call: Callable[[CallNote], object] | None = None,
        rng: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.vendor, self.faults, self.auth = vendor, faults, auth
        self.policy = policy or Policy()
        self.limiter: Limiter = limiter or Unlimited()
        self._on_call, self._rng, self._clock = on_call, rng, clock

    def plan(self, request: ApiRequest) -> PlannedRequest:
        """Return *request* as a dry run shows it; no token is obtained."""
        headers = self.auth.planned_headers() if self.auth else {}
        return PlannedRequest.of(request.operation, _with(request.call, headers), request.cost)

    def stop(self, request: ApiRequest) -> None:
        """End the operation of a dry run with *request*."""
        raise Planned(self.plan(request))

    def json(self, request: ApiRequest) -> Flow[Any]:
        """Send *request* and return the JSON of its answer; None for an answer without a body."""
        reply = yield from self.send(request)
        return self.read(request, reply)

    def read(self, request: ApiRequest, reply: Reply) -> Any:
        """Return the JSON in *reply*; None without a body.

        Raises:
            AnswerError, AmbiguousError: it is no JSON.
        """
        if not reply.body:
            return None
        try:
            return loads(reply.body)
        except ProtocolError:
            html = reply.body.lstrip()[:1] == b"<"
            what = "the answer is a page of HTML" if html else "the answer is not JSON or was cut"
            raise unreadable(request, reply, what) from None

    def send(self, request: ApiRequest) -> Flow[Reply]:
        """Send *request*, again where that is safe, and return the successful answer.

        Raises:
            AdminError: it failed; the class says how.
        """
        attempt, renewals, give_up_at = 0, 0, self._clock() + self.policy.max_wait_s
        refused: Token | None = None
        error: AdminError | None = None
        while True:
            attempt += 1
            try:
                waited = yield from self.limiter.acquire(request.cost, self.policy.max_wait_s)
            except AdminError as trouble:
                trouble.operation = request.operation
                raise
            try:
                token = (yield from self.auth.current(self.ask, refused)) if self.auth else None
            except AuthError as trouble:
                if error is None:
                    raise
                # No other token can be had: the vendor's answer to the last one says why.
                raise _explained(trouble, error) from None
            reply: Reply | None = None
            failure: TransportError | None = None
            begun = self._clock()
            try:
                call = _with(request.call, self.auth.headers(token) if self.auth and token else {})
                reply = yield Send(call, self._timeout_s(call), self.policy.max_answer_bytes)
            except TransportError as trouble:
                failure = trouble
            elapsed = self._clock() - begun
            if reply is not None and 200 <= reply.status < 300:
                self._note(request, reply, Fault(request_id=self.faults(reply).request_id), attempt, elapsed, waited)
                return reply
            fault = cleaned(self.faults(reply), token.value if token else "") if reply is not None else Fault()
            rest = self._rest(request, reply, failure, attempt - renewals)
            if reply is not None and reply.status == 401 and token is not None and refused is None:
                refused, rest, renewals = token, 0.0, 1
            seconds = self._throttle_s(reply)
            if rest is not None and self._clock() + rest > give_up_at:
                rest = None
            if reply is not None:
                error = error_of(request, reply, fault, seconds, self.policy.limit_statuses)
            else:
                error = unanswered(request, failure or TransportError(ErrorCode.TRANSPORT))
            self._note(request, reply, fault, attempt, elapsed, waited, error, rest)
            if rest is None:
                raise error
            if rest:
                yield Sleep(rest)

    def ask(self, request: ApiRequest) -> Flow[Reply]:
        """Send a call of a token source: no credentials, no limit, again while the service fails.

        Whatever the last answer's status is, it is returned: the source knows what it means.
        """
        attempt = 0
        while True:
            attempt += 1
            begun, error = self._clock(), None
            reply: Reply | None = None
            try:
                reply = yield Send(request.call, self.policy.timeout_s, self.policy.max_answer_bytes)
            except TransportError as failure:
                error = unanswered(replace(request, changes=False), failure)
            again = (reply is None or reply.status >= 500) and attempt < self.policy.attempts
            rest = self._back_off(attempt) if again else None
            self._note(request, reply, Fault(), attempt, self._clock() - begun, 0.0, error, rest)
            if rest is not None:
                yield Sleep(rest)
            elif error is not None:
                raise error
            elif reply is not None:
                return reply

    def _timeout_s(self, call: Call) -> float:
        """Return how long *call* may take; an upload gets the time that two megabits a second take besides."""
        upload = int(call.headers.get("Content-Length", "0")) if isinstance(call, FileCall) else 0
        return self.policy.timeout_s + upload / SLOWEST_UPLOAD

    def _throttle_s(self, reply: Reply | None) -> float:
        asked = retry_after(reply) if reply is not None else None
        return self.policy.throttle_s if asked is None else asked

    def _rest(
        self, request: ApiRequest, reply: Reply | None, failure: TransportError | None, attempt: int
    ) -> float | None:
        """Return after how many seconds the call is made again, None if it is not."""
        if attempt >= self.policy.attempts:
            return None
        if reply is None:
            if failure is None or failure.code is ErrorCode.TOO_LARGE or (failure.sent and request.changes):
                return None
            return self._back_off(attempt)
        if reply.status == 429:
            return self._throttle_s(reply) if self._may_repeat_throttled(request) else None
        if request.changes or reply.status not in (500, 502, 503, 504):
            return None
        if reply.status in self.policy.limit_statuses:
            return self._throttle_s(reply)
        return self._back_off(attempt)

    def _may_repeat_throttled(self, request: ApiRequest) -> bool:
        return request.repeat_throttled and (self.policy.repeat_post or request.call.method != "POST")

    def _back_off(self, attempt: int) -> float:
        return self._rng() * min(30.0, 2.0**attempt)

    def _note(
        self,
        request: ApiRequest,
        reply: Reply | None,
        fault: Fault,
        attempt: int,
        elapsed_s: float,
        waited_s: float,
        error: AdminError | None = None,
        repeat_in_s: float | None = None,
    ) -> None:
        note = CallNote(
            vendor=self.vendor,
            operation=request.operation,
            method=request.call.method,
            template=request.template,
            url=masked_url(request.call.url),
            status=None if reply is None else reply.status,
            attempt=attempt,
            elapsed_s=elapsed_s,
            waited_s=waited_s,
            request_id=fault.request_id,
            error=None if error is None else type(error).__name__,
            repeat_in_s=repeat_in_s,
        )
        level = logging.DEBUG if repeat_in_s is None else logging.WARNING
        logger.log(
            level,
            "%s %s status=%s attempt=%d repeat_in_s=%s",
            self.vendor, note.operation or note.template, note.status, attempt,
            None if repeat_in_s is None else round(repeat_in_s, 1),
        )  # fmt: skip
        if self._on_call is not None:
            try:
                self._on_call(note)
            except Exception as trouble:
                logger.warning("on_call failed: %s", type(trouble).__name__)


def _explained(trouble: AuthError, refusal: AdminError) -> AuthError:
    """Return *trouble* with what the vendor said when it refused the token."""
    says = f"{trouble.args[0]}; {refusal.args[0]}"
    return AuthError(
        says,
        operation=refusal.operation,
        status=refusal.status,
        code=refusal.code,
        request_id=refusal.request_id,
    )


def _with(call: Call, headers: Mapping[str, str]) -> Call:
    return replace(call, headers={**call.headers, **headers}) if headers else call
