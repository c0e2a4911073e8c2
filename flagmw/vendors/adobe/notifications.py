"""Events in Target's terms: notifications of displays, mboxes of conversions.

Source: Adobe Target Delivery API, "Notifications" and "Execute"; an order's fields as its `order` object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flagmw.types import Event, Scalar, Track
from flagmw.vendors.adobe.request import MBOX_NAME, PAGE_LOAD, Facts, texts

ORDER_ID_CHARS = 250
PRODUCT_CHARS = 50
PRODUCTS_CHARS = 250
_PRODUCT_NAMES = ("id", "sku", "product_id", "pid")


@dataclass(frozen=True, slots=True)
class EventPart:
    """A part of an event in Target's terms, and the aliases that it reports.

    Attributes:
        id: of the notification, or the name of the mbox; an answer lists it as processed.
        kind: "notifications" or "mboxes".
        shown: the experience that the visitor saw, for comparison with the counted one.
    """

    event: Event
    aliases: tuple[str, ...]
    id: str
    kind: str
    body: Mapping[str, Any] = field(repr=False)
    shown: str | None = None


def mbox_of(metric: str, conversions: Mapping[str, str]) -> str:
    """Return the mbox that *metric* counts at.

    Raises:
        ValueError: its name is none that an mbox may have.
    """
    name = conversions.get(metric, metric)
    if not MBOX_NAME.fullmatch(name) or name.endswith("-clicked"):
        raise ValueError(
            "metric must be 1 to 250 letters, digits and punctuation without spaces and quotes: it is the name of an "
            "mbox; conversions= maps others"
        )
    return name


def conversion(event: Event, conversions: Mapping[str, str], given: Facts) -> EventPart:
    """Return a track as the display of its metric's mbox."""
    track = event.track
    name = mbox_of(track.metric, conversions)
    parameters = texts("parameters", _fields(track))
    body: dict[str, Any] = {"name": name, "parameters": parameters, "profileParameters": given.profile}
    body = {field: value for field, value in body.items() if value}
    order = _order(track)
    if order:
        body["order"] = order
    return EventPart(event, event.aliases, name, "mboxes", body)


def _fields(track: Track) -> dict[str, Scalar]:
    fields = dict(track.data)
    if track.currency is not None:
        fields.setdefault("currency", track.currency)
    return fields


def _order(track: Track) -> dict[str, Any]:
    """Return the order in *track*. Its id keeps Target from counting it twice."""
    products: list[str] = []
    for item in track.items:
        product = next((str(item[name]) for name in _PRODUCT_NAMES if name in item), "")
        if 0 < len(product) <= PRODUCT_CHARS and len(",".join((*products, product))) <= PRODUCTS_CHARS:
            products.append(product)
    order: dict[str, Any] = {}
    if track.value is not None and track.value >= 0:
        order["total"] = track.value
    if products:
        order["purchasedProductIds"] = products
    if order or track.key is not None:
        order["id"] = (track.key or track.id)[:ORDER_ID_CHARS]
        order["time"] = f"{datetime.fromtimestamp(track.occurred_at, UTC):%Y-%m-%dT%H:%M:%S}Z"
    return order


def displays(event: Event) -> Sequence[EventPart]:
    """Return the display of the aliases of *event*: one notification for each token.

    A variant without a token was not prefetched for this visit. A request for its mbox counts the impression then.
    """
    by_token: dict[tuple[str, str | None], list[str]] = {}
    variants = {variant.alias: variant for variant in event.exposed}
    for alias in event.aliases:
        ids = variants[alias].ids if alias in variants else {}
        by_token.setdefault((ids.get("mbox", alias), ids.get("event_token")), []).append(alias)
    parts: list[EventPart] = []
    for (name, token), aliases in by_token.items():
        first = variants.get(aliases[0])
        if token is None:
            parts.append(
                EventPart(event, tuple(aliases), name, "mboxes", {"name": name}, first.experiment_id if first else None)
            )
            continue
        state = first.ids.get("state") if first else None
        parts.append(EventPart(event, tuple(aliases), *_display(event, name, token, state)))
    return parts


def _display(event: Event, name: str, token: str, state: str | None) -> tuple[str, str, dict[str, Any]]:
    # The same on every retry: the id of the event, and a digest of the mbox and the token.
    digest = hashlib.blake2b(f"{name}\0{token}".encode(), digest_size=8).hexdigest()
    notification_id = f"{event.id}-{digest}"
    shown = {} if state is None else {"state": state}
    body: dict[str, Any] = {
        "id": notification_id,
        "impressionId": notification_id,
        "type": "display",
        "timestamp": int(event.track.occurred_at * 1000),
        "tokens": [token],
    }
    if name == PAGE_LOAD:
        body["pageLoad"] = shown
    else:
        body["mbox"] = {"name": name, **shown}
    return notification_id, "notifications", body
