"""`flagmw adobe activities`: changes of a whole activity, and its links for quality assurance."""

from __future__ import annotations

from typing import Annotated

import typer

from flagmw.admin.adobe.client import AdobeAdmin
from flagmw.admin.errors import InvalidError
from flagmw.cli.admin.session import Session
from flagmw.cli.adobe.activities import activities, of_kind
from flagmw.cli.adobe.root import IdArgument, Kind, KindOption, numbers, of_kinds

COMPARING = (Kind.AB, Kind.XT, Kind.AUTO_ALLOCATE)

ShareOption = Annotated[
    list[str] | None, typer.Option("--share", metavar="EXPERIENCE=PERCENT", help="The new split; together 100.")
]


@activities.command("split", calls=of_kinds("activities.{}.split", COMPARING))
def split(
    session: Session[AdobeAdmin],
    id: IdArgument,
    shares: Annotated[list[str], typer.Argument(metavar="EXPERIENCE=PERCENT...", help="Together 100.")],
    kind: KindOption = Kind.AB,
) -> None:
    """Set which share of the visitors each experience gets; those left out get none."""
    _comparing(kind)
    session.show(of_kind(session, kind, "split", id, numbers(shares, "SHARES")))


@activities.command("add-experience", calls=of_kinds("activities.{}.add_experience", COMPARING))
def add_experience(
    session: Session[AdobeAdmin],
    id: IdArgument,
    name: Annotated[str, typer.Argument(help="Of the new experience.")],
    offer: Annotated[
        list[str] | None,
        typer.Option(metavar="[MBOX=]ID", help="The offer's id, for one mbox or for all; default content if left out."),
    ] = None,
    audience: Annotated[list[int] | None, typer.Option(metavar="ID", help="Whom it is for, in an XT activity.")] = None,
    share: ShareOption = None,
    kind: KindOption = Kind.AB,
) -> None:
    """Add an experience; without --share an AB activity is split evenly."""
    _comparing(kind)
    one = offer[0] if offer and len(offer) == 1 and offer[0].isdecimal() else None
    session.show(
        of_kind(
            session,
            kind,
            "add_experience",
            id,
            name,
            int(one) if one is not None else numbers(offer, "--offer") or 0,
            audience_ids=audience,
            shares=numbers(share, "--share") or None,
        )
    )


@activities.command("clone", calls=of_kinds("activities.{}.clone", COMPARING))
def clone(
    session: Session[AdobeAdmin],
    id: IdArgument,
    name: Annotated[str, typer.Argument(help="Of the copy.")],
    kind: KindOption = Kind.AB,
) -> None:
    """Create a copy under another name; it is inactive."""
    _comparing(kind)
    session.show(of_kind(session, kind, "clone", id, name))


@activities.command("qa-links", calls=of_kinds("activities.{}.qa_links"))
def qa_links(
    session: Session[AdobeAdmin],
    id: IdArgument,
    url: Annotated[str, typer.Argument(help="The page to show.")],
    kind: KindOption = Kind.AB,
    only: Annotated[bool, typer.Option("--only", help="Switch all other activities off for that visitor.")] = False,
    true_audience: Annotated[list[int] | None, typer.Option(metavar="ID", help="Counts as matched.")] = None,
    false_audience: Annotated[list[int] | None, typer.Option(metavar="ID", help="Counts as not matched.")] = None,
) -> None:
    """Show an address for each experience, which shows it to whoever opens it."""
    session.show(
        of_kind(
            session,
            kind,
            "qa_links",
            id,
            url,
            current_activity_only=only,
            true_audience_ids=true_audience or (),
            false_audience_ids=false_audience or (),
        )
    )


def _comparing(kind: Kind) -> None:
    if kind not in COMPARING:
        raise InvalidError("an Automated Personalization activity has no experiences of its own", field="--kind")
