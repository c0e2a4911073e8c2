"""`flagmw adobe profiles`: reading and setting attributes of visitors."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import Annotated, Any

import typer

from flagmw.admin.adobe.client import AdobeAdmin
from flagmw.cli.admin.session import Session
from flagmw.cli.adobe.root import commands, pairs

profiles = commands.group("profiles", "Profiles of visitors, one by one or by the million.")


class Whose(StrEnum):
    """By which id a visitor is named."""

    TNT_ID = "tnt-id"
    THIRD_PARTY_ID = "third-party-id"
    ECID = "ecid"


class Verb(StrEnum):
    """How an update is sent."""

    GET = "GET"
    POST = "POST"


FETCHES = {
    Whose.TNT_ID: "fetch",
    Whose.THIRD_PARTY_ID: "fetch_by_third_party_id",
    Whose.ECID: "fetch_by_ecid",
}

_CALLS = {
    f"profiles.{method}": "" if whose is Whose.TNT_ID else f"--by {whose.value}" for whose, method in FETCHES.items()
}


@profiles.command("get", calls=_CALLS, lists=True)
def get(
    session: Session[AdobeAdmin],
    id: Annotated[str, typer.Argument(metavar="ID", help="Of the visitor.")],
    by: Annotated[
        Whose, typer.Option(help="Which id it is: Adobe's own, the site's, or the Experience Cloud's.")
    ] = Whose.TNT_ID,
) -> None:
    """Show the attributes of a visitor."""
    found = session.call(getattr(session.client.profiles, FETCHES[by]), id)
    if session.as_json:
        session.show(found)
        return
    attributes = found.get("profileAttributes") or {}
    rows = [{"name": name, **value} for name, value in attributes.items() if isinstance(value, dict)]
    session.rows(rows, ("name", "value", "modifiedAt"))


@profiles.command("update", calls=["profiles.update"])
def update(
    session: Session[AdobeAdmin],
    attributes: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="With or without profile.")],
    tnt_id: Annotated[str | None, typer.Option(help="Adobe's id of the visitor.")] = None,
    third_party_id: Annotated[str | None, typer.Option(help="The site's id of the visitor.")] = None,
    method: Annotated[Verb, typer.Option(help="GET takes 8 kB, POST 60 kB.")] = Verb.POST,
) -> None:
    """Set attributes of one visitor; an unknown visitor is ignored, with the same answer."""
    given: dict[str, Any] = {"tnt_id": tnt_id, "third_party_id": third_party_id, "method": method.value}
    found = session.call(session.client.profiles.update, pairs(attributes, "ATTRIBUTES"), **given)
    session.show({"success": found.success, "message": found.message})


@profiles.command("status", calls=["profiles.bulk_status"])
def status(
    session: Session[AdobeAdmin],
    url: Annotated[str, typer.Argument(help="The address that a bulk update was given for its state.")],
) -> None:
    """Show how far the vendor is with an upload."""
    found = dataclasses.asdict(session.call(session.client.profiles.bulk_status, url))
    session.show({name: value for name, value in found.items() if value is not None})
