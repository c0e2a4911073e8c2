"""The writer thread: many jobs share one transaction and one sync."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite.write_queue import CallJob, Job, WriteQueue, finish

T = TypeVar("T")
ANSWER_S = 30.0
_STUCK_S = 1.0
LATE_S = 0.25
# The pause before a job is tried again while somebody else holds the file; SQLite itself has waited before.
_AGAIN_S = 0.05
_ROUNDS = 8

_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
_paused: list[threading.Lock] = []


class Writer:
    """Run jobs in groups, in one daemon thread named `flagmw-store` that starts with the first of them.

    Where no thread can run (a process at its thread limit, an interpreter on its way out) the caller's runs them.

    Args:
        group: does jobs and settles their futures; returns those that must be tried again.
        tick: called between groups and while nothing happens; told whether nothing did since its last call;
            returns the seconds until it wants to be called again.
        stood_still: called before jobs are done when the thread, and so maybe the whole process, has done nothing for
            so many seconds more than it wanted to.
    """

    def __init__(
        self,
        group: Callable[[Sequence[Job]], Sequence[Job]],
        tick: Callable[[bool], float],
        hand_off: WriteQueue | None = None,
        stood_still: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._group, self._tick, self._stood_still = group, tick, stood_still
        self._queue = hand_off or WriteQueue()
        # Taken directly if no thread waits: a condition would take it in Python, for each event.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        # Held while the store is used, by whichever thread does.
        self._use = threading.Lock()
        self._thread: threading.Thread | None = None
        self._runs = self._idle = False
        self._stop = False
        _writers.add(self)

    def add(self, job: Job) -> None:
        """Have *job* done; its future tells when it is. Raises nothing."""
        if sys.is_finalizing():
            # The thread is frozen by now, and may hold any lock.
            return self._do([job])
        with self._lock:
            self._queue.add(job)
            # After `close` the thread may be about to end: nothing is left to it any more.
            running = not self._stop and (self._runs or self._start())
            if running and self._idle:
                self._idle = False
                self._changed.notify_all()
            jobs = [] if running else self._queue.take()
        if jobs:
            self._do(jobs)

    def ask(self, call: Callable[[], T], timeout_s: float = ANSWER_S) -> T:
        """Return the result of *call*, made where the store may be used.

        Raises:
            OutboxError: the store is out of reach, or busy for longer than *timeout_s* seconds.
        """
        job = CallJob(call)
        self.add(job)
        result: T = answer(job.future, timeout_s)
        return result

    def pending(self) -> bool:
        return bool(self._queue)

    def refuse(self, vendor: str, code: ErrorCode) -> None:
        """Count an event that could not even be handed over."""
        with self._lock:
            self._queue.refused[vendor, code] += 1

    def take_refused(self) -> Counter[tuple[str, ErrorCode]]:
        """Return the refusals of the write queue since the last call."""
        if not self._queue.refused:
            return Counter()
        with self._lock:
            refused, self._queue.refused = self._queue.refused, Counter()
        return refused

    def close(self, last: Callable[[], None], timeout_s: float) -> None:
        """Do what waits, stop the thread, and call *last* where the store may be used."""
        thread = self._thread
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread() and not sys.is_finalizing():
            thread.join(timeout_s)
        if self._use.acquire(timeout=_STUCK_S):
            try:
                jobs = self._queue.take()
                _fail(self._run(jobs) if jobs else [], "the outbox is busy: another program holds its file")
                last()
            finally:
                self._use.release()

    def _gather(self) -> None:
        """Let the threads that are about to add something do so: one sync for all of them is what makes it fast."""
        before = 0
        for _ in range(_ROUNDS):
            now = len(self._queue)
            if now == before:
                return
            before = now
            time.sleep(0)

    def _start(self) -> bool:
        thread = threading.Thread(target=self._live, name="flagmw-store", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread, self._runs = thread, True
        return True

    def _run(self, jobs: Sequence[Job]) -> Sequence[Job]:
        try:
            return self._group(jobs)
        except Exception as error:
            # Nothing may end the thread that everybody waits for.
            _fail(jobs, f"the outbox failed: {type(error).__name__}")
            return ()

    def _do(self, jobs: Sequence[Job]) -> None:
        """Do *jobs* in the calling thread."""
        if not self._use.acquire(timeout=_STUCK_S):
            return _fail(jobs, "the outbox has no writer thread any more")
        try:
            again = self._run(jobs)
        finally:
            self._use.release()
        if again:
            _fail(again, "the outbox is busy")

    def _live(self) -> None:
        try:
            self._loop()
        finally:
            with self._lock:
                self._runs = False

    def _loop(self) -> None:
        wait_s, quiet = 0.0, False
        looked_at = time.monotonic()
        while True:
            with self._changed:
                if not self._queue and not self._stop:
                    self._idle = True
                    self._changed.wait(wait_s)
                    self._idle = False
            self._gather()
            with self._changed:
                jobs = self._queue.take()
                if self._stop and not jobs:
                    return
            again: Sequence[Job] = ()
            with self._use:
                late_s = time.monotonic() - looked_at - wait_s
                looked_at += late_s + wait_s
                if late_s > LATE_S:
                    self._stood_still(late_s)
                if jobs:
                    again = self._run(jobs)
                wait_s = self._tick(quiet and not jobs)
            quiet = not jobs
            if again:
                with self._changed:
                    self._queue.add_first(again)
                    if self._stop:
                        return
                    self._changed.wait(_AGAIN_S)


def answer(future: Future[T], timeout_s: float = ANSWER_S) -> T:
    """Return the result of *future*, waiting *timeout_s* seconds at most.

    Raises:
        OutboxError: it failed, or took too long.
    """
    try:
        return future.result(timeout_s)
    except TimeoutError:
        future.cancel()
        raise OutboxError("the outbox is busy: another program holds its file") from None


def _fail(jobs: Sequence[Job], text: str) -> None:
    for job in jobs:
        finish(job, error=OutboxError(text))


def _pause() -> None:
    """Let no writer be inside SQLite at a fork: the child would find SQLite's own locks held for ever."""
    for writer in list(_writers):
        if writer._use.acquire(timeout=_STUCK_S):
            _paused.append(writer._use)


def _go_on() -> None:
    while _paused:
        _paused.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pause, after_in_parent=_go_on, after_in_child=_go_on)
