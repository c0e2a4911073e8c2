"""Waits on an event loop for futures of threads and of the loop.

`asyncio.wrap_future` writes to the loop's socket for each future. Every such write lets the loop's thread run, for one
result, while the thread that has more of them waits for its turn. A `LoopWaker` wakes the loop once for all results
that come together.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class LoopWaker:
    """The waits of one loop. `wake` may be called in any thread, all else in the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._done: deque[asyncio.Future[bool]] = deque()
        self._scheduled = False

    def wake(self, waiter: asyncio.Future[bool]) -> None:
        """End the wait of *waiter* in the loop's next round."""
        self._done.append(waiter)
        if self._scheduled:
            return
        self._scheduled = True
        try:
            self.loop.call_soon_threadsafe(self._end_waits)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _end_waits(self) -> None:
        # Before the waits end: a later `wake` schedules another round.
        self._scheduled = False
        while self._done:
            _finish(self._done.popleft(), True)


class _LoopThread(threading.local):
    """The waker of the event loop that runs in this thread."""

    waker: LoopWaker | None = None


_loop_thread = _LoopThread()


async def thread_done(future: Future[Any], timeout_s: float) -> bool:
    """Wait until a thread has finished *future*, whatever its result.

    Returns:
        Whether it is finished, after *timeout_s* seconds at most.
    """
    if future.done():
        return True
    from asyncio import get_running_loop  # `import flagmw` does not load it

    loop = get_running_loop()
    waker = _loop_thread.waker
    if waker is None or waker.loop is not loop:
        waker = _loop_thread.waker = LoopWaker(loop)
    waiter: asyncio.Future[bool] = loop.create_future()
    future.add_done_callback(lambda _: waker.wake(waiter))
    timer = loop.call_later(timeout_s, _finish, waiter, False)
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

    def wake(_: object = None) -> None:
        _finish(waiter, True)

    timer = loop.call_later(timeout_s, wake)
    future.add_done_callback(wake)
    try:
        await waiter
    finally:
        timer.cancel()
        future.remove_done_callback(wake)


def _finish(waiter: asyncio.Future[bool], done: bool) -> None:
    if not waiter.done():
        waiter.set_result(done)
