"""Events as bytes for stores that outlive the process.

The bytes are JSON with a version. A reader passes over fields that it does not know; an event of a newer version,
or with a word in it that this code has not learnt yet, is `Unreadable`: the store leaves it for code that can.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, make_dataclass
from operator import itemgetter
from typing import Any, TypeVar

import orjson

from flagmw._support.encryption import Unreadable
from flagmw._support.link_token import without_token
from flagmw.codes import ErrorCode, Reason
from flagmw.types import Event, Factor, Track, Variant, Visit

T = TypeVar("T")


def filler(cls: type[T]) -> Callable[..., T]:
    """Return a function that makes a *cls*, a dataclass with slots, of the values of all its fields in their order.

    A frozen dataclass sets each of its fields with a call, which takes eight times as long as to assign it. So the
    values are assigned while the object is still of a class with the same slots that is not frozen. They are taken as
    they are: there are no defaults, and `__post_init__` is not called.
    """
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]

    def freeze(instance: Any) -> None:
        instance.__class__ = cls

    return make_dataclass(cls.__name__, names, slots=True, eq=False, repr=False, namespace={"__post_init__": freeze})


VERSION = 1
KINDS = ("track", "exposure")

_VISIT = tuple(f.name for f in fields(Visit))
_VARIANT = tuple(f.name for f in fields(Variant))
_SCALARS = frozenset({str, int, float, bool})
# Their order is the one in which the functions below unpack them.
_event_values, _track_values, _visit_values = (itemgetter(*(f.name for f in fields(c))) for c in (Event, Track, Visit))
_event_of, _track_of, _visit_of = filler(Event), filler(Track), filler(Visit)


def to_bytes(event: Event) -> bytes:
    """Return *event* as bytes.

    Raises:
        ValueError: it holds what has no form in JSON; the text quotes nothing of it.
    """
    document = {"v": VERSION, "event": _document(event)}
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
        id, vendor, kind, track, aliases, visit, visitor, exposed, once = _event_values(outer["event"])
        if outer["v"] != VERSION or kind not in KINDS:
            raise Unreadable("of a later version")
        if not (type(id) is type(vendor) is type(visitor) is str and type(once) is bool):
            raise TypeError
        shown = () if exposed == [] else tuple(_variant(entry) for entry in exposed)
        return _event_of(id, vendor, kind, _track(track), _texts(aliases), _visit(visit), visitor, shown, once)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unreadable("no event") from None


def _document(event: Event) -> dict[str, Any]:
    """Return *event* with all its fields, as the encoder would find them; to look for them takes it twice as long."""
    track, visit = event.track, event.visit
    return {
        "id": event.id,
        "vendor": event.vendor,
        "kind": event.kind,
        "track": {
            "id": track.id,
            "metric": track.metric,
            "data": track.data or {},
            "aliases": track.aliases,
            "vendors": track.vendors,
            "key": track.key,
            "value": track.value,
            "currency": track.currency,
            "items": track.items,
            "occurred_at": track.occurred_at,
        },
        "aliases": event.aliases,
        "visit": {
            "url": visit.url,
            "host": visit.host,
            "path": visit.path,
            "secure": visit.secure,
            "method": visit.method,
            "client_ip": visit.client_ip,
            "user_agent": visit.user_agent,
            "referer": visit.referer,
            "language": visit.language,
            "cookies": visit.cookies or {},
            "site_cookie_bytes": visit.site_cookie_bytes,
            "user_id": visit.user_id,
            "data": visit.data or {},
            "staging": visit.staging,
            "record": visit.record,
            "preview": visit.preview or {},
            "now": visit.now,
            "fresh_id": visit.fresh_id,
        },
        "visitor_key": event.visitor_key,
        "exposed": [_shown(variant) for variant in event.exposed],
        "at_most_once": event.at_most_once,
    }


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def _shown(variant: Variant) -> dict[str, Any]:
    values = {item.name: getattr(variant, item.name) for item in fields(variant)}
    # A tuple with names would become a list without them.
    return {**values, "factors": [factor._asdict() for factor in variant.factors]}


def _plain(value: Any) -> Any:
    """Return the form in JSON of what the encoder does not know."""
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    raise TypeError


def _track(document: Any) -> Track:
    id, metric, data, aliases, vendors, key, value, currency, items, occurred_at = _track_values(document)
    if not type(id) is type(metric) is str:
        raise TypeError
    _check_scalars(data)
    if items:
        for item in items:
            _check_scalars(item)
    if value is not None:
        _check_number(value)
    _check_number(occurred_at)
    if (key is not None and type(key) is not str) or (currency is not None and type(currency) is not str):
        raise TypeError
    aliases = None if aliases is None else _texts(aliases)
    vendors = None if vendors is None else _texts(vendors)
    return _track_of(id, metric, data, aliases, vendors, key, value, currency, tuple(items), occurred_at)


def _visit(document: Any) -> Visit:
    values = _visit_values(document)
    (url, host, path, secure, method, ip, agent, referer, language) = values[:9]
    (cookies, size, user, data, staging, record, preview, now, fresh_id) = values[9:]
    if not (
        type(url) is type(host) is type(path) is type(method) is type(fresh_id) is str
        and type(secure) is type(staging) is type(record) is bool
    ):
        raise TypeError
    for text in (ip, agent, referer, language, user):
        if text is not None and type(text) is not str:
            raise TypeError
    for text in cookies.values():
        if type(text) is not str:
            raise TypeError
    for parameters in preview.values():
        parameters.items()
    _check_scalars(data)
    _check_number(size)
    _check_number(now)
    if not host or not path or any(text and without_token(text) is not text for text in (url, path, referer)):
        return Visit(**_known(document, _VISIT))  # which fills them in, and removes the override token
    return _visit_of(*values)


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
    if type(value) is not list:
        raise TypeError
    for entry in value:
        if type(entry) is not str:
            raise TypeError
    return tuple(value)


def _check_number(value: Any) -> None:
    if (type(value) is not float and type(value) is not int) or not math.isfinite(value):
        raise TypeError


def _check_scalars(value: Any) -> None:
    for entry in value.values():
        if type(entry) not in _SCALARS:
            raise TypeError


def _maybe(value: Any, read: Callable[[Any], Any]) -> Any:
    return None if value is None else read(value)
