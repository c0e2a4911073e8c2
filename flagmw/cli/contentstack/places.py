"""`flagmw contentstack places`: what rules on places can name."""

from __future__ import annotations

from typing import Annotated

import typer

from flagmw.admin.contentstack.client import ContentstackAdmin
from flagmw.cli.admin.command import LimitOption
from flagmw.cli.admin.session import Session
from flagmw.cli.contentstack.root import commands

places = commands.group("places", "Countries, regions and cities that rules can name.")

NameOption = Annotated[str | None, typer.Option(help="A part of the name.")]
CodeOption = Annotated[list[str] | None, typer.Option("--code", help="Repeat it for several.")]
PageSizeOption = Annotated[int, typer.Option(min=2, help="Rows of one call.")]


@places.command("countries", calls=["geolocation.countries"], lists=True)
def countries(
    session: Session[ContentstackAdmin],
    name: NameOption = None,
    code: CodeOption = None,
    limit: LimitOption = None,
    page_size: PageSizeOption = 100,
) -> None:
    """List countries, by ISO 3166-1."""
    method = session.client.geolocation.countries
    rows = session.call(method, name=name, codes=code or (), limit=limit, page_size=page_size)
    session.rows(rows, ("code", "name"))


@places.command("regions", calls=["geolocation.regions"], lists=True)
def regions(
    session: Session[ContentstackAdmin],
    name: NameOption = None,
    code: CodeOption = None,
    limit: LimitOption = None,
    page_size: PageSizeOption = 100,
) -> None:
    """List regions, by ISO 3166-2."""
    method = session.client.geolocation.regions
    rows = session.call(method, name=name, codes=code or (), limit=limit, page_size=page_size)
    session.rows(rows, ("code", "name", "countryCode"))


@places.command("cities", calls=["geolocation.cities"], lists=True)
def cities(
    session: Session[ContentstackAdmin],
    name: NameOption = None,
    code: CodeOption = None,
    limit: LimitOption = None,
    page_size: PageSizeOption = 100,
) -> None:
    """List cities."""
    method = session.client.geolocation.cities
    rows = session.call(method, name=name, codes=code or (), limit=limit, page_size=page_size)
    session.rows(rows, ("code", "name", "regionCode", "countryCode"))
