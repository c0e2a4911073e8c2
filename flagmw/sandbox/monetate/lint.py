"""What a careful client would not have sent to the Engine API, though the engine takes it.

The notes go into the ledger, so that a client's tests can assert that there are none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from flagmw.sandbox.monetate.request import EVENTS, Told

_ID = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_OLD = ("filters", "account", "domain", "instance")
_RETIRED = (
    "decision:ServerSideRequest", "context:ProductView", "record:EndcapImpressions", "record:EndcapClicks",
)  # fmt: skip


def lint(told: Told | None, headers: Mapping[str, str]) -> list[str]:
    """Return the notes on one request; an empty list for what the documentation asks for."""
    notes: list[str] = []
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in ("application/json", "text/plain"):
        notes.append(f"content-type: must be application/json, is {content_type!r}")
    notes += [f"{name}: must not be sent to the vendor" for name in ("cookie", "authorization") if name in headers]
    if told is None:
        return notes
    if told.device_id and told.monetate_id:
        notes.append("deviceId: stands in place of monetateId, not beside it")
    if told.monetate_id and not _ID.fullmatch(told.monetate_id):
        notes.append("monetateId: is none of the engine's")
    if told.warnings:
        notes.append("events: an unknown eventType")
    return notes + _events(told)


def _events(told: Told) -> list[str]:
    notes = []
    for kind, event in told.events:
        shape = EVENTS[kind]
        unknown = sorted(event.keys() - shape.required.keys() - shape.optional.keys() - {"eventType"})
        notes += [f"{kind}: unknown field {name}" for name in unknown]
        if kind in _RETIRED:
            notes.append(f"{kind}: deprecated")
        notes += [f"{kind}: {name} is deprecated" for name in _OLD if name in event]
        if kind == "decision:DecisionRequest":
            if not event.get("actionTypes"):
                notes.append("actionTypes: without it one redirect takes the place of all other actions")
            if event.get("includeReporting") is not True:
                notes.append("includeReporting: without it most actions have no name")
    counted = Counter(kind for kind, _ in told.events if kind.startswith(("context:", "decision:")))
    notes += [f"{kind}: more than one in a request" for kind, times in counted.items() if times > 1]
    return notes
