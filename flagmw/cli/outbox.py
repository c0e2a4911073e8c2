"""`flagmw outbox`: queued events and dead letters."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from flagmw.cli.common import FAILED, AppOption, ConfigOption, JsonOption, fail
from flagmw.cli.open_outbox import Opened, opened, print_result
from flagmw.cli.table import print_table
from flagmw.cli.text import say, say_json, shown
from flagmw.outbox.base import DeadLetter, LaneStats, OutboxStats
from flagmw.outbox.factory import trouble
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

_ALL = 1_000_000


@app.command()
def status(config: ConfigOption = None, app_path: AppOption = None, as_json: JsonOption = False) -> None:
    """Show every slot and vendor: queued, in flight, oldest, delivered, dead, dropped. Changes nothing."""
    with opened(config, app_path) as outbox:
        parts = _parts(outbox)
    if as_json:
        say_json([part.document() for part in parts])
        return
    rows: list[tuple[object, ...]] = []
    for part in parts:
        if part.trouble is not None:
            rows.append((part.name, Text(part.state, style="red"), part.trouble, *[""] * 6))
        for vendor, lane in sorted(part.stats.lanes.items()):
            rows.append((part.name, part.state, vendor, *_lane_cells(lane)))
    print_table(("part", "state", "vendor", "queued", "in flight", "oldest", "delivered", "dead", "dropped"), rows)


@app.command()
def flush(
    config: ConfigOption = None,
    app_path: AppOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to give it.")] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Deliver what dead processes left, now, and wait for what living ones have. Exit code 1 when events are left."""
    begun = time.monotonic()
    with opened(config, app_path) as outbox:
        total = left = _queued(outbox)
        columns = (TextColumn("delivering"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
            task = progress.add_task("", total=total)
            if total:
                outbox.fm.deliver()
            while left and time.monotonic() - begun < timeout:
                time.sleep(0.2)
                left = _queued(outbox)
                total = max(total, left)
                progress.update(task, total=total, completed=total - left)
    document = {"settled": total - left, "left": left, "took_s": round(time.monotonic() - begun, 1)}
    if as_json:
        say_json(document, indent=None)
    else:
        say(f"{total - left} settled, {left} left")
    if left:
        raise typer.Exit(FAILED)


@dead.command("list")
def list_(
    config: ConfigOption = None,
    app_path: AppOption = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, newest first: which vendor, what, why, when."""
    with opened(config, app_path) as outbox:
        letters = outbox.dead(limit)
    if as_json:
        say_json([_letter_document(letter) for letter in letters])
        return
    print_table(("id", "vendor", "metric", "aliases", "why", "attempts", "when"), map(_letter_cells, letters))


@dead.command()
def show(
    id: Annotated[str, typer.Argument(help="Of a dead letter, as `list` shows it.")],
    config: ConfigOption = None,
    app_path: AppOption = None,
    reveal: RevealOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter; what may be personal only with --reveal."""
    with opened(config, app_path) as outbox:
        letter = next((letter for letter in outbox.dead(_ALL) if letter.event.id == id), None)
    if letter is None:
        fail(f"there is no dead letter {id!r}; `flagmw outbox dead list` lists them")
    document = {**_letter_document(letter), "event": _event_document(letter.event, reveal=reveal)}
    if as_json:
        say_json(document)
        return
    for name, value in _flat(document):
        say(f"{shown(name):<22} {shown(value)}")


@dead.command()
def retry(
    ids: IdsArgument = None,
    all_: AllOption = False,
    config: ConfigOption = None,
    app_path: AppOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue dead letters anew: once the vendor's account, or what else refused them, is mended.

    Exit code 1 when one that is named is not there.
    """
    chosen = _chosen(ids, all_)
    with opened(config, app_path) as outbox:
        missing = _missing(outbox, chosen)
        print_result(
            outbox.everywhere(lambda store: store.revive(chosen, time.time())), "queued again", as_json=as_json
        )
    _say_missing(missing)


@dead.command()
def drop(
    ids: IdsArgument = None,
    all_: AllOption = False,
    config: ConfigOption = None,
    app_path: AppOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop dead letters for good; they are counted as DISCARDED. Exit code 1 when one that is named is not there."""
    chosen = _chosen(ids, all_)
    with opened(config, app_path) as outbox:
        missing = _missing(outbox, chosen)
        print_result(outbox.everywhere(lambda store: store.forget(chosen)), "dropped", as_json=as_json)
    _say_missing(missing)


def _chosen(ids: Sequence[str] | None, all_: bool) -> Sequence[str] | None:
    if bool(ids) == all_:
        fail("name the dead letters by id, or all of them with --all")
    return None if all_ else ids


def _missing(outbox: Opened, ids: Sequence[str] | None) -> list[str]:
    """Return those of *ids* that no dead letter has."""
    present = {letter.event.id for letter in outbox.dead(_ALL)} if ids else set()
    return [id for id in dict.fromkeys(ids or ()) if id not in present]


def _say_missing(ids: Sequence[str]) -> None:
    if ids:
        names = ", ".join(map(repr, ids))
        say(f"flagmw: no dead letter is named {names}; `flagmw outbox dead list` shows those there are", sys.stderr)
        raise typer.Exit(FAILED)


@dataclass(frozen=True)
class _Part:
    """One slot, or what is on the server."""

    name: str
    state: str
    stats: OutboxStats
    trouble: str | None = None

    def document(self) -> dict[str, Any]:
        return {
            "part": self.name,
            "state": self.state,
            "trouble": self.trouble,
            "vendors": {vendor: _lane_document(lane) for vendor, lane in sorted(self.stats.lanes.items())},
            "refused": {code.value: count for code, count in self.stats.refused.items()},
            "balanced": self.stats.balanced(),
        }


def _parts(outbox: Opened) -> list[_Part]:
    parts = [_Part(f"slot-{slot.number}", slot.state, slot.stats, slot.why) for slot in outbox.directory.status()]
    if outbox.server is not None:
        stats = outbox.server.stats(time.time())
        parts.append(_Part("server", "shared", stats, trouble(outbox.server)))
    return parts


def _queued(outbox: Opened) -> int:
    return sum(part.stats.queued for part in _parts(outbox))


def _lane_document(lane: LaneStats) -> dict[str, Any]:
    return {
        "accepted": lane.accepted,
        "delivered": lane.delivered,
        "duplicates": lane.duplicates,
        "queued": lane.queued,
        "in_flight": lane.leased,
        "oldest_s": round(lane.oldest_s, 1),
        "dead": lane.dead,
        "dropped": {code.value: count for code, count in lane.dropped.items()},
    }


def _lane_cells(lane: LaneStats) -> Iterable[str]:
    dropped = ", ".join(f"{code.value} {count}" for code, count in sorted(lane.dropped.items()))
    oldest = f"{lane.oldest_s:.0f} s" if lane.queued else ""
    return str(lane.queued), str(lane.leased), oldest, str(lane.delivered), str(lane.dead), dropped


def _letter_document(letter: DeadLetter) -> dict[str, Any]:
    event = letter.event
    return {
        "id": event.id,
        "vendor": event.vendor,
        "kind": event.kind,
        "code": letter.code.value,
        "attempts": letter.attempts,
        "at": _when(letter.at),
        "metric": event.track.metric,
        "aliases": list(event.aliases),
        "track_id": event.track.id,
    }


def _letter_cells(letter: DeadLetter) -> tuple[object, ...]:
    event = letter.event
    aliases = ", ".join(event.aliases)
    return event.id, event.vendor, event.track.metric, aliases, letter.code, letter.attempts, _when(letter.at)


def _event_document(event: Event, *, reveal: bool) -> dict[str, Any]:
    """Return an event as an operator may see it: without *reveal* only the names of cookies and data, no values."""
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
