"""A bounded pool of daemon threads that never delays the interpreter's exit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_Job = tuple["Future[Any]", Callable[[], Any]]


class Workers:
    """A bounded pool of daemon threads.

    `concurrent.futures` joins its threads when the interpreter exits, so one lookup that hangs would hang the
    exit of the whole process. These threads are simply left behind.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0
        self._stopped = False

    def submit(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queue *work*; start another thread if none is idle and the bound allows.

        Raises:
            RuntimeError: the pool was stopped, or the system gives no first thread.
        """
        future: Future[R] = Future()
        with self._lock:
            if self._stopped:
                raise RuntimeError("the worker threads were stopped")
            if not self._idle.acquire(blocking=False) and self._started < self._size:
                self._start()
            self._queue.put((future, lambda: work(*args, **kwargs)))
        return future

    def stop(self) -> None:
        """Let the threads end after the work that is already queued; do not wait for them."""
        with self._lock:
            self._stopped = True
            for _ in range(self._started):
                self._queue.put(None)

    def _start(self) -> None:
        thread = threading.Thread(
            target=_serve, args=(self._queue, self._idle), name=f"{self._name}-{self._started + 1}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            if not self._started:
                raise
        else:
            self._started += 1

    def __del__(self) -> None:
        # At the interpreter's end the threads go with it, and gevent's locks may be gone already.
        with suppress(RuntimeError):
            for _ in range(0 if self._stopped else self._started):
                self._queue.put(None)


def _serve(queue: SimpleQueue[_Job | None], idle: threading.Semaphore) -> None:
    # Holds no reference to its `Workers`, so that a forgotten pool can end its threads.
    while (job := queue.get()) is not None:
        future, work = job
        if future.set_running_or_notify_cancel():
            result, failure = None, None
            try:
                result = work()
            except BaseException as error:
                failure = error
            # Idle before the result is known: its receiver may queue more work, which then needs no other thread.
            idle.release()
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)
            del result, failure
        else:
            idle.release()
        del job, future, work
