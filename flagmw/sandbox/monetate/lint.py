"""Notes on accepted requests that a careful client would not send.

The notes go into the ledger, so that a client's tests can assert that there are none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from flagmw.sandbox.monetate.request import EVENTS, EngineRequest

_ID = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_OLD = ("filters", "account", "domain", "instance")
_RETIRED = (
    "decision:ServerSideRequest", "context:ProductView", "record:EndcapImpressions", "record:EndcapClicks",
)  # fmt: skip


def lint(sent: EngineRequest | None, headers: Mapping[str, str]) -> list[str]:
    """Return the notes on one request; an empty list for what the documentation asks for."""
    notes: list[str] = []
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in ("application/json", "text/plain"):
        notes.append(f"content-type: must be application/json, is {content_type!r}")
    notes += [f"{name}: must not be sent to the vendor" for name in ("cookie", "authorization") if name in headers]
    if sent is None:
        return notes
    if sent.device_id and sent.monetate_id:
        notes.append("deviceId: stands in place of monetateId, not beside it")
    if sent.monetate_id and not _ID.fullmatch(sent.monetate_id):
        notes.append("monetateId: is none of the engine's")
    if sent.warnings:
        notes.append("events: an unknown eventType")
    return notes + _events(sent)


def _events(sent: EngineRequest) -> list[str]:
    notes = []
    for kind, event in sent.events:
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
    counted = Counter(kind for kind, _ in sent.events if kind.startswith(("context:", "decision:")))
    notes += [f"{kind}: more than one in a request" for kind, times in counted.items() if times > 1]
    return notes
