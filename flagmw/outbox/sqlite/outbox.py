"""The SQLite outbox: a directory with one file per process.

Each process holds a slot, which is a file and a lock, and is alone in writing to it (SQLite has one writer and no queue
for it). The slot of a process that died is taken over by any other one within 5 s. One thread owns the files; all that
comes in while it writes is one transaction, so that many requests share one sync of the disk.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from flagmw._support.encryption import Cipher, PlainText
from flagmw._support.forksafe import PerProcess
from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.base import DeadLetter, Lease, OutboxStats
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite.business_keys import KeyHolder
from flagmw.outbox.sqlite.disk import is_low
from flagmw.outbox.sqlite.rows import PackedEvent, SlotLimits, key_of, pack
from flagmw.outbox.sqlite.slot import SlotOptions
from flagmw.outbox.sqlite.store import Store
from flagmw.outbox.sqlite.write_queue import StoreJob
from flagmw.outbox.sqlite.writer import answer
from flagmw.types import Event, Outcome

MAX_BYTES = 256 * 1024 * 1024
MAX_ROWS = 10_000_000
# After this time older counts are returned: a readiness endpoint must answer even if the file is locked.
_STATS_S = 1.0
_CLOSE_S = 2.0


class SqliteOutbox:
    """Keep events in *directory*, which is made for the owner alone. Opens nothing before the first use.

    Args:
        max_rows, max_bytes: the room of one slot for queued events.
        seal: encrypts what is stored; see `cipher_from_environment`.
        required: raise when the disk cannot be used, instead of going on in memory until it can.
        allow_network: use a network file system all the same.
        adopt_copies: deliver what is in files that were copied here or that another machine has written.
        full_sync: sync every commit; without it a power cut may undo the last ones, a crash of the process not.
        disk_is_low: says whether the disk of a directory has too little room left to take events.
        on_work: called, in the store's thread, when events of a dead process have been taken over.
    """

    def __init__(
        self,
        directory: str | Path,
        policy: Policy | None = None,
        *,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        rng: random.Random | None = None,
        seal: Cipher | None = None,
        required: bool = False,
        allow_network: bool = False,
        adopt_copies: bool = False,
        full_sync: bool = True,
        disk_is_low: Callable[[Path], bool] = is_low,
        on_work: Callable[[], None] | None = None,
    ) -> None:
        self.on_work = on_work
        self._seal = seal or PlainText()
        options = SlotOptions(
            directory=Path(directory),
            policy=policy or Policy(),
            limits=SlotLimits(max_rows=max_rows, max_bytes=max_bytes),
            seal=self._seal,
            rng=rng or random.Random(),  # noqa: S311 - spreads retries, guards nothing
            required=required,
            allow_network=allow_network,
            adopt_copies=adopt_copies,
            full_sync=full_sync,
            disk_is_low=disk_is_low,
            on_work=self._work,
        )
        self._stores = PerProcess(lambda: Store(options))

    def __repr__(self) -> str:
        return "SqliteOutbox(...)"

    def open(self) -> None:
        """Take this process's slot now instead of at the first use.

        Raises:
            OutboxError: the directory cannot be used; the text says why.
        """
        store = self._stores.get()
        store.writer.ask(store.open)

    @property
    def trouble(self) -> str | None:
        """Why events are not on disk at the moment, or which slot cannot be used; None if there is no fault."""
        return self._stores.get().trouble

    def put_many(self, events: Sequence[Event], now: float) -> Sequence[str]:
        return answer(self.submit(events, now)) if events else []

    def submit(self, events: Sequence[Event], now: float) -> Future[Sequence[str]]:
        put = StoreJob([self._packed(event) for event in events], events, now)
        self._stores.get().writer.add(put)
        return put.future

    def reserve(self, events: Sequence[Event]) -> set[str]:
        """Return the ids of *events* whose business key another event of the directory holds, in whichever process.

        The other keys are theirs for a minute, and stay so once they are stored. This waits for no disk, and for other
        processes some hundredths of a second at most.

        Raises:
            OutboxError: the file that the processes share cannot be used.
        """
        store = self._stores.get()
        if store.files.closed:
            raise OutboxError("the outbox is closed; make a new one")
        return store.files.keys.reserve(
            [KeyHolder(key, event.id) for event in events if (key := key_of(event, self._seal)) is not None]
        )

    def claim(self, now: float, limit: int, lease_s: float, skip: Collection[str] = ()) -> Lease | None:
        store = self._stores.get()
        return store.writer.ask(lambda: store.claim(now, limit, lease_s, skip))

    def claim_newest(self, now: float, limit: int, lease_s: float, skip: Collection[str] = ()) -> Lease | None:
        """Lease due events as `claim` does, the first one of each visitor with the newest untried events."""
        store = self._stores.get()
        return store.writer.ask(lambda: store.claim(now, limit, lease_s, skip, newest=True))

    def adopt(self) -> bool:
        """Take over what dead processes have left, as is done every few seconds; return whether there was anything."""
        store = self._stores.get()
        return store.writer.ask(lambda: store.files.adopt() or store.files.salvages())

    def ack(self, lease: Lease, outcomes: Sequence[Outcome], now: float) -> None:
        if len(outcomes) != len(lease.rows):
            raise ValueError(f"{len(lease.rows)} rows need as many outcomes; got {len(outcomes)}")
        store = self._stores.get()
        store.writer.ask(lambda: store.ack(lease, outcomes, now))

    def release(self, lease: Lease, now: float) -> None:
        store = self._stores.get()
        store.writer.ask(lambda: store.release(lease, now))

    def dead(self, limit: int = 100) -> Sequence[DeadLetter]:
        store = self._stores.get()
        return store.writer.ask(lambda: store.dead(limit))

    def revive(self, ids: Collection[str] | None, now: float) -> int:
        store = self._stores.get()
        return store.writer.ask(lambda: store.revive(ids, now))

    def forget(self, ids: Collection[str] | None) -> int:
        store = self._stores.get()
        return store.writer.ask(lambda: store.forget(ids))

    def purge(self, matches: Callable[[Event], bool], now: float) -> int:
        store = self._stores.get()
        gone, at = store.writer.ask(partial(store.purge, matches, now, None))
        while at is not None:
            # Stretch by stretch, so that requests which track meanwhile are not held up.
            more, at = store.writer.ask(partial(store.purge, matches, now, at))
            gone += more
        return gone

    def next_due(self, now: float, skip: Collection[str] = ()) -> float | None:
        store = self._stores.get()
        return store.writer.ask(lambda: store.next_due(now, skip))

    def stats(self, now: float) -> OutboxStats:
        """Return the counts of the slots that this process has: those of its file go on from the process before it."""
        store = self._stores.get()
        try:
            return store.writer.ask(lambda: store.stats(now), _STATS_S)
        except OutboxError:
            return store.last_stats()

    def close(self) -> None:
        """Store pending events, write everything back and free the slots; events stay for the next process."""
        store = self._stores.get()
        store.writer.close(store.close, _CLOSE_S)

    def _packed(self, event: Event) -> PackedEvent | None:
        try:
            return pack(event, self._seal)
        except ValueError:
            store = self._stores.get()
            store.refuse(event.vendor, ErrorCode.BAD_DATA)
            return None

    def _work(self) -> None:
        if self.on_work is not None:
            self.on_work()
