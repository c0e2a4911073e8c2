"""Parser of answers of the Monetate Engine API.

Source: the vendor's published description of the Engine API (`HttpResponseBody`, `Meta`, `Response`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError
from flagmw.types import Reply
from flagmw.vendors.common.http_status import refuses_request, status_fault
from flagmw.vendors.common.json import loads
from flagmw.vendors.common.values import object_or_empty, objects_in
from flagmw.vendors.monetate.cookies import id_ok

ACTION_PREFIX = "monetate:action:"
# The field with the content, by type of action. Redirects and triggers of other systems make no flag. A redirect would
# also take the place of every other action.
ACTION_CONTENT: Mapping[str, str | None] = MappingProxyType(
    {
        "OmnichannelJson": "json",
        "VariantSelector": None,
        "NoAction": None,
        "DataCollection": None,
        "OmnichannelHtml": "html",
        "OmnichannelRecommendation": "items",
        "OpenAction": "data",
        "CmsAction": "data",
        "ContentstackCMSAction": "data",
        "ApiAction": "data",
        "GlobalApiAction": "data",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The content of one answer.

    Attributes:
        fault: why the answer decides nothing, else None.
        reply: the reply, with the status that counts.
        from_engine: the engine itself gave the status, not a proxy before it.
        has_errors, has_warnings: whether `meta` lists any; their form is not documented.
        monetate_id: the id that the engine gave the visitor, or `COOKIE_VALUE` for a malformed one.
        responses: the answers to decision events.
        no_responses: the list of these is there and empty.
    """

    reply: Reply = field(repr=False)
    fault: ErrorCode | None = None
    retry_after_s: float | None = None
    from_engine: bool = False
    has_errors: bool = False
    has_warnings: bool = False
    monetate_id: str | ErrorCode | None = field(default=None, repr=False)
    responses: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    no_responses: bool = False

    @property
    def request_refused(self) -> bool:
        """Whether the fault lies in the request, not in the engine's health."""
        return refuses_request(self.reply)

    def actions(self, request_id: str) -> list[dict[str, Any]] | None:
        """Return the actions that answer *request_id*; None if no response names it."""
        for response in self.responses:
            if str(response.get("requestId")) == request_id:
                actions = response.get("actions")
                return objects_in(actions) if isinstance(actions, list) else None
        return None


def read_answer(reply: Reply) -> Answer:
    """Return the content of *reply*. `meta.code` counts before the HTTP status."""
    try:
        document = loads(reply.body)
    except ProtocolError as error:
        return _without_envelope(reply, error.code)
    document = document if isinstance(document, dict) else {}
    meta, data = object_or_empty(document.get("meta")), document.get("data")
    code = _whole_number(meta.get("code"))
    if code is None and not isinstance(data, dict):
        return _without_envelope(reply, ErrorCode.SHAPE)
    judged = reply if code is None else replace(reply, status=code)
    fault, rest_s = status_fault(judged)
    if fault is None and code not in (None, 200):
        fault = ErrorCode.PROTOCOL  # any other code brings no actions, by the vendor's own client
    responses = object_or_empty(data).get("responses")
    return Answer(
        reply=judged,
        fault=fault,
        retry_after_s=rest_s,
        from_engine=code is not None,
        has_errors=bool(meta.get("errors")),
        has_warnings=bool(meta.get("warnings")),
        monetate_id=_new_id(meta.get("monetateId")),
        responses=tuple(objects_in(responses)),
        no_responses=responses == [],
    )


def _whole_number(value: Any) -> int | None:
    """Return *value* as a whole number, written as a number or as a text; None for anything else."""
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= 18 and value.isascii() and value.isdigit():
        return int(value)
    return None


def _without_envelope(reply: Reply, fault: ErrorCode) -> Answer:
    code, rest_s = status_fault(reply)
    return Answer(reply=reply, fault=code or fault, retry_after_s=rest_s)


def _new_id(value: Any) -> str | ErrorCode | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) and id_ok(value) else ErrorCode.COOKIE_VALUE
