"""What an event is to the Personalize Edge API, and what its answers mean for one.

A track is a custom event of the visitor; the vendor finds out by itself for which experiences it counts (those whose
metric it is and whose impression the visitor had within 30 days). Two metrics are no events but change what is stored
of the visitor: `$set` stores attributes, `$merge` hands them on to another uid.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.types import Call, Dead, Delivered, Dropped, Event, Flow, Outcome, Reply, Suspend, Track
from flagmw.vendors import _contentstack_request as requests
from flagmw.vendors._contentstack_cookies import usable_uid, user_uid
from flagmw.vendors._http import refused, unanswered
from flagmw.vendors._json import loads

SET, MERGE, MERGE_INTO = "$set", "$merge", "into"
PROJECT_NOT_FOUND = "personalize.MANIFEST.PROJECT_NOT_FOUND"


class Reporter:
    """Tell one project what its visitors saw and did."""

    def __init__(self, base_url: str, project_uid: str) -> None:
        self._base_url, self._project_uid = base_url, project_uid

    def deliver(self, batch: Sequence[Event]) -> Flow[list[Outcome]]:
        """Send *batch* in order; return one outcome for each event."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(batch):
            rest = batch[len(outcomes) :]
            first = rest[0]
            uid = user_uid(first.visit.cookies)
            if uid is None:
                outcomes.append(Dropped(ErrorCode.NOT_IN_TEST))
            elif _is_item(first):
                outcomes += yield from self._report(_beginning(rest, uid), uid)
            else:
                outcomes += yield from self._send(self._change(first.track, uid), [first])
        return outcomes

    def _report(self, events: Sequence[Event], uid: str) -> Flow[list[Outcome]]:
        """Send *events* as one list, and each by itself when the vendor refuses that: one of them may be the cause."""
        items = [item for event in events for item in _items(event)]
        if not items:
            return [Dropped(ErrorCode.NOT_IN_TEST)] * len(events)
        outcomes = yield from self._send(requests.events(self._base_url, self._project_uid, uid, items), events)
        if len(events) == 1 or not isinstance(outcomes[0], Dead):
            return outcomes
        outcomes = []
        for event in events:
            outcomes += yield from self._report([event], uid)
        return outcomes

    def _change(self, track: Track, uid: str) -> Call:
        if track.metric == SET:
            return requests.attributes(self._base_url, self._project_uid, uid, track.data)
        return requests.merge(self._base_url, self._project_uid, uid, target(track) or uid)

    def _send(self, call: Call, events: Sequence[Event]) -> Flow[list[Outcome]]:
        try:
            reply = yield call
        except TransportError as error:
            return [unanswered(error)] * len(events)
        if project_not_found(reply):
            return [Suspend(ErrorCode.PROJECT_NOT_FOUND)] * len(events)
        # Any success will do; its body says nothing.
        return [refused(reply, at_most_once=event.at_most_once) or Delivered() for event in events]


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


def _beginning(events: Sequence[Event], uid: str) -> list[Event]:
    """Return the first of *events*, as far as they fit into one list of the visitor *uid*."""
    return list(takewhile(lambda event: _is_item(event) and user_uid(event.visit.cookies) == uid, events))


def _items(event: Event) -> list[dict[str, str]]:
    """Return *event* as the list of events has it: an impression for each variant seen, or a custom event."""
    if event.kind == "track":
        return [{"type": "EVENT", "eventKey": event.track.metric}]
    return [
        {"type": "IMPRESSION", "experienceShortUid": experience, "variantShortUid": variant}
        for seen in event.exposed
        if (experience := seen.ids.get("experience")) and (variant := seen.ids.get("variant"))
    ]


def project_not_found(reply: Reply) -> bool:
    """Say whether *reply* says that there is no such project."""
    if reply.status != 404:
        return False
    try:
        document = loads(reply.body)
    except ProtocolError:
        return False
    return isinstance(document, dict) and document.get("error") == PROJECT_NOT_FOUND
