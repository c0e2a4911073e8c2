"""Changes of a whole activity: split, one more experience, a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import cast

from flagmw.admin.adobe.bodies.activity import Activity, Experience, OfferLocation, Option, OptionLocation
from flagmw.admin.errors import InvalidError

# Adobe makes these; they are not sent back.
MADE_BY_VENDOR = ("id", "modifiedAt", "createdAt", "modifiedByName")


def editable(activity: Activity) -> Activity:
    """Return a copy of *activity* without what the vendor makes."""
    copy = deepcopy(dict(activity))
    for name in MADE_BY_VENDOR:
        copy.pop(name, None)
    return cast(Activity, copy)


def with_split(activity: Activity, shares: Mapping[str | int, int]) -> Activity:
    """Return *activity* with the shares of its experiences set.

    Raises:
        InvalidError: an experience is unknown or named twice, or the shares do not make 100.
    """
    changed = editable(activity)
    experiences = changed.get("experiences", [])
    given: dict[int, int] = {}
    for key, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= 100:
            raise InvalidError("must be a whole number from 0 to 100", field=f"shares[{key!r}]")
        number = _number(experiences, key)
        if number in given:
            raise InvalidError("names the same experience as another key", field=f"shares[{key!r}]")
        given[number] = share
    if sum(given.values()) != 100:
        raise InvalidError(f"the shares make {sum(given.values())}, not 100", field="shares")
    for number, experience in enumerate(experiences):
        experience["visitorPercentage"] = given.get(number, 0)
    return changed


def with_experience(
    activity: Activity,
    name: str,
    offers: Mapping[str | int, int] | int,
    audience_ids: Sequence[int] | None,
    shares: Mapping[str | int, int] | None,
) -> Activity:
    """Return *activity* with one more experience, in the form that the others have.

    Raises:
        InvalidError: an mbox is unknown, the name is taken, or the shares do not make 100.
    """
    changed = editable(activity)
    experiences = changed.setdefault("experiences", [])
    if any(experience.get("name") == name for experience in experiences):
        raise InvalidError(f'there is an experience "{name}" already', field="name")
    local = 1 + max((experience.get("experienceLocalId", -1) for experience in experiences), default=-1)
    added: Experience = {"experienceLocalId": local, "name": name}
    served = _offers(changed, offers)
    if any("optionLocations" in experience for experience in experiences) or changed.get("options"):
        _add_options(changed, added, name, served)
    else:
        added["offerLocations"] = served
    if audience_ids is not None:
        added["audienceIds"] = list(audience_ids)
    experiences.append(added)
    if shares is not None:
        return with_split(changed, shares)
    if any("visitorPercentage" in experience for experience in experiences):
        share, rest = divmod(100, len(experiences))
        for number, experience in enumerate(experiences):
            experience["visitorPercentage"] = share + (number < rest)
    return changed


def cloned(activity: Activity, name: str) -> Activity:
    """Return a copy of *activity* that can be created: another name, inactive, no id of its own."""
    copy = editable(activity)
    copy.pop("thirdPartyId", None)
    copy["name"], copy["state"] = name, "saved"
    return copy


def _number(experiences: Sequence[Experience], key: str | int) -> int:
    field = "experienceLocalId" if isinstance(key, int) else "name"
    found = [number for number, experience in enumerate(experiences) if experience.get(field) == key]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f'"{experience.get("name")}"' for experience in experiences)
    problem = (
        "is the name of several experiences; use the local id" if found else f"is no experience; there are {names}"
    )
    raise InvalidError(problem, field=f"shares[{key!r}]")


def _offers(activity: Activity, offers: Mapping[str | int, int] | int) -> list[OfferLocation]:
    locations = activity.get("locations", {})
    places = [*locations.get("mboxes", []), *locations.get("selectors", [])]
    ids = [place.get("locationLocalId", 0) for place in places]
    if isinstance(offers, int):
        return [{"locationLocalId": local, "offerId": offers} for local in ids]
    names = {place.get("name"): place.get("locationLocalId", 0) for place in places}
    found: list[OfferLocation] = []
    for key, offer in offers.items():
        local = key if isinstance(key, int) else names.get(key)
        if local not in ids:
            listed = ", ".join(f'"{name}"' for name in names)
            raise InvalidError(f"is no mbox of the activity; there are {listed}", field=f"offers[{key!r}]")
        found.append({"locationLocalId": local, "offerId": offer})
    return found


def _add_options(activity: Activity, added: Experience, name: str, served: Sequence[OfferLocation]) -> None:
    options = activity.setdefault("options", [])
    by_offer = {option.get("offerId"): option.get("optionLocalId", 0) for option in options}
    added["optionLocations"] = []
    for place in served:
        offer = place.get("offerId", 0)
        if offer not in by_offer:
            local = 1 + max((option.get("optionLocalId", -1) for option in options), default=-1)
            made: Option = {"optionLocalId": local, "name": name, "offerId": offer}
            options.append(made)
            by_offer[offer] = local
        location: OptionLocation = {
            "locationLocalId": place.get("locationLocalId", 0),
            "optionLocalId": by_offer[offer],
        }
        added["optionLocations"].append(location)
