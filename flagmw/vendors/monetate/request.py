"""Build requests of the Monetate Engine API: one identity, the visit as context events, and the question.

Source: the vendor's published description of the Engine API (developer.monetate.com, "Engine API": `decide`,
`HttpRequestBody`, the `monetate:context:` and `monetate:decision:` events).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from flagmw.types import Call, Scalar, Visit
from flagmw.vendors.common.json import BROKEN, sound
from flagmw.vendors.monetate.cart_lines import lines_of

COOKIE = "mt.v"
ID_CHARS = 64
PAGE_FIELDS = frozenset({"pageType", "categories", "breadcrumbs"})

_ID = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
# A cart may take several values, as each of them is limited in length: "cart", or "cart.1", "cart.2" and so on.
_CART = re.compile(r"cart(?:\.[0-9]{1,3})?")


def id_ok(text: str) -> bool:
    """Say whether *text* can be a monetateId: "2.<random>.<milliseconds>"."""
    return len(text) <= ID_CHARS and _ID.fullmatch(text) is not None


def known_id(cookies: Mapping[str, str]) -> str | None:
    """Return the id in the visitor's cookie; None where there is none, or something else. Some clients add quotes."""
    value = cookies.get(COOKIE, "")
    bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return bare if id_ok(bare) else None


def minted_id(visit: Visit) -> str:
    """Return an id for a new visitor, in the form of the vendor's own."""
    return f"2.{int(visit.fresh_id[:8], 16) & 0x7FFFFFFF}.{int(visit.now * 1000)}"


@dataclass(frozen=True, slots=True)
class Who:
    """The visitor as the engine is told of them. A device stands in place of the monetateId, never beside it."""

    monetate_id: str | None = field(default=None, repr=False)
    device_id: str | None = field(default=None, repr=False)
    customer_id: str | None = field(default=None, repr=False)

    @property
    def known(self) -> bool:
        """Whether the engine can tell this visitor from others."""
        return self.device_id is not None or self.monetate_id is not None

    def fields(self) -> dict[str, str]:
        """Return the fields of the request's body."""
        if self.device_id is not None:
            return {"deviceId": self.device_id}
        own = {} if self.monetate_id is None else {"monetateId": self.monetate_id}
        return own if self.customer_id is None else {**own, "customerId": self.customer_id}


def who(visit: Visit, cookies: Mapping[str, str], user_id_as: str) -> Who:
    """Return who *visit* is of; *user_id_as* says what its user id is to the engine: "customer", "device" or "off"."""
    user_id = sound(visit.user_id) if visit.user_id and user_id_as != "off" else None
    if user_id_as == "device" and user_id:
        return Who(device_id=user_id)
    return Who(monetate_id=known_id(cookies), customer_id=user_id or None)


def client(visit: Visit) -> list[dict[str, Any]]:
    """Return what the engine would otherwise take from the connection, which is ours and not the visitor's."""
    told = (("UserAgent", "userAgent", visit.user_agent), ("IpAddress", "ipAddress", visit.client_ip))
    return [_context(kind, {field: sound(text)}) for kind, field, text in told if text]


def context(visit: Visit, data: Mapping[str, Scalar]) -> list[dict[str, Any]]:
    """Return the context events of one page view.

    `pageType`, `categories` and `breadcrumbs` of *data* (lists as texts with `|` between) belong to the page view,
    `cart` is the cart's lines as JSON text, and everything else is a custom variable.
    """
    events = client(visit)
    language = _language(visit.language)
    if language is not None:
        events.append(_context("Language", {"language": language}))
    if visit.referer:
        events.append(_context("Referrer", {"referrer": sound(visit.referer)}))
    events.append(_context("PageView", _page(visit, data)))
    cart, taken = _cart(data)
    if cart:
        events.append(_context("Cart", {"cartLines": cart}))
    variables = [
        {"variable": name, "value": value}
        for name, value in data.items()
        if name not in PAGE_FIELDS and name not in taken and not BROKEN.search(name) and _carried(value)
    ]
    if variables:
        events.append(_context("CustomVariables", {"customVariables": variables}))
    return events


def question(request_id: str, *, action_types: Sequence[str], slots: Sequence[str], managed: bool) -> dict[str, Any]:
    """Return the decision event.

    Args:
        action_types: always sent, or one redirect experience would take the place of all other actions.
        managed: leave it to us to say what was seen, instead of counting all that is decided. That field is
            deprecated in favour of action templates that do so, but it is the only one of its kind.
    """
    event: dict[str, Any] = {
        "eventType": "monetate:decision:DecisionRequest",
        "requestId": request_id,
        "includeReporting": True,
        "actionTypes": list(action_types),
    }
    if slots:
        event["slots"] = list(slots)
    if managed:
        event["manageImpressions"] = True
    return event


def call(
    url: str, channel: str, who: Who, events: Iterable[Mapping[str, Any]], *, preview: str | None = None, again: bool
) -> Call:
    """Return the POST of *events*; *again* says whether it may be repeated on a fresh connection."""
    body: dict[str, Any] = {"channel": channel, **who.fields(), "events": list(events)}
    if preview is not None:
        body["preview"] = sound(preview)
    headers = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "gzip"}
    return Call(method="POST", url=url, headers=headers, body=orjson.dumps(body), replay_safe=again)


def _context(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"eventType": f"monetate:context:{kind}", **fields}


def _language(header: str | None) -> str | None:
    """Return the first tag of an Accept-Language header, which browsers order by preference."""
    tag = (header or "").partition(",")[0].partition(";")[0].strip()
    return tag if _LANGUAGE.fullmatch(tag) else None


def _page(visit: Visit, data: Mapping[str, Scalar]) -> dict[str, Any]:
    page: dict[str, Any] = {"url": sound(visit.url)}
    page_type = data.get("pageType")
    if isinstance(page_type, str) and page_type:
        page["pageType"] = sound(page_type)
    for name in ("categories", "breadcrumbs"):
        text = data.get(name)
        parts = [part.strip() for part in sound(text).split("|")] if isinstance(text, str) else []
        if any(parts):
            page[name] = [part for part in parts if part]
    return page


def _cart(data: Mapping[str, Scalar]) -> tuple[list[dict[str, Any]], set[str]]:
    """Return the cart's lines and the names in *data* that they came from; what is no cart is data like any other."""
    lines: list[dict[str, Any]] = []
    taken: set[str] = set()
    for name, text in data.items():
        if not isinstance(text, str) or text[:1] not in ("[", "{") or not _CART.fullmatch(name):
            continue
        try:
            document = orjson.loads(sound(text))
            lines += lines_of(document if isinstance(document, list) else [document])
        except ValueError:
            continue
        taken.add(name)
    return lines, taken


def _carried(value: Scalar) -> bool:
    """Say whether JSON can carry *value*."""
    if isinstance(value, str):
        return not BROKEN.search(value)
    if isinstance(value, bool):
        return True
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, int) and abs(value) < 1 << 63
