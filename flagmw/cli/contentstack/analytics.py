"""`flagmw contentstack analytics`: impressions and conversions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flagmw.admin.contentstack.client import ContentstackAdmin
from flagmw.cli.admin.session import Session
from flagmw.cli.contentstack.root import ExperienceArgument, VersionArgument, commands

analytics = commands.group("analytics", "What visitors of an experience did, since it was activated.")

StartOption = Annotated[str | None, typer.Option(metavar="TIME", help="2026-11-27T00:00:00Z; not before.")]
EndOption = Annotated[str | None, typer.Option(metavar="TIME", help="2026-11-28T00:00:00Z; not after.")]


@analytics.command("summary", calls=["analytics.summary"], lists=True)
def summary(
    session: Session[ContentstackAdmin],
    experience: ExperienceArgument,
    version: VersionArgument,
    start: StartOption = None,
    end: EndOption = None,
) -> None:
    """Show impressions and conversions of each variant, and which one leads."""
    found = session.call(session.client.analytics.summary, experience, version, start=start, end=end)
    if session.as_json:
        session.show(found)
        return
    for name, text in (("leadingVariant", "leads"), ("winningVariant", "wins")):
        if found.get(name) is not None:
            session.note(f"variant {found[name]} {text}")
    session.rows(_variants(found), ("shortUid", "impressions", "conversions", "probabilityToBeBest"))


@analytics.command("time-series", calls=["analytics.time_series"], lists=True)
def time_series(
    session: Session[ContentstackAdmin],
    experience: ExperienceArgument,
    version: VersionArgument,
    start: StartOption = None,
    end: EndOption = None,
) -> None:
    """Show impressions and conversions of each variant by hour."""
    found = session.call(session.client.analytics.time_series, experience, version, start=start, end=end)
    if session.as_json:
        session.show(found)
        return
    hours = [hour for hour in found.get("series") or () if isinstance(hour, dict)]
    rows = [{"interval": hour.get("interval"), **one} for hour in hours for one in _variants(hour)]
    session.rows(rows, ("interval", "shortUid", "impressions", "conversions"))


def _variants(found: Any) -> list[dict[str, Any]]:
    return [one for one in found.get("variants") or () if isinstance(one, dict)]
