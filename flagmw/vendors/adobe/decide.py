"""Make decisions of the Delivery API's answers: faults, whose answer it is, what is left undecided and why."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from flagmw.codes import ErrorCode, vendor_code
from flagmw.exceptions import ProtocolError
from flagmw.types import CookieChange, Decision, Reply, Variant
from flagmw.vendors.adobe import response as answers
from flagmw.vendors.adobe.cookies import bare, device_ok
from flagmw.vendors.common.http_status import status_fault
from flagmw.vendors.common.json import loads

HINT_BYTES = 4 * 1024
LOG_CHARS = 64 * 1024

# An answer has some of these, whatever it decides.
_ENVELOPE = frozenset({"status", "requestId", "client", "id", "edgeHost", "execute", "prefetch"})
_BLAMES_VISITOR = re.compile(r"tnt|session", re.IGNORECASE)
_MESSAGE_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call brought: the document, or the fault that kept it away.

    Attributes:
        ours: the fault lies in how Target is asked, or in this visitor's session, not in its health.
        blames_visitor: it says that the visitor's ids are of no use.
    """

    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    fault: ErrorCode | None = None
    retry_after_s: float | None = None
    ours: bool = False
    blames_visitor: bool = False

    @property
    def device(self) -> str | None:
        """The tntId that the answer gives, where it has the form of one."""
        ids = self.document.get("id")
        device = ids.get("tntId") if isinstance(ids, dict) else None
        return device if isinstance(device, str) and device_ok(device) else None

    @property
    def answered(self) -> bool:
        """Whether it came from Target and not from trouble on the way: refusing a visitor is an answer."""
        return self.fault is None or (self.ours and self.fault in (ErrorCode.VENDOR_400, ErrorCode.RATE_LIMITED))

    @property
    def echoed(self) -> bool:
        """Whether it names the request that it answers; `read` takes no other's."""
        return "requestId" in self.document

    @property
    def edge_host(self) -> str | None:
        host = self.document.get("edgeHost")
        return host if isinstance(host, str) else None


def read(reply: Reply, request_id: str) -> Answer:
    """Return what *reply* says; an answer to another request than *request_id* is none."""
    code, retry_after_s = status_fault(reply)
    if reply.status == 420:  # no member of `HTTPStatus`: "Too many requests with same session ID"
        return Answer(fault=ErrorCode.RATE_LIMITED, ours=True)
    if reply.status == 400:
        return Answer(fault=vendor_code(400), ours=True, blames_visitor=_blames_visitor(reply.body))
    if code is not None:
        ours = 400 <= reply.status < 500 and reply.status not in (408, 425, 429)
        return Answer(fault=code, retry_after_s=retry_after_s, ours=ours)
    try:
        document = loads(reply.body)
    except ProtocolError as error:
        return Answer(fault=error.code)
    if not isinstance(document, dict):
        return Answer(fault=ErrorCode.SHAPE)
    if document.get("requestId", request_id) != request_id:
        return Answer(fault=ErrorCode.PROTOCOL)
    if not document.keys() & _ENVELOPE:
        return Answer(fault=ErrorCode.SHAPE)
    inner = document.get("status")
    if type(inner) is int and not 200 <= inner < 300:
        return read(replace(reply, status=inner if 300 <= inner < 600 else 500), request_id)
    return Answer(document)


def _blames_visitor(body: bytes) -> bool:
    try:
        document = loads(body[: 64 * 1024])
    except ProtocolError:
        return False
    message = document.get("message") if isinstance(document, dict) else None
    return isinstance(message, str) and _BLAMES_VISITOR.search(message[:_MESSAGE_CHARS]) is not None


def is_others(answer: Answer, sent: str | None, *, merges: bool) -> bool:
    """Say whether *answer* may be another visitor's: it names another device than was sent, and not the request.

    One that names the request has a new id for a visitor whose own is not known there any more.

    Args:
        merges: an id besides the device's was sent, for which Target may join two profiles under one device.
    """
    got = answer.device
    return not merges and not answer.echoed and sent is not None and got is not None and bare(got) != bare(sent)


