"""`flagmw contentstack versions`: drafts, and what is on the site."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal

import typer

from flagmw.admin.contentstack.client import ContentstackAdmin
from flagmw.admin.contentstack.versions import ab_test, segmented
from flagmw.admin.errors import InvalidError
from flagmw.cli.admin.body import BodyArgument, object_from
from flagmw.cli.admin.session import Session
from flagmw.cli.contentstack.root import Combination, ExperienceArgument, VersionArgument, commands

versions = commands.group("versions", "Versions of an experience: DRAFT, ACTIVE, PAUSED, ARCHIVED.")


class NewStatus(StrEnum):
    """How a version begins."""

    DRAFT = "DRAFT"
    ACTIVE = "ACTIVE"


StatusOption = Annotated[NewStatus, typer.Option(help="ACTIVE puts it on the site at once.")]
UpdateDraftOption = Annotated[
    bool, typer.Option("--update-draft", help="Write the draft that is there already, a new experience's for example.")
]
AudienceOption = Annotated[list[str] | None, typer.Option("--audience", metavar="UID", help="Who takes part.")]


@versions.command("list", calls=["versions.list"], lists=True)
def list_versions(session: Session[ContentstackAdmin], experience: ExperienceArgument) -> None:
    """List the versions of an experience, the newest first."""
    columns = {
        "uid": lambda row: row.get("uid"),
        "status": lambda row: row.get("status"),
        "variants": lambda row: ", ".join(map(_variant, row.get("variants") or ())),
        "updatedAt": lambda row: row.get("updatedAt"),
    }
    session.rows(session.call(session.client.versions.list, experience), columns)


@versions.command("create", calls=["versions.create"])
def create_version(
    session: Session[ContentstackAdmin],
    experience: ExperienceArgument,
    file: BodyArgument,
    status: StatusOption = NewStatus.DRAFT,
    update_draft: UpdateDraftOption = False,
) -> None:
    """Create a version from JSON; variants keep the short uids of present ones of the same name."""
    _create(session, experience, object_from(file), status, update_draft)


@versions.command("ab-test", calls=["versions.create"])
def ab_test_version(
    session: Session[ContentstackAdmin],
    experience: ExperienceArgument,
    names: Annotated[list[str], typer.Argument(metavar="VARIANT...", help="Names of the variants.")],
    metric: Annotated[str | None, typer.Option(metavar="UID", help="Of the event that decides.")] = None,
    metric_name: Annotated[str | None, typer.Option(help="What the metric is called.")] = None,
    share: Annotated[
        list[float] | None, typer.Option(help="Percentage of a variant, in their order; equal ones if left out.")
    ] = None,
    audience: AudienceOption = None,
    combination: Annotated[Combination, typer.Option(help="Of several audiences.")] = Combination.AND,
    status: StatusOption = NewStatus.DRAFT,
    update_draft: UpdateDraftOption = False,
) -> None:
    """Create a version of an A/B test."""
    body = ab_test(
        names,
        metric=metric,
        metric_name=metric_name,
        shares=share or None,
        audiences=audience or (),
        combination=_joint(combination),
    )
    _create(session, experience, body, status, update_draft)


@versions.command("segmented", calls=["versions.create"])
def segmented_version(
    session: Session[ContentstackAdmin],
    experience: ExperienceArgument,
    variants: Annotated[
        list[str], typer.Argument(metavar="VARIANT=AUDIENCE[,AUDIENCE]...", help="Names, with uids of audiences.")
    ],
    combination: Annotated[Combination, typer.Option(help="Of several audiences of a variant.")] = Combination.OR,
    status: StatusOption = NewStatus.DRAFT,
    update_draft: UpdateDraftOption = False,
) -> None:
    """Create a version of a segmented experience."""
    _create(session, experience, segmented(_pairs(variants), combination=_joint(combination)), status, update_draft)


@versions.command("update", calls=["versions.update"])
def update_version(
    session: Session[ContentstackAdmin], experience: ExperienceArgument, version: VersionArgument, file: BodyArgument
) -> None:
    """Replace a version by JSON with a status; an active one can change its status only."""
    session.show(session.call(session.client.versions.update, experience, version, object_from(file)))


@versions.command("activate", calls=["versions.activate"])
def activate(
    session: Session[ContentstackAdmin],
    experience: ExperienceArgument,
    version: Annotated[str | None, typer.Option("--version", metavar="UID", help="Instead of the draft.")] = None,
) -> None:
    """Put the draft on the site; the version that was there is archived."""
    session.show(session.call(session.client.versions.activate, experience, version))


@versions.command("pause", calls=["versions.pause"])
def pause(session: Session[ContentstackAdmin], experience: ExperienceArgument) -> None:
    """Take the active version off the site; visitors get the default content."""
    session.show(session.call(session.client.versions.pause, experience))


@versions.command("resume", calls=["versions.resume"])
def resume(session: Session[ContentstackAdmin], experience: ExperienceArgument) -> None:
    """Put the paused version on the site again."""
    session.show(session.call(session.client.versions.resume, experience))


@versions.command("discard", calls=["versions.discard"], destroys=True)
def discard(session: Session[ContentstackAdmin], experience: ExperienceArgument) -> None:
    """Delete the draft."""
    session.confirm(f"delete the draft of {experience}")
    session.call(session.client.versions.discard, experience)
    session.show({"discarded": experience})


@versions.command("delete", calls=["versions.delete"], destroys=True)
def delete_version(
    session: Session[ContentstackAdmin], experience: ExperienceArgument, version: VersionArgument
) -> None:
    """Delete a version; the vendor deletes drafts only."""
    session.confirm(f"delete version {version}")
    session.call(session.client.versions.delete, experience, version)
    session.show({"deleted": version})


def _create(
    session: Session[ContentstackAdmin], experience: str, body: Any, status: NewStatus, update_draft: bool
) -> None:
    on_draft = "update" if update_draft else "error"
    method = session.client.versions.create
    session.show(session.call(method, experience, body, status=status.value, on_draft=on_draft))


def _variant(variant: Any) -> str:
    name, share = variant.get("name"), variant.get("trafficDistribution")
    return f"{variant.get('shortUid')} {name}" + ("" if share is None else f" {share:g} %")


def _joint(combination: Combination) -> Literal["AND", "OR"]:
    return "AND" if combination is Combination.AND else "OR"


def _pairs(given: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in given:
        name, equals, uids = pair.rpartition("=")
        if not equals or not name:
            raise InvalidError(f'{pair!r} is not "name=audience"', field="VARIANT")
        if name in found:
            raise InvalidError(f"names {name!r} twice; join its audiences by a comma", field="VARIANT")
        found[name] = uids.split(",")
    return found
