"""Delivery of events and impressions, and judgement of answers.

Source: the vendor's published description of the Engine API (the `monetate:record:` events, `monetate:context:Cart`,
`AddToCart` and `Purchase`). It has no mark for a repeat: an event that is sent twice counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Ambiguous, Dead, Delivered, Dropped, Event, Flow, Outcome, Reply, Retry, Track, Variant
from flagmw.vendors.common.json import sound
from flagmw.vendors.common.outcome import by_status, unanswered
from flagmw.vendors.monetate.cart_lines import lines_of
from flagmw.vendors.monetate.options import Options
from flagmw.vendors.monetate.request import Identity, RequestBuilder, client_context
from flagmw.vendors.monetate.response import read_answer


@dataclass(frozen=True, slots=True)
class _EventRequest:
    """The content of one request: events of one visitor, by their place in the batch, and their records."""

    identity: Identity
    client: list[dict[str, Any]]
    places: list[int]
    records: list[dict[str, Any]]

    def takes(self, identity: Identity, client: list[dict[str, Any]], record: Mapping[str, Any]) -> bool:
        """Say whether *record* fits in: a request has one visitor and one client, and no kind of context twice."""
        kind = record["eventType"]
        return (identity, client) == (self.identity, self.client) and (
            kind.startswith("monetate:record:") or all(kind != other["eventType"] for other in self.records)
        )

    def split(self) -> Iterator[_EventRequest]:
        """Yield a request for each event of this one."""
        for place, record in zip(self.places, self.records, strict=True):
            yield _EventRequest(self.identity, self.client, [place], [record])


class EventDelivery:
    """Sends events of one account in as few requests as possible."""

    def __init__(self, options: Options, requests: RequestBuilder) -> None:
        self._options, self._requests = options, requests

    def deliver(self, batch: Sequence[Event]) -> Flow[list[Outcome]]:
        """Send *batch* in order; return one outcome for each event. A refused request is repeated event by event."""
        outcomes: dict[int, Outcome] = {}
        waiting = list(self._packed(batch, outcomes))
        while waiting:
            request = waiting.pop(0)
            try:
                reply = yield self._requests.events(request.identity, [*request.client, *request.records])
            except TransportError as error:
                outcomes |= dict.fromkeys(request.places, unanswered(error))
                # The engine cannot be reached or the time is over: the others wait for the next attempt.
                outcomes |= {place: Retry(error.code) for later in waiting for place in later.places}
                break
            alone = len(request.places) == 1
            verdicts = {
                place: _judged(reply, alone=alone, at_most_once=batch[place].at_most_once) for place in request.places
            }
            if not alone and _refused(verdicts.values()):
                waiting = [*request.split(), *waiting]
            else:
                outcomes |= verdicts
        return [outcomes[place] for place in range(len(batch))]

    def _packed(self, batch: Sequence[Event], outcomes: dict[int, Outcome]) -> list[_EventRequest]:
        """Return *batch* in as few requests as the order allows; set outcomes for events that cannot be sent."""
        requests: list[_EventRequest] = []
        for place, event in enumerate(batch):
            identity = self._requests.identity(event.visit, event.visit.cookies)
            try:
                record = impressions(event) if event.kind == "exposure" else self.record(event.track)
            except ValueError:  # stored before the options changed
                outcomes[place] = Dead(ErrorCode.BAD_DATA)
                continue
            if record is None or not identity.known:
                outcomes[place] = Dropped(ErrorCode.NOT_IN_TEST)
                continue
            client = client_context(event.visit)
            if requests and requests[-1].takes(identity, client, record):
                requests[-1].places.append(place)
                requests[-1].records.append(record)
            else:
                requests.append(_EventRequest(identity, client, [place], [record]))
        return requests

    def record(self, track: Track) -> dict[str, Any]:
        """Return *track* as an event of the engine.

        A purchase or a cart without lines is a page event of that name, as the engine requires lines.

        Raises:
            ValueError: `items` holds a line that the engine does not take.
        """
        options = self._options
        if track.items and track.metric in (options.purchase_metric, options.cart_metric, options.add_to_cart_metric):
            lines = lines_of(track.items, track.currency)
            if track.metric == options.purchase_metric:
                order = track.key or track.id
                return _event("context:Purchase", {"purchaseId": sound(order), "purchaseLines": lines})
            kind = "context:Cart" if track.metric == options.cart_metric else "context:AddToCart"
            return _event(kind, {"cartLines": lines})
        name = options.page_events.get(track.metric, sound(track.metric))
        return _event("record:PageEvents", {"pageEvents": [name]})


def impression_tokens(variants: Sequence[Variant]) -> list[str]:
    """Return the tokens of the impressions that the engine leaves to the caller, without repeats."""
    return list(dict.fromkeys(token for variant in variants if (token := variant.ids.get("impression"))))


def impressions(event: Event) -> dict[str, Any] | None:
    """Return the record of an exposure; None if the engine counts all its impressions itself."""
    tokens = impression_tokens(event.exposed)
    return _event("record:Impressions", {"impressionIds": tokens}) if tokens else None


def _judged(reply: Reply, *, alone: bool, at_most_once: bool) -> Outcome:
    """Return the outcome of an event by *reply*; *alone* says that it was the only event of the request."""
    answer = read_answer(reply)
    if answer.fault is None:
        if answer.has_errors:
            # The answer does not say which of several events an error belongs to.
            return Dead(ErrorCode.REFUSED) if alone else Ambiguous(ErrorCode.REFUSED)
        return Delivered(code=ErrorCode.WARNED if answer.has_warnings else None)
    if answer.from_engine and answer.reply.status == 400:
        return Dead(answer.fault)
    return by_status(answer.reply, answer.fault, at_most_once=at_most_once)


def _refused(outcomes: Iterable[Outcome]) -> bool:
    """Say whether the engine refused the whole request: nothing counted, and some events may be correct."""
    return any(isinstance(outcome, Dead) for outcome in outcomes)


def _event(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"eventType": f"monetate:{kind}", **fields}
