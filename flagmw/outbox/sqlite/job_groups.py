"""Groups of jobs, each in one transaction."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite.slot import error_text
from flagmw.outbox.sqlite.slots import OpenSlots
from flagmw.outbox.sqlite.write_queue import Job, StoreJob, finish

_GROUP_BYTES = 1 << 20


class JobStore(Protocol):
    """The store that jobs change."""

    @property
    def files(self) -> OpenSlots: ...

    def put(self, puts: Sequence[StoreJob]) -> list[list[str]]: ...

    def put_in_memory(self, put: StoreJob) -> list[str]: ...


class JobGroups:
    """The transactions of a store.

    Attributes:
        refused: the events that no file counts as refused, by vendor and code.
    """

    def __init__(self, store: JobStore, *, required: bool) -> None:
        self._store, self._required = store, required
        self.refused: Counter[tuple[str, ErrorCode]] = Counter()

    def run(self, jobs: Sequence[Job], tries: int = 2) -> Sequence[Job]:
        """Do *jobs* in one transaction, or each in its own when that fails; return those to be tried again.

        Args:
            tries: how often room is made for one of them on a full disk.
        """
        jobs = [job for job in jobs if not job.future.cancelled()]
        if len(jobs) > 1 and sum(_size(job) for job in jobs) > _GROUP_BYTES:
            # The log must not grow past what it may by one transaction.
            return [again for part in _parts(jobs) for again in self.run(part)]
        try:
            # Puts first, in one go: a job that depends on a put is queued only after the put is done.
            puts = [job for job in jobs if isinstance(job, StoreJob)]
            results: dict[Job, Any] = dict(zip(puts, self._store.put(puts), strict=True)) if puts else {}
            for job in jobs:
                if not isinstance(job, StoreJob):
                    results[job] = job.call()
            self._store.files.commit()
        except Exception as error:
            self._store.files.rollback()
            if len(jobs) == 1:
                return self._failed(jobs[0], error, tries)
            if isinstance(error, sqlite3.Error) and _primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return jobs
            return [again for job in jobs for again in self.run([job])]
        for job, result in results.items():
            finish(job, result)
        return ()

    def _failed(self, job: Job, error: Exception, tries: int) -> Sequence[Job]:
        """Correct the cause of the failure of *job* and try it again, or set its error."""
        code = _primary(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return [job]
        if code == sqlite3.SQLITE_FULL:
            if isinstance(job, StoreJob):
                for row in job.rows:
                    if row is not None:
                        self.refused[row.vendor, ErrorCode.DISK_FULL] += 1
                self._store.files.throttle.log(
                    logging.ERROR, ErrorCode.DISK_FULL, "events are refused: the disk is full"
                )
                finish(job, [])
                return ()
            if tries and self._store.files.room.make():
                return self.run([job], tries - 1)
        elif isinstance(error, sqlite3.Error | OSError) and self._store.files.mend(error):
            return self.run([job])
        if isinstance(job, StoreJob) and isinstance(error, sqlite3.Error | OSError) and not self._required:
            finish(job, self._store.put_in_memory(job))
            return ()
        finish(job, error=OutboxError(error_text(error)) if isinstance(error, sqlite3.Error | OSError) else error)
        return ()


def _size(job: Job) -> int:
    return sum(row.size for row in job.rows if row is not None) if isinstance(job, StoreJob) else 0


def _parts(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return *jobs* in parts, each of which fits into one transaction if a single job does."""
    parts: list[list[Job]] = [[]]
    size = 0
    for job in jobs:
        size += _size(job)
        if size > _GROUP_BYTES and parts[-1]:
            parts.append([])
            size = _size(job)
        parts[-1].append(job)
    return parts


def _primary(error: Exception) -> int | None:
    """Return SQLite's primary result code; None for errors of another kind."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
