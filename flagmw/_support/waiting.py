"""Waiting on an event loop for what another thread does: all that is done together wakes the loop once.

`asyncio.wrap_future` writes to the loop's socket for each future. Every such write lets the loop's thread run, for one
answer, while the thread that has more of them waits for its turn.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class Bell:
    """The waits of one loop. `ring` may be called in any thread, all else in the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._over: deque[asyncio.Future[bool]] = deque()
        self._rung = False

    def ring(self, waiter: asyncio.Future[bool]) -> None:
        """Say that what *waiter* waits for is done."""
        self._over.append(waiter)
        if self._rung:
            return
        self._rung = True
        try:
            self.loop.call_soon_threadsafe(self._answer)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _answer(self) -> None:
        # Before the waiters: who comes after this rings again.
        self._rung = False
        while self._over:
            _end(self._over.popleft(), True)


_here = threading.local()


async def settled(future: Future[Any], timeout_s: float) -> bool:
    """Wait until *future* is done, whatever its result; return whether it is, after *timeout_s* seconds at most."""
    if future.done():
        return True
    from asyncio import get_running_loop  # `import flagmw` does not load it

    loop = get_running_loop()
    bell = getattr(_here, "bell", None)
    if bell is None or bell.loop is not loop:
        bell = _here.bell = Bell(loop)
    waiter: asyncio.Future[bool] = loop.create_future()
    future.add_done_callback(lambda _: bell.ring(waiter))
    late = loop.call_later(timeout_s, _end, waiter, False)
    try:
        return await waiter
    finally:
        late.cancel()


def _end(waiter: asyncio.Future[bool], done: bool) -> None:
    if not waiter.done():
        waiter.set_result(done)


async def ended(future: Any, seconds: float) -> None:
    """Wait until *future* ends, so many seconds at most; `asyncio.wait` does more than one future needs."""
    loop = future.get_loop()
    waiter = loop.create_future()

    def wake(*_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = loop.call_later(seconds, wake)
    future.add_done_callback(wake)
    try:
        await waiter
    finally:
        timer.cancel()
        future.remove_done_callback(wake)
