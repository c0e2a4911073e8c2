"""Per-process state of a Valkey outbox: connection and threads."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext

from flagmw._support.encryption import Cipher
from flagmw._support.log import Throttle
from flagmw._valkey.connection import Link
from flagmw._valkey.errors import ADVICE, ServerTrouble, Trouble
from flagmw._valkey.url import Address
from flagmw.codes import ErrorCode
from flagmw.outbox.base import Lease, Outbox, OutboxStats
from flagmw.outbox.policy import Disposition, Policy, Requeue
from flagmw.outbox.valkey.forwarder import Forwarder
from flagmw.outbox.valkey.listener import Listener
from flagmw.outbox.valkey.stream import Stream

logger = logging.getLogger("flagmw.outbox")

_AUDIT_S = 60.0  # how often the consumer groups are looked through
_UNSURE_S = 1.0  # how long a lane rests whose claim no replica has confirmed
_LATE = 1_000  # so many settlements wait for a server that is away


class ValkeyProcess:
    """The parts of a Valkey outbox in one process, made without starting anything."""

    def __init__(
        self,
        address: Address,
        local: Outbox,
        policy: Policy,
        rng: random.Random,
        seal: Cipher,
        poison: int,
        audit_idle_s: float,
        clock: Callable[[], float],
        shared_clock: bool,
    ) -> None:
        self.local, self.closed = local, False
        self.link = Link(address, rng)
        self.stream = Stream(self.link, policy, rng, seal, poison, clock, shared_clock=shared_clock)
        self.listener = Listener(address, self.stream, self.link)
        # As in `Stream`, for the machine's own store: a caller that stores an event must not wait for the server.
        self.reading: AbstractContextManager[object] = nullcontext() if shared_clock else threading.RLock()
        self.forwarder = Forwarder(local, self.stream, self.link, self._chores, clock, self.reading)
        self.counts = OutboxStats()
        self.late: deque[tuple[Lease, Sequence[Disposition]]] = deque(maxlen=_LATE)
        self._audit_idle_s = audit_idle_s
        self._audit_at = 0.0
        self._settling = threading.Lock()
        # Vendors whose last claim was not confirmed, and until when they rest.
        self._unconfirmed: set[str] = set()
        self._unsure: dict[str, float] = {}
        self._throttle = Throttle(logger)

    def claim(self, now: float, limit: int, lease_s: float, skip: Collection[str]) -> Lease | None:
        """As `Stream.claim`; what must not be sent twice is handed out when as many replicas know of it as of itself.

        Raises:
            ServerTrouble: the server does not answer.
        """
        while (lease := self.stream.claim(now, limit, lease_s, {*skip, *(unsure := self.unsure())})) is not None:
            if not lease.rows[0].event.at_most_once:
                return lease
            kept: bool | None = False
            try:
                kept = self.link.confirmed(f"lease:{lease.token}")
                (self._unconfirmed.add if kept is False else self._unconfirmed.discard)(lease.vendor)
            finally:
                self.stream.sure(lease, kept=kept is True)
                # A claim that the server does not know was lost with the one before it: nothing was sent, and nobody
                # else has seen it, so the next claim is as good as the first.
                if kept is False:
                    # Nothing was sent, so that it may be claimed again, by whichever server comes next.
                    self._unsure[lease.vendor] = time.monotonic() + _UNSURE_S
                    self._throttle.log(
                        logging.ERROR,
                        ErrorCode.OUTBOX_FAILED,
                        f"at-most-once events wait on the Valkey server: {ADVICE[Trouble.REPLICAS]}",
                        vendor=lease.vendor,
                    )
                    self.settle(lease, [Requeue(due_at=now, counted=False)], now)
            if kept:
                return lease
        if not unsure:
            self._unconfirmed &= set(skip)
        return None

    @property
    def trouble(self) -> Trouble | None:
        """Why the server takes or gives no events, None when it does."""
        return self.link.trouble or self.forwarder.held or (Trouble.REPLICAS if self._unconfirmed else None)

    def unsure(self) -> dict[str, float]:
        """Return the vendors whose claims no replica has confirmed a moment ago, with the seconds that they rest."""
        now = time.monotonic()
        self._unsure = {vendor: until for vendor, until in self._unsure.items() if until > now}
        return {vendor: until - now for vendor, until in self._unsure.items()}

    def settle(self, lease: Lease, rulings: Sequence[Disposition], now: float) -> None:
        """Settle now, or when the server is back, should the lease still hold then."""
        try:
            self.stream.settle(lease, rulings, now)
        except ServerTrouble:
            self.late.append((lease, rulings))

    def audit(self) -> None:
        self.stream.audit(self._audit_idle_s)

    def _chores(self) -> None:
        with self._settling:
            while self.late:
                lease, rulings = self.late[0]
                self.stream.settle(lease, rulings, None)
                self.late.popleft()
        if time.monotonic() >= self._audit_at:
            self._audit_at = time.monotonic() + _AUDIT_S
            self.link.look_again()
            self.audit()


def steady_clock() -> Callable[[], float]:
    """Return the time since the epoch as it was set now: a wall clock that is set later changes no due time."""
    epoch = time.time() - time.monotonic()
    return lambda: epoch + time.monotonic()
