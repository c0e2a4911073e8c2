"""Delivery of impressions, events and attributes, and the judgement of answers.

A track is a custom event of the visitor. The vendor itself finds the experiences for which it counts (those with this
metric and with an impression within 30 days). Two metrics change the visitor's stored attributes instead: `$set` stores
attributes, `$merge` moves them to another uid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call, Dead, Delivered, Dropped, Event, Flow, Outcome, Reply, Retry, Suspend, Track
from flagmw.vendors.common.outcome import refused, unanswered
from flagmw.vendors.contentstack.cookies import Cookies, usable_uid
from flagmw.vendors.contentstack.request import RequestBuilder
from flagmw.vendors.contentstack.response import project_not_found

SET, MERGE, MERGE_INTO = "$set", "$merge", "into"


class EventDelivery:
    """Sends events of one project, those of one visitor that stand together in one request."""

    def __init__(self, requests: RequestBuilder, cookies: Cookies) -> None:
        self._requests, self._cookies = requests, cookies

    def deliver(self, batch: Sequence[Event]) -> Flow[list[Outcome]]:
        """Send *batch* in order; return one outcome for each event.

        A list that the vendor refuses is sent again event by event: one of them may be the cause.
        """
        outcomes: list[Outcome] = []
        waiting = deque(self._grouped(batch))
        while waiting:
            events = waiting.popleft()
            call = self._call(events)
            if call is None:
                outcomes += [Dropped(ErrorCode.NOT_IN_TEST)] * len(events)
                continue
            try:
                reply = yield call
            except TransportError as error:
                outcomes += [unanswered(error)] * len(events)
                # The edge cannot be reached or the time is over: the others wait for the next attempt.
                return outcomes + [Retry(error.code)] * (len(batch) - len(outcomes))
            verdicts = _judged(reply, events)
            if len(events) > 1 and isinstance(verdicts[0], Dead):
                waiting.extendleft([event] for event in reversed(events))
            else:
                outcomes += verdicts
        return outcomes

    def _call(self, events: Sequence[Event]) -> Call | None:
        """Return the request for *events* of one group; None if they cannot count."""
        track, uid = events[0].track, self._cookies.read(events[0].visit.cookies)
        if uid is None:
            return None
        if _is_item(events[0]):
            items = [item for event in events for item in _items(event)]
            return self._requests.events(uid, items) if items else None
        if track.metric == SET:
            return self._requests.attributes(uid, track.data)
        target = merge_target(track)
        return None if target is None else self._requests.merge(uid, target)

    def _grouped(self, batch: Sequence[Event]) -> Iterator[list[Event]]:
        """Yield *batch* in groups for one request each: neighbouring items of one visitor, or one other event."""

        def key(numbered: tuple[int, Event]) -> tuple[str | None, int | None]:
            place, event = numbered
            return self._cookies.read(event.visit.cookies), None if _is_item(event) else place

        for _, group in groupby(enumerate(batch), key):
            yield [event for _, event in group]


def check_track(track: Track) -> None:
    """Check the data of a track.

    Raises:
        ValueError: the metric needs other data; the text says which.
    """
    if track.metric == SET and not track.data:
        raise ValueError(f'metric "{SET}" needs data: the attributes to store')
    if track.metric == MERGE and merge_target(track) is None:
        raise ValueError(
            f'metric "{MERGE}" needs data={{"{MERGE_INTO}": uid}}: 1 to 128 letters, digits, dots, dashes, underscores'
        )


def merge_target(track: Track) -> str | None:
    """Return the uid that gets the visitor's attributes; None if it is missing or malformed."""
    return usable_uid(track.data.get(MERGE_INTO))


def _is_item(event: Event) -> bool:
    """Say whether *event* is an item of the list of events, which takes several in one request."""
    return event.kind == "exposure" or event.track.metric not in (SET, MERGE)


def _items(event: Event) -> list[dict[str, str]]:
    """Return *event* as items of the list of events: an impression for each exposed variant, or a custom event."""
    if event.kind == "track":
        return [{"type": "EVENT", "eventKey": event.track.metric}]
    return [
        {"type": "IMPRESSION", "experienceShortUid": experience, "variantShortUid": variant}
        for shown in event.exposed
        if (experience := shown.ids.get("experience")) and (variant := shown.ids.get("variant"))
    ]


def _judged(reply: Reply, events: Sequence[Event]) -> list[Outcome]:
    """Return the outcomes of *events*. Any success is a delivery; its body is not used."""
    if project_not_found(reply):
        return [Suspend(ErrorCode.PROJECT_NOT_FOUND)] * len(events)
    return [refused(reply, at_most_once=event.at_most_once) or Delivered() for event in events]
