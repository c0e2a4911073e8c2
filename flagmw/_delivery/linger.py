"""The end of an unused delivery while its process continues."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flagmw._delivery.process import DeliveryProcess
from flagmw.outbox.factory import trouble
from flagmw.outbox.picks import is_empty

LINGER_S = 30.0
"""So long an unused delivery goes on at most, where events are safe without it."""

_LOOK_S = 1.0


def close_when_idle(running: DeliveryProcess, unused: Callable[[], bool], close: Callable[[], None]) -> None:
    """Call *close*, in a thread, when nothing is left to deliver, or after `LINGER_S` where events are on disk.

    Args:
        unused: says whether the delivery is still unused; if not, nothing is closed.
    """
    lingering = threading.Thread(target=_linger, args=(running, unused, close), name="flagmw-linger", daemon=True)
    try:
        lingering.start()
    except RuntimeError:
        pass  # the interpreter is on its way out, and closes all by itself


def _linger(running: DeliveryProcess, unused: Callable[[], bool], close: Callable[[], None]) -> None:
    end, puts = time.monotonic() + LINGER_S, running.puts
    while True:
        time.sleep(_LOOK_S)
        if not unused():
            return
        if running.puts != puts:
            # Requests come although the application said that it has shut down.
            puts, end = running.puts, time.monotonic() + LINGER_S
            continue
        kept = not running.own_memory and not trouble(running.outbox)
        if is_empty(running.outbox, running.worker.now()) or (kept and time.monotonic() > end):
            break
    if unused():
        close()
