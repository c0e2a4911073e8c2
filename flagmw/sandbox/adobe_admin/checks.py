"""Checks of what the emulated Admin API is sent."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from flagmw.sandbox.adobe_admin.dates import moment
from flagmw.sandbox.adobe_admin.errors import invalid
from flagmw.sandbox.adobe_admin.store import AccountStore, Document

MAX_NAME = 250
STATES = ("approved", "saved", "deactivated")
ACTIONS = (
    "count_once", "count_landings", "always_convert", "restart_same_experience", "restart_random_experience",
    "restart_new_experience", "exclude_to_same_experience", "ban_from_campaign", "experience_frequency_capping",
)  # fmt: skip


def check_name(value: Any, field: str = "name", longest: int = MAX_NAME) -> str:
    """Return *value*, a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise invalid(field, "must not be empty")
    if len(value) > longest:
        raise invalid(field, f"must have at most {longest} characters")
    return value


def check_state(value: Any) -> str:
    """Return *value*, a state that can be set; "deleted" is reached by deleting alone."""
    if value not in STATES:
        raise invalid("state", f"must be one of {', '.join(STATES)}")
    return str(value)


def check_priority(value: Any) -> int:
    """Return *value* as a number; the documentation's sample sends it as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 4:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 999:
        raise invalid("priority", "must be from 0 to 999")
    return value


def check_schedule(body: Mapping[str, Any], *, both: bool = False) -> None:
    """Check the dates in *body*."""
    dates = {}
    for name in ("startsAt", "endsAt"):
        if body.get(name) is not None or both:
            dates[name] = moment(body.get(name))
            if dates[name] is None:
                raise invalid(name, "is no date")
    begin, end = dates.get("startsAt"), dates.get("endsAt")
    if begin is not None and end is not None and end <= begin:
        raise invalid("endsAt", "must be later than startsAt")


def check_common(body: Document, store: AccountStore, activity_id: int | None) -> None:
    """Check what every kind of activity has.

    Args:
        activity_id: the activity's id, None for a new one.
    """
    check_name(body.get("name"))
    if "state" in body:
        check_state(body["state"])
    if "priority" in body:
        body["priority"] = check_priority(body["priority"])
    check_schedule(body)
    third_party = body.get("thirdPartyId")
    if third_party is not None:
        check_name(third_party, "thirdPartyId")
        if any(
            record.id != activity_id and record.body.get("thirdPartyId") == third_party
            for record in store.activities.values()
        ):
            raise invalid("thirdPartyId", "is used by another activity")
    for number, property_id in enumerate(_list(body, "propertyIds")):
        if not _among(property_id, store.properties):
            raise invalid(f"propertyIds[{number}]", f"property {property_id} is not found")


def check_activity(body: Document, store: AccountStore, activity_id: int | None) -> None:
    """Check an AB, XT or Auto-Allocate activity."""
    check_common(body, store, activity_id)
    if not isinstance(body.get("locations"), dict):
        raise invalid("locations", "must be an object")
    places = _check_locations(body, store)
    if not places and not body.get("views"):
        raise invalid("locations", "must hold at least one location")
    _check_entry(body, store)
    if not body.get("experiences"):
        raise invalid("experiences", "must hold at least one experience")
    _check_experiences(body, store, places)
    _check_shares(_objects(body, "experiences"))
    _check_metrics(body)


def check_automated(body: Document, store: AccountStore, activity_id: int | None) -> None:
    """Check an Automated Personalization activity: what it shares with the others, where it is there."""
    check_common(body, store, activity_id)
    _check_experiences(body, store, _check_locations(body, store))
    _check_metrics(body)


def _check_locations(body: Document, store: AccountStore) -> set[int]:
    """Return the local ids of the activity's locations."""
    locations = body.get("locations", {})
    if not isinstance(locations, dict):
        raise invalid("locations", "must be an object")
    mboxes = _objects(locations, "mboxes", "locations.")
    for number, mbox in enumerate(mboxes):
        check_name(mbox.get("name"), f"locations.mboxes[{number}].name")
        _check_audiences(mbox, store, f"locations.mboxes[{number}]")
    return _local_ids([*mboxes, *_objects(locations, "selectors", "locations.")], "locationLocalId", "locations")


