"""`flagmw outbox`: what waits for delivery, what was laid aside, and what can be done about it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flagmw._cli_common import FAILED, ConfigOption, JsonOption, fail
from flagmw._cli_orders import opened, ordered
from flagmw.outbox import orders
from flagmw.outbox.base import LaneStats
from flagmw.outbox.survey import Letter, SlotReport
from flagmw.types import Event

app = typer.Typer(no_args_is_help=True, help="See and settle what waits for delivery.")
dead = typer.Typer(no_args_is_help=True, help="Events that were laid aside: see, send again, drop.")
app.add_typer(dead, name="dead")

LimitOption = Annotated[int, typer.Option(min=1, help="How many at most, newest first.")]
IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Of dead letters, as `list` shows them.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All dead letters.")]
RevealOption = Annotated[bool, typer.Option("--reveal", help="Show cookie values and data; they may be personal.")]


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every slot and vendor: queued, in flight, oldest, delivered, dead, dropped. Changes nothing."""
    with opened(config) as outbox:
        reports = outbox.reports()
    if as_json:
        print(json.dumps([_slot_document(report) for report in reports], indent=2))
        return
    table = Table("slot", "owner", "vendor", "queued", "in flight", "oldest", "delivered", "dead", "dropped")
    for report in reports:
        owner = "alive" if report.alive else "none"
        if report.trouble is not None:
            table.add_row(report.name, owner, f"[red]{report.trouble}[/red]")
        for vendor, lane in sorted(report.stats.lanes.items()):
            table.add_row(report.name, owner, vendor, *_lane_cells(lane))
    Console().print(table)


@app.command()
def flush(
    config: ConfigOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to give it.")] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Deliver what dead processes left, now, and wait for what living ones have. Exit code 1 when events are left."""
    begun = time.monotonic()
    with opened(config) as outbox:
        total = left = sum(report.stats.queued for report in outbox.reports())
        columns = (TextColumn("delivering"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
            task = progress.add_task("", total=total)
            if outbox.survey.orphans() or outbox.server is not None:
                outbox.fm.deliver()
            while left and time.monotonic() - begun < timeout:
                time.sleep(0.2)
                left = sum(report.stats.queued for report in outbox.reports())
                total = max(total, left)
                progress.update(task, total=total, completed=total - left)
    document = {"settled": total - left, "left": left, "took_s": round(time.monotonic() - begun, 1)}
    print(json.dumps(document) if as_json else f"{total - left} settled, {left} left")
    if left:
        raise typer.Exit(FAILED)


@dead.command("list")
def list_(config: ConfigOption = None, limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List dead letters, newest first: which vendor, what, why, when."""
    with opened(config) as outbox:
        letters = outbox.letters(limit)
    if as_json:
        print(json.dumps([_letter_document(letter) for letter in letters], indent=2))
        return
    table = Table("id", "slot", "vendor", "metric", "aliases", "why", "attempts", "when")
    for letter in letters:
        metric = letter.event.track.metric if letter.event else "(cannot be read)"
        aliases = ", ".join(letter.event.aliases) if letter.event else ""
        table.add_row(
            letter.id, letter.slot, letter.vendor, metric, aliases, letter.code, str(letter.attempts), _when(letter.at)
        )
    Console().print(table)


@dead.command()
def show(
    id: Annotated[str, typer.Argument(help="Of a dead letter, as `list` shows it.")],
    config: ConfigOption = None,
    reveal: RevealOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter; what may be personal only with --reveal."""
    with opened(config) as outbox:
        letter = next((letter for letter in outbox.letters(1_000_000) if letter.id == id), None)
    if letter is None:
        fail(f"there is no dead letter {id!r}; `flagmw outbox dead list` shows those there are")
    document = {**_letter_document(letter), "event": _event_document(letter.event, reveal=reveal)}
    if as_json:
        print(json.dumps(document, indent=2))
        return
    for name, value in _flat(document):
        print(f"{name:<22} {value}")


@dead.command()
def retry(
    ids: IdsArgument = None, all_: AllOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Queue dead letters anew: once the vendor's account, or what else refused them, is mended."""
    _settle(orders.letters("revive", _chosen(ids, all_)), "queued again", config, as_json)


@dead.command()
def drop(
    ids: IdsArgument = None, all_: AllOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Drop dead letters for good; they are counted as DISCARDED."""
    _settle(orders.letters("forget", _chosen(ids, all_)), "dropped", config, as_json)


def _settle(order: orders.Order, done: str, config: Any, as_json: bool) -> None:
    with opened(config) as outbox:
        ordered(outbox, order, done, as_json=as_json)


def _chosen(ids: Sequence[str] | None, all_: bool) -> Sequence[str] | None:
    if bool(ids) == all_:
        fail("name the dead letters by id, or all of them with --all")
    return None if all_ else ids


def _slot_document(report: SlotReport) -> dict[str, Any]:
    lanes = {vendor: _lane_document(lane) for vendor, lane in sorted(report.stats.lanes.items())}
    refused = {code.value: n for code, n in report.stats.refused.items()}
    return {
        "slot": report.name,
        "alive": report.alive,
        "trouble": report.trouble,
        "vendors": lanes,
        "refused": refused,
        "balanced": report.stats.balanced(),
    }


def _lane_document(lane: LaneStats) -> dict[str, Any]:
    return {
        "accepted": lane.accepted,
        "delivered": lane.delivered,
        "duplicates": lane.duplicates,
        "queued": lane.queued,
        "in_flight": lane.leased,
        "oldest_s": round(lane.oldest_s, 1),
        "dead": lane.dead,
        "dropped": {code.value: n for code, n in lane.dropped.items()},
    }


def _lane_cells(lane: LaneStats) -> Iterable[str]:
    dropped = ", ".join(f"{code.value} {n}" for code, n in sorted(lane.dropped.items()))
    oldest = f"{lane.oldest_s:.0f} s" if lane.queued else ""
    return str(lane.queued), str(lane.leased), oldest, str(lane.delivered), str(lane.dead), dropped


def _letter_document(letter: Letter) -> dict[str, Any]:
    event = letter.event
    return {
        "id": letter.id,
        "slot": letter.slot,
        "vendor": letter.vendor,
        "kind": letter.kind,
        "code": letter.code,
        "attempts": letter.attempts,
        "at": _when(letter.at),
        "metric": None if event is None else event.track.metric,
        "aliases": None if event is None else list(event.aliases),
        "track_id": None if event is None else event.track.id,
    }


def _event_document(event: Event | None, *, reveal: bool) -> dict[str, Any] | None:
    """Return what an operator may see: without *reveal* the names of cookies and data, and no value of either."""
    if event is None:
        return None
    visit, track = event.visit, event.track
    document: dict[str, Any] = {
        "occurred_at": _when(track.occurred_at),
        "at_most_once": event.at_most_once,
        "host": visit.host,
        "path": visit.path,
        "cookies": dict(visit.cookies) if reveal else sorted(visit.cookies),
        "data": dict(track.data) if reveal else sorted(track.data),
        "items": [dict(item) for item in track.items] if reveal else len(track.items),
    }
    if reveal:
        document |= {
            "user_id": visit.user_id,
            "client_ip": visit.client_ip,
            "key": track.key,
            "value": track.value,
            "currency": track.currency,
        }
    return document


def _flat(document: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
