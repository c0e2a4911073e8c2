"""Background refresh of the rules by which vendors decide."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping

from flagmw._support.forksafe import PerProcess
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.types import Flow
from flagmw.vendors.base import RefreshingVendor

FAILED_S = 30.0
SHORTEST_S = 1.0
LONGEST_S = 86_400.0

Run = Callable[[str, Flow[float]], float]


class Refresher:
    """Refresh *vendors* in one daemon thread named `flagmw-refresh`, one after the other.

    Nothing starts before `start`. A forked child has no thread until its own `start`.

    Args:
        vendors: by name.
        run: drives a flow of the named vendor to its result, blocking in the calling thread.
        throttle: logs failures.
        wall, monotonic: clocks in seconds.
    """

    def __init__(
        self,
        vendors: Mapping[str, RefreshingVendor],
        run: Run,
        throttle: Throttle,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vendors, self._run, self._throttle = dict(vendors), run, throttle
        self._wall, self._monotonic = wall, monotonic
        self._process = PerProcess(_Running)

    def start(self) -> None:
        """Start the thread if there is anything to refresh; no-op while it runs."""
        if not self._vendors:
            return
        running = self._process.get()
        # The lock is never released: of threads that race, one starts the thread.
        if running.thread is None and running.starting.acquire(blocking=False):
            thread = threading.Thread(target=self._loop, args=(running,), name="flagmw-refresh", daemon=True)
            running.thread = thread
            thread.start()

    def close(self, timeout_s: float = 1.0) -> None:
        """Stop the thread; a call that is under way is waited for *timeout_s* seconds at most."""
        running = self._process.take()
        if running is None:
            return
        running.ended.set()
        if running.thread is not None and running.thread is not threading.current_thread():
            running.thread.join(timeout_s)

    def _loop(self, running: _Running) -> None:
        due = dict.fromkeys(self._vendors, self._monotonic())
        while not running.ended.is_set():
            name = min(due, key=lambda vendor: due[vendor])
            if running.ended.wait(max(0.0, due[name] - self._monotonic())):
                return
            due[name] = self._monotonic() + self._refresh(name, self._vendors[name])

    def _refresh(self, name: str, vendor: RefreshingVendor) -> float:
        """Refresh one vendor; return the seconds until the next time."""
        try:
            wait_s = float(self._run(name, vendor.refresh(self._wall())))
            fault = vendor.refresh_fault
        except Exception as error:
            # Its text may hold anything.
            self._throttle.log(
                logging.ERROR, ErrorCode.INTERNAL, "a refresh failed", vendor=name, error=type(error).__name__
            )
            return FAILED_S
        if fault is not None:
            self._throttle.log(
                logging.WARNING, fault, "rules could not be fetched: the old ones stay in use", vendor=name
            )
        return min(max(wait_s, SHORTEST_S), LONGEST_S) if math.isfinite(wait_s) else FAILED_S


class _Running:
    """One process's thread, and the event that ends it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.starting = threading.Lock()
        self.thread: threading.Thread | None = None
