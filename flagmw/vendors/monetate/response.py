"""Read answers of the Monetate Engine API: whether it took the request, and which actions it decided on.

Source: the vendor's published description of the Engine API (`HttpResponseBody`, `Meta`, `Response`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError
from flagmw.types import Reply, empty
from flagmw.vendors.common.http_status import status_fault
from flagmw.vendors.common.json import loads
from flagmw.vendors.monetate.request import id_ok


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What an answer says of the request as a whole.

    Attributes:
        fault: why the answer decides nothing, else None.
        reply: the answer, with the status that counts.
        spoken: the engine itself gave the status, not something on the way to it.
        complaints, warnings: whether there were any; what they look like is not documented.
        minted: the id that the engine gave the visitor, or `COOKIE_VALUE` for one that can be none.
        responses: the answers to decision events.
        unanswered: there is a list of these, and it is empty.
    """

    reply: Reply = field(repr=False)
    fault: ErrorCode | None = None
    retry_after_s: float | None = None
    spoken: bool = False
    complaints: bool = False
    warnings: bool = False
    minted: str | ErrorCode | None = field(default=None, repr=False)
    responses: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    unanswered: bool = False

    @property
    def ours(self) -> bool:
        """Whether the fault lies in how the engine is asked, not in its health."""
        return 400 <= self.reply.status < 500 and self.reply.status not in (408, 425, 429)

    def actions(self, request_id: str) -> list[Mapping[str, Any]] | None:
        """Return the actions that answer *request_id*, None if nothing answers it; never by their place."""
        for response in self.responses:
            if str(response.get("requestId")) == request_id:
                found = response.get("actions")
                return [action for action in found if isinstance(action, dict)] if isinstance(found, list) else None
        return None


def read(reply: Reply) -> Envelope:
    """Return what *reply* says. `meta.code` counts, whatever the HTTP status; that counts where there is none."""
    try:
        document = loads(reply.body)
    except ProtocolError as error:
        return _without(reply, error.code)
    document = document if isinstance(document, dict) else {}
    meta, data = _dict(document.get("meta")), document.get("data")
    code = whole(meta.get("code"))
    if code is None and not isinstance(data, dict):
        return _without(reply, ErrorCode.SHAPE)
    said = reply if code is None else replace(reply, status=code)
    fault, rest_s = status_fault(said)
    if fault is None and code not in (None, 200):
        fault = ErrorCode.PROTOCOL  # any other code brings no actions, by the vendor's own client
    responses = _dict(data).get("responses")
    return Envelope(
        reply=said,
        fault=fault,
        retry_after_s=rest_s,
        spoken=code is not None,
        complaints=bool(meta.get("errors")),
        warnings=bool(meta.get("warnings")),
        minted=_minted(meta.get("monetateId")),
        responses=tuple(each for each in responses if isinstance(each, dict)) if isinstance(responses, list) else (),
        unanswered=responses == [],
    )


def whole(value: Any) -> int | None:
    """Return *value* as a whole number, written as a number or as a text; None for anything else."""
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= 18 and value.isascii() and value.isdigit():
        return int(value)
    return None


def truth(value: Any) -> bool:
    """Say whether *value* means true, written as a boolean or as a text."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def text(value: Any) -> str | None:
    """Return *value* as a text that is not empty; None for what is neither text nor a whole number."""
    if isinstance(value, str):
        return value or None
    return str(value) if type(value) is int else None


def _without(reply: Reply, fault: ErrorCode) -> Envelope:
    code, rest_s = status_fault(reply)
    return Envelope(reply=reply, fault=code or fault, retry_after_s=rest_s)


def _minted(value: Any) -> str | ErrorCode | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) and id_ok(value) else ErrorCode.COOKIE_VALUE


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else empty()
