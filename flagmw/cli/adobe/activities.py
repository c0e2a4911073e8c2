"""`flagmw adobe activities`: lists, bodies, and the fields that have calls of their own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flagmw.admin.adobe.client import AdobeAdmin
from flagmw.admin.errors import NotFoundError
from flagmw.cli.admin.body import BodyArgument, object_from
from flagmw.cli.admin.command import LimitOption
from flagmw.cli.admin.session import Session
from flagmw.cli.adobe.root import (
    FilterOption,
    IdArgument,
    Kind,
    KindOption,
    NoCheckOption,
    PageSizeOption,
    SortOption,
    commands,
    filters,
    of_kinds,
)

activities = commands.group("activities", "Tests and personalizations: what is shown to whom.")

COLUMNS = ("id", "type", "state", "priority", "name", "modifiedAt", "workspace")


def of_kind(session: Session[AdobeAdmin], kind: Kind, method: str, *args: Any, **options: Any) -> Any:
    """Call a method of the activities of a kind; where there is no such activity, the error names the other kinds."""
    resource = getattr(session.client.activities, kind.attribute)
    try:
        return session.call(getattr(resource, method), *args, **options)
    except NotFoundError as error:
        others = " or ".join(one.value for one in Kind if one is not kind)
        error.args = (f"{error.args[0]}; if it is of another kind, add --kind {others}",)
        raise


@activities.command("list", calls=["activities.list"], lists=True)
def list_(
    session: Session[AdobeAdmin],
    id: Annotated[list[int] | None, typer.Option(help="Repeat an option for one of several values.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="!NAME means any other name; so do the options below.")] = None,
    type: Annotated[list[str] | None, typer.Option(help="ab, xt, abt, auto_allocate, mvt, recs.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="approved, saved, deactivated, deleted.")] = None,
    priority: Annotated[list[str] | None, typer.Option(help="0 to 999.")] = None,
    workspace: Annotated[list[str] | None, typer.Option(help="Id of a workspace.")] = None,
    starts_at: Annotated[list[str] | None, typer.Option(metavar="FROM/TO", help="A range of dates.")] = None,
    ends_at: Annotated[list[str] | None, typer.Option(metavar="FROM/TO", help="A range of dates.")] = None,
    modified_at: Annotated[list[str] | None, typer.Option(metavar="FROM/TO", help="A range of dates.")] = None,
    third_party_id: Annotated[list[str] | None, typer.Option(help="The site's id of the activity.")] = None,
    filter: FilterOption = None,
    sort_by: SortOption = None,
    limit: LimitOption = None,
    page_size: PageSizeOption = 1000,
) -> None:
    """List activities: by id, each that is there throughout exactly once."""
    named = {
        "id": id,
        "name": name,
        "type": type,
        "state": state,
        "priority": priority,
        "workspace": workspace,
        "startsAt": starts_at,
        "endsAt": ends_at,
        "modifiedAt": modified_at,
        "thirdPartyId": third_party_id,
    }
    options = {"sort_by": sort_by, "limit": limit, "page_size": page_size, **filters(named, filter)}
    session.rows(session.call(session.client.activities.list, **options), COLUMNS)


@activities.command("get", calls=of_kinds("activities.{}.get"))
def get(session: Session[AdobeAdmin], id: IdArgument, kind: KindOption = Kind.AB) -> None:
    """Show an activity."""
    session.show(of_kind(session, kind, "get", id))


@activities.command("create", calls=of_kinds("activities.{}.create"))
def create(
    session: Session[AdobeAdmin], file: BodyArgument, kind: KindOption = Kind.AB, no_check: NoCheckOption = False
) -> None:
    """Create an activity from JSON; it is inactive unless its state says otherwise."""
    session.show(of_kind(session, kind, "create", object_from(file), check=not no_check))


@activities.command("update", calls=of_kinds("activities.{}.update"))
def update(
    session: Session[AdobeAdmin],
    id: IdArgument,
    file: BodyArgument,
    kind: KindOption = Kind.AB,
    no_check: NoCheckOption = False,
) -> None:
    """Replace an activity by JSON; what is left out is gone."""
    session.show(of_kind(session, kind, "update", id, object_from(file), check=not no_check))


@activities.command("delete", calls=of_kinds("activities.{}.delete"), destroys=True)
def delete(session: Session[AdobeAdmin], id: IdArgument, kind: KindOption = Kind.AB) -> None:
    """Delete an activity for good."""
    session.confirm(f"delete activity {id}")
    session.show(of_kind(session, kind, "delete", id))


@activities.command("name", calls=["activities.set_name"])
def name(session: Session[AdobeAdmin], id: IdArgument, name: Annotated[str, typer.Argument()]) -> None:
    """Rename an activity."""
    session.show(session.call(session.client.activities.set_name, id, name))


@activities.command("state", calls=["activities.set_state"])
def state(
    session: Session[AdobeAdmin],
    id: IdArgument,
    state: Annotated[str, typer.Argument(help="approved (live in its schedule), saved (inactive), deactivated.")],
) -> None:
    """Set the state of an activity."""
    session.show(session.call(session.client.activities.set_state, id, state))


@activities.command("priority", calls=["activities.set_priority"])
def priority(
    session: Session[AdobeAdmin], id: IdArgument, priority: Annotated[int, typer.Argument(help="0 to 999.")]
) -> None:
    """Set the priority of an activity; higher goes first."""
    session.show(session.call(session.client.activities.set_priority, id, priority))


@activities.command("schedule", calls=["activities.set_schedule"])
def schedule(
    session: Session[AdobeAdmin],
    id: IdArgument,
    starts_at: Annotated[str, typer.Argument(help="2026-05-01T08:00+02:00, or a date.")],
    ends_at: Annotated[str, typer.Argument(help="The same forms.")],
) -> None:
    """Set when an activity begins and ends."""
    session.show(session.call(session.client.activities.set_schedule, id, starts_at, ends_at))


@activities.command("pause", calls=["activities.pause"])
def pause(session: Session[AdobeAdmin], id: IdArgument) -> None:
    """Take an activity off the site; visitors get the default content."""
    session.show(session.call(session.client.activities.pause, id))


@activities.command("activate", calls=["activities.activate"])
def activate(session: Session[AdobeAdmin], id: IdArgument) -> None:
    """Put an activity on the site, within its schedule."""
    session.show(session.call(session.client.activities.activate, id))


def _change(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "modifiedAt"}


@activities.command("changelog", calls=["activities.changelog"], lists=True)
def changelog(session: Session[AdobeAdmin], id: IdArgument, limit: LimitOption = None) -> None:
    """List the changes of an activity, the latest first."""
    columns = {"modifiedAt": lambda row: row.get("modifiedAt"), "change": _change}
    session.rows(session.call(session.client.activities.changelog, id, limit=limit), columns)
