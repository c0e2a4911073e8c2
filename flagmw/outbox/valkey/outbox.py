"""The Valkey outbox: stored on the machine first, then shared.

A request never waits for the server. `put_many` and `submit` write to the machine's own store (an `SqliteOutbox`, or
what is handed in); a thread forwards from there, and an event leaves the machine only after the server has confirmed
it. When the server is away, events wait on the machine. Any number of processes on any number of machines claim and
deliver what is on the server: see `stream`. The counts of both sides make one account: see `totals`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future

from flagmw._support.encryption import Cipher, cipher_from_environment
from flagmw._support.forksafe import PerProcess
from flagmw._valkey.errors import ADVICE, ServerTrouble, Trouble
from flagmw._valkey.exposures import ValkeySeen
from flagmw._valkey.url import Address, parse
from flagmw._valkey.visitors import ValkeyVisitors
from flagmw.exceptions import OutboxError
from flagmw.outbox.base import DeadLetter, Lease, Outbox, OutboxStats
from flagmw.outbox.policy import Policy
from flagmw.outbox.valkey.business_keys import ServerKeys
from flagmw.outbox.valkey.local_store import LocalPolicy, local_store
from flagmw.outbox.valkey.process import ValkeyProcess, steady_clock
from flagmw.outbox.valkey.totals import total
from flagmw.types import Event, Outcome

__all__ = ["LocalPolicy", "ValkeyOutbox", "ValkeySeen", "ValkeyVisitors"]


class ValkeyOutbox:
    """Store events on this machine, share them through a Valkey or Redis server, 7.0 or newer.

    Nothing is opened or started before the first use. A forked child makes its own connection and threads. Set
    `on_work` before the first claim to have it called, in a thread of its own, when other processes have put events on
    the server.

    Args:
        address: a URL such as `valkey://user:password@host:6379/0?dir=/var/lib/shop/flagmw&replicas=1`.
        local: the machine's own store, opened with a `LocalPolicy`; by default an `SqliteOutbox` in `dir`.
        seal: encrypts what is stored; by default with the keys that the URL's `key_env` names, if it does.
        poison: an event whose holder died or stalled more often than this is laid aside as `POISON`.
        audit_idle_s: how long an entry that the consumer group holds is left alone before it is looked at.
        clock: the clock that callers read *now* from, seconds since the epoch; by default one that never jumps, until
            `go_by` names another.
        shared_clock: go by the server's clock, as machines whose clocks differ must.

    Attributes:
        at_most_once: whether events will come that must not be sent twice; set it before the first use to have warnings
            where the server cannot keep that promise.

    Raises:
        ConfigError: the address cannot work.
    """

    def __init__(
        self,
        address: str | Address,
        local: Outbox | None = None,
        policy: Policy | None = None,
        *,
        seal: Cipher | None = None,
        poison: int = 10,
        rng: random.Random | None = None,
        audit_idle_s: float = 120.0,
        clock: Callable[[], float] = time.time,
        shared_clock: bool = True,
    ) -> None:
        self.address = parse(address) if isinstance(address, str) else address
        if seal is None:
            seal = cipher_from_environment(self.address.key_env)
        if local is None:
            local = local_store(self.address, seal)
        self._local = local
        rules = policy or Policy()
        jitter = rng or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self.on_work: Callable[[], None] | None = None
        self.at_most_once = False
        self._keys = ServerKeys(self.address, seal)
        self._clock = steady_clock() if clock is time.time else clock

        def make_process() -> ValkeyProcess:
            process = ValkeyProcess(
                self.address, local, rules, jitter, seal, poison, audit_idle_s, lambda: self._clock(), shared_clock
            )
            process.link.at_most_once = self.at_most_once
            return process

        self._process = PerProcess(make_process)

    def __repr__(self) -> str:
        return f"ValkeyOutbox({self.address.name!r})"

    def go_by(self, clock: Callable[[], float]) -> None:
        """Take *clock* for the one that the callers' *now* is from: a second one would make events older or younger."""
        self._clock = clock

    def open(self) -> None:
        """Take the machine's own store, look at the server if it answers, and start forwarding.

        Raises:
            OutboxError: the one cannot be had, or the other loses events by the way it is set up. A server that is away
                is no error: events wait here.
        """
        process = self._open()
        opens = getattr(process.local, "open", None)
        if callable(opens):
            opens()
        process.forwarder.wake()
        self._keys.connect()
        try:
            process.link.use(lambda client: client.ping())
        except ServerTrouble as trouble:
            if trouble.trouble in (Trouble.EVICTS, Trouble.VERSION, Trouble.SCHEMA, Trouble.CLUSTER):
                raise OutboxError(f"{self.address.name} cannot keep events ({trouble})") from None

    @property
    def trouble(self) -> str | None:
        """Why events wait on this machine, or are not even there; None when all is well."""
        process = self._process.get()
        local = getattr(process.local, "trouble", None)
        trouble = process.trouble
        text = None if trouble is None else f"the Valkey server takes no events: {trouble.value}, {ADVICE[trouble]}"
        return local if isinstance(local, str) else text

    def put_many(self, events: Sequence[Event], now: float) -> Sequence[str]:
        process = self._open()
        with process.reading:
            stored = process.local.put_many(events, now)
        process.forwarder.wake()
        return stored

    def submit(self, events: Sequence[Event], now: float) -> Future[Sequence[str]]:
        process = self._process.get()
        if process.closed:
            refused: Future[Sequence[str]] = Future()
            refused.set_exception(OutboxError("the outbox is closed; make a new one"))
            return refused
        with process.reading:
            future = process.local.submit(events, now)
        future.add_done_callback(lambda _: process.forwarder.wake())
        return future

    def reserve(self, events: Sequence[Event]) -> set[str]:
        """Return the ids of *events* whose business key another event holds, here or on the server.

        The server is asked for some hundredths of a second at most. Where it does not answer in time, it decides when
        the event is forwarded: one whose key is another's then counts as refused (`DUPLICATE_KEY`), and goes nowhere.

        Raises:
            OutboxError: the machine's own store cannot be used.
        """
        process = self._open()
        reserve = getattr(process.local, "reserve", None)
        taken: set[str] = reserve(events) if callable(reserve) else set()
        return taken | self._keys.taken([event for event in events if event.id not in taken])

    def forward(self, now: float) -> int:
        """Hand over to the server what waits on this machine, as the thread does by itself; return how much that was.

        Raises:
            OutboxError: the server does not take it; it waits here.
        """
        process = self._open()
        try:
            return process.forwarder.forward(now)
        except ServerTrouble as trouble:
            raise OutboxError(f"{self.address.name} takes no events ({trouble})") from None

    def claim(self, now: float, limit: int, lease_s: float, skip: Collection[str] = ()) -> Lease | None:
        process = self._process.get()
        if process.closed:
            return None
        process.forwarder.start()
        if self.on_work is not None:
            process.listener.start(self.on_work)
        try:
            return process.claim(now, limit, lease_s, skip)
        except ServerTrouble:
            return None

    def ack(self, lease: Lease, outcomes: Sequence[Outcome], now: float) -> None:
        if len(outcomes) != len(lease.rows):
            raise ValueError(f"{len(lease.rows)} rows need as many outcomes; got {len(outcomes)}")
        process = self._process.get()
        rulings = process.stream.rulings(lease.rows, outcomes, now)
        if lease.rows:
            process.settle(lease, rulings, now)

    def release(self, lease: Lease, now: float) -> None:
        process = self._process.get()
        if lease.rows and not process.closed:
            try:
                process.stream.release(lease, now)
            except ServerTrouble:
                pass  # it runs out by itself

    def dead(self, limit: int = 100) -> Sequence[DeadLetter]:
        process = self._process.get()
        try:
            letters = process.stream.dead(limit)
        except ServerTrouble:
            letters = []
        return [*letters, *process.local.dead(limit)][:limit]

    def revive(self, ids: Collection[str] | None, now: float) -> int:
        process = self._open()
        with process.reading:
            revived = process.local.revive(ids, now)
        return revived + self._on_server(lambda: process.stream.revive(ids, now))

    def forget(self, ids: Collection[str] | None) -> int:
        process = self._open()
        return process.local.forget(ids) + self._on_server(lambda: process.stream.forget(ids))

    def purge(self, matches: Callable[[Event], bool], now: float) -> int:
        process = self._open()
        with process.forwarder.moving:
            # First here: what is on its way is found on the server.
            with process.reading:
                gone = process.local.purge(matches, now)
            return gone + self._on_server(lambda: process.stream.purge(matches, now))

    def next_due(self, now: float, skip: Collection[str] = ()) -> float | None:
        process = self._process.get()
        if process.closed:
            return None
        try:
            unsure = process.unsure()
            due_s = process.stream.next_due(now, {*skip, *unsure})
            rests = [rest_s for vendor, rest_s in unsure.items() if vendor not in skip]
            due_s = min([*rests, *([] if due_s is None else [due_s])], default=None)
        except ServerTrouble:
            return max(0.1, process.link.rest_s())
        with process.reading:
            waits_s = process.local.next_due(now, skip)
        if waits_s is None:
            return due_s
        # What still waits here is on the server in a moment.
        return min(due_s, 0.05) if due_s is not None else 0.05

    def stats(self, now: float) -> OutboxStats:
        """Return the counts of the server, of all machines, together with those of this machine's store.

        The server's are as they last were while it is away.
        """
        process = self._process.get()
        # This machine first: an event that moves meanwhile is seen twice for a moment, and never not at all.
        with process.reading:
            local = process.local.stats(now)
        if not process.closed:
            try:
                process.counts = process.stream.stats(now)
            except ServerTrouble:
                pass
        return total(process.counts, local)

    def audit(self) -> None:
        """Look through the consumer groups, as is done once a minute: see `Stream.audit`.

        Raises:
            OutboxError: the server does not answer.
        """
        process = self._open()
        try:
            process.audit()
        except ServerTrouble as trouble:
            raise OutboxError(f"{self.address.name} does not answer ({trouble})") from None

    def health(self) -> dict[str, object]:
        """Return the server's state, with its trouble and warnings."""
        process = self._process.get()
        trouble = process.trouble
        return {
            "server": self.address.name,
            "up": process.link.trouble is None,
            "trouble": None if trouble is None else trouble.value,
            "warnings": list(process.link.warnings),
            "late_answers": len(process.late),
        }

    def close(self) -> None:
        """Hand over what still can be, within some seconds, and end; the rest stays in the machine's store."""
        process = self._process.get()
        if not process.closed:
            process.closed = True
            process.listener.close()
            process.forwarder.close(3.0)
            process.link.close()
            self._keys.close()
            process.local.close()

    def _open(self) -> ValkeyProcess:
        process = self._process.get()
        if process.closed:
            raise OutboxError("the outbox is closed; make a new one")
        return process

    def _on_server(self, work: Callable[[], int]) -> int:
        try:
            return work()
        except ServerTrouble as trouble:
            raise OutboxError(f"{self.address.name} does not answer, nothing was changed there ({trouble})") from None
