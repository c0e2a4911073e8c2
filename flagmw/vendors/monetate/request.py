"""Requests of the Monetate Engine API: one identity, the visit, and events.

Source: the vendor's published description of the Engine API (developer.monetate.com, "Engine API": `decide`,
`HttpRequestBody`, the `monetate:context:` and `monetate:decision:` events).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from flagmw._support.list_text import ListText
from flagmw.types import EMPTY, Call, Scalar, Visit
from flagmw.vendors.common.json import BROKEN, sound
from flagmw.vendors.common.values import is_json_scalar
from flagmw.vendors.monetate.cart_lines import lines_of
from flagmw.vendors.monetate.cookies import Cookies
from flagmw.vendors.monetate.options import Options

PAGE_FIELDS = frozenset({"pageType", "categories", "breadcrumbs"})

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
# A cart may take several values, as each of them is limited in length: "cart", or "cart.1", "cart.2" and so on.
_CART = re.compile(r"cart(?:\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids of a visitor in a request. A device id replaces the monetateId; the two are never sent together."""

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
        ids = {} if self.monetate_id is None else {"monetateId": self.monetate_id}
        return ids if self.customer_id is None else {**ids, "customerId": self.customer_id}


class RequestBuilder:
    """Requests of one account."""

    def __init__(self, options: Options, cookies: Cookies) -> None:
        self._options, self._cookies = options, cookies

    def identity(self, visit: Visit, cookies: Mapping[str, str]) -> Identity:
        """Return the ids of the visitor of *visit*, from its user id and *cookies*."""
        user_id_as = self._options.user_id_as
        user_id = sound(visit.user_id) if visit.user_id and user_id_as != "off" else None
        if user_id_as == "device" and user_id:
            return Identity(device_id=user_id)
        return Identity(monetate_id=self._cookies.read(cookies), customer_id=user_id or None)

    def decision(self, visit: Visit, identity: Identity, *, counted: bool) -> Call:
        """Return the request that reports the page view and asks for a decision.

        Args:
            counted: the engine counts impressions of what it decides.
        """
        options = self._options
        question: dict[str, Any] = {
            "eventType": "monetate:decision:DecisionRequest",
            "requestId": visit.fresh_id,
            "includeReporting": True,
            # Always sent: without it one redirect experience would take the place of all other actions.
            "actionTypes": list(options.action_types),
        }
        if options.slots:
            question["slots"] = list(options.slots)
        if not counted:
            # Deprecated in favour of action templates that do the same, but the only field of its kind.
            question["manageImpressions"] = True
        preview = visit.preview.get(options.name, EMPTY).get("preview")
        return self._call(
            identity,
            [*page_context(visit, {**options.data, **visit.data}), question],
            preview=preview if isinstance(preview, str) and preview else None,
            replay_safe=not counted,
        )

    def events(self, identity: Identity, events: Iterable[Mapping[str, Any]]) -> Call:
        """Return the request that reports *events* of one visitor."""
        return self._call(identity, events, preview=None, replay_safe=False)

    def _call(
        self, identity: Identity, events: Iterable[Mapping[str, Any]], *, preview: str | None, replay_safe: bool
    ) -> Call:
        body: dict[str, Any] = {"channel": self._options.channel, **identity.fields(), "events": list(events)}
        if preview is not None:
            body["preview"] = sound(preview)
        headers = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "gzip"}
        url = self._options.decide_url
        return Call(method="POST", url=url, headers=headers, body=orjson.dumps(body), replay_safe=replay_safe)


def client_context(visit: Visit) -> list[dict[str, Any]]:
    """Return the visitor's user agent and address, which the engine would otherwise take from this server."""
    facts = (("UserAgent", "userAgent", visit.user_agent), ("IpAddress", "ipAddress", visit.client_ip))
    return [_context(kind, {field: sound(text)}) for kind, field, text in facts if text]


def page_context(visit: Visit, data: Mapping[str, Scalar]) -> list[dict[str, Any]]:
    """Return the context events of one page view.

    `pageType`, `categories` and `breadcrumbs` of *data* (lists as texts with `|` between) belong to the page view,
    `cart` is the cart's lines as JSON text, and everything else is a custom variable.
    """
    events = client_context(visit)
    language = _language(visit.language)
    if language is not None:
        events.append(_context("Language", {"language": language}))
    if visit.referer:
        events.append(_context("Referrer", {"referrer": sound(visit.referer)}))
    events.append(_context("PageView", _page(visit, data)))
    cart, cart_names = _cart(data)
    if cart:
        events.append(_context("Cart", {"cartLines": cart}))
    variables = [
        {"variable": name, "value": value}
        for name, value in data.items()
        if name not in PAGE_FIELDS and name not in cart_names and not BROKEN.search(name) and is_json_scalar(value)
    ]
    if variables:
        events.append(_context("CustomVariables", {"customVariables": variables}))
    return events


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
        if isinstance(text, ListText):
            parts = [sound(part) for part in text.parts]
        else:
            parts = [part.strip() for part in sound(text).split("|")] if isinstance(text, str) else []
        if any(parts):
            page[name] = [part for part in parts if part]
    return page


def _cart(data: Mapping[str, Scalar]) -> tuple[list[dict[str, Any]], set[str]]:
    """Return the lines of the cart and the names in *data* that hold them; other data is left alone."""
    lines: list[dict[str, Any]] = []
    names: set[str] = set()
    for name, text in data.items():
        if not isinstance(text, str) or text[:1] not in ("[", "{") or not _CART.fullmatch(name):
            continue
        try:
            document = orjson.loads(sound(text))
            lines += lines_of(document if isinstance(document, list) else [document])
        except ValueError:
            continue
        names.add(name)
    return lines, names
