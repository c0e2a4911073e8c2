"""`flagmw adobe activities report` and `orders`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from flagmw.admin.adobe.client import AdobeAdmin
from flagmw.cli.admin.output import Row
from flagmw.cli.admin.session import Session
from flagmw.cli.adobe.activities import activities
from flagmw.cli.adobe.root import IdArgument, pairs


class ReportKind(StrEnum):
    """A kind of report; Auto-Allocate activities are reported as AB tests."""

    AB = "ab"
    XT = "xt"
    AP = "ap"


class Counted(StrEnum):
    """What a report counts."""

    VISITOR = "visitor"
    VISIT = "visit"
    IMPRESSION = "impression"
    LANDING = "landing"


ReportKindOption = Annotated[ReportKind, typer.Option("--kind", help="ab also for Auto-Allocate.")]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", metavar="NAME=VALUE", help="Sent as the query; the vendor documents none."),
]


def _calls(method: str) -> dict[str, str]:
    return {
        f"reports.{kind.value}.{method}": "" if kind is ReportKind.AB else f"--kind {kind.value}" for kind in ReportKind
    }


@activities.command("report", calls=_calls("performance"), lists=True)
def report(
    session: Session[AdobeAdmin],
    id: IdArgument,
    kind: ReportKindOption = ReportKind.AB,
    counted: Annotated[Counted, typer.Option(help="What the table and CSV count; JSON has all.")] = Counted.VISITOR,
    parameter: ParameterOption = None,
) -> None:
    """Show how often each experience was entered and converted."""
    resource = getattr(session.client.reports, kind.value)
    found = session.call(resource.performance, id, parameters=pairs(parameter, "--parameter"))
    if session.as_json:
        session.show(found)
        return
    if not session.as_csv:
        told = found.get("reportParameters") or {}
        session.note(f"{told.get('reportInterval', '')} environment {told.get('environmentId', '')}")
    session.rows(_lines(found, counted.value), ("experience", "name", "entries", "conversions", "rate"))


@activities.command("orders", calls=_calls("orders"), lists=True)
def orders(
    session: Session[AdobeAdmin],
    id: IdArgument,
    kind: ReportKindOption = ReportKind.AB,
    parameter: ParameterOption = None,
) -> None:
    """List the single orders behind an activity's conversions; doubtful ones are marked."""
    resource = getattr(session.client.reports, kind.value)
    found = session.call(resource.orders, id, parameters=pairs(parameter, "--parameter"))
    columns = ("time", "experienceLocalId", "id", "total", "duplicate", "outlier", "productPurchasedIds")
    session.rows(found.get("orders") or (), columns)


def _lines(found: Any, counted: str) -> Iterator[Row]:
    """Yield a line for each experience, and one for all of them."""
    statistics = (found.get("report") or {}).get("statistics") or {}
    activity = found.get("activity") or {}
    names = {one.get("experienceLocalId"): one.get("name") for one in activity.get("experiences") or ()}
    for one in statistics.get("experiences") or ():
        local = one.get("experienceLocalId")
        yield _line(local, names.get(local), one.get("totals") or {}, counted)
    yield _line("", "total", statistics.get("totals") or {}, counted)


def _line(local: Any, name: Any, totals: Any, counted: str) -> Row:
    counts = (totals.get(counted) or {}).get("totals") or {}
    entries, conversions = counts.get("entries", 0), counts.get("conversions", 0)
    rate = f"{100 * conversions / entries:.2f} %" if entries else ""
    return {"experience": local, "name": name, "entries": entries, "conversions": conversions, "rate": rate}
