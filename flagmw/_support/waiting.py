"""Waits on an event loop for futures of threads and of the loop.

`asyncio.wrap_future` writes to the loop's socket for each future. Every such write lets the loop's thread run, for one
result, while the thread that has more of them waits for its turn. A `LoopWaker` wakes the loop once for all results
that come together. Of hundreds of waits that end together, a few end in each of the loop's rounds.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
# So many waits end in one of the loop's rounds: whoever waited goes on in the next one, and so does all else.
_A_ROUND = 32
# What ends within this time is held to end in one round.
_ROUND_S = 0.002


class LoopWaker:
    """The waits of one loop. `wake` may be called in any thread, all else in the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._done: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._scheduled = False
        self._at, self._ended = 0.0, 0

    def wake(self, waiter: asyncio.Future[bool]) -> None:
        """End the wait of *waiter* in one of the loop's next rounds."""
        self._done.append((waiter, True))
        if self._scheduled:
            return
        self._scheduled = True
        try:
            self.loop.call_soon_threadsafe(self._end_waits)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def end(self, waiter: asyncio.Future[T], result: T) -> None:
        """End the wait of *waiter* with *result*: now, or where many end at once, in one of the loop's next rounds."""
        now = self.loop.time()
        if now > self._at + _ROUND_S:
            self._at, self._ended = now, 0
        self._ended += 1
        if self._ended <= _A_ROUND and not self._done:
            return _finish(waiter, result)
        self._done.append((waiter, result))
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._end_waits)

    def _end_waits(self) -> None:
        # Before the waits end: a later `wake` schedules another round.
        self._scheduled = False
        for _ in range(_A_ROUND):
            if not self._done:
                return
            _finish(*self._done.popleft())
        if self._done:
            self._schedule()


class _LoopThread(threading.local):
    """The waker of the event loop that runs in this thread."""

    waker: LoopWaker | None = None


_loop_thread = _LoopThread()


def waker_of(loop: asyncio.AbstractEventLoop) -> LoopWaker:
    """Return the waker of *loop*, which runs in this thread."""
    waker = _loop_thread.waker
    if waker is None or waker.loop is not loop:
        waker = _loop_thread.waker = LoopWaker(loop)
    return waker


async def thread_done(future: Future[Any], timeout_s: float) -> bool:
    """Wait until a thread has finished *future*, whatever its result.

    Returns:
        Whether it is finished, after *timeout_s* seconds at most.
    """
    if future.done():
        return True
    from asyncio import get_running_loop  # `import flagmw` does not load it

    loop = get_running_loop()
    waker = waker_of(loop)
    waiter: asyncio.Future[bool] = loop.create_future()
    future.add_done_callback(lambda _: waker.wake(waiter))
    timer = loop.call_later(timeout_s, waker.end, waiter, False)
    try:
        return await waiter
    finally:
        timer.cancel()


async def task_done(future: asyncio.Future[Any], timeout_s: float) -> None:
    """Wait until *future* of this loop is finished, *timeout_s* seconds at most.

    `asyncio.wait` does more than one future needs.
    """
    loop = future.get_loop()
    waiter: asyncio.Future[bool] = loop.create_future()

    waker = waker_of(loop)

    def wake(_: object) -> None:
        waker.end(waiter, True)

    timer = loop.call_later(timeout_s, waker.end, waiter, True)
    future.add_done_callback(wake)
    try:
        await waiter
    finally:
        timer.cancel()
        future.remove_done_callback(wake)


def _finish(waiter: asyncio.Future[T], result: T) -> None:
    if not waiter.done():
        waiter.set_result(result)
