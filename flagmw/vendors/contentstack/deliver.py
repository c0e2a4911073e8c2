"""What an event is to the Personalize Edge API, and what its answers mean for one.

A track is a custom event of the visitor; the vendor finds out by itself for which experiences it counts (those whose
metric it is and whose impression the visitor had within 30 days). Two metrics are no events but change what is stored
of the visitor: `$set` stores attributes, `$merge` hands them on to another uid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.types import Call, Dead, Delivered, Dropped, Event, Flow, Outcome, Reply, Retry, Suspend, Track
from flagmw.vendors.common.json import loads
from flagmw.vendors.common.outcome import refused, unanswered
from flagmw.vendors.contentstack import request as requests
from flagmw.vendors.contentstack.cookies import usable_uid, user_uid

SET, MERGE, MERGE_INTO = "$set", "$merge", "into"
PROJECT_NOT_FOUND = "personalize.MANIFEST.PROJECT_NOT_FOUND"


class Reporter:
    """Tell one project what its visitors saw and did."""

    def __init__(self, base_url: str, project_uid: str) -> None:
        self._base_url, self._project_uid = base_url, project_uid

    def deliver(self, batch: Sequence[Event]) -> Flow[list[Outcome]]:
        """Send *batch* in order; return one outcome for each event.

        A list that the vendor refuses is sent again event by event: one of them may be the cause.
        """
        outcomes: list[Outcome] = []
        waiting = deque(_grouped(batch))
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
                # There is no more time, or nobody there: the others wait for the next attempt.
                return outcomes + [Retry(error.code)] * (len(batch) - len(outcomes))
            judged = _judged(reply, events)
            if len(events) > 1 and isinstance(judged[0], Dead):
                waiting.extendleft([event] for event in reversed(events))
            else:
                outcomes += judged
        return outcomes

    def _call(self, events: Sequence[Event]) -> Call | None:
        """Return the request for *events*, which go together; None when they can count for nobody."""
        track, uid = events[0].track, user_uid(events[0].visit.cookies)
        if uid is None:
            return None
        if _is_item(events[0]):
            items = [item for event in events for item in _items(event)]
            return requests.events(self._base_url, self._project_uid, uid, items) if items else None
        if track.metric == SET:
            return requests.attributes(self._base_url, self._project_uid, uid, track.data)
        into = target(track)
        return None if into is None else requests.merge(self._base_url, self._project_uid, uid, into)


def checked(track: Track) -> None:
    """Check what cannot be sent whoever the visitor is.

    Raises:
        ValueError: the data is not what the metric needs; the text says what is.
    """
    if track.metric == SET and not track.data:
        raise ValueError(f'metric "{SET}" needs data: the attributes to store')
    if track.metric == MERGE and target(track) is None:
        raise ValueError(
            f'metric "{MERGE}" needs data={{"{MERGE_INTO}": uid}}: 1 to 128 letters, digits, dots, dashes, underscores'
        )


def target(track: Track) -> str | None:
    """Return the uid that the visitor's attributes are handed on to, None if there is none that can be one."""
    return usable_uid(track.data.get(MERGE_INTO))


def _is_item(event: Event) -> bool:
    """Say whether *event* is told in the list of events, which takes several in one request."""
    return event.kind == "exposure" or event.track.metric not in (SET, MERGE)


def _grouped(batch: Sequence[Event]) -> Iterator[list[Event]]:
    """Yield *batch* in parts that one request can tell: one visitor's items that stand together, or one other event."""

    def key(numbered: tuple[int, Event]) -> tuple[str | None, int | None]:
        n, event = numbered
        return user_uid(event.visit.cookies), None if _is_item(event) else n

    for _, numbered in groupby(enumerate(batch), key):
        yield [event for _, event in numbered]


def _items(event: Event) -> list[dict[str, str]]:
    """Return *event* as the list of events has it: an impression for each variant seen, or a custom event."""
    if event.kind == "track":
        return [{"type": "EVENT", "eventKey": event.track.metric}]
    return [
        {"type": "IMPRESSION", "experienceShortUid": experience, "variantShortUid": variant}
        for seen in event.exposed
        if (experience := seen.ids.get("experience")) and (variant := seen.ids.get("variant"))
    ]


def _judged(reply: Reply, events: Sequence[Event]) -> list[Outcome]:
    """Return what *reply* means for *events*. Any success will do; its body says nothing."""
    if project_not_found(reply):
        return [Suspend(ErrorCode.PROJECT_NOT_FOUND)] * len(events)
    return [refused(reply, at_most_once=event.at_most_once) or Delivered() for event in events]


def project_not_found(reply: Reply) -> bool:
    """Say whether *reply* says that there is no such project."""
    if reply.status != 404:
        return False
    try:
        document = loads(reply.body)
    except ProtocolError:
        return False
    return isinstance(document, dict) and document.get("error") == PROJECT_NOT_FOUND
