"""The thread that forwards stored events to the server."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from flagmw._support.log import Throttle
from flagmw._valkey.connection import Link
from flagmw._valkey.errors import ADVICE, ServerTrouble, Trouble
from flagmw.codes import ErrorCode
from flagmw.outbox.base import Lease, Leased, Outbox
from flagmw.outbox.valkey.stream import Stream
from flagmw.types import Delivered

logger = logging.getLogger("flagmw.outbox")

_BATCH = 500
_LEASE_S = 60.0
_IDLE_S = 1.0  # how often an idle thread looks for what a dead neighbour left on this machine
_FULL_S = 1.0  # the rest after the server had no room


class Forwarder:
    """Move events from the *local* store to the stream; each leaves the one only when it surely is in the other.

    Args:
        chores: what else is to be done now and then while the server answers.
        clock: the time that the local store and `forward` go by, seconds since the epoch.
        reading: held from a look at the clock until the local store has the time.
    """

    def __init__(
        self,
        local: Outbox,
        stream: Stream,
        link: Link,
        chores: Callable[[], None],
        clock: Callable[[], float],
        reading: AbstractContextManager[object],
    ) -> None:
        self._local, self._stream, self._link = local, stream, link
        self._chores, self._clock, self._reading = chores, clock, reading
        self.moving = threading.RLock()
        self.held: Trouble | None = None
        self._starting = threading.Lock()
        self._throttle = Throttle(logger)
        self._doubtful: set[str] = set()
        self._wake = threading.Event()
        self._stop = False
        self._thread: threading.Thread | None = None

    def forward(self, now: float | None = None, timeout_s: float = math.inf) -> int:
        """Hand over what waits here, for *timeout_s* seconds at most; return how much that was.

        Args:
            now: the caller's time; by default that of the clock, which is read anew for every step.

        Raises:
            ServerTrouble: the rest stays.
        """
        moved, end = 0, time.monotonic() + timeout_s
        with self.moving:
            while time.monotonic() < end and (leases := self._gather(now)):
                moved += self._hand_over(leases, now)
        return moved

    def start(self) -> None:
        """Start the thread at the first time; nothing after `close`."""
        if self._thread is not None or self._stop:
            return
        with self._starting:
            if self._thread is None and not self._stop:
                try:
                    thread = threading.Thread(target=self._loop, name="flagmw-forward", daemon=True)
                    thread.start()
                    self._thread = thread
                except RuntimeError:
                    pass  # the interpreter is on its way out: the events are stored, another process forwards them

    def wake(self) -> None:
        """Tell the thread that there is something to hand over, and start it at the first time."""
        self._wake.set()
        self.start()

    def close(self, timeout_s: float) -> bool:
        """Hand over what can be within half the time, then stop; return whether the thread has stopped."""
        if self._thread is not None and self._link.rest_s() == 0:
            try:
                self.forward(timeout_s=timeout_s / 2)
            except ServerTrouble:
                pass  # it stays in the machine's store
        self._stop = True
        self._wake.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _loop(self) -> None:
        while not self._stop:
            self._wake.clear()
            rest_s = max(self._turn(), self._link.rest_s())
            # New events do not shorten a rest: the server would be asked once more with each of them.
            if self._link.rest_s() > 0 or self.held is not None:
                end = time.monotonic() + rest_s
                while not self._stop and (left_s := end - time.monotonic()) > 0:
                    time.sleep(min(left_s, 0.05))
            else:
                self._wake.wait(rest_s)

    def _turn(self) -> float:
        """Do what there is to do; return the seconds to rest."""
        try:
            if self._link.rest_s() > 0:
                return self._link.rest_s()
            self._chores()
            self.forward()
        except ServerTrouble:
            return _FULL_S if self.held is not None else 0.0
        except Exception as error:
            # Somebody else's error text may quote what a visitor sent.
            self._throttle.log(
                logging.ERROR, ErrorCode.OUTBOX_FAILED, "events wait on this machine", error=type(error).__name__
            )
            return _IDLE_S
        return _IDLE_S

    def _gather(self, now: float | None) -> list[Lease]:
        leases: list[Lease] = []
        left = _BATCH
        while left > 0 and not self._stop:
            with self._reading:
                lease = self._local.claim(self._time(now), left, _LEASE_S)
            if lease is None:
                break
            leases.append(lease)
            left -= len(lease.rows)
        return leases

    def _hand_over(self, leases: list[Lease], now: float | None) -> int:
        rows = [row for lease in leases for row in lease.rows]
        # By time over all vendors; the sort keeps the order of what was accepted at the same time.
        rows.sort(key=lambda row: row.created)
        try:
            taken = self._stream.add(rows, self._again, now)
        except BaseException as error:
            if not isinstance(error, ServerTrouble) or error.sent:
                self._doubtful.update(row.event.id for row in rows)
            # Given back untried, which keeps their order.
            for lease in leases:
                self._release(lease, now)
            self._note(error.trouble if isinstance(error, ServerTrouble) else None)
            raise
        stored_ids = {row.event.id for row, done in zip(rows, taken, strict=True) if done}
        self._doubtful -= stored_ids
        moved = 0
        for lease in leases:
            for index, row in enumerate(lease.rows):
                part = lease.part(index, index + 1)
                if row.event.id not in stored_ids:
                    self._release(part, now)
            done = tuple(row for row in lease.rows if row.event.id in stored_ids)
            if done:
                with self._reading:
                    part = Lease(lease.token, lease.vendor, done)
                    self._local.ack(part, [Delivered()] * len(done), self._time(now))
                moved += len(done)
        if moved < len(rows):
            self._note(Trouble.FULL)
            raise ServerTrouble(Trouble.FULL)
        self._note(None)
        return moved

    def _release(self, lease: Lease, now: float | None) -> None:
        with self._reading:
            self._local.release(lease, self._time(now))

    def _time(self, now: float | None) -> float:
        return self._clock() if now is None else now

    def _again(self, row: Leased) -> bool:
        return row.attempts > 0 or row.event.id in self._doubtful

    def _note(self, trouble: Trouble | None) -> None:
        """Remember and tell that the server takes nothing, where nobody else does."""
        reported = trouble if trouble in (Trouble.FULL, Trouble.REPLICAS) else None
        if reported is not None and reported is not self.held:
            self._throttle.change(
                logging.ERROR,
                ErrorCode.OUTBOX_FAILED,
                f"the Valkey server takes no events, they wait on this machine ({reported.value}: {ADVICE[reported]})",
                server=self._link.address.name,
            )
        self.held = reported
