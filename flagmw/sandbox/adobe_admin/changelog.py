"""Entries of an activity's change log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flagmw.sandbox.adobe_admin.serving import offer_ids
from flagmw.sandbox.adobe_admin.store import Document

_NAMES = {"name": "activityName"}
_FIELDS = ("name", "state", "priority", "startsAt", "endsAt", "thirdPartyId", "workspace", "propertyIds")


def changes_between(before: Document, after: Document, offers: Mapping[int, Document]) -> Iterator[Document]:
    """Yield an entry for each field and each offer at a place that is not what it was."""
    for field in _FIELDS:
        old, new = before.get(field), after.get(field)
        if old != new:
            values = {"changedValue": new} if old is None else {"previousValue": old, "changedValue": new}
            yield {"activityParameters": {_NAMES.get(field, field): values}}
    places = {mbox["locationLocalId"]: mbox for mbox in (after.get("locations") or {}).get("mboxes") or ()}
    known = {experience.get("experienceLocalId"): experience for experience in before.get("experiences") or ()}
    for experience in after.get("experiences") or ():
        earlier = known.get(experience.get("experienceLocalId"))
        had = {} if earlier is None else offer_ids(before, earlier)
        for place, offer in offer_ids(after, experience).items():
            if earlier is not None and place in places and had.get(place, 0) != offer:
                yield {
                    "activityLocationOfferChange": {
                        "previousValue": _shown(had.get(place, 0), offers),
                        "changedValue": _shown(offer, offers),
                        "mbox": {"name": places[place]["name"], "locationLocalId": place},
                        "experience": {
                            "name": experience["name"],
                            "experienceLocalId": experience["experienceLocalId"],
                        },
                    }
                }


def uses(body: Document, offer: int) -> bool:
    """True when an activity shows an offer."""
    return any(offer in offer_ids(body, experience).values() for experience in body.get("experiences") or ())


def _shown(offer: int, offers: Mapping[int, Document]) -> dict[str, Any]:
    return {"id": offer, "name": offers[offer]["name"] if offer in offers else "Default Content"}
