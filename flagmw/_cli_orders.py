"""How commands get at an outbox: what there is, and how an order reaches every part of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from flagmw import _saved
from flagmw._cli_common import FAILED, ConfigOption, JsonOption, configured, fail
from flagmw.outbox import orders
from flagmw.outbox._open import located, make, on_server, trouble
from flagmw.outbox._seal import seal_from_environment
from flagmw.outbox.base import Outbox
from flagmw.outbox.errands import Errands
from flagmw.outbox.location import Location, parse
from flagmw.outbox.survey import Letter, SlotReport, Survey
from flagmw.runtime import Flagmw
from flagmw.vendors.base import Vendor

SERVER = "server"
ANSWER_S = 5.0
_ADOPT_S = 8.0
_LOOK_S = 0.2


@dataclass(frozen=True)
class Opened:
    """An outbox as the commands see it: slots on this machine and, of some, a server. `fm` is not started."""

    fm: Flagmw
    location: Location
    survey: Survey
    errands: Errands
    server: Outbox | None

    def reports(self) -> list[SlotReport]:
        """Return what every part of it holds."""
        found = self.survey.reports(time.time())
        if self.server is not None:
            stats = self.server.stats(time.time())
            found.append(SlotReport(name=SERVER, alive=True, stats=stats, trouble=trouble(self.server)))
        return found

    def letters(self, limit: int) -> list[Letter]:
        """Return up to *limit* dead letters, newest first."""
        found = self.survey.letters(limit)
        for letter in self.server.dead(limit) if self.server is not None else ():
            event = letter.event
            found.append(
                Letter(
                    slot=SERVER,
                    id=event.id,
                    vendor=event.vendor,
                    kind=event.kind,
                    code=letter.code,
                    attempts=letter.attempts,
                    at=letter.at,
                    event=event,
                )
            )
        return sorted(found, key=lambda letter: -letter.at)[:limit]


@contextmanager
def opened(config: Path | None) -> Iterator[Opened]:
    """Look into the directory that the configuration names."""
    fm = configured(config)
    location, survey = surveyed(fm)
    if survey is None:
        fail('outbox="memory://" keeps events inside the application: nothing can be seen or settled from here')
    directory = Path(location.path)
    if not directory.is_dir():
        fail(f"there is no outbox at {str(directory)!r}: nothing has been stored yet, or not by this configuration")
    server = on_server(location)
    try:
        yield Opened(fm, location, survey, Errands.of(directory), server)
    finally:
        fm.close(1.0)
        if server is not None:
            server.close()


def surveyed(fm: Flagmw) -> tuple[Location, Survey | None]:
    """Return where the outbox is, and the way to look into it; None for one that is in memory."""
    said = fm.config.outbox
    location = located(None if said is None else parse(said), [vendor.name for vendor in fm.config.vendors])
    if location.scheme == "memory":
        return location, None
    return location, Survey(Path(location.path), seal_from_environment(location.options.get("key_env")))


def ordered(outbox: Opened, order: orders.Order, done: str, *, as_json: bool) -> None:
    """Have *order* carried out everywhere: by living owners for their slots, by this process for the others'."""
    outbox.errands.sweep(time.time())
    living = outbox.survey.living()
    for owner in living:
        outbox.errands.post(owner, order)
    events = _by_us(outbox, order) if outbox.survey.orphans() else 0
    end = time.monotonic() + ANSWER_S
    answers = {owner: outbox.errands.answer(owner, order, max(0.0, end - time.monotonic())) for owner in living}
    if outbox.server is not None:
        # Last: what left a slot meanwhile is there now.
        events += orders.carry_out(order, outbox.server, _vendors(outbox), time.time())
    holding = [
        report.name for report in outbox.reports() if report.alive and (report.stats.queued or report.stats.dead)
    ]
    silent = [owner for owner, answer in answers.items() if answer is None and owner in holding]
    events += sum(answer or 0 for answer in answers.values())
    if as_json:
        print(json.dumps({"events": events, "unanswered": silent}))
    else:
        print(f"{events} {done}")
    if silent:
        print(
            f"flagmw: no answer from the owner of {', '.join(silent)}: it may be stopped or does not deliver; "
            "run this again, or once more when that process has ended",
            file=sys.stderr,
        )
        raise typer.Exit(FAILED)


def purge(
    user_id: Annotated[str | None, typer.Option(help="The site's own id of the visitor.")] = None,
    visitor: Annotated[Path | None, typer.Option(help="A file that `flagmw decide --save` or the site wrote.")] = None,
    cookie: Annotated[
        list[str] | None,
        typer.Option("--cookie", "-b", help='A cookie that only this visitor has, "name=value".'),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a visitor's queued and dead events; they are counted as PURGED.

    An event that is being sent at this moment may still reach the vendor.
    """
    with opened(config) as outbox:
        vendors = outbox.fm.config.vendors
        try:
            saved = _saved.load(visitor.read_bytes(), time.time()) if visitor is not None else None
            order = orders.forget_visitor(
                vendors,
                user_ids=[id for id in (user_id, saved and saved.user_id) if id],
                saved=saved.cookies if saved is not None else {},
                cookies=_named(cookie),
            )
        except (OSError, ValueError) as error:
            fail(f"{error}: give --user-id, --visitor or --cookie")
        ordered(outbox, order, "removed", as_json=as_json)


def _by_us(outbox: Opened, order: orders.Order) -> int:
    """Take over what dead processes left, and carry *order* out there."""
    store = make(outbox.location, required=True)
    try:
        store.stats(time.time())  # which has it take a slot
        end = time.monotonic() + _ADOPT_S
        while outbox.survey.orphans() and time.monotonic() < end:
            time.sleep(_LOOK_S)
        return orders.carry_out(order, store, _vendors(outbox), time.time())
    finally:
        store.close()


def _vendors(outbox: Opened) -> dict[str, Vendor]:
    return {vendor.name: vendor for vendor in outbox.fm.config.vendors}


def _named(cookies: list[str] | None) -> dict[str, str]:
    found = {}
    for cookie in cookies or ():
        name, equals, value = cookie.partition("=")
        if not equals or not value:
            raise ValueError('a cookie is "name=value"')
        found[name.strip()] = value.strip()
    return found
