"""Checked requests of the Engine API.

Source: developer.monetate.com, "Engine API": `HttpRequestBody` and the event types with their required fields.
Undocumented, and decided here: the form of errors, and the answer to an unknown event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_BODY = 1024 * 1024

Check = Callable[[Any], str | None]
Fields = Mapping[str, Check]

_VALUE = re.compile(r"(\d{1,9})?(\.\d{1,2})?", re.ASCII)
_CHANNEL = re.compile(r"[^/\s]+/[^/\s]+/[^/\s]+")


class Refused(Exception):
    """A request that the engine does not take, with the field that is at fault."""

    def __init__(self, text: str, where: str = "", *, status: int = 400) -> None:
        super().__init__(text)
        self.where, self.status = where, status


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A request's body, checked.

    Attributes:
        events: those of a known type, with "monetate:" taken off their types.
        warnings: one for each event of an unknown type.
    """

    channel: str
    device_id: str | None
    monetate_id: str | None
    customer_id: str | None
    preview: str | None
    events: tuple[tuple[str, Mapping[str, Any]], ...]
    warnings: tuple[Mapping[str, str], ...] = ()

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the events of one type."""
        return [event for name, event in self.events if name == kind]


def read(body: bytes) -> EngineRequest:
    """Read a request.

    Raises:
        Refused: it breaks the description.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused("the body is not JSON") from None
    if not isinstance(document, dict):
        raise Refused("the body must be an object")
    channel = document.get("channel")
    if not isinstance(channel, str) or not _CHANNEL.fullmatch(channel):
        raise Refused('must be "account/instance/domain"', "channel")
    ids = {name: _id(document, name) for name in ("deviceId", "monetateId", "customerId", "preview")}
    if document.get("deviceId") == document.get("monetateId") == "":
        raise Refused("both ids are blank", "monetateId")
    raw = document.get("events")
    if not isinstance(raw, list) or not raw:
        raise Refused("must be a list with at least one event", "events")
    events, warnings = [], []
    for index, event in enumerate(raw):
        kind = _kind(event, f"events[{index}]")
        if kind not in EVENTS:
            warnings.append({"message": f"unknown eventType {kind}", "field": f"events[{index}]"})
            continue
        _checked(EVENTS[kind], event, f"events[{index}]")
        if kind == "context:PageView" and not (event.get("url") or event.get("path")):
            raise Refused("url or path is required", f"events[{index}].url")
        events.append((kind, event))
    return EngineRequest(
        channel, ids["deviceId"], ids["monetateId"], ids["customerId"], ids["preview"], tuple(events), tuple(warnings)
    )


