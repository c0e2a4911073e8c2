"""Activities of the emulated Admin API."""

from __future__ import annotations

import uuid
from copy import deepcopy
from typing import Any
from urllib.parse import urlencode

from flagmw.sandbox.adobe_admin.call import AdminCall, Handler
from flagmw.sandbox.adobe_admin.changelog import changes_between
from flagmw.sandbox.adobe_admin.checks import (
    check_activity,
    check_automated,
    check_name,
    check_priority,
    check_schedule,
    check_state,
)
from flagmw.sandbox.adobe_admin.dates import stamp
from flagmw.sandbox.adobe_admin.errors import invalid, missing
from flagmw.sandbox.adobe_admin.lists import page
from flagmw.sandbox.adobe_admin.seeding import FIRST
from flagmw.sandbox.adobe_admin.store import Document, ManagedRecord

FIELDS = (
    "id", "thirdPartyId", "type", "state", "name", "priority", "startsAt", "endsAt", "modifiedAt", "workspace",
    "propertyIds",
)  # fmt: skip
# What the API makes itself; sent back by a client that read it before, and not taken.
MADE_HERE = ("id", "modifiedAt", "type")
# With these alone changed, an activity of the scenario is served as the scenario has it.
PLAIN = ("name", "state", "priority", "startsAt", "endsAt", "thirdPartyId", "workspace")


def list_activities(call: AdminCall) -> Document:
    """Answer with a page of activities; deleted ones are not among them."""
    rows = [
        {name: value for name, value in {**record.document(), "type": record.type}.items() if name in FIELDS}
        for record in call.store.activities.values()
        if record.body["state"] != "deleted"
    ]
    return page(rows, call.query, "activities", FIELDS)


def read(kind: str) -> Handler:
    """Return the handler that reads an activity of a kind."""
    return lambda call: record_of(call, kind).document()


def create(kind: str) -> Handler:
    """Return the handler that creates an activity of a kind."""

    def handler(call: AdminCall) -> Document:
        body = _body(call, kind, None)
        activity_id = call.store.next_id("activity", FIRST["activity"])
        record = ManagedRecord(activity_id, kind, body, call.now, call.now)
        record.changes.append(_change(call, {"state": {"changedValue": body["state"]}}))
        call.store.activities[activity_id] = record
        call.store.changed()
        return record.document()

    return handler


def update(kind: str) -> Handler:
    """Return the handler that replaces an activity of a kind."""

    def handler(call: AdminCall) -> Document:
        record = record_of(call, kind)
        _replace(call, record, _body(call, kind, record))
        return record.document()

    return handler


def delete(kind: str) -> Handler:
    """Return the handler that deletes an activity of a kind; its answer is the last that there is of it."""

    def handler(call: AdminCall) -> Document:
        record = record_of(call, kind)
        body = {**record.body, "state": "deleted"}
        if "thirdPartyId" in body:
            body["thirdPartyId"] = f"{body['thirdPartyId']}_{int(call.now * 1000)}"
        _replace(call, record, body)
        return record.document()

    return handler


def set_name(call: AdminCall) -> Document:
    """Rename an activity."""
    return _set(call, name=check_name(call.body.get("name")))


def set_state(call: AdminCall) -> Document:
    """Set the state of an activity."""
    return _set(call, state=check_state(call.body.get("state")))


def set_priority(call: AdminCall) -> Document:
    """Set the priority of an activity; sent as text, answered as a number."""
    return _set(call, priority=check_priority(call.body.get("priority")))


def set_schedule(call: AdminCall) -> Document:
    """Set when an activity begins and ends; Adobe's own client wraps the two once more."""
    inner = call.body.get("schedule")
    body = inner if isinstance(inner, dict) else call.body
    check_schedule(body, both=True)
    return _set(call, startsAt=body["startsAt"], endsAt=body["endsAt"])


def changelog(call: AdminCall) -> Document:
    """Answer with the changes of an activity, the latest first."""
    record = record_of(call)
    return page(list(reversed(record.changes)), call.query, "activityChangelogs", ())


def qa_links(kind: str) -> Handler:
    """Return the handler that makes addresses by which each experience is seen."""

    def handler(call: AdminCall) -> Document:
        record, url = record_of(call, kind), call.body.get("url")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise invalid("url", "must be an address")
        token = uuid.uuid4().hex
        call.store.qa_tokens[token] = record.id
        call.store.changed()
        links = []
        for number, experience in enumerate(record.body.get("experiences") or ()):
            query: dict[str, Any] = {"at_preview_token": token, "at_preview_index": f"1_{number + 1}"}
            if call.body.get("currentActivityOnly"):
                query["at_preview_listed_activities_only"] = "true"
            link = f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
            links.append({"url": link, "experienceLocalId": experience["experienceLocalId"]})
        return {"qaModeExperiences": links}

    return handler


def record_of(call: AdminCall, *kinds: str) -> ManagedRecord:
    """Return the activity in the path.

    Args:
        kinds: that it may be of; any where omitted.

    Raises:
        ApiError: there is none, it is of another kind, or it is deleted.
    """
    record = call.store.activities.get(call.id)
    if record is None or record.body["state"] == "deleted" or (kinds and record.type not in kinds):
        raise missing("activity", call.id)
    return record


def _body(call: AdminCall, kind: str, record: ManagedRecord | None) -> Document:
    body = {name: value for name, value in deepcopy(call.body).items() if name not in MADE_HERE}
    activity_id = None if record is None else record.id
    if kind == "abt":
        check_automated(body, call.store, activity_id)
    else:
        check_activity(body, call.store, activity_id)
    before = {} if record is None else record.body
    body.setdefault("state", before.get("state", "saved"))
    body.setdefault("priority", before.get("priority", 5))
    body.setdefault("workspace", before.get("workspace", call.settings.workspace))
    return body


def _set(call: AdminCall, **fields: Any) -> Document:
    record = record_of(call)
    _replace(call, record, {**record.body, **fields})
    return {"id": record.id, **fields, "modifiedAt": stamp(record.modified)}


def _replace(call: AdminCall, record: ManagedRecord, body: Document) -> None:
    before = record.body
    for change in changes_between(before, body, call.store.offers):
        record.changes.append({"modifiedAt": stamp(call.now), **change})
    kept = {experience.get("experienceLocalId") for experience in body.get("experiences") or ()}
    gone = [
        experience for experience in before.get("experiences") or () if experience.get("experienceLocalId") not in kept
    ]
    record.removed += [(experience, call.now) for experience in gone]
    if _without_plain(before) != _without_plain(body):
        record.origin = None
    record.body, record.modified = body, call.now
    call.store.changed()


def _without_plain(body: Document) -> Document:
    return {name: value for name, value in body.items() if name not in PLAIN}


def _change(call: AdminCall, parameters: Document) -> Document:
    return {"modifiedAt": stamp(call.now), "activityParameters": parameters}
