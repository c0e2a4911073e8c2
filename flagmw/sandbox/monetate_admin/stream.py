"""Session Stream of the emulated account: what visitors really did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from flagmw.sandbox.monetate_admin.metadata import letter, page_events_of

if TYPE_CHECKING:
    from flagmw.sandbox.monetate.model import Retailer
    from flagmw.sandbox.state import Sandbox


def session_lines(sandbox: Sandbox, retailer: Retailer) -> Iterator[bytes]:
    """Yield a line of JSON for each visitor in the ledger: impressions as offers, conversions as page events."""
    experiences = {one.id: one for one in retailer.experiences}
    events = {one["title"]: str(one["id"]) for one in page_events_of(retailer)}
    ledger = sandbox.ledger.read()
    sessions: dict[str, dict[str, Any]] = {}

    def session_of(entry: dict[str, Any]) -> dict[str, Any]:
        new = {
            "monetate_id": entry["system_uid"],
            "start_time": int(entry["time"] * 1000),
            "city": None,
            "offers": [],
            "page_event_ids": {},
            "custom_targets": {},
        }
        return sessions.setdefault(entry["system_uid"], new)

    for entry in ledger["views"]:
        experience = experiences.get(entry.get("experience_id")) if entry["vendor"] == "monetate" else None
        if experience is None:
            continue
        labels = [variant.label for variant in experience.variants]
        known = entry["variation"] in labels
        part = letter(labels.index(entry["variation"])) if known else "Control"
        offer = f"{experience.id}-{part}"
        offers = session_of(entry)["offers"]
        if offer not in offers:
            offers.append(offer)
    for entry in ledger["conversions"]:
        own = events.get(entry["metric"]) if entry["vendor"] == "monetate" else None
        if own is not None:
            session_of(entry)["page_event_ids"].setdefault(own, int(entry["time"] * 1000))
    for session in sessions.values():
        yield orjson.dumps(session) + b"\n"
