"""One process's store: its slot, adopted slots and spare memory."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.base import DeadLetter, Lease, OutboxStats
from flagmw.outbox.memory.outbox import MemoryOutbox
from flagmw.outbox.sqlite.job_groups import JobGroups
from flagmw.outbox.sqlite.queue import SlotQueue
from flagmw.outbox.sqlite.slot import SlotOptions, error_text
from flagmw.outbox.sqlite.slots import OpenSlots
from flagmw.outbox.sqlite.write_queue import Job, StoreJob
from flagmw.outbox.sqlite.writer import Writer
from flagmw.types import Event, Outcome

# How often one looks for slots of dead processes.
ADOPT_S = 5.0
_LOW_S = 0.25
_SPARE = "memory:"


class Store:
    """All that one process does with the directory. Its methods run where the writer lets them."""

    def __init__(self, options: SlotOptions) -> None:
        self._options = options
        self.writer = Writer(self._run, self._tick, stood_still=self._stood_still)
        self.files = OpenSlots(options)
        self._groups = JobGroups(self, required=options.required)
        self._spare: MemoryOutbox | None = None
        self._adopt_at = 0.0
        self._low = (0.0, False)
        self._turn = 0
        self._last = OutboxStats()

    @property
    def trouble(self) -> str | None:
        """The current reason why events are not stored on disk, as text; None if they are."""
        return self.files.trouble

    # What an outbox does

    def open(self) -> None:
        """Take a slot now.

        Raises:
            OutboxError: none can be had.
        """
        self.files.own()

    def put(self, puts: Sequence[StoreJob]) -> list[list[str]]:
        """Store what is in *puts*; return the ids that are safe, for each of them."""
        try:
            own_slot = self.files.begun(self.files.own())
        except OutboxError:
            if self._options.required or self.files.closed:
                raise
            return [self.put_in_memory(put) for put in puts]
        if own_slot.adrift is not None and self._options.required:
            raise OutboxError(own_slot.adrift)
        rows = [row for put in puts for row in put.rows if row is not None]
        if self._disk_is_low():
            for row in rows:
                own_slot.book.refuse(row.vendor, ErrorCode.DISK_FULL)
            self.files.throttle.log(logging.ERROR, ErrorCode.DISK_FULL, "events are refused: the disk is nearly full")
            return [[] for _ in puts]
        taken = self.files.taken(own_slot, rows, puts[-1].now)
        for row in rows if taken else ():
            if row.id in taken:
                own_slot.book.refuse(row.vendor, ErrorCode.DUPLICATE_KEY)
        safe = own_slot.book.put([row for row in rows if row.id not in taken] if taken else rows, puts[-1].now) | taken
        if len(safe) < len(rows):
            own_slot.book.keys.give_up(row for row in rows if row.id not in safe)
        return [[row.id for row in put.rows if row is not None and row.id in safe] for put in puts]

    def refuse(self, vendor: str, code: ErrorCode) -> None:
        """Count an event that no row can be made of; from any thread."""
        self.writer.refuse(vendor, code)

    def claim(
        self, now: float, limit: int, lease_s: float, skip: Collection[str], *, newest: bool = False
    ) -> Lease | None:
        opened = self.files.all()
        for index in range(len(opened)):
            book = self.files.begun(opened[(self._turn + index) % len(opened)]).book
            lease = (book.claim_newest if newest else book.claim)(now, limit, lease_s, skip)
            if lease is not None:
                self._turn += index + 1
                return lease
        if self._spare is None:
            return None
        spare = (self._spare.claim_newest if newest else self._spare.claim)(now, limit, lease_s, skip)
        return replace(spare, token=_SPARE + spare.token) if spare else None

    def ack(self, lease: Lease, outcomes: Sequence[Outcome], now: float) -> None:
        book = self._book_of(lease)
        if book is not None:
            book.ack(lease, outcomes, now)
        elif self._spare is not None and lease.token.startswith(_SPARE):
            self._spare.ack(replace(lease, token=lease.token.removeprefix(_SPARE)), outcomes, now)

    def release(self, lease: Lease, now: float) -> None:
        book = self._book_of(lease)
        if book is not None:
            book.release(lease, now)
        elif self._spare is not None and lease.token.startswith(_SPARE):
            self._spare.release(replace(lease, token=lease.token.removeprefix(_SPARE)), now)

    def dead(self, limit: int) -> list[DeadLetter]:
        letters = [letter for book in self._books() for letter in book.dead(limit)]
        letters += self._spare.dead(limit) if self._spare else ()
        return sorted(letters, key=lambda letter: -letter.at)[:limit]

    def revive(self, ids: Collection[str] | None, now: float) -> int:
        revived = sum(book.revive(ids, now) for book in self._books())
        return revived + (self._spare.revive(ids, now) if self._spare else 0)

    def forget(self, ids: Collection[str] | None) -> int:
        gone = sum(book.forget(ids) for book in self._books())
        return gone + (self._spare.forget(ids) if self._spare else 0)

    def purge(
        self, matches: Callable[[Event], bool], now: float, at: PurgeCursor | None
    ) -> tuple[int, PurgeCursor | None]:
        """Purge a stretch of one slot's rows from *at* on; return how many, and where to go on."""
        slots = [slot_file.slot.number for slot_file in self.files.all()]
        if at is None:
            gone = self._spare.purge(matches, now) if self._spare else 0
            return gone, PurgeCursor(slots[0]) if slots else None
        gone, last = 0, None
        for slot_file in self.files.all():
            if slot_file.slot.number == at.slot:
                gone, last = self.files.begun(slot_file).book.purge(matches, now, at.after, at.table)
        if last is not None:
            return gone, replace(at, after=last)
        if at.table == "event":
            return gone, PurgeCursor(at.slot, "dead")
        later = [slot for slot in slots if slot > at.slot]
        return gone, PurgeCursor(min(later)) if later else None

    def next_due(self, now: float, skip: Collection[str]) -> float | None:
        times = [book.next_due(now, skip) for book in self._books()]
        if self._spare:
            times.append(self._spare.next_due(now, skip))
        return min((time for time in times if time is not None), default=None)

    def stats(self, now: float) -> OutboxStats:
        if not self.files.closed:
            parts = [book.stats(now) for book in self._books()]
            if self._spare:
                parts.append(self._spare.stats(now))
            self._last = OutboxStats.merged(parts, self._refusals())
        return self._last

    def last_stats(self) -> OutboxStats:
        """Return the counts of the last time that anybody could look."""
        return self._last

    def close(self) -> None:
        """Give everything back; the next process takes it as it is."""
        if self.files.closed:
            return
        parts = []
        for slot_file in self.files.held():
            with contextlib.suppress(sqlite3.Error, OSError, OutboxError):
                book = self.files.begun(slot_file, sure=True).book
                stats = book.stats(book.now)
                parts.append(stats if slot_file.adrift is None or slot_file.slot.linked() else _lost(stats))
            self.files.shut(slot_file)
        if self._spare:
            parts.append(self._spare.end())
        self._last = OutboxStats.merged(parts, self._refusals())
        self.files.keys.close()
        self.files.closed = True

    # Work of the writer's thread

    def _run(self, jobs: Sequence[Job]) -> Sequence[Job]:
        self._groups.refused.update(self.writer.take_refused())
        return self._groups.run(jobs)

    def _tick(self, quiet: bool) -> float:
        now = time.monotonic()
        if self.files.closed:
            return ADOPT_S
        try:
            if now >= self._adopt_at:
                self._adopt_at = now + ADOPT_S
                if self.files.adopt():
                    self._options.on_work()
            self.files.room.keep_reserves()
            if self.files.salvage() or self.files.enter_keys():
                return 0.0
            if self._low[1] and not quiet:
                self.files.room.give_back()
            busy = self.files.tidy(lambda: not self.writer.pending()) if quiet else self.files.untidy()
        except (sqlite3.Error, OSError, OutboxError) as error:
            self.files.rollback()
            self.files.throttle.log(
                logging.ERROR, ErrorCode.OUTBOX_FAILED, f"maintenance of the outbox failed: {error_text(error)}"
            )
            return ADOPT_S
        wait_s = 1.0 if busy else max(0.0, self._adopt_at - time.monotonic())
        return min(wait_s, self.files.pulse_s())

    def _stood_still(self, seconds: float) -> None:
        try:
            self.files.stood_still(seconds)
        except (sqlite3.Error, OSError, OutboxError) as error:
            self.files.rollback()
            self.files.throttle.log(
                logging.ERROR, ErrorCode.OUTBOX_FAILED, f"maintenance of the outbox failed: {error_text(error)}"
            )

    # Parts

    def _books(self) -> list[SlotQueue]:
        return [self.files.begun(slot_file).book for slot_file in self.files.all()]

    def _book_of(self, lease: Lease) -> SlotQueue | None:
        held = self.files.held()
        holders = [slot_file for slot_file in held if lease.token.startswith(slot_file.tags)]
        if not holders:
            # A lease of before a clean end, which whoever claimed it may still settle.
            holders = [slot_file for slot_file in held if slot_file.book.holds(lease.token)]
        return self.files.begun(holders[0]).book if holders else None

    def put_in_memory(self, put: StoreJob) -> list[str]:
        if self._spare is None:
            self._spare = MemoryOutbox(self._options.policy, rng=self._options.rng)
        stored_ids = {row.id for row in put.rows if row is not None}
        return list(self._spare.put_many([event for event in put.events if event.id in stored_ids], put.now))

    def _disk_is_low(self) -> bool:
        until, low = self._low
        if time.monotonic() >= until:
            low = self.files.room.is_low()
            self._low = (time.monotonic() + _LOW_S, low)
        return low

    def _refusals(self) -> Counter[ErrorCode]:
        counts: Counter[ErrorCode] = Counter()
        for (_, code), count in self._groups.refused.items():
            counts[code] += count
        return counts


@dataclass(frozen=True, slots=True)
class PurgeCursor:
    """The position of a purge."""

    slot: int
    table: str = "event"
    after: int = -1


def _lost(stats: OutboxStats) -> OutboxStats:
    """Return *stats* of a file that nobody can find any more: what waits in it ends with the process."""
    lanes = {
        vendor: replace(
            lane, queued=0, leased=0, dropped={**lane.dropped, ErrorCode.LOST_AT_EXIT: lane.queued}, oldest_s=0.0
        )
        for vendor, lane in stats.lanes.items()
    }
    return OutboxStats.of(lanes, stats.refused)
