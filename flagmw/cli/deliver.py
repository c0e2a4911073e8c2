"""`flagmw deliver`: delivery in a process of its own."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from flagmw.cli.common import FAILED, AppOption, ConfigOption, configured, fail
from flagmw.cli.open_outbox import looked_up
from flagmw.cli.text import PlainFormatter, say
from flagmw.outbox.base import OutboxStats
from flagmw.outbox.factory import probe
from flagmw.outbox.sqlite.directory import Directory
from flagmw.runtime import Flagmw

STOP_S = 7.0
FIGURES_EVERY_S = 10.0
_LOOK_S = 0.1
_TAKE_OVER_S = 8.0


def deliver(
    config: ConfigOption = None,
    app_path: AppOption = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to deliver.")] = False,
    timeout: Annotated[float, typer.Option(help="With --once: seconds to give it; what is left then stays.")] = 600.0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print figures every 10 seconds.")] = False,
) -> None:
    """Deliver what waits in the configured outbox, until SIGTERM or Ctrl-C.

    With Valkey any number of these may run, on any number of machines. With sqlite it takes what dead processes left;
    what belongs to a living process is delivered by that one. With --once the exit code is 1 when events are left.
    """
    fm = configured(config, app_path)
    location, directory = looked_up(fm)
    if directory is None:
        fail('outbox="memory://" keeps events inside the application: no other process can deliver them')
    probe(location, "there is nothing else to deliver from")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("flagmw deliver: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    with _stopped() as stop:
        started = time.monotonic()
        fm.deliver()
        vendors = ",".join(vendor.name for vendor in fm.config.vendors)
        _say(f"started pid={os.getpid()} vendors={vendors} max_rate={_rate(fm.config.max_rate)}")
        left = _until(fm, directory, stop, once=once, timeout_s=timeout, verbose=verbose)
        before = time.monotonic()
        stats = fm.outbox_stats()
        fm.close(STOP_S)
        _say(f"stopped {_figures(stats)} ran_s={before - started:.1f} stopped_in_s={time.monotonic() - before:.1f}")
    if once and left:
        raise typer.Exit(FAILED)


def _rate(per_s: float | None) -> str:
    return "none" if per_s is None else f"{per_s:g}"


def _until(
    fm: Flagmw, directory: Directory, stop: threading.Event, *, once: bool, timeout_s: float, verbose: bool
) -> int:
    """Wait for the signal, or for the end of the work; return how many events are left."""
    begun = last_print = time.monotonic()
    while not stop.wait(_LOOK_S):
        now = time.monotonic()
        if verbose and now - last_print >= FIGURES_EVERY_S:
            last_print = now
            _say(_figures(fm.outbox_stats()))
        if once and (now - begun >= timeout_s or not _left(fm, directory, taking_over=now - begun < _TAKE_OVER_S)):
            break
    return _left(fm, directory, taking_over=True)


def _left(fm: Flagmw, directory: Directory, *, taking_over: bool) -> int:
    """Return the number of events that this process has to deliver, with those of dead processes it takes over.

    What it has not taken over by then it leaves alone: a copy, say, or another machine's.
    """
    left = fm.outbox_stats().queued
    if taking_over and not left:
        left = sum(slot.stats.queued for slot in directory.status() if slot.state == "free")
    return left


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _figures(stats: OutboxStats) -> str:
    return (
        f"delivered={stats.delivered} queued={stats.queued} in_flight={stats.leased} dead={stats.dead} "
        f"dropped={sum(stats.dropped.values())} oldest_s={stats.oldest_s:.0f}"
    )


def _say(line: str) -> None:
    say(f"flagmw deliver: {line}", sys.stderr)
