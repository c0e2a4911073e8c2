"""Properties, mboxes, environments, response tokens and tokens of the emulated Admin API."""

from __future__ import annotations

import uuid

from flagmw.sandbox.adobe_admin.call import AdminCall
from flagmw.sandbox.adobe_admin.checks import check_name
from flagmw.sandbox.adobe_admin.dates import stamp
from flagmw.sandbox.adobe_admin.errors import invalid, missing
from flagmw.sandbox.adobe_admin.lists import limit_of, page
from flagmw.sandbox.adobe_admin.seeding import FIRST, add_response_token
from flagmw.sandbox.adobe_admin.store import Document, IssuedToken

CHANNELS = ("web", "mobile", "email", "other")
SCOPES = ("profile_api", "debug_tools")
PROPERTY_FIELDS = ("id", "name", "description", "channel", "segmentId", "modifiedAt", "workspaces")


def list_properties(call: AdminCall) -> Document:
    """Answer with a page of properties."""
    return page(call.store.properties.values(), call.query, "properties", PROPERTY_FIELDS)


def read_property(call: AdminCall) -> Document:
    """Answer with a property."""
    return dict(_property(call))


def create_property(call: AdminCall) -> Document:
    """Create a property, with a token for pages."""
    body = _property_body(call)
    property_id = call.store.next_id("property", FIRST["property"])
    document = {
        "id": property_id, "description": "", "segmentId": 410_922 + property_id,
        "workspaces": [call.settings.workspace], **body, "token": str(uuid.uuid4()), "modifiedAt": stamp(call.now),
    }  # fmt: skip
    call.store.properties[property_id] = document
    call.store.changed()
    return dict(document)


def update_property(call: AdminCall) -> Document:
    """Replace a property; its token stays."""
    document = _property(call)
    document.update(_property_body(call), modifiedAt=stamp(call.now))
    call.store.changed()
    return dict(document)


def delete_property(call: AdminCall) -> Document:
    """Delete a property."""
    document = call.store.properties.pop(_property(call)["id"])
    call.store.changed()
    return document


def list_environments(call: AdminCall) -> Document:
    """Answer with a page of environments."""
    return page(call.store.environments, call.query, "environments", ("id", "name"))


def list_mboxes(call: AdminCall) -> Document:
    """Answer with a page of the mboxes that visitors requested."""
    rows = call.sandbox.target.mboxes.rows(call.account.client)
    return page(rows, call.query, "mboxes", ("name", "status", "lastRequestedAt"))


def mbox_parameters(call: AdminCall) -> Document:
    """Answer with the parameters that came with an mbox."""
    name = call.values["name"]
    parameters = call.sandbox.target.mboxes.parameters(call.account.client, name)
    if parameters is None:
        raise missing("mbox", name)
    rows = [{"name": parameter, "parameterType": "MBOX"} for parameter in parameters]
    return {"name": name, "mboxParameters": rows[: limit_of(call.query)]}


def profile_attributes(call: AdminCall) -> Document:
    """Answer with the names of all profile attributes."""
    return {"mboxProfileAttributes": call.sandbox.target.profiles.names(call.account.client)}


def list_response_tokens(call: AdminCall) -> Document:
    """Answer with the response tokens that are switched on."""
    return {"responseTokens": [dict(token_row) for token_row in call.store.response_tokens.values()]}


def create_response_token(call: AdminCall) -> Document:
    """Switch a response token on."""
    token = check_name(call.body.get("token"), "token")
    if any(token_row["token"] == token for token_row in call.store.response_tokens.values()):
        raise invalid("token", "is switched on already")
    document = add_response_token(call.store, token, str(call.body.get("type", "SCRIPT")), call.now)
    call.store.changed()
    return dict(document)


def delete_response_token(call: AdminCall) -> Document:
    """Switch a response token off."""
    if call.id not in call.store.response_tokens:
        raise missing("response token", call.id)
    call.store.changed()
    return call.store.response_tokens.pop(call.id)


def read_token(call: AdminCall) -> Document:
    """Answer with the token that is good now."""
    scope = _scope(call)
    token = call.store.token(scope, call.now)
    if token is None:
        raise missing("token", scope)
    return _token(scope, token, call.now)


def create_token(call: AdminCall) -> Document:
    """Make a token for profiles or traces; the one before stops working."""
    scope = _scope(call)
    return _token(scope, call.store.new_token(scope, call.now + call.settings.profile_token_life_s), call.now)


def _token(scope: str, token: IssuedToken, now: float) -> Document:
    return {"accessToken": token.value, "tokenType": "bearer", "scope": scope, "expiresIn": int(token.until - now)}


def _scope(call: AdminCall) -> str:
    scope = call.parameter("scope")
    if scope not in SCOPES:
        raise invalid("scope", f"must be one of {', '.join(SCOPES)}")
    return scope


def _property(call: AdminCall) -> Document:
    document = call.store.properties.get(call.id)
    if document is None:
        raise missing("property", call.id)
    return document


def _property_body(call: AdminCall) -> Document:
    body = {name: value for name, value in call.body.items() if name not in ("id", "token", "modifiedAt")}
    check_name(body.get("name"))
    if body.get("channel") not in CHANNELS:
        raise invalid("channel", f"must be one of {', '.join(CHANNELS)}")
    return body
