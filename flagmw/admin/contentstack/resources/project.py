"""Attributes, audiences and events of a project."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from flagmw.admin.contentstack.bodies import Attribute, Audience, Event
from flagmw.admin.contentstack.checks import checked_definition, checked_text
from flagmw.admin.contentstack.resources.base import ContentstackResource, Document, given
from flagmw.admin.contentstack.rules.tree import Node
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, operation


class Attributes(ContentstackResource[M]):
    """Custom attributes of visitors; preset ones are listed, and cannot be changed."""

    @operation
    def list(self) -> Flow[builtins.list[Attribute]]:
        """Return all attributes, preset ones too."""
        answer: builtins.list[Attribute] = yield from self._rows("attributes.list")
        return answer

    @operation
    def create(self, name: str, key: str, *, description: str | None = None) -> Flow[Attribute]:
        """Create a custom attribute; *key* is what visitors' values are stored under."""
        answer: Attribute = yield from self._object("attributes.create", body=_attribute(name, key, description))
        return answer

    @operation
    def update(self, uid: str, name: str, key: str, *, description: str | None = None) -> Flow[Attribute]:
        """Replace an attribute and return what it is now."""
        body = _attribute(name, key, description)
        answer: Attribute = yield from self._object("attributes.update", values={"uid": uid}, body=body)
        return answer

    @operation
    def delete(self, uid: str) -> Flow[None]:
        """Delete an attribute."""
        yield from self._nothing("attributes.delete", values={"uid": uid})


class Audiences(ContentstackResource[M]):
    """Audiences: rules by a name."""

    @operation
    def list(self) -> Flow[builtins.list[Audience]]:
        """Return all audiences."""
        answer: builtins.list[Audience] = yield from self._rows("audiences.list")
        return answer

    @operation
    def create(
        self, name: str, definition: Node | Mapping[str, Any], *, description: str | None = None
    ) -> Flow[Audience]:
        """Create an audience of rules, `Country.equals("US") & ...`, or of the vendor's JSON."""
        body = _audience(name, definition, description)
        answer: Audience = yield from self._object("audiences.create", body=body)
        return answer

    @operation
    def update(
        self, uid: str, name: str, definition: Node | Mapping[str, Any], *, description: str | None = None
    ) -> Flow[Audience]:
        """Replace an audience and return what it is now."""
        body = _audience(name, definition, description)
        answer: Audience = yield from self._object("audiences.update", values={"uid": uid}, body=body)
        return answer

    @operation
    def delete(self, uid: str) -> Flow[None]:
        """Delete an audience; refused while an experience that is no draft refers to it."""
        yield from self._nothing("audiences.delete", values={"uid": uid})


class Events(ContentstackResource[M]):
    """Events, which experiences count as conversions."""

    @operation
    def list(self) -> Flow[builtins.list[Event]]:
        """Return all events."""
        answer: builtins.list[Event] = yield from self._rows("events.list")
        return answer

    @operation
    def create(self, key: str, *, description: str | None = None) -> Flow[Event]:
        """Create an event; *key* is what visitors' events are sent under."""
        answer: Event = yield from self._object("events.create", body=_event(key, description))
        return answer

    @operation
    def update(self, uid: str, key: str, *, description: str | None = None) -> Flow[Event]:
        """Replace an event and return what it is now."""
        answer: Event = yield from self._object("events.update", values={"uid": uid}, body=_event(key, description))
        return answer

    @operation
    def delete(self, uid: str) -> Flow[None]:
        """Delete an event."""
        yield from self._nothing("events.delete", values={"uid": uid})


def _attribute(name: str, key: str, description: str | None) -> Document:
    return given(name=checked_text(name, "name"), key=checked_text(key, "key"), description=description)


def _audience(name: str, definition: Node | Mapping[str, Any], description: str | None) -> Document:
    return given(name=checked_text(name, "name"), description=description, definition=checked_definition(definition))


def _event(key: str, description: str | None) -> Document:
    return given(key=checked_text(key, "key"), description=description)
