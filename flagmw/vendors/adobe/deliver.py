"""Deliver events to the Delivery API, as many as possible in one request, and judge what became of each.

Source: Adobe Target Delivery API, "Notifications": tokens are validated all or nothing, and an answer lists the ids
of those processed; what it does not list has to be sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flagmw.codes import ErrorCode, vendor_code
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.types import Ambiguous, Call, Dead, Delivered, Event, Outcome, Reply, Retry, Suspend
from flagmw.vendors.adobe.notifications import Said
from flagmw.vendors.adobe.request import MAX_MBOXES
from flagmw.vendors.adobe.response import boxes
from flagmw.vendors.common.http_status import status_fault
from flagmw.vendors.common.json import loads
from flagmw.vendors.common.outcome import unanswered

BATCH_MAX = MAX_MBOXES

# Nobody there, in no state to answer, or refusing us: what comes next in a batch would fare no better.
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

Ask = Callable[[Event, Mapping[str, Any], str], Generator[Call, Reply, Reply]]


def deliver(
    batch: Sequence[Event], say: Callable[[Event], Sequence[Said]], ask: Ask
) -> Generator[Call, Reply, list[Outcome]]:
    """Tell Target of *batch*, the events of one visitor in their order; return an outcome for each.

    Args:
        say: what an event is in Target's terms.
        ask: sends a body's fields under a request id, on behalf of an event's visitor.
    """
    verdicts: dict[str, list[tuple[Said, Outcome]]] = {event.id: [] for event in batch}
    gone: ErrorCode | None = None
    for group in _groups([said for event in batch for said in say(event)]):
        if gone is None:
            judged = yield from _send(group, ask)
            gone = _unreachable(judged)
        else:
            judged = [(said, Retry(gone)) for said in group]  # the order has to hold
        for said, verdict in judged:
            verdicts[said.event.id].append((said, verdict))
    return [_together(event, verdicts[event.id]) for event in batch]


def _unreachable(judged: Sequence[tuple[Said, Outcome]]) -> ErrorCode | None:
    """Return why nobody is there just now, None where somebody answered the last of *judged*."""
    verdict = judged[-1][1]
    return verdict.code if isinstance(verdict, Retry | Suspend | Ambiguous) and verdict.code in _UNREACHABLE else None


def _groups(said: Sequence[Said]) -> list[list[Said]]:
    """Return what can go out together: of one kind, on behalf of the same ids, no mbox twice, at most 50."""
    groups: list[list[Said]] = []
    for one in said:
        last = groups[-1] if groups else []
        fits = (
            bool(last)
            and len(last) < BATCH_MAX
            and last[0].kind == one.kind
            and last[0].event.visit.cookies == one.event.visit.cookies
            and last[0].event.visit.user_id == one.event.visit.user_id
            and all(other.id != one.id for other in last)
        )
        if fits:
            last.append(one)
        else:
            groups.append([one])
    return groups


def _send(group: Sequence[Said], ask: Ask) -> Generator[Call, Reply, list[tuple[Said, Outcome]]]:
    request_id = hashlib.blake2b("\0".join(f"{s.event.id} {s.id}" for s in group).encode(), digest_size=16).hexdigest()
    said = [dict(one.body) for one in group]
    if group[0].kind == "mboxes":
        fields: dict[str, Any] = {"execute": {"mboxes": [{"index": n, **body} for n, body in enumerate(said)]}}
    else:
        fields = {"notifications": said}
    try:
        reply = yield from ask(group[0].event, fields, request_id)
    except TransportError as error:
        return [(one, unanswered(error)) for one in group]
    if reply.status in (400, 413) and len(group) > 1:
        # One that is bad refuses them all: each on its own shows which.
        judged: list[tuple[Said, Outcome]] = []
        gone: ErrorCode | None = None
        for one in group:
            judged += [(one, Retry(gone))] if gone is not None else (yield from _send([one], ask))
            gone = gone or _unreachable(judged)
        return judged
    return [(one, _judge(reply, one, request_id)) for one in group]


def _judge(reply: Reply, said: Said, request_id: str) -> Outcome:
    code, rest_s = status_fault(reply)
    if reply.status == 204:
        return Delivered()
    if code is None:
        return _listed(reply, said, request_id)
    if code is ErrorCode.UNAUTHORIZED:
        return Suspend(code)
    if reply.status == 400:
        return Dead(vendor_code(400))
    if reply.status == 420:
        return Retry(ErrorCode.RATE_LIMITED)
    if reply.status >= 500 and reply.status != 503 and said.event.at_most_once:
        return Ambiguous(code)  # it broke somewhere behind the door: perhaps counted
    if reply.status >= 500 or reply.status in (408, 425, 429):
        return Retry(code, rest_s)
    return Dead(code, verdict=False)


def _listed(reply: Reply, said: Said, request_id: str) -> Outcome:
    """Judge a success by what it lists."""
    try:
        document = loads(reply.body)
    except ProtocolError as error:
        return Ambiguous(error.code)
    if not isinstance(document, dict) or document.get("requestId", request_id) != request_id:
        return Ambiguous(ErrorCode.PROTOCOL)
    if said.kind == "notifications":
        listed = document.get("notifications")
        ids = {one.get("id") for one in listed if isinstance(one, dict)} if isinstance(listed, list) else set()
        return Delivered() if said.id in ids else Retry(ErrorCode.NOT_LISTED)
    counted = next(iter(boxes(document, (said.id,))[0]), None)
    if counted is None:
        return Ambiguous(ErrorCode.SHAPE)
    experiences = {offer.tokens.get("experience.id") for offer in counted.offers} - {None}
    same = said.shown is None or not experiences or said.shown in experiences
    return Delivered(code=None if same else ErrorCode.VARIANT_CHANGED)


def _together(event: Event, verdicts: Sequence[tuple[Said, Outcome]]) -> Outcome:
    """Make one outcome of an event's parts: what is settled leaves the row, what is open stays in it."""
    if not verdicts:
        return Dead(ErrorCode.BAD_METRIC)  # of a time when `conversions` was another
    open_ = [
        (said, verdict)
        for said, verdict in verdicts
        if isinstance(verdict, Retry | Suspend) or (isinstance(verdict, Ambiguous) and not event.at_most_once)
    ]
    if open_:
        first = next((verdict for _, verdict in open_ if isinstance(verdict, Suspend)), open_[0][1])
        if len(open_) == len(verdicts):
            return first
        left = tuple(alias for said, _ in open_ for alias in said.aliases)
        rest = first.after_s if isinstance(first, Retry) else None
        return Retry(first.code, rest, aliases=left)
    delivered = [verdict for _, verdict in verdicts if isinstance(verdict, Delivered)]
    if delivered:
        return replace(delivered[0], code=next((one.code for one in delivered if one.code is not None), None))
    return next((verdict for _, verdict in verdicts if isinstance(verdict, Dead)), verdicts[0][1])
