"""Delivery of events in few requests, and judgement of answers.

Source: Adobe Target Delivery API, "Notifications": tokens are validated all or nothing, and an answer lists the ids
of the processed ones. A notification that is not listed has to be sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flagmw.codes import ErrorCode, vendor_code
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.types import Ambiguous, Call, Dead, Delivered, Event, Flow, Outcome, Reply, Retry, Suspend
from flagmw.vendors.adobe.clusters import Clusters
from flagmw.vendors.adobe.cookies import Cookies
from flagmw.vendors.adobe.notifications import EventPart, conversion, displays
from flagmw.vendors.adobe.options import Options
from flagmw.vendors.adobe.request import MAX_MBOXES, RequestBuilder, facts
from flagmw.vendors.adobe.response import asked_mboxes, inner_status
from flagmw.vendors.common.http_status import status_fault
from flagmw.vendors.common.json import loads
from flagmw.vendors.common.outcome import unanswered

BATCH_MAX = MAX_MBOXES

# Target cannot be reached, cannot answer, or refuses us: the rest of a batch would fail in the same way.
_UNREACHABLE = frozenset(
    {
        ErrorCode.DEADLINE,
        ErrorCode.DNS,
        ErrorCode.CONNECT,
        ErrorCode.TLS,
        ErrorCode.RESET,
        ErrorCode.TRANSPORT,
        ErrorCode.HTTP_STATUS,
        ErrorCode.RATE_LIMITED,
        ErrorCode.UNAUTHORIZED,
    }
)


class EventDelivery:
    """Sends events of one account: displays as notifications, conversions as mboxes."""

    def __init__(self, options: Options, requests: RequestBuilder, cookies: Cookies, clusters: Clusters) -> None:
        self._options, self._requests, self._cookies, self._clusters = options, requests, cookies, clusters

    def deliver(self, batch: Sequence[Event]) -> Flow[list[Outcome]]:
        """Send *batch*, the events of one visitor, in order; return one outcome for each event."""
        verdicts: dict[str, list[tuple[EventPart, Outcome]]] = {event.id: [] for event in batch}
        failure: ErrorCode | None = None
        for group in _groups([part for event in batch for part in self._parts(event)]):
            if failure is None:
                judged = yield from self._send(group)
                failure = _unreachable(judged)
            else:
                judged = [(part, Retry(failure)) for part in group]  # the order must not change
            for part, verdict in judged:
                verdicts[part.event.id].append((part, verdict))
        return [_joined(event, verdicts[event.id]) for event in batch]

    def _parts(self, event: Event) -> Sequence[EventPart]:
        if event.kind == "exposure":
            return displays(event)
        given = facts(event.visit.data, {}, self._options.profile_params)
        try:
            return (conversion(event, self._options.conversions, given),)
        except ValueError:
            return ()

    def _send(self, group: Sequence[EventPart]) -> Generator[Call, Reply, list[tuple[EventPart, Outcome]]]:
        ids = "\0".join(f"{part.event.id} {part.id}" for part in group)
        request_id = hashlib.blake2b(ids.encode(), digest_size=16).hexdigest()
        bodies = [dict(part.body) for part in group]
        if group[0].kind == "mboxes":
            numbered = [{"index": index, **body} for index, body in enumerate(bodies)]
            fields: dict[str, Any] = {"execute": {"mboxes": numbered}}
        else:
            fields = {"notifications": bodies}
        try:
            reply = yield from self._ask(group[0].event, fields, request_id)
        except TransportError as error:
            return [(part, unanswered(error)) for part in group]
        if reply.status in (400, 413) and len(group) > 1:
            # One invalid part refuses all of them: single requests show which.
            judged: list[tuple[EventPart, Outcome]] = []
            failure: ErrorCode | None = None
            for part in group:
                judged += [(part, Retry(failure))] if failure is not None else (yield from self._send([part]))
                failure = failure or _unreachable(judged)
            return judged
        return [(part, _judged(reply, part, request_id)) for part in group]

    def _ask(self, event: Event, fields: Mapping[str, Any], request_id: str) -> Generator[Call, Reply, Reply]:
        """Send *fields* for the event's visitor. If a cluster fails, the account's own host is asked."""
        visit = event.visit
        known = self._cookies.read(visit.cookies, visit.now)
        session = known.session or hashlib.blake2b(event.visitor_key.encode(), digest_size=16).hexdigest()
        body = {**self._requests.body(visit, known, self._requests.facts(visit), request_id), **fields}
        edge, began = self._clusters.pick(known.edge)
        if edge is not None:
            try:
                reply = yield self._requests.call(edge, session, body)
            except TransportError as error:
                self._clusters.failed(edge, began)
                if error.sent and event.at_most_once:
                    raise
            else:
                if reply.status < 500:
                    self._clusters.answered(edge)
                    return reply
                self._clusters.failed(edge, began)
                if event.at_most_once:
                    return reply
        reply = yield self._requests.call(None, session, body)
        return reply


def _unreachable(judged: Sequence[tuple[EventPart, Outcome]]) -> ErrorCode | None:
    """Return why Target cannot be reached; None if it answered the last of *judged*."""
    verdict = judged[-1][1]
    return verdict.code if isinstance(verdict, Retry | Suspend | Ambiguous) and verdict.code in _UNREACHABLE else None


def _groups(parts: Sequence[EventPart]) -> list[list[EventPart]]:
    """Return *parts* in groups for one request each: one kind, equal ids of the visitor, no mbox twice, at most 50."""
    groups: list[list[EventPart]] = []
    for part in parts:
        last = groups[-1] if groups else []
        fits = (
            bool(last)
            and len(last) < BATCH_MAX
            and last[0].kind == part.kind
            and last[0].event.visit.cookies == part.event.visit.cookies
            and last[0].event.visit.user_id == part.event.visit.user_id
            and all(other.id != part.id for other in last)
        )
        if fits:
            last.append(part)
        else:
            groups.append([part])
    return groups


def _judged(reply: Reply, part: EventPart, request_id: str) -> Outcome:
    code, rest_s = status_fault(reply)
    if reply.status == 204:
        return Delivered()
    if code is None:
        return _listed(reply, part, request_id)
    if code is ErrorCode.UNAUTHORIZED:
        return Suspend(code)
    if reply.status == 400:
        return Dead(vendor_code(400))
    if reply.status == 420:
        return Retry(ErrorCode.RATE_LIMITED)
    if reply.status >= 500 and reply.status != 503 and part.event.at_most_once:
        return Ambiguous(code)  # Target failed after it took the request: perhaps counted
    if reply.status >= 500 or reply.status in (408, 425, 429):
        return Retry(code, rest_s)
    return Dead(code, verdict=False)


def _listed(reply: Reply, part: EventPart, request_id: str) -> Outcome:
    """Return the outcome by the ids that a success lists."""
    try:
        document = loads(reply.body)
    except ProtocolError as error:
        return Ambiguous(error.code)
    if not isinstance(document, dict) or document.get("requestId", request_id) != request_id:
        return Ambiguous(ErrorCode.PROTOCOL)
    status = inner_status(document)
    if status is not None:
        return _judged(replace(reply, status=status), part, request_id)
    if part.kind == "notifications":
        listed = document.get("notifications")
        ids = {item.get("id") for item in listed if isinstance(item, dict)} if isinstance(listed, list) else set()
        return Delivered() if part.id in ids else Retry(ErrorCode.NOT_LISTED)
    counted = next(iter(asked_mboxes(document, (part.id,))[0]), None)
    if counted is None:
        return Ambiguous(ErrorCode.SHAPE)
    experiences = {offer.tokens.get("experience.id") for offer in counted.offers} - {None}
    same = part.shown is None or not experiences or part.shown in experiences
    return Delivered(code=None if same else ErrorCode.VARIANT_CHANGED)


def _joined(event: Event, verdicts: Sequence[tuple[EventPart, Outcome]]) -> Outcome:
    """Return one outcome for all parts. Parts with a final outcome leave the row; open ones stay in it."""
    if not verdicts:
        return Dead(ErrorCode.BAD_METRIC)  # stored under other `conversions`
    open_ = [
        (part, verdict)
        for part, verdict in verdicts
        if isinstance(verdict, Retry | Suspend) or (isinstance(verdict, Ambiguous) and not event.at_most_once)
    ]
    if open_:
        first = next((verdict for _, verdict in open_ if isinstance(verdict, Suspend)), open_[0][1])
        if len(open_) == len(verdicts):
            return first
        left = tuple(alias for part, _ in open_ for alias in part.aliases)
        rest = first.after_s if isinstance(first, Retry) else None
        return Retry(first.code, rest, aliases=left)
    delivered = [verdict for _, verdict in verdicts if isinstance(verdict, Delivered)]
    if delivered:
        return replace(
            delivered[0], code=next((outcome.code for outcome in delivered if outcome.code is not None), None)
        )
    return next((verdict for _, verdict in verdicts if isinstance(verdict, Dead)), verdicts[0][1])
