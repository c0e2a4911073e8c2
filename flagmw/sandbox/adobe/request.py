"""Checked requests of the Delivery API.

Source: Adobe's OpenAPI file of the Delivery API, and the limits page of the developer guide. The wording of most
refusals is not documented; clients must not depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson

from flagmw.sandbox.adobe.model import UUID

VENDOR = "adobe"
MAX_BODY = 60 * 1024 * 1024
GLOBAL_MBOX = "target-global-mbox"

_SESSION = re.compile(r"[!-~]{1,128}")
_DEVICE = re.compile(r"[^.]{1,120}(\.[0-9]+_[0-9]+)?")
_MBOX = re.compile(r"[A-Za-z0-9\-,._/=`:;&!@#$%^*()+|?~\[\]{}]{1,250}")
_FORBIDDEN = frozenset({"orderId", "orderTotal", "productPurchasedIds"})
_CHARS = {"parameters": 5000, "profileParameters": 256}


class Refused(Exception):
    """A request that is answered with an HTTP error; its text is the answer's message."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wanted:
    """One mbox, or the page's load, that a request asks for."""

    section: str
    name: str
    detail: Mapping[str, Any]
    page: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryRequest:
    """A request that the API takes."""

    session: str
    client: str | None
    org_id: str | None
    body: Mapping[str, Any]
    wanted: tuple[Wanted, ...] = ()
    notifications: tuple[Mapping[str, Any], ...] = ()
    ids: Mapping[str, Any] = field(default_factory=dict)

    @property
    def context(self) -> Mapping[str, Any]:
        context: Mapping[str, Any] = self.body["context"]
        return context


def read_delivery(query: bytes, body: bytes) -> DeliveryRequest:
    """Read and check a request.

    Raises:
        Refused: the API would not take it.
    """
    parameters = {name: values[0] for name, values in parse_qs(query.decode("latin-1")).items()}
    session = parameters.get("sessionId", "")
    if not _SESSION.fullmatch(session) or set(session) & set("?{}/"):
        raise Refused("sessionId is missing or invalid")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused("the body is not JSON") from None
    if not isinstance(parsed, dict):
        raise Refused("the body must be an object")
    _check_top(parsed)
    ids = _object(parsed, "id")
    _check_ids(ids)
    return DeliveryRequest(
        session,
        parameters.get("client"),
        parameters.get("imsOrgId"),
        parsed,
        tuple(_wanted(parsed)),
        tuple(_notifications(parsed)),
        ids,
    )


def _check_top(body: Mapping[str, Any]) -> None:
    context = body.get("context")
    if not isinstance(context, dict) or context.get("channel") not in ("web", "mobile"):
        raise Refused("context.channel must be web or mobile")
    for name in ("requestId", "impressionId"):
        _text(body, name, 128)
    for name in ("url", "referringUrl"):
        _text(_object(context, "address"), name, 4096)
    token = _object(body, "property").get("token")
    if token is not None and not (isinstance(token, str) and UUID.fullmatch(token)):
        raise Refused("Invalid property token")
    mode = _object(body, "qaMode")
    if mode and not mode.get("token"):
        raise Refused("qaMode.token must not be empty")
    analytics = _object(_object(body, "experienceCloud"), "analytics")
    if analytics.get("logging") not in (None, "server_side", "client_side"):
        raise Refused("experienceCloud.analytics.logging is unknown")


def _check_ids(ids: Mapping[str, Any]) -> None:
    device = ids.get("tntId")
    if device is not None and not (isinstance(device, str) and len(device) <= 128 and _DEVICE.fullmatch(device)):
        raise Refused("tntId is invalid")
    third_party = _text(ids, "thirdPartyId", 256)
    if third_party is not None and set(third_party) & set("+/"):
        raise Refused("thirdPartyId is invalid")
    _text(ids, "marketingCloudVisitorId", 128)


def _wanted(body: Mapping[str, Any]) -> Iterator[Wanted]:
    for section in ("prefetch", "execute"):
        given = _object(body, section)
        page = given.get("pageLoad")
        if isinstance(page, dict):
            yield Wanted(section, GLOBAL_MBOX, _checked(page), page=True)
        mboxes = _list(given, "mboxes")
        if len({mbox.get("index", index) for index, mbox in enumerate(mboxes)}) != len(mboxes):
            raise Refused("index must be unique")
        for mbox in mboxes:
            name = mbox.get("name")
            if not isinstance(name, str) or not _MBOX.fullmatch(name) or name.endswith("-clicked"):
                raise Refused("mbox name is invalid")
            if not isinstance(mbox.get("index"), int):
                raise Refused("index must not be null")
            yield Wanted(section, name, _checked(mbox))


def _checked(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, chars in _CHARS.items():
        values = _object(detail, name)
        if len(values) > 50:
            raise Refused(f"{name}: size must be between 0 and 50")
        for key, value in values.items():
            if not key or len(key) > 128 or key.startswith("profile.") or (name == "parameters" and key in _FORBIDDEN):
                raise Refused(f"{name}: invalid name")
            if not isinstance(value, str) or len(value) > chars:
                raise Refused(f"{name}: invalid value")
    order = _object(detail, "order")
    _text(order, "id", 250)
    total = order.get("total", 0)
    if not isinstance(total, int | float) or isinstance(total, bool) or total < 0:
        raise Refused("order.total must be greater than or equal to 0")
    products = order.get("purchasedProductIds", [])
    good = isinstance(products, list) and all(isinstance(product, str) and len(product) <= 50 for product in products)
    if not good or len(",".join(products)) > 250:
        raise Refused("order.purchasedProductIds is invalid")
    for name in ("id", "categoryId"):
        _text(_object(detail, "product"), name, 128)
    return detail


def _notifications(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for notification in _list(body, "notifications"):
        if not _text(notification, "id", 200):
            raise Refused("notification id must not be empty")
        if notification.get("type") not in ("display", "click"):
            raise Refused("notification type must be display or click")
        stamp = notification.get("timestamp")
        if not isinstance(stamp, int) or isinstance(stamp, bool) or stamp <= 0:
            raise Refused("notification timestamp is invalid")
        places = [name for name in ("mbox", "view", "pageLoad") if isinstance(notification.get(name), dict)]
        if len(places) > 1:
            raise Refused("mbox and view are exclusive")
        tokens = notification.get("tokens", [])
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise Refused("notification tokens are invalid")
        yield _checked(notification)


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    if value is not None and not isinstance(value, dict):
        raise Refused(f"{name} must be an object")
    return value or {}


def _list(holder: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refused(f"{name} must be a list of objects")
    if len(value) > 50:
        raise Refused("size must be between 0 and 50")
    return value


def _text(holder: Mapping[str, Any], name: str, chars: int) -> str | None:
    value = holder.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > chars:
        raise Refused(f"{name} is invalid")
    return value
