"""Attributes, audiences, events, experiences and their priority."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flagmw.sandbox.contentstack_admin.call import AdminCall
from flagmw.sandbox.contentstack_admin.definitions import PRESETS, check_rules, rules_of
from flagmw.sandbox.contentstack_admin.errors import ApiError, invalid, missing
from flagmw.sandbox.contentstack_admin.store import Document, cms_uid

_TAG = re.compile(r"[A-Za-z0-9_:-]{1,32}")


def presets() -> list[Document]:
    """Return the preset attributes, which no project can change."""
    return [
        {"uid": f"{number:024x}", "name": key.replace("_", " ").title(), "key": key, "__type": "PRESET"}
        for number, key in enumerate(PRESETS, 1)
    ]


def list_attributes(call: AdminCall) -> list[Document]:
    """List attributes, preset ones first."""
    return [*presets(), *call.store.attributes.values()]


def create_attribute(call: AdminCall) -> Document:
    """Create an attribute."""
    _room(call, call.store.attributes, "attributes")
    fields = _attribute(call, None)
    return _kept(call, call.store.attributes, {**fields, "__type": "CUSTOM"})


def update_attribute(call: AdminCall) -> Document:
    """Update an attribute."""
    found = _attribute_of(call)
    return call.changed(found, **_attribute(call, found))


def delete_attribute(call: AdminCall) -> None:
    """Delete an attribute."""
    del call.store.attributes[_attribute_of(call)["uid"]]
    call.store.revision += 1


def _attribute_of(call: AdminCall) -> Document:
    if any(one["uid"] == call.values["uid"] for one in presets()):
        raise invalid("uid", "personalize.ATTRIBUTES.PRESET", "A preset attribute cannot be changed")
    return _found(call.store.attributes, call, "ATTRIBUTES")


def _attribute(call: AdminCall, own: Document | None) -> Document:
    key = _free_key(call, call.store.attributes, own)
    if key in PRESETS:
        raise invalid("key", "KEY_ALREADY_EXISTS", "A preset attribute has this key")
    return {"name": call.text("name"), "key": key, "description": call.text("description", optional=True)}


def list_events(call: AdminCall) -> list[Document]:
    """List events."""
    return list(call.store.events.values())


def create_event(call: AdminCall) -> Document:
    """Create an event."""
    _room(call, call.store.events, "events")
    key = _free_key(call, call.store.events, None)
    return _kept(call, call.store.events, {"key": key, "description": call.text("description", optional=True)})


def update_event(call: AdminCall) -> Document:
    """Update an event."""
    found = _found(call.store.events, call, "EVENTS")
    key = _free_key(call, call.store.events, found)
    return call.changed(found, key=key, description=call.text("description", optional=True))


def delete_event(call: AdminCall) -> None:
    """Delete an event."""
    del call.store.events[_found(call.store.events, call, "EVENTS")["uid"]]
    call.store.revision += 1


def list_audiences(call: AdminCall) -> list[Document]:
    """List audiences."""
    return list(call.store.audiences.values())


def create_audience(call: AdminCall) -> Document:
    """Create an audience."""
    _room(call, call.store.audiences, "audiences")
    return _kept(call, call.store.audiences, _audience(call))


def update_audience(call: AdminCall) -> Document:
    """Update an audience."""
    found = _found(call.store.audiences, call, "AUDIENCES")
    return call.changed(found, **_audience(call))


def delete_audience(call: AdminCall) -> None:
    """Delete an audience that no experience but drafts refers to."""
    uid = _found(call.store.audiences, call, "AUDIENCES")["uid"]
    for versions in call.store.versions.values():
        if any(one["status"] != "DRAFT" and uid in referred(one) for one in versions):
            raise invalid("uid", "personalize.AUDIENCES.IN_USE", "The audience is used by an experience")
    del call.store.audiences[uid]
    call.store.revision += 1


def referred(version: Mapping[str, Any]) -> list[str]:
    """Return the uids of the audiences that a version refers to, each once, in the order of the version."""
    parts = [*(version.get("variants") or ()), (version.get("targeting") or {}).get("audience") or {}]
    return list(dict.fromkeys(uid for part in parts for uid in part.get("audiences") or ()))


def _audience(call: AdminCall) -> Document:
    definition = call.body.get("definition")
    if not isinstance(definition, dict):
        raise invalid("definition", "DEFINITION_REQUIRED", "definition must be an object")
    keys = {uid: one["key"] for uid, one in call.store.attributes.items()}
    check_rules(rules_of(definition, keys), call.limits.max_rules)
    return {
        "name": call.text("name"),
        "description": call.text("description", optional=True),
        "definition": {"__type": "RuleCombination", **definition},
    }


def list_experiences(call: AdminCall) -> list[Document]:
    """List experiences."""
    return [shown(call, one) for one in call.store.experiences.values()]


def get_experience(call: AdminCall) -> Document:
    """Show an experience."""
    return shown(call, call.experience())


def create_experience(call: AdminCall) -> Document:
    """Create an experience with an empty draft."""
    store = call.store
    _room(call, store.experiences, "experiences")
    if call.body.get("__type") not in ("SEGMENTED", "AB_TEST"):
        raise invalid("__type", "NOT_VALID_ENUM", "__type must be SEGMENTED or AB_TEST")
    fields = _experience(call)
    taken = {one["shortUid"] for one in store.experiences.values()}
    made = store.new(call.now, **fields, __type=call.body["__type"], shortUid=store.new_short_uid("", taken))
    draft = store.new(call.now, status="DRAFT", variants=[])
    made["latestVersion"] = draft["uid"]
    store.experiences[made["uid"]], store.versions[made["uid"]] = made, [draft]
    store.priority.append(made["uid"])
    store.revision += 1
    return shown(call, made)


def update_experience(call: AdminCall) -> Document:
    """Update an experience."""
    found = call.experience()
    if call.body.get("__type", found["__type"]) != found["__type"]:
        raise invalid("__type", "personalize.EXPERIENCES.CANNOT_CHANGE_TYPE", "The type cannot be changed")
    return shown(call, call.changed(found, **_experience(call)))


def delete_experience(call: AdminCall) -> None:
    """Delete an experience."""
    uid = call.experience()["uid"]
    del call.store.experiences[uid], call.store.versions[uid]
    call.store.priority.remove(uid)
    call.store.revision += 1


def shown(call: AdminCall, experience: Document) -> Document:
    """Return an experience with the audiences and the status of its latest version, and its names in the CMS."""
    uid = experience["uid"]
    versions = call.store.versions[uid]
    shorts = dict.fromkeys(one["shortUid"] for version in versions for one in version["variants"])
    return {
        **experience,
        "status": versions[-1]["status"],
        "referredAudiences": referred(versions[-1]),
        "_cms": {"variantGroup": cms_uid(uid), "variants": {short: cms_uid(uid, short) for short in shorts}},
    }


def _experience(call: AdminCall) -> Document:
    tags = call.body.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(one, str) and _TAG.fullmatch(one) for one in tags):
        raise invalid("tags", "INVALID_TAG", "a tag has 1 to 32 letters, digits, _ : and -")
    unique = list(dict.fromkeys(tag.lower() for tag in tags))
    if len(unique) > call.limits.max_tags:
        raise invalid("tags", "TOO_MANY_TAGS", f"at most {call.limits.max_tags} tags")
    return {"name": call.text("name"), "description": call.text("description", optional=True), "tags": unique}


def get_priority(call: AdminCall) -> Document:
    """Show the order of experiences."""
    return {"priorityOrder": [*call.store.priority]}


def set_priority(call: AdminCall) -> Document:
    """Set the order of experiences; all must be named."""
    order = call.body.get("priorityOrder")
    if not isinstance(order, list) or not all(isinstance(one, str) for one in order):
        raise invalid("priorityOrder", "PRIORITY_NOT_ARRAY", "priorityOrder must be an array of uids")
    if sorted(order) != sorted(call.store.priority):
        raise invalid("priorityOrder", "MISSING_EXPERIENCES", "priorityOrder must name every experience once")
    call.store.priority = [*order]
    call.store.revision += 1
    return get_priority(call)


def _found(kept: dict[str, Document], call: AdminCall, resource: str) -> Document:
    found = kept.get(call.values["uid"])
    if found is None:
        raise missing(resource)
    return found


def _free_key(call: AdminCall, kept: dict[str, Document], own: Document | None) -> str:
    key = call.text("key")
    if any(one["key"] == key and one is not own for one in kept.values()):
        raise invalid("key", "KEY_ALREADY_EXISTS", "this key is there already")
    return key


def _kept(call: AdminCall, kept: dict[str, Document], fields: Document) -> Document:
    made = kept_as = call.store.new(call.now, **fields)
    kept[kept_as["uid"]] = made
    call.store.revision += 1
    return made


def _room(call: AdminCall, kept: Mapping[str, Document], what: str) -> None:
    most = call.limits.max_of_a_kind
    if len(kept) >= most:
        raise ApiError(400, "LIMIT_EXCEEDED", f"a project has {most} {what} at most")
