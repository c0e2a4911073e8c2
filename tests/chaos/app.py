"""The shop that is attacked: it sells through two vendors, and notes every delivery attempt."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

FOLDER = Path(os.environ["CHAOS_FOLDER"])
CLOCK = FOLDER / "clock"
_now = time.time


def wall_clock() -> float:
    """Return the time of the machine as it is set at the moment, which an attack may change."""
    with contextlib.suppress(OSError, ValueError):
        return _now() + float(CLOCK.read_text())
    return _now()


# Before anything of flagmw is imported: this stands for a machine whose clock is set.
time.time = wall_clock

from flagmw import Flagmw  # noqa: E402
from flagmw.types import EventNote, Visit  # noqa: E402
from flagmw.wsgi import FlagsMiddleware, flags_from  # noqa: E402
from tests.support.late import counted, in_memory, saying_late  # noqa: E402


def append(name: str, line: str) -> None:
    """Write a line to a file of this process: whole, or not at all when the process is killed."""
    descriptor = os.open(FOLDER / name / str(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def note(event: EventNote) -> None:
    code = getattr(event.outcome, "code", None)
    append("notes", f"{event.track_id} {event.attempt} {type(event.outcome).__name__} {code or '-'}")


fm = Flagmw.from_mapping({"on_event": note}, file=FOLDER / "flagmw.toml")
fm.start()


def sell(flags: Any, query: dict[str, list[str]]) -> str:
    """Report one purchase to one vendor; the order number is what the vendor sees of it."""
    order, vendor = query["order"][0], query["vendor"][0]
    data = json.loads(query.get("data", ["{}"])[0])
    if vendor == "monetate":
        return str(flags.track(order, vendors=["monetate"]))
    return str(flags.track("purchase", aliases=["ta_A"], vendors=["wt"], data={**data, "order": order}))


def promise(order: str, id: str | None, before: int) -> None:
    """Write down that *order* was accepted, unless it was refused, or kept in memory only."""
    if counted(fm) == before and not in_memory(fm):
        append("forks", f"{order} {id}")


def in_a_fork(flags: Any, query: dict[str, list[str]]) -> str:
    """Sell in a forked child, which ends by itself; return at once."""
    saved = flags.save()
    if os.fork():
        return "forked"
    try:
        before = counted(fm)
        id = fm.track("purchase", visitor=saved, aliases=["ta_A"], vendors=["wt"], data={"order": query["order"][0]})
        fm.close(2.0)
        promise(query["order"][0], id, before)
    finally:
        os._exit(0)


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    flags = flags_from(environ)
    query = parse_qs(environ["QUERY_STRING"])
    body = "ok"
    if environ["PATH_INFO"] == "/buy":
        body = sell(flags, query)
    elif environ["PATH_INFO"] == "/fork":
        body = in_a_fork(flags, query)
    elif environ["PATH_INFO"] == "/checkout":
        body = flags["ta_A"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]


app = saying_late(FlagsMiddleware(shop, flagmw=fm), fm)


def job(order: str) -> None:
    """Do what a scheduled job does: report one thing, and end."""
    cookies = {"_wt.user-2490593": "job", "_wt.control-2490593-ta_A": "x"}
    visit = Visit(url="https://www.mysite.com/", cookies=cookies)
    id = fm.track("purchase", visitor=visit, aliases=["ta_A"], vendors=["wt"], data={"order": order})
    fm.close(2.0)
    promise(order, id, 0)
