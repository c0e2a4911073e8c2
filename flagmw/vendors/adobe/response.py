"""Parser of answers of the Delivery API."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flagmw.codes import ErrorCode, vendor_code
from flagmw.exceptions import ProtocolError
from flagmw.types import Reply, Variant
from flagmw.vendors.adobe.cookies import device_ok
from flagmw.vendors.adobe.request import PAGE_LOAD
from flagmw.vendors.common.http_status import refuses_request, status_fault
from flagmw.vendors.common.json import loads
from flagmw.vendors.common.values import object_or_empty, objects_in

IDS = 60
# More than any answer has; the rest is left out.
BOXES, OPTIONS = 200, 400
ID_CHARS = 1024
STATE_CHARS = 8 * 1024

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FLAG_TYPES = ("html", "json")


# Every answer has at least one of these fields.
_ENVELOPE = frozenset({"status", "requestId", "client", "id", "edgeHost", "execute", "prefetch"})
_BLAMES_VISITOR = re.compile(r"tnt|session", re.IGNORECASE)
_MESSAGE_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """The content of one answer: the document, or the error that replaces it.

    Attributes:
        request_refused: the fault lies in the request or in this visitor's session, not in Target's health.
        blames_visitor: Target cannot use the visitor's ids.
    """

    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    fault: ErrorCode | None = None
    retry_after_s: float | None = None
    request_refused: bool = False
    blames_visitor: bool = False

    @property
    def device(self) -> str | None:
        """The tntId of the answer; None if there is none or it is malformed."""
        ids = self.document.get("id")
        device = ids.get("tntId") if isinstance(ids, dict) else None
        return device if isinstance(device, str) and device_ok(device) else None

    @property
    def answered(self) -> bool:
        """Whether it came from Target and not from a failure on the way: a refused visitor is an answer."""
        return self.fault is None or (
            self.request_refused and self.fault in (ErrorCode.VENDOR_400, ErrorCode.RATE_LIMITED)
        )

    @property
    def echoed(self) -> bool:
        """Whether it names the request; `read_answer` takes no answer to another one."""
        return "requestId" in self.document

    @property
    def edge_host(self) -> str | None:
        """The host that the answer names for the next calls."""
        host = self.document.get("edgeHost")
        return host if isinstance(host, str) else None


def read_answer(reply: Reply, request_id: str) -> Answer:
    """Return the content of *reply*. An answer to another request than *request_id* is a fault."""
    code, retry_after_s = status_fault(reply)
    if reply.status == 420:  # no member of `HTTPStatus`: "Too many requests with same session ID"
        return Answer(fault=ErrorCode.RATE_LIMITED, request_refused=True)
    if reply.status == 400:
        return Answer(fault=vendor_code(400), request_refused=True, blames_visitor=_blames_visitor(reply.body))
    if code is not None:
        return Answer(fault=code, retry_after_s=retry_after_s, request_refused=refuses_request(reply))
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
    inner = inner_status(document)
    if inner is not None:
        return read_answer(replace(reply, status=inner), request_id)
    return Answer(document)


def inner_status(document: Mapping[str, Any]) -> int | None:
    """Return the status in *document*, which counts before that of HTTP; None for a success or none at all."""
    status = document.get("status")
    if type(status) is not int or 200 <= status < 300:
        return None
    return status if 300 <= status < 600 else 500


def _blames_visitor(body: bytes) -> bool:
    try:
        document = loads(body[: 64 * 1024])
    except ProtocolError:
        return False
    message = document.get("message") if isinstance(document, dict) else None
    return isinstance(message, str) and _BLAMES_VISITOR.search(message[:_MESSAGE_CHARS]) is not None


@dataclass(frozen=True, slots=True)
class AnsweredOffer:
    """One option of an mbox: its content and its tokens."""

    type: str
    content: Any
    tokens: Mapping[str, str]
    event_token: str | None = field(default=None, repr=False)

    @property
    def usable(self) -> bool:
        """Whether it can be a flag: HTML or JSON, or an experience that leaves the page unchanged."""
        return self.type in _FLAG_TYPES or (not self.type and self.content is None and bool(self.tokens))


@dataclass(frozen=True, slots=True)
class AnsweredMbox:
    """One mbox of an answer.

    Attributes:
        variant: its variant, if known beforehand.
    """

    name: str
    offers: tuple[AnsweredOffer, ...]
    state: str | None = field(default=None, repr=False)
    click_token: str | None = field(default=None, repr=False)
    analytics: Any = field(default=None, repr=False)
    trace: Any = field(default=None, repr=False)
    variant: Variant | ErrorCode | None = None

    @property
    def for_the_page(self) -> list[AnsweredOffer]:
        """The offers that only the page can carry out."""
        return [offer for offer in self.offers if offer.type and not offer.usable]


def asked_mboxes(document: Mapping[str, Any], asked: Collection[str]) -> tuple[list[AnsweredMbox], int]:
    """Return the mboxes of an answer that are in *asked*, prefetched ones first, and the number of others."""
    mboxes: list[AnsweredMbox] = []
    foreign = 0
    options_left = OPTIONS
    for section in (object_or_empty(document.get("prefetch")), object_or_empty(document.get("execute"))):
        named = [(item.get("name"), item) for item in objects_in(section.get("mboxes"))]
        named = named[:BOXES]
        page = section.get("pageLoad")
        if isinstance(page, dict):
            named.append((PAGE_LOAD, page))
        for name, item in named:
            if isinstance(name, str) and name in asked:
                mboxes.append(read_mbox(name, item, options_left))
                options_left -= len(mboxes[-1].offers)
            else:
                foreign += 1
    return mboxes, foreign


def read_mbox(name: str, item: Mapping[str, Any], most: int = OPTIONS) -> AnsweredMbox:
    """Return the mbox *name* from *item*, a part of an answer or of the on-device rules.

    Args:
        most: the largest number of options to read.
    """
    clicks = (metric for metric in objects_in(item.get("metrics")) if metric.get("type") == "click")
    return AnsweredMbox(
        name,
        tuple(_offer(option) for option in objects_in(item.get("options"))[: max(0, most)]),
        _bounded_text(item.get("state"), STATE_CHARS),
        next((token for metric in clicks if (token := _bounded_text(metric.get("eventToken"), ID_CHARS))), None),
        object_or_empty(item.get("analytics")).get("payload"),
        item.get("trace"),
    )


def _offer(option: Mapping[str, Any]) -> AnsweredOffer:
    kind, content = option.get("type"), option.get("content")
    kind = kind if isinstance(kind, str) else ""
    if kind == "json" and isinstance(content, str):
        try:
            content = loads(content.encode("utf-8", "replace"))
        except ProtocolError:
            pass  # a JSON offer that is text after all
    if kind == "html":
        content = content.strip() if isinstance(content, str) else None
    tokens = dict(_tokens(object_or_empty(option.get("responseTokens"))))
    return AnsweredOffer(kind, content, tokens, _bounded_text(option.get("eventToken"), ID_CHARS))


def _tokens(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield response tokens as texts: the service writes ids as texts, on-device rules as numbers."""
    for name, value in list(raw.items())[:IDS]:
        values = value if isinstance(value, list) else [value]
        text = ",".join(str(scalar) for scalar in values if isinstance(scalar, str | int | float))
        if 0 < len(text) <= ID_CHARS and not CONTROLS.search(text):
            yield name, text


def _bounded_text(value: Any, chars: int) -> str | None:
    """Return *value* if it is a text of one line and at most *chars* characters."""
    return value if isinstance(value, str) and 0 < len(value) <= chars and not CONTROLS.search(value) else None