def settle(
    vendor: str,
    answer: Answer,
    asked: Collection[str],
    *,
    as_attributes: bool,
    cookies: tuple[CookieChange, ...] = (),
) -> Decision:
    """Return the decision that *answer* makes for the mboxes *asked*."""
    if answer.fault is not None:
        return Decision(
            vendor=vendor,
            error=answer.fault,
            trips=not answer.ours,
            retry_after_s=answer.retry_after_s,
            advice=_ADVICE.get(answer.fault) if answer.ours else None,
        )
    found, foreign = answers.boxes(answer.document, asked)
    return decision(
        vendor, found, asked, as_attributes=as_attributes, cookies=cookies, rejected=[ErrorCode.BAD_ALIAS] * foreign
    )


def decision(
    vendor: str,
    found: Sequence[answers.Box],
    asked: Iterable[str],
    *,
    as_attributes: bool,
    cookies: tuple[CookieChange, ...] = (),
    rejected: Sequence[ErrorCode] = (),
) -> Decision:
    """Return the decision that the mboxes *found* make."""
    codes = list(rejected)
    misses: dict[str, ErrorCode] = {}
    if as_attributes:
        variants, refused = answers.attributes(found, vendor)
        codes += refused
    else:
        variants = {}
        misses = dict.fromkeys(asked, ErrorCode.NOT_IN_TEST)
        for each in found:
            made = each.variant or answers.variant(each, vendor)
            if isinstance(made, Variant):
                variants[each.name] = made
            else:
                misses[each.name] = made
                if made is ErrorCode.BAD_VARIANT:
                    codes.append(made)
        misses = {name: code for name, code in misses.items() if name not in variants}
    notice = None
    if not variants:
        notice = ErrorCode.BAD_VARIANT if ErrorCode.BAD_VARIANT in codes else ErrorCode.NOT_IN_TEST
    return Decision(
        vendor=vendor,
        variants=variants,
        misses=misses,
        cookies=cookies,
        notice=notice,
        rejected=tuple(codes),
        advice=None if notice is None else _ADVICE[notice],
        log=_log(found),
        hints=_hints(found),
    )


def _hints(found: Iterable[answers.Box]) -> dict[str, Any]:
    """Return what only the page can carry out: redirects, visual changes, and what Analytics is to be told."""
    by_mbox: dict[str, Any] = {}
    for each in found:
        offers = [{"type": one.type, "content": one.content} for one in each.for_the_page]
        if not offers and not each.analytics:
            continue
        told = {"offers": offers, "analytics": each.analytics}
        small = {name: value for name, value in told.items() if value and len(orjson.dumps(value)) <= HINT_BYTES}
        if small:
            by_mbox[each.name] = small
    return {"bootstrap": by_mbox} if by_mbox else {}


def _log(found: Iterable[answers.Box]) -> str | None:
    traces = {each.name: each.trace for each in found if each.trace is not None}
    return orjson.dumps(traces).decode()[:LOG_CHARS] if traces else None


_ADVICE: dict[ErrorCode, str] = {
    ErrorCode.VENDOR_400: "Target refuses the request: compare client, property_token and params with the account",
    ErrorCode.UNAUTHORIZED: "the server at base_url refuses us: compare base_url and client with the account",
    ErrorCode.HTTP_STATUS: "the server at base_url refuses the request: compare base_url and client with the account",
    ErrorCode.RATE_LIMITED: "too many requests of one session at once: leave paths without flags out with exclude=",
    ErrorCode.NOT_IN_TEST: (
        "no activity matched: compare mboxes and property_token with the activities; a property that is missing or "
        "another one's is answered like this too"
    ),
    ErrorCode.BAD_VARIANT: (
        "no offer can be a flag: use JSON or HTML offers, and switch the response token experience.name on in Target"
    ),
}
