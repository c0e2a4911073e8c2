"""Offers and audiences of the emulated Admin API."""

from __future__ import annotations

from flagmw.sandbox.adobe_admin.call import AdminCall, Handler
from flagmw.sandbox.adobe_admin.changelog import uses
from flagmw.sandbox.adobe_admin.checks import check_name
from flagmw.sandbox.adobe_admin.dates import stamp
from flagmw.sandbox.adobe_admin.errors import ApiError, invalid, missing
from flagmw.sandbox.adobe_admin.lists import page
from flagmw.sandbox.adobe_admin.rules import check_rule
from flagmw.sandbox.adobe_admin.seeding import FIRST
from flagmw.sandbox.adobe_admin.store import Document

OFFER_FIELDS = ("id", "name", "type", "modifiedAt", "workspace")
AUDIENCE_FIELDS = ("id", "name", "description", "origin", "modifiedAt", "workspace")
MAX_AUDIENCE_NAME = 255


def list_offers(call: AdminCall) -> Document:
    """Answer with a page of offers."""
    rows = [{name: offer[name] for name in OFFER_FIELDS} for offer in call.store.offers.values()]
    return page(rows, call.query, "offers", OFFER_FIELDS)


def read_offer(type: str) -> Handler:
    """Return the handler that reads an offer of a type."""
    return lambda call: _shown_offer(_offer(call, type))


def create_offer(type: str) -> Handler:
    """Return the handler that creates an offer of a type."""

    def handler(call: AdminCall) -> Document:
        body = _offer_body(call, type)
        offer_id = call.store.next_id("offer", FIRST["offer"])
        document = {
            "id": offer_id,
            "type": type,
            "workspace": call.settings.workspace,
            **body,
            "modifiedAt": stamp(call.now),
        }
        call.store.offers[offer_id] = document
        call.store.changed()
        return _shown_offer(document)

    return handler


def update_offer(type: str) -> Handler:
    """Return the handler that replaces an offer of a type; the change logs of its activities have it too."""

    def handler(call: AdminCall) -> Document:
        offer = _offer(call, type)
        offer.update(_offer_body(call, type), modifiedAt=stamp(call.now))
        for record in call.store.activities.values():
            if uses(record.body, offer["id"]):
                record.origin = None
                change = {"id": offer["id"], "name": offer["name"]}
                record.changes.append({"modifiedAt": stamp(call.now), "modifiedOffer": change})
        call.store.changed()
        return _shown_offer(offer)

    return handler


def delete_offer(type: str) -> Handler:
    """Return the handler that deletes an offer; where it was shown, the default content is."""

    def handler(call: AdminCall) -> Document:
        offer = call.store.offers.pop(_offer(call, type)["id"])
        for record in call.store.activities.values():
            if uses(record.body, offer["id"]):
                record.origin = None
        call.store.changed()
        return _shown_offer(offer)

    return handler


def list_audiences(call: AdminCall) -> Document:
    """Answer with a page of audiences, without their rules."""
    rows = [
        {name: value for name, value in audience.items() if name in AUDIENCE_FIELDS}
        for audience in call.store.audiences.values()
    ]
    return page(rows, call.query, "audiences", AUDIENCE_FIELDS)


def read_audience(call: AdminCall) -> Document:
    """Answer with an audience."""
    return dict(_audience(call))


def create_audience(call: AdminCall) -> Document:
    """Create an audience."""
    body = _audience_body(call, None)
    audience_id = call.store.next_id("audience", FIRST["audience"])
    document = {
        "id": audience_id,
        "origin": "target",
        "workspace": call.settings.workspace,
        **body,
        "modifiedAt": stamp(call.now),
    }
    call.store.audiences[audience_id] = document
    call.store.changed()
    return dict(document)


def update_audience(call: AdminCall) -> Document:
    """Replace an audience."""
    audience = _audience(call)
    body = _audience_body(call, audience["id"])
    kept = {name: audience[name] for name in ("id", "origin", "workspace")}
    _changed_audience(call, audience["id"])
    document = call.store.audiences[audience["id"]] = {**kept, **body, "modifiedAt": stamp(call.now)}
    return dict(document)


def move_audience(call: AdminCall) -> Document:
    """Move an audience to another workspace."""
    audience = _audience(call)
    audience.update(workspace=check_name(call.body.get("workspace"), "workspace"), modifiedAt=stamp(call.now))
    call.store.changed()
    return dict(audience)


def delete_audience(call: AdminCall) -> Document:
    """Delete an audience; what was for it is for nobody then."""
    audience = call.store.audiences.pop(_audience(call)["id"])
    _changed_audience(call, audience["id"])
    return audience


def _changed_audience(call: AdminCall, audience_id: int) -> None:
    for record in call.store.activities.values():
        mboxes = (record.body.get("locations") or {}).get("mboxes") or ()
        if any(
            audience_id in (holder.get("audienceIds") or ())
            for holder in [*mboxes, *(record.body.get("experiences") or ())]
        ):
            record.origin = None
    call.store.changed()


def _offer(call: AdminCall, type: str) -> Document:
    offer = call.store.offers.get(call.id)
    if offer is None or offer["type"] != type:
        raise missing("offer", call.id)
    return offer


def _shown_offer(offer: Document) -> Document:
    return {name: value for name, value in offer.items() if name != "type"}


def _offer_body(call: AdminCall, type: str) -> Document:
    body = {name: value for name, value in call.body.items() if name not in ("id", "modifiedAt", "type")}
    check_name(body.get("name"))
    if "content" not in body or (type == "content" and not isinstance(body["content"], str)):
        raise invalid("content", "must be a text" if type == "content" else "must be there")
    return body


def _audience(call: AdminCall) -> Document:
    audience = call.store.audiences.get(call.id)
    if audience is None:
        raise missing("audience", call.id)
    return audience


def _audience_body(call: AdminCall, audience_id: int | None) -> Document:
    body = {name: value for name, value in call.body.items() if name not in ("id", "modifiedAt", "origin")}
    name = check_name(body.get("name"), longest=MAX_AUDIENCE_NAME)
    if any(audience["name"] == name and audience["id"] != audience_id for audience in call.store.audiences.values()):
        raise invalid("name", "is used by another audience")
    rules = [name for name in ("targetRule", "audienceRule") if body.get(name) is not None]
    if len(rules) != 1:
        raise ApiError(400, "Invalid.Value", "give either targetRule or audienceRule", "targetRule")
    check_rule(body[rules[0]], rules[0], audiences=rules[0] == "audienceRule")
    return body