def _id(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused("must be a string", name)
    return value or None


def _kind(event: Any, where: str) -> str:
    kind = event.get("eventType") if isinstance(event, dict) else None
    if not isinstance(kind, str):
        raise Refused("eventType is required, a string", f"{where}.eventType")
    name = kind.removeprefix("monetate:")
    if name == kind or name.partition(":")[0] not in ("context", "decision", "record"):
        raise Refused("eventType belongs to no family of events", f"{where}.eventType")
    return name


def _checked(shape: Shape, event: Mapping[str, Any], where: str) -> None:
    for name in shape.required:
        if name not in event:
            raise Refused("is required", f"{where}.{name}")
    for name, check in (*shape.required.items(), *shape.optional.items()):
        fault = check(event[name]) if name in event else None
        if fault is not None:
            raise Refused(fault, f"{where}.{name}")


# Checks of values: each returns what is wrong, or None


def _string(value: Any) -> str | None:
    return None if isinstance(value, str) else "must be a string"


def _whole(value: Any) -> str | None:
    return None if type(value) is int else "must be an integer"


def _truth(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be a boolean"


def _object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "must be an object"


def _anything(value: Any) -> str | None:
    return None


def _total(value: Any) -> str | None:
    good = isinstance(value, str) and _VALUE.fullmatch(value)
    return None if good else "must be a string such as 24.00, the total of the line"


def _strings(value: Any) -> str | None:
    good = isinstance(value, list) and all(isinstance(each, str) for each in value)
    return None if good else "must be a list of strings"


def _tokens(value: Any) -> str | None:
    if _strings(value) is not None or not value or not all(each.strip() for each in value):
        return "must be a list of strings, neither empty nor with a blank one"
    return None


def _list_of(required: Fields, optional: Fields | None = None) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, list):
            return "must be a list of objects"
        return next(_faults(value, required, optional or {}), None)

    return check


def _faults(rows: list[Any], required: Fields, optional: Fields) -> Iterator[str]:
    for row in rows:
        if not isinstance(row, dict):
            yield "must be a list of objects"
            continue
        for name in required:
            if name not in row:
                yield f"{name} is required in every entry"
        for name, check in (*required.items(), *optional.items()):
            fault = check(row[name]) if name in row else None
            if fault is not None:
                yield f"{name} {fault}"


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of an event that are checked."""

    required: Fields = field(default_factory=dict)
    optional: Fields = field(default_factory=dict)


_LINES = _list_of({"sku": _string, "pid": _string, "quantity": _whole, "currency": _string, "value": _total})
_OLD = {"account": _string, "domain": _string, "instance": _string}
_FILTER = {"actionTypes": _strings, **_OLD}
EVENTS: Mapping[str, Shape] = {
    "decision:DecisionRequest": Shape(
        {"requestId": _string},
        {"includeReporting": _truth, "manageImpressions": _truth, "slots": _strings, "filters": _strings, **_FILTER},
    ),
    "decision:PersonalizationFlagRequest": Shape({"requestId": _string}, _FILTER),
    "decision:ServerSideRequest": Shape({"requestId": _string}, _OLD),
    "context:UserAgent": Shape({"userAgent": _string}),
    "context:IpAddress": Shape({"ipAddress": _string}),
    "context:Language": Shape({"language": _string}),
    "context:Referrer": Shape({"referrer": _string}),
    "context:Coordinates": Shape({"latitude": _string, "longitude": _string}),
    "context:ScreenSize": Shape({"height": _whole, "width": _whole}),
    "context:PageView": Shape(
        {}, {"pageType": _string, "url": _string, "path": _string, "categories": _strings, "breadcrumbs": _strings}
    ),
    "context:CustomVariables": Shape({"customVariables": _list_of({"variable": _string, "value": _anything})}),
    "context:Metadata": Shape({"metadata": _object}),
    "context:Cart": Shape({"cartLines": _LINES}),
    "context:AddToCart": Shape({"cartLines": _LINES}),
    "context:Purchase": Shape({"purchaseId": _string, "purchaseLines": _LINES}, _OLD),
    "context:ProductDetailView": Shape({"products": _list_of({"productId": _string}, {"sku": _string})}),
    "context:ProductThumbnailView": Shape({"products": _strings}),
    "context:ProductThumbnailSkuView": Shape({"productSkus": _strings}),
    "context:ProductView": Shape({"products": _strings}),
    "context:ContentView": Shape(
        {"items": _list_of({"contentType": _string, "id": _string}, {"itemGroupId": _string})}
    ),
    "context:SearchView": Shape(
        {}, {"searchTerm": _string, "searchType": _string, "searchTermType": _string, "searchActionId": _string}
    ),
    "record:PageEvents": Shape({"pageEvents": _strings}),
    "record:Impressions": Shape({"impressionIds": _tokens}),
    "record:RecImpressions": Shape({"recImpressions": _strings}),
    "record:RecClicks": Shape({"recClicks": _strings}),
    "record:EndcapImpressions": Shape({"endcapImpressions": _list_of({"actionId": _string})}),
    "record:EndcapClicks": Shape({"endcapClicks": _list_of({"actionId": _string})}),
}  # fmt: skip
