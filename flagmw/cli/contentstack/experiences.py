"""`flagmw contentstack experiences` and `priority`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from flagmw.admin.contentstack.client import ContentstackAdmin
from flagmw.cli.admin.session import Session
from flagmw.cli.contentstack.root import DescriptionOption, NameArgument, UidArgument, commands

experiences = commands.group("experiences", "Experiences; what they show is in their versions.")
priority = commands.group("priority", "The order of experiences, the most important one first.")


class Kind(StrEnum):
    """A kind of experience."""

    SEGMENTED = "SEGMENTED"
    AB_TEST = "AB_TEST"


TagOption = Annotated[list[str] | None, typer.Option("--tag", help="Repeat it for several, ten at most.")]


@experiences.command("list", calls=["experiences.list"], lists=True)
def list_experiences(session: Session[ContentstackAdmin]) -> None:
    """List experiences."""
    rows = session.call(session.client.experiences.list)
    session.rows(rows, ("uid", "shortUid", "__type", "name", "latestVersion", "tags"))


@experiences.command("get", calls=["experiences.get"])
def get_experience(session: Session[ContentstackAdmin], uid: UidArgument) -> None:
    """Show an experience."""
    session.show(session.call(session.client.experiences.get, uid))


@experiences.command("create", calls=["experiences.create"])
def create_experience(
    session: Session[ContentstackAdmin],
    name: NameArgument,
    kind: Annotated[Kind, typer.Option(help="It cannot change later.")] = Kind.AB_TEST,
    description: DescriptionOption = None,
    tag: TagOption = None,
) -> None:
    """Create an experience with an empty draft."""
    method = session.client.experiences.create
    session.show(session.call(method, name, kind.value, description=description, tags=tag))


@experiences.command("update", calls=["experiences.update"])
def update_experience(
    session: Session[ContentstackAdmin],
    uid: UidArgument,
    name: NameArgument,
    kind: Annotated[Kind, typer.Option(help="The one that it has.")] = Kind.AB_TEST,
    description: DescriptionOption = None,
    tag: TagOption = None,
) -> None:
    """Replace an experience's name, description and tags."""
    method = session.client.experiences.update
    session.show(session.call(method, uid, name, kind.value, description=description, tags=tag))


@experiences.command("delete", calls=["experiences.delete"], destroys=True)
def delete_experience(session: Session[ContentstackAdmin], uid: UidArgument) -> None:
    """Delete an experience, also one that is active."""
    session.confirm(f"delete experience {uid}")
    session.call(session.client.experiences.delete, uid)
    session.show({"deleted": uid})


@priority.command("get", calls=["priority.get"], lists=True)
def get_priority(session: Session[ContentstackAdmin]) -> None:
    """List the uids of all experiences in their order."""
    order = session.call(session.client.priority.get)
    session.rows([{"place": place, "uid": uid} for place, uid in enumerate(order, 1)], ("place", "uid"))


@priority.command("set", calls=["priority.set"])
def set_priority(
    session: Session[ContentstackAdmin],
    uids: Annotated[list[str], typer.Argument(metavar="UID...", help="Of every experience of the project.")],
) -> None:
    """Set the order."""
    session.show(session.call(session.client.priority.set, uids))
