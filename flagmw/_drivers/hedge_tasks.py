"""Hedged calls with asyncio tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from flagmw._drivers.hedge import good
from flagmw._transports.attempt import Attempt
from flagmw.exceptions import TransportError
from flagmw.types import Reply

Ask = Callable[[Attempt], Coroutine[Any, Any, Reply]]


async def race(ask: Ask, first: Attempt, after_s: float, may: Callable[[], bool]) -> Reply:
    """Return the first good answer of *ask*, which is called again after *after_s* seconds if *may* says so.

    A call that is answered in time costs a timer and no task. The call that loses is cancelled.

    Raises:
        TransportError: neither call was answered; the error is that of the first.
    """
    loop = asyncio.get_running_loop()
    second = Attempt(first.started, first.at)
    twin: asyncio.Task[Reply] | None = None

    def begin() -> None:
        nonlocal twin
        if may():
            twin = loop.create_task(ask(second))
            twin.add_done_callback(won)

    def won(task: asyncio.Task[Reply]) -> None:
        # Asking for the exception also keeps asyncio from reporting a loser's as forgotten.
        if not task.cancelled() and task.exception() is None and good(task.result()) and not over:
            cut.reschedule(loop.time())

    over, reply, error = False, None, None
    timer = loop.call_later(after_s, begin)
    try:
        try:
            async with asyncio.timeout(None) as cut:
                try:
                    reply = await ask(first)
                except TransportError as failure:
                    error = failure
                over = True
        except TimeoutError:
            if not cut.expired():
                raise
        timer.cancel()
        if twin is not None and (reply is None or not good(reply)):
            try:
                other = await twin
                reply = other if reply is None or good(other) else reply
            except TransportError:
                pass
    finally:
        over = True
        timer.cancel()
        if twin is not None:
            first.sent = True
            twin.cancel()
    if reply is None:
        assert error is not None
        error.sent = error.sent or second.sent
        raise error
    return reply
