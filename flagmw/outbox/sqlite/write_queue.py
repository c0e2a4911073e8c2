"""The bounded queue of jobs for the writer thread."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flagmw.codes import ErrorCode
from flagmw.outbox.sqlite.rows import PackedEvent
from flagmw.types import Event

MAX_EVENTS = 10_000
MAX_BYTES = 16 * 1024 * 1024


@dataclass(slots=True, eq=False)
class StoreJob:
    """Events to be stored; those that had to give way to others are None.

    Attributes:
        events: what the rows were made of, for a store that has to keep them in memory.
    """

    rows: list[PackedEvent | None]
    events: Sequence[Event]
    now: float
    future: Future[Sequence[str]] = field(default_factory=Future)


@dataclass(slots=True, eq=False)
class CallJob:
    """Anything else that only the writer may do."""

    call: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


Job: TypeAlias = StoreJob | CallJob


class WriteQueue:
    """A queue whose puts are bounded. When it is full the newest exposures give way, tracks last. The caller locks."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._jobs: deque[Job] = deque()
        self._exposures: list[tuple[StoreJob, int]] = []
        self._events = self._bytes = 0
        # What was refused here, by vendor and reason: the writer adds it to the file's counts.
        self.refused: Counter[tuple[str, ErrorCode]] = Counter()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        if isinstance(job, StoreJob):
            self._fit(job)
        self._jobs.append(job)

    def add_first(self, jobs: Sequence[Job]) -> None:
        """Put back what was taken and could not be done yet."""
        self._jobs.extendleft(reversed(jobs))
        for job in jobs:
            if isinstance(job, StoreJob):
                self._events += sum(row is not None for row in job.rows)
                self._bytes += sum(row.size for row in job.rows if row is not None)

    def take(self) -> list[Job]:
        """Take everything."""
        jobs = list(self._jobs)
        self._jobs.clear()
        self._exposures.clear()
        self._events = self._bytes = 0
        return jobs

    def _fit(self, put: StoreJob) -> None:
        for index, row in enumerate(put.rows):
            if row is None:
                continue
            if self._full(row) and not self._make_room(row):
                put.rows[index] = None
                self.refused[row.vendor, ErrorCode.QUEUE_FULL] += 1
                continue
            self._events += 1
            self._bytes += row.size
            if row.kind == "exposure":
                self._exposures.append((put, index))

    def _full(self, row: PackedEvent) -> bool:
        return self._events + 1 > self._max_events or self._bytes + row.size > self._max_bytes

    def _make_room(self, row: PackedEvent) -> bool:
        """Have exposures give way to *row*; say whether it fits now."""
        while row.kind != "exposure" and self._exposures:
            self._evict(*self._exposures.pop())
            if not self._full(row):
                return True
        return False

    def _evict(self, put: StoreJob, index: int) -> None:
        row = put.rows[index]
        if row is not None:
            put.rows[index] = None
            self._events -= 1
            self._bytes -= row.size
            self.refused[row.vendor, ErrorCode.QUEUE_FULL] += 1


def finish(job: Job, result: Any = None, error: BaseException | None = None) -> None:
    """Settle the future of *job*, unless whoever waited has given up."""
    try:
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)
    except InvalidStateError:
        return
