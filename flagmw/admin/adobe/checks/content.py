"""Checks of offers, audiences and properties before they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.admin.adobe.checks.values import checked_name, one_of
from flagmw.admin.errors import InvalidError

CHANNELS = ("web", "mobile", "email", "other")
MAX_AUDIENCE_NAME = 255


def check_offer(body: Mapping[str, Any]) -> None:
    """Check a content offer.

    Raises:
        InvalidError: it has no name, or no text as its content.
    """
    _check_object(body, "offer")
    checked_name(body.get("name"))
    if not isinstance(body.get("content"), str):
        raise InvalidError("must be a text; JSON goes into a JSON offer (offers.json.create)", field="content")
    _check_workspace(body)


def check_json_offer(body: Mapping[str, Any]) -> None:
    """Check a JSON offer.

    Raises:
        InvalidError: it has no name or no content.
    """
    _check_object(body, "offer")
    checked_name(body.get("name"))
    if "content" not in body:
        raise InvalidError("must be there; it may be any JSON", field="content")
    _check_workspace(body)


def check_audience(body: Mapping[str, Any]) -> None:
    """Check an audience.

    Raises:
        InvalidError: it has both rules or none, or no name.
    """
    _check_object(body, "audience")
    checked_name(body.get("name"), longest=MAX_AUDIENCE_NAME)
    rules = [name for name in ("targetRule", "audienceRule") if body.get(name) is not None]
    if len(rules) == 2:
        raise InvalidError("targetRule and audienceRule cannot be mixed; make two audiences", field="audienceRule")
    if not rules:
        raise InvalidError("an audience needs a targetRule or an audienceRule", field="targetRule")
    if not isinstance(body[rules[0]], Mapping | list | tuple) or not body[rules[0]]:
        raise InvalidError('must be an object, such as {"and": [...]}', field=rules[0])
    _check_workspace(body)


def check_property(body: Mapping[str, Any]) -> None:
    """Check a property.

    Raises:
        InvalidError: it has no name or no channel.
    """
    _check_object(body, "property")
    checked_name(body.get("name"))
    one_of(body.get("channel"), CHANNELS, "channel")


def _check_object(body: object, what: str) -> None:
    if not isinstance(body, Mapping):
        raise InvalidError(f"must be an object, got {type(body).__name__}", field=what)


def _check_workspace(body: Mapping[str, Any]) -> None:
    if body.get("workspace") is not None:
        checked_name(body["workspace"], "workspace")
