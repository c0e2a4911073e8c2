"""Parser of answers of the OTS REST API."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError
from flagmw.types import Factor, Reply
from flagmw.vendors.common.http_status import refuses_request, status_fault
from flagmw.vendors.common.json import loads_tolerant
from flagmw.vendors.common.values import object_or_empty, text_or_number

MAX_ELEMENTS = 200
MAX_FACTORS = 200
VALUE_CHARS = 8 * 1024

# 1 to 128 printable ASCII without `, ; =`, no space at either end: what fits a path and a cookie name.
ALIAS = re.compile(r"[!-+\--:<>-~](?:[ -+\--:<>-~]{0,126}[!-+\--:<>-~])?")
MESSAGE_CHARS = 512
_GUID = re.compile(r"guid:? ?[0-9]{1,12}-\$?(.{1,128}?)(?:,| can occur|$)")


@dataclass(frozen=True, slots=True)
class Element:
    """One element of an answer.

    Attributes:
        alias: the project, if the element names one in a valid form.
        code: the vendor's error code, None for a success.
        opcode: "process" for a decision, "conversion" for a track.
    """

    alias: str | None
    code: int | None
    opcode: str | None
    body: dict[str, Any]
    params: dict[str, Any]
    log: str | None

    @property
    def paused(self) -> bool:
        """Whether the test is paused; the vendor writes it as text, its browser events as a boolean."""
        flag = self.params.get("r_paused")
        return flag is not None and str(flag).lower() == "true"

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The code containers of the variation."""
        return _factors(self.body.get("factors"))

    @property
    def cookie_domain(self) -> str | None:
        """The domain that the vendor wants for cookies."""
        domain = self.params.get("cookieDomain")
        return domain if isinstance(domain, str) else None


@dataclass(frozen=True, slots=True)
class Answer:
    """The content of one answer: its elements, or the error that replaces them.

    Attributes:
        request_refused: the error lies in the request, not in the vendor's health.
    """

    elements: list[Element]
    fault: ErrorCode | None = None
    retry_after_s: float | None = None
    request_refused: bool = False

    @property
    def undecided(self) -> bool:
        """Whether every element is an error."""
        return bool(self.elements) and all(element.code is not None for element in self.elements)


def read_answer(reply: Reply) -> Answer:
    """Return the content of *reply*. Its envelope counts before its status; the status counts if there is none."""
    fault: ErrorCode | None = None
    try:
        items = elements(reply.body)
    except ProtocolError as error:
        items, fault = [], error.code
    if any(element.code is not None or element.opcode for element in items):
        return Answer(items)
    if items:
        fault = ErrorCode.SHAPE
    code, retry_after_s = status_fault(reply)
    return Answer([], code or fault, retry_after_s, request_refused=refuses_request(reply))


def elements(body: bytes) -> list[Element]:
    """Return the elements of an answer; none for an empty body, `null` or `[]`.

    One element more than the limit is kept, to show that there were more.

    Raises:
        ProtocolError: `NOT_JSON`, or `SHAPE` if it is neither an object nor an array of objects.
    """
    try:
        document = loads_tolerant(body)
    except ProtocolError as error:
        if error.code is ErrorCode.EMPTY:
            return []
        raise
    if document is None:
        return []
    items = document if isinstance(document, list) else [document]
    parsed = [_element(item) for item in items[: MAX_ELEMENTS + 1] if isinstance(item, dict)]
    if items and not parsed:
        raise ProtocolError(ErrorCode.SHAPE)
    return parsed


def _element(item: dict[str, Any]) -> Element:
    body, params = object_or_empty(item.get("body")), object_or_empty(item.get("params"))
    message = body.get("message", item.get("message"))
    code, alias = None, text_or_number(params.get("testAlias"))
    if message is not None:
        code, quoted = _error(message)
        alias = alias or quoted
    if alias is not None and not ALIAS.fullmatch(alias):
        alias = None
    log = item.get("log", body.get("log"))
    return Element(alias, code, text_or_number(item.get("opcode")), body, params, log if isinstance(log, str) else None)


def _error(message: Any) -> tuple[int, str | None]:
    """Return the code and the alias that the text quotes in a guid, "{domainId}-{alias}"."""
    if not isinstance(message, dict):
        return 0, None
    raw = message.get("errorCode")
    code = raw if type(raw) is int else int(raw) if isinstance(raw, str) and re.fullmatch(r"\d{1,6}", raw) else 0
    text = message.get("errorMessage")
    quoted = _GUID.search(text) if isinstance(text, str) and len(text) <= MESSAGE_CHARS else None
    return code, quoted[1].strip() if quoted else None


def _factors(raw: Any) -> tuple[Factor, ...]:
    factors = []
    for factor in raw[:MAX_FACTORS] if isinstance(raw, list) else ():
        if isinstance(factor, dict) and isinstance(value := factor.get("value"), str):
            operation = factor.get("operation")
            factors.append(
                Factor(text_or_number(factor.get("name")) or "", value, operation if type(operation) is int else None)
            )
    return tuple(factors)
