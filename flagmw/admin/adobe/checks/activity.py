"""Checks of activities before they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.admin.adobe.checks.dates import check_order, checked_date
from flagmw.admin.adobe.checks.metrics import check_metrics
from flagmw.admin.adobe.checks.values import (
    check_ids,
    checked_id,
    checked_name,
    checked_priority,
    checked_state,
    objects,
    one_of,
    refers,
    unique_ids,
)
from flagmw.admin.errors import InvalidError

CRITERIA = ("conversion_rate", "rpv", "engagement")


def check_activity(body: Mapping[str, Any]) -> None:
    """Check an AB, XT or Auto-Allocate activity.

    Raises:
        InvalidError: something would be refused, or would not do what it looks like; the text names the field.
    """
    check_common(body)
    places = _check_locations(body)
    options = unique_ids(body, "options", "optionLocalId")
    experiences = unique_ids(body, "experiences", "experienceLocalId")
    if not experiences:
        raise InvalidError("an activity needs at least one experience", field="experiences")
    for place, experience in objects(body, "experiences"):
        _check_experience(experience, place, places, options)
    check_percentages(body)
    check_metrics(body, experiences)
    allocate = body.get("autoAllocateTraffic")
    if isinstance(allocate, Mapping) and allocate.get("successEvaluationCriteria") is not None:
        field = "autoAllocateTraffic.successEvaluationCriteria"
        one_of(allocate["successEvaluationCriteria"], CRITERIA, field)


def check_common(body: Mapping[str, Any]) -> None:
    """Check what every kind of activity has.

    Raises:
        InvalidError: a value is wrong.
    """
    if not isinstance(body, Mapping):
        raise InvalidError(f"must be an object, got {type(body).__name__}", field="activity")
    checked_name(body.get("name"))
    for name in ("thirdPartyId", "workspace"):
        if body.get(name) is not None:
            checked_name(body[name], name)
    if body.get("state") is not None:
        checked_state(body["state"])
    if body.get("priority") is not None:
        checked_priority(body["priority"])
    dates = {name: checked_date(body[name], name) for name in ("startsAt", "endsAt") if body.get(name) is not None}
    if len(dates) == 2:
        check_order(dates["startsAt"], dates["endsAt"])
    constraint = body.get("entryConstraint")
    if isinstance(constraint, Mapping) and constraint.get("visitorPercentage") is not None:
        _percentage(constraint["visitorPercentage"], "entryConstraint.visitorPercentage")
    check_ids(body, "propertyIds")


def check_percentages(body: Mapping[str, Any]) -> None:
    """Check that the shares of the experiences make 100, where they are given.

    Raises:
        InvalidError: they do not, or some experiences have a share and others none.
    """
    experiences = list(objects(body, "experiences"))
    shares = [
        _percentage(experience["visitorPercentage"], f"{place}.visitorPercentage")
        for place, experience in experiences
        if experience.get("visitorPercentage") is not None
    ]
    if not shares:
        return
    if len(shares) < len(experiences):
        raise InvalidError("give every experience a share, or none for an even split", field="visitorPercentage")
    if sum(shares) != 100:
        raise InvalidError(f"the shares make {sum(shares)}, not 100", field="visitorPercentage")


def _check_locations(body: Mapping[str, Any]) -> set[int]:
    locations = body.get("locations")
    if locations is not None and not isinstance(locations, Mapping):
        raise InvalidError('must be an object: {"mboxes": [...]}', field="locations")
    locations = locations or {}
    mboxes = unique_ids(locations, "mboxes", "locationLocalId", "locations")
    for place, mbox in objects(locations, "mboxes", "locations"):
        checked_name(mbox.get("name"), f"{place}.name")
        check_ids(mbox, "audienceIds", place)
    selectors = unique_ids(locations, "selectors", "locationLocalId", "locations")
    if twice := mboxes & selectors:
        raise InvalidError(f"{min(twice)} is used by an mbox and a selector", field="locations")
    if not mboxes and not selectors and not body.get("views"):
        raise InvalidError("an activity needs at least one mbox", field="locations.mboxes")
    return mboxes | selectors


def _check_experience(experience: Mapping[str, Any], place: str, places: set[int], options: set[int]) -> None:
    checked_name(experience.get("name"), f"{place}.name")
    if experience.get("offerLocations") and experience.get("optionLocations"):
        raise InvalidError("has offerLocations and optionLocations; use one form", field=place)
    for where, served in objects(experience, "offerLocations", place):
        refers(served, "locationLocalId", places, "locations", where)
        if served.get("offerId") is not None:
            checked_id(served["offerId"], f"{where}.offerId")
    for where, served in objects(experience, "optionLocations", place):
        refers(served, "locationLocalId", places, "locations", where)
        refers(served, "optionLocalId", options, "options", where)
    check_ids(experience, "audienceIds", place)


def _percentage(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise InvalidError("must be a whole number from 0 to 100", field=field)
    return value
