"""`flagmw adobe offers` and `flagmw adobe audiences`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from flagmw.admin.adobe.client import AdobeAdmin
from flagmw.cli.admin.body import BodyArgument, object_from
from flagmw.cli.admin.command import LimitOption
from flagmw.cli.admin.session import Session
from flagmw.cli.adobe.root import FilterOption, IdArgument, PageSizeOption, SortOption, commands, filters

offers = commands.group("offers", "Content that experiences show: text, HTML or JSON.")
audiences = commands.group("audiences", "Whom activities and experiences are for.")


class OfferKind(StrEnum):
    """A kind of offer."""

    CONTENT = "content"
    JSON = "json"


OfferKindOption = Annotated[OfferKind, typer.Option("--kind", help="content is text or HTML.")]
IdsOption = Annotated[list[int] | None, typer.Option(help="Repeat an option for one of several values.")]
NamesOption = Annotated[list[str] | None, typer.Option(help="!NAME means any other name.")]
WorkspacesOption = Annotated[list[str] | None, typer.Option(help="Id of a workspace.")]
ModifiedOption = Annotated[list[str] | None, typer.Option(metavar="FROM/TO", help="A range of dates.")]


def _offers(session: Session[AdobeAdmin], kind: OfferKind) -> Any:
    return getattr(session.client.offers, kind.value)


@offers.command("list", calls=["offers.list"], lists=True)
def list_offers(
    session: Session[AdobeAdmin],
    id: IdsOption = None,
    name: NamesOption = None,
    type: Annotated[list[str] | None, typer.Option(help="content, json, ...")] = None,
    workspace: WorkspacesOption = None,
    modified_at: ModifiedOption = None,
    filter: FilterOption = None,
    sort_by: SortOption = None,
    limit: LimitOption = None,
    page_size: PageSizeOption = 1000,
) -> None:
    """List offers of every kind, without their content."""
    named = {"id": id, "name": name, "type": type, "workspace": workspace, "modifiedAt": modified_at}
    options = {"sort_by": sort_by, "limit": limit, "page_size": page_size, **filters(named, filter)}
    session.rows(session.call(session.client.offers.list, **options), ("id", "type", "name", "modifiedAt", "workspace"))


@offers.command("get", calls={"offers.content.get": "", "offers.json.get": "--kind json"})
def get_offer(session: Session[AdobeAdmin], id: IdArgument, kind: OfferKindOption = OfferKind.CONTENT) -> None:
    """Show an offer."""
    session.show(session.call(_offers(session, kind).get, id))


@offers.command("create", calls={"offers.content.create": "", "offers.json.create": "--kind json"})
def create_offer(session: Session[AdobeAdmin], file: BodyArgument, kind: OfferKindOption = OfferKind.CONTENT) -> None:
    """Create an offer from JSON: name, content, workspace."""
    session.show(session.call(_offers(session, kind).create, object_from(file)))


@offers.command("update", calls={"offers.content.update": "", "offers.json.update": "--kind json"})
def update_offer(
    session: Session[AdobeAdmin], id: IdArgument, file: BodyArgument, kind: OfferKindOption = OfferKind.CONTENT
) -> None:
    """Replace an offer by JSON."""
    session.show(session.call(_offers(session, kind).update, id, object_from(file)))


@offers.command("delete", calls={"offers.content.delete": "", "offers.json.delete": "--kind json"}, destroys=True)
def delete_offer(session: Session[AdobeAdmin], id: IdArgument, kind: OfferKindOption = OfferKind.CONTENT) -> None:
    """Delete an offer."""
    session.confirm(f"delete offer {id}")
    session.show(session.call(_offers(session, kind).delete, id))


@audiences.command("list", calls=["audiences.list"], lists=True)
def list_audiences(
    session: Session[AdobeAdmin],
    id: IdsOption = None,
    name: NamesOption = None,
    origin: Annotated[list[str] | None, typer.Option(help="Where it was made.")] = None,
    workspace: WorkspacesOption = None,
    modified_at: ModifiedOption = None,
    filter: FilterOption = None,
    sort_by: SortOption = None,
    limit: LimitOption = None,
    page_size: PageSizeOption = 1000,
) -> None:
    """List audiences, without their rules."""
    named = {"id": id, "name": name, "origin": origin, "workspace": workspace, "modifiedAt": modified_at}
    options = {"sort_by": sort_by, "limit": limit, "page_size": page_size, **filters(named, filter)}
    columns = ("id", "origin", "name", "description", "modifiedAt", "workspace")
    session.rows(session.call(session.client.audiences.list, **options), columns)


@audiences.command("get", calls=["audiences.get"])
def get_audience(session: Session[AdobeAdmin], id: IdArgument) -> None:
    """Show an audience with its rule."""
    session.show(session.call(session.client.audiences.get, id))


@audiences.command("create", calls=["audiences.create"])
def create_audience(session: Session[AdobeAdmin], file: BodyArgument) -> None:
    """Create an audience from JSON: name, description, targetRule or audienceRule."""
    session.show(session.call(session.client.audiences.create, object_from(file)))


@audiences.command("update", calls=["audiences.update"])
def update_audience(session: Session[AdobeAdmin], id: IdArgument, file: BodyArgument) -> None:
    """Replace an audience by JSON."""
    session.show(session.call(session.client.audiences.update, id, object_from(file)))


@audiences.command("move", calls=["audiences.move"])
def move_audience(session: Session[AdobeAdmin], id: IdArgument, workspace: Annotated[str, typer.Argument()]) -> None:
    """Move an audience to another workspace."""
    session.show(session.call(session.client.audiences.move, id, workspace))


@audiences.command("delete", calls=["audiences.delete"], destroys=True)
def delete_audience(session: Session[AdobeAdmin], id: IdArgument) -> None:
    """Delete an audience."""
    session.confirm(f"delete audience {id}")
    session.show(session.call(session.client.audiences.delete, id))
