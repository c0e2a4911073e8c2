"""Tell the Monetate Engine API what a visitor did: page events, carts, purchases, and impressions that it left to us.

Source: the vendor's published description of the Engine API (the `monetate:record:` events, `monetate:context:Cart`,
`AddToCart` and `Purchase`). It names no way to mark a repeat as such: what is sent twice counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.types import Ambiguous, Dead, Delivered, Event, Outcome, Reply, Track, Variant
from flagmw.vendors.common.json import sound
from flagmw.vendors.common.outcome import by_status
from flagmw.vendors.monetate import request as requests
from flagmw.vendors.monetate import response as answers
from flagmw.vendors.monetate.cart_lines import lines_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What metrics mean to the engine; one that is not named here is a page event.

    Attributes:
        page_events: the key of the page event, for metrics that are called differently there.
    """

    purchase: str
    cart: str
    add_to_cart: str
    page_events: Mapping[str, str] = field(default_factory=dict)

    def record(self, track: Track) -> dict[str, Any]:
        """Return the event that *track* is.

        A purchase or a cart without lines is a page event of that name, as the engine takes none without.

        Raises:
            ValueError: a line cannot be made of what `items` has.
        """
        if track.items and track.metric in (self.purchase, self.cart, self.add_to_cart):
            lines = lines_of(track.items, track.currency)
            if track.metric == self.purchase:
                order = track.key or track.id
                return _event("context:Purchase", {"purchaseId": sound(order), "purchaseLines": lines})
            return _event("context:Cart" if track.metric == self.cart else "context:AddToCart", {"cartLines": lines})
        return _event("record:PageEvents", {"pageEvents": [self.page_events.get(track.metric, sound(track.metric))]})


def tokens(variants: Sequence[Variant]) -> list[str]:
    """Return the tokens of the impressions that the engine left to us, each once."""
    return list(dict.fromkeys(token for variant in variants if (token := variant.ids.get("impression"))))


def impressions(event: Event) -> dict[str, Any] | None:
    """Return the event that reports what *event* says was seen; None when nothing in it is ours to report."""
    found = tokens(event.exposed)
    return _event("record:Impressions", {"impressionIds": found}) if found else None


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes into one request: events of one visitor, by their place in the batch, and what to tell of them."""

    who: requests.Who
    client: list[dict[str, Any]]
    places: list[int]
    records: list[dict[str, Any]]

    def takes(self, who: requests.Who, client: list[dict[str, Any]], record: Mapping[str, Any]) -> bool:
        """Say whether *record* can go along: one request describes one visitor in one situation."""
        kind = record["eventType"]
        return (
            (who, client) == (self.who, self.client)
            and (kind.startswith("monetate:record:") or all(kind != other["eventType"] for other in self.records))
        )  # fmt: skip

    def split(self) -> Iterator[Parcel]:
        """Yield a parcel for each event of this one."""
        for place, record in zip(self.places, self.records, strict=True):
            yield Parcel(self.who, self.client, [place], [record])


def packed(entries: Sequence[tuple[int, requests.Who, list[dict[str, Any]], dict[str, Any]]]) -> list[Parcel]:
    """Put *entries* (place, visitor, situation, record) into as few parcels as their order allows."""
    parcels: list[Parcel] = []
    for place, who, client, record in entries:
        if parcels and parcels[-1].takes(who, client, record):
            parcels[-1].places.append(place)
            parcels[-1].records.append(record)
        else:
            parcels.append(Parcel(who, client, [place], [record]))
    return parcels


def judge(reply: Reply, *, alone: bool, at_most_once: bool) -> Outcome:
    """Return what *reply* means for an event; *alone* says whether it was the only one in its request."""
    envelope = answers.read(reply)
    if envelope.fault is None:
        if envelope.complaints:
            # Which of several it complains about is not documented.
            return Dead(ErrorCode.REFUSED) if alone else Ambiguous(ErrorCode.REFUSED)
        return Delivered(code=ErrorCode.WARNED if envelope.warnings else None)
    if envelope.spoken and envelope.reply.status == 400:
        return Dead(envelope.fault)
    return by_status(envelope.reply, envelope.fault, at_most_once=at_most_once)


def refused(outcomes: Iterable[Outcome]) -> bool:
    """Say whether a request was turned away as it stands: nothing of it counted, and part of it may be in order."""
    return any(isinstance(outcome, Dead) for outcome in outcomes)


def _event(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"eventType": f"monetate:{kind}", **fields}