def _check_experiences(body: Document, store: AccountStore, places: set[int]) -> None:
    options = _objects(body, "options")
    known = _local_ids(options, "optionLocalId", "options")
    for number, option in enumerate(options):
        _check_offer(option, store, f"options[{number}]")
    experiences = _objects(body, "experiences")
    _local_ids(experiences, "experienceLocalId", "experiences")
    for number, experience in enumerate(experiences):
        _check_experience(experience, store, places, known, f"experiences[{number}]")


def _check_entry(body: Document, store: AccountStore) -> None:
    constraint = body.get("entryConstraint")
    if constraint is None:
        return
    if not isinstance(constraint, dict):
        raise invalid("entryConstraint", "must be an object")
    share = constraint.get("visitorPercentage", 100)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:
        raise invalid("entryConstraint.visitorPercentage", "must be a number from 0 to 100")
    for number, mbox in enumerate(_objects(constraint, "mboxes", "entryConstraint.")):
        _check_audiences(mbox, store, f"entryConstraint.mboxes[{number}]")


def _check_experience(
    experience: Document, store: AccountStore, places: set[int], options: set[int], field: str
) -> None:
    check_name(experience.get("name"), f"{field}.name")
    _check_audiences(experience, store, field)
    for name in ("offerLocations", "optionLocations"):
        for number, where in enumerate(_objects(experience, name, f"{field}.")):
            at = f"{field}.{name}[{number}]"
            if not _among(where.get("locationLocalId"), places):
                raise invalid(f"{at}.locationLocalId", "is no location of the activity")
            if name == "offerLocations":
                _check_offer(where, store, at)
            elif not _among(where.get("optionLocalId"), options):
                raise invalid(f"{at}.optionLocalId", "is no option of the activity")


def _check_shares(experiences: list[Document]) -> None:
    shares = [
        experience["visitorPercentage"] for experience in experiences if experience.get("visitorPercentage") is not None
    ]
    if any(isinstance(share, bool) or not isinstance(share, int | float) or share < 0 for share in shares):
        raise invalid("visitorPercentage", "must be a number from 0 to 100")
    if shares and (len(shares) < len(experiences) or sum(shares) != 100):
        raise invalid("visitorPercentage", "must make 100 over all experiences")


def _check_metrics(body: Document) -> None:
    metrics = _objects(body, "metrics")
    _local_ids(metrics, "metricLocalId", "metrics")
    if sum(metric.get("conversion") is True for metric in metrics) > 1:
        raise invalid("metrics", "must hold one conversion metric")
    for number, metric in enumerate(metrics):
        field = f"metrics[{number}]"
        action = metric.get("action")
        if action is not None and (not isinstance(action, dict) or action.get("type") not in ACTIONS):
            raise invalid(f"{field}.action.type", "is no action")
        inner = _objects(action or {}, "mboxes", f"{field}.action.")
        for place, mbox in enumerate([*_objects(metric, "mboxes", f"{field}."), *inner]):
            if mbox.get("successEvent") not in (None, "mbox_shown", "mbox_clicked"):
                raise invalid(f"{field}.mboxes[{place}].successEvent", "must be mbox_shown or mbox_clicked")


def _check_offer(option: Document, store: AccountStore, field: str) -> None:
    offer = option.get("offerId", 0)
    if offer != 0 and not _among(offer, store.offers):
        raise invalid(f"{field}.offerId", f"offer {offer} is not found")


def _check_audiences(holder: Document, store: AccountStore, field: str) -> None:
    for number, audience in enumerate(_list(holder, "audienceIds")):
        if not _among(audience, store.audiences):
            raise invalid(f"{field}.audienceIds[{number}]", f"audience {audience} is not found")


def _among(value: Any, known: Container[int]) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in known


def _local_ids(objects: Iterable[Document], key: str, field: str) -> set[int]:
    local_ids: set[int] = set()
    for document in objects:
        local_id = document.get(key)
        if isinstance(local_id, bool) or not isinstance(local_id, int) or local_id < 0 or local_id in local_ids:
            raise invalid(f"{field}.{key}", "must be a number that nothing else has")
        local_ids.add(local_id)
    return local_ids


def _objects(holder: Mapping[str, Any], name: str, before: str = "") -> list[Document]:
    documents = _list(holder, name, before)
    if not all(isinstance(document, dict) for document in documents):
        raise invalid(f"{before}{name}", "must hold objects")
    return documents


def _list(holder: Mapping[str, Any], name: str, before: str = "") -> list[Any]:
    values = holder.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise invalid(f"{before}{name}", "must be a list")
    return values
