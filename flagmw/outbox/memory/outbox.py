"""The memory outbox: for tests and scripts; a crash loses events."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from flagmw._support.forksafe import PerProcess
from flagmw.exceptions import OutboxError
from flagmw.outbox.base import DeadLetter, Lease, OutboxStats
from flagmw.outbox.memory.queue import MemoryQueue
from flagmw.outbox.policy import Policy
from flagmw.types import Event, Outcome


class MemoryOutbox:
    """Keep events in memory, bounded; everything is lost with the process.

    Args:
        max_rows, max_bytes: the room for queued events; bytes are an estimate.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        max_rows: int = 10_000,
        max_bytes: int = 16 * 1024 * 1024,
        rng: random.Random | None = None,
    ) -> None:
        rules = policy or Policy()
        jitter = rng or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._books = PerProcess(lambda: MemoryQueue(rules, max_rows, max_bytes, jitter))

    def put_many(self, events: Sequence[Event], now: float) -> Sequence[str]:
        with self._book(now) as book:
            if book.closed:
                raise OutboxError("the outbox is closed; make a new one")
            return [event.id for event in events if book.put(event)]

    def submit(self, events: Sequence[Event], now: float) -> Future[Sequence[str]]:
        done: Future[Sequence[str]] = Future()
        try:
            done.set_result(self.put_many(events, now))
        except Exception as error:
            done.set_exception(error)
        return done

    def reserve(self, events: Sequence[Event]) -> set[str]:
        """Return the ids of *events* whose business key another event holds; the other keys are theirs for a minute."""
        book = self._books.get()
        with book.lock:
            return {event.id for event in events if not book.reserve(event)}

    def claim(self, now: float, limit: int, lease_s: float, skip: Collection[str] = ()) -> Lease | None:
        with self._book(now) as book:
            return book.claim(limit, lease_s, skip)

    def claim_newest(self, now: float, limit: int, lease_s: float, skip: Collection[str] = ()) -> Lease | None:
        """Lease due events as `claim` does, the first one of each visitor with the newest untried events."""
        with self._book(now) as book:
            return book.claim_newest(limit, lease_s, skip)

    def ack(self, lease: Lease, outcomes: Sequence[Outcome], now: float) -> None:
        if len(outcomes) != len(lease.rows):
            raise ValueError(f"{len(lease.rows)} rows need as many outcomes; got {len(outcomes)}")
        with self._book(now) as book:
            # All rulings come first: one that raises must not leave the lease half settled.
            rulings = [book.rule(row, outcome) for row, outcome in zip(lease.rows, outcomes, strict=True)]
            for leased, ruling in zip(lease.rows, rulings, strict=True):
                row = book.take_back(lease.token, leased.event.id)
                if row is not None:
                    book.settle(row, ruling)

    def release(self, lease: Lease, now: float) -> None:
        with self._book(now) as book:
            for leased in lease.rows:
                row = book.take_back(lease.token, leased.event.id)
                if row is not None:
                    book.enqueue(row)

    def dead(self, limit: int = 100) -> Sequence[DeadLetter]:
        book = self._books.get()
        with book.lock:
            return [letter for letter, _ in itertools.islice(reversed(book.dead.values()), limit)]

    def revive(self, ids: Collection[str] | None, now: float) -> int:
        with self._book(now) as book:
            return book.revive(ids)

    def forget(self, ids: Collection[str] | None) -> int:
        book = self._books.get()
        with book.lock:
            return book.forget(ids)

    def purge(self, matches: Callable[[Event], bool], now: float) -> int:
        with self._book(now) as book:
            return book.purge(matches)

    def next_due(self, now: float, skip: Collection[str] = ()) -> float | None:
        with self._book(now) as book:
            return book.next_due(skip)

    def stats(self, now: float) -> OutboxStats:
        with self._book(now) as book:
            return book.stats()

    def close(self) -> None:
        """Count what is still queued as dropped with `LOST_AT_EXIT`; a second call does nothing."""
        book = self._books.get()
        with book.lock:
            book.close()

    def end(self) -> OutboxStats:
        """Close, and return the last counts; no time is needed for that."""
        self.close()
        book = self._books.get()
        with book.lock:
            return book.stats()

    @contextmanager
    def _book(self, now: float) -> Iterator[MemoryQueue]:
        book = self._books.get()
        with book.lock:
            book.advance(now)
            yield book
