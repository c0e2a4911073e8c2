"""`flagmw contentstack attributes`, `audiences` and `events`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flagmw.admin.contentstack.client import ContentstackAdmin
from flagmw.cli.admin.body import object_from
from flagmw.cli.admin.session import Session
from flagmw.cli.contentstack.root import DescriptionOption, NameArgument, UidArgument, commands

attributes = commands.group("attributes", "What is known of visitors.")
audiences = commands.group("audiences", "Groups of visitors, by rules.")
events = commands.group("events", "What visitors do; experiences count it.")

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="What visitors' data is sent under.")]
DefinitionArgument = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A file with the rules: the audience's definition as JSON; - for input."),
]


@attributes.command("list", calls=["attributes.list"], lists=True)
def list_attributes(session: Session[ContentstackAdmin]) -> None:
    """List attributes, preset ones too."""
    rows = session.call(session.client.attributes.list)
    session.rows(rows, ("uid", "__type", "key", "name", "description"))


@attributes.command("create", calls=["attributes.create"])
def create_attribute(
    session: Session[ContentstackAdmin], name: NameArgument, key: KeyArgument, description: DescriptionOption = None
) -> None:
    """Create a custom attribute."""
    session.show(session.call(session.client.attributes.create, name, key, description=description))


@attributes.command("update", calls=["attributes.update"])
def update_attribute(
    session: Session[ContentstackAdmin],
    uid: UidArgument,
    name: NameArgument,
    key: KeyArgument,
    description: DescriptionOption = None,
) -> None:
    """Replace a custom attribute."""
    session.show(session.call(session.client.attributes.update, uid, name, key, description=description))


@attributes.command("delete", calls=["attributes.delete"], destroys=True)
def delete_attribute(session: Session[ContentstackAdmin], uid: UidArgument) -> None:
    """Delete a custom attribute."""
    session.confirm(f"delete attribute {uid}")
    session.call(session.client.attributes.delete, uid)
    session.show({"deleted": uid})


@audiences.command("list", calls=["audiences.list"], lists=True)
def list_audiences(session: Session[ContentstackAdmin]) -> None:
    """List audiences; JSON has their rules."""
    rows = session.call(session.client.audiences.list)
    session.rows(rows, ("uid", "name", "description", "source", "updatedAt"))


@audiences.command("create", calls=["audiences.create"])
def create_audience(
    session: Session[ContentstackAdmin],
    name: NameArgument,
    file: DefinitionArgument,
    description: DescriptionOption = None,
) -> None:
    """Create an audience; its rules are checked before they are sent."""
    session.show(session.call(session.client.audiences.create, name, _definition(file), description=description))


@audiences.command("update", calls=["audiences.update"])
def update_audience(
    session: Session[ContentstackAdmin],
    uid: UidArgument,
    name: NameArgument,
    file: DefinitionArgument,
    description: DescriptionOption = None,
) -> None:
    """Replace an audience."""
    session.show(session.call(session.client.audiences.update, uid, name, _definition(file), description=description))


@audiences.command("delete", calls=["audiences.delete"], destroys=True)
def delete_audience(session: Session[ContentstackAdmin], uid: UidArgument) -> None:
    """Delete an audience; refused while a live experience refers to it."""
    session.confirm(f"delete audience {uid}")
    session.call(session.client.audiences.delete, uid)
    session.show({"deleted": uid})


@events.command("list", calls=["events.list"], lists=True)
def list_events(session: Session[ContentstackAdmin]) -> None:
    """List events."""
    session.rows(session.call(session.client.events.list), ("uid", "key", "description"))


@events.command("create", calls=["events.create"])
def create_event(session: Session[ContentstackAdmin], key: KeyArgument, description: DescriptionOption = None) -> None:
    """Create an event."""
    session.show(session.call(session.client.events.create, key, description=description))


@events.command("update", calls=["events.update"])
def update_event(
    session: Session[ContentstackAdmin], uid: UidArgument, key: KeyArgument, description: DescriptionOption = None
) -> None:
    """Replace an event."""
    session.show(session.call(session.client.events.update, uid, key, description=description))


@events.command("delete", calls=["events.delete"], destroys=True)
def delete_event(session: Session[ContentstackAdmin], uid: UidArgument) -> None:
    """Delete an event."""
    session.confirm(f"delete event {uid}")
    session.call(session.client.events.delete, uid)
    session.show({"deleted": uid})


def _definition(file: str) -> dict[str, Any]:
    """Return the rules in *file*; of a whole audience, as `audiences list --json` prints it, its definition."""
    document = object_from(file)
    inner = document.get("definition")
    return inner if isinstance(inner, dict) else document
