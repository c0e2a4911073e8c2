"""An `Event` as bytes, for stores that outlive the process, and back.

The bytes are JSON with a version. A reader passes over fields that it does not know; an event of a newer version,
or with a word in it that this code has not learnt yet, is `Unreadable`: the store leaves it for code that can.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

import orjson

from flagmw.codes import ErrorCode, Reason
from flagmw.types import Event, Factor, Track, Variant, Visit

VERSION = 1
KINDS = ("track", "exposure")

_VISIT = tuple(f.name for f in fields(Visit))
_TRACK = tuple(f.name for f in fields(Track))
_VARIANT = tuple(f.name for f in fields(Variant))


class Unreadable(Exception):
    """These bytes are no event that this code can read: damaged, of a newer version, or under another key."""


def to_bytes(event: Event) -> bytes:
    """Return *event* as bytes.

    Raises:
        ValueError: it holds what has no form in JSON; the text quotes nothing of it.
    """
    document = {"v": VERSION, "event": event}
    try:
        return orjson.dumps(document, default=_plain)
    except TypeError:
        pass
    # Half a surrogate pair, or a whole number beyond 64 bits: rare, and JSON can hold both.
    try:
        return json.dumps(document, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError("an event holds data that cannot be stored") from None


def from_bytes(data: bytes) -> Event:
    """Return the event that `to_bytes` wrote.

    Raises:
        Unreadable: these are no such bytes, or a later version of this code wrote them.
    """
    try:
        outer = _parsed(data)
        document = outer["event"]
        if outer["v"] != VERSION or document["kind"] not in KINDS:
            raise Unreadable("of a later version")
        return Event(
            id=_text(document["id"]),
            vendor=_text(document["vendor"]),
            kind=document["kind"],
            track=_track(document["track"]),
            aliases=_texts(document["aliases"]),
            visit=_visit(document["visit"]),
            visitor_key=_text(document["visitor_key"]),
            exposed=tuple(_variant(entry) for entry in document["exposed"]),
            at_most_once=_flag(document["at_most_once"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unreadable("no event") from None


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def _plain(value: Any) -> Any:
    """Return the form in JSON of what the encoder does not know."""
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    raise TypeError


def _track(document: Any) -> Track:
    known = _known(document, _TRACK)
    return Track(
        **{
            **known,
            "id": _text(known["id"]),
            "metric": _text(known["metric"]),
            "data": _scalars(known["data"]),
            "aliases": _maybe(known["aliases"], _texts),
            "vendors": _maybe(known["vendors"], _texts),
            "key": _maybe(known["key"], _text),
            "value": _maybe(known["value"], _number),
            "currency": _maybe(known["currency"], _text),
            "items": tuple(_scalars(item) for item in known["items"]),
            "occurred_at": _number(known["occurred_at"]),
        }
    )


def _visit(document: Any) -> Visit:
    known = _known(document, _VISIT)
    for name in ("url", "host", "path", "method", "fresh_id"):
        _text(known[name])
    for name in ("client_ip", "user_agent", "referer", "language", "user_id"):
        _maybe(known[name], _text)
    for name in ("secure", "staging", "record"):
        _flag(known[name])
    for name, value in known["cookies"].items():
        _text(name), _text(value)
    for parameters in known["preview"].values():
        parameters.items()
    _scalars(known["data"])
    _number(known["site_cookie_bytes"])
    return Visit(**{**known, "now": _number(known["now"])})


def _variant(document: Any) -> Variant:
    known = _known(document, _VARIANT)
    for name in ("vendor", "name", "experiment_id", "run_id", "test_id"):
        _maybe(known[name], _text)
    return Variant(
        **{
            **known,
            "alias": _text(known["alias"]),
            "key": _text(known["key"]),
            "reason": Reason(known["reason"]),
            "error_code": _maybe(known["error_code"], ErrorCode),
            "factors": tuple(_factor(entry) for entry in known["factors"]),
            "ids": {_text(name): _text(value) for name, value in known["ids"].items()},
        }
    )


def _factor(entry: Any) -> Factor:
    operation = entry["operation"]
    if operation is not None and not isinstance(operation, int):
        raise TypeError
    return Factor(_text(entry["name"]), _text(entry["value"]), operation)


def _known(document: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: document[name] for name in names}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(one) for one in _list(value))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return value


def _scalars(value: Any) -> Mapping[str, Any]:
    for one in value.values():
        if not isinstance(one, str | int | float | bool):
            raise TypeError
    return cast(Mapping[str, Any], value)


def _maybe(value: Any, read: Callable[[Any], Any]) -> Any:
    return None if value is None else read(value)
