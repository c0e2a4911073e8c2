"""Waiting on an event loop for another thread: as long as it takes, no longer than allowed, with one wake for many."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future

import pytest

from flagmw._support.waiting import task_done, thread_done


def in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


async def test_what_is_done_together_wakes_the_loop_once(monkeypatch):
    """All waits end, and the other thread has reached for the loop once."""
    loop, futures, calls = asyncio.get_running_loop(), [Future() for _ in range(50)], []
    waits = [asyncio.ensure_future(thread_done(future, 10)) for future in futures]
    await asyncio.sleep(0)
    call = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *what: calls.append(what) or call(*what))
    # The loop stands still meanwhile, as it does while it waits for its turn to run.
    in_thread(lambda: [future.set_result(None) for future in futures]).join()
    assert await asyncio.gather(*waits) == [True] * 50
    assert len(calls) == 1


async def test_failures_and_ends_of_long_ago_are_ends():
    """Whether it went well does not matter here."""
    failed, over = Future(), Future()
    failed.set_exception(ValueError())
    over.set_result(1)
    assert await thread_done(failed, 0) and await thread_done(over, 0)


async def test_a_wait_is_bounded_and_what_comes_later_is_no_harm():
    """The wait ends after the time it has; the future is left to others and may be done afterwards."""
    future = Future()
    assert not await thread_done(future, 0.01)
    future.set_result(1)
    await asyncio.sleep(0)
    assert await thread_done(future, 0.01)


async def test_whoever_is_cancelled_takes_nobody_along():
    """A wait that is cancelled neither ends the future nor the other waits for it."""
    future = Future()
    one, other = (asyncio.ensure_future(thread_done(future, 10)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    in_thread(lambda: future.set_result(1))
    assert await other and future.result() == 1


def test_a_loop_that_is_gone_is_no_harm():
    """A future that is done after its waiter's loop was closed raises nothing, and the next loop gets its answers."""
    future, later = Future(), Future()

    async def leave() -> None:
        asyncio.ensure_future(thread_done(future, 10))  # noqa: RUF006 - cancelled with the loop
        await asyncio.sleep(0)

    asyncio.run(leave())
    future.set_result(1)

    async def wait() -> bool:
        in_thread(lambda: later.set_result(1))
        return await thread_done(later, 10)

    assert asyncio.run(wait())


@pytest.mark.parametrize("by", ["a result", "the deadline", "a thread"])
async def test_hundreds_of_waits_that_end_together_leave_the_loop_free(by):
    """They end some at a time, and whatever else the loop has to do gets its turn between."""
    loop, ended, rounds = asyncio.get_running_loop(), 0, []
    of_loop, of_thread = loop.create_future(), Future()

    async def one() -> None:
        nonlocal ended
        timeout_s = 0.02 if by == "the deadline" else 10
        await (thread_done(of_thread, timeout_s) if by == "a thread" else task_done(of_loop, timeout_s))
        ended += 1

    waits = [asyncio.ensure_future(one()) for _ in range(500)]
    await asyncio.sleep(0)
    if by == "a result":
        of_loop.set_result(None)
    elif by == "a thread":
        in_thread(lambda: of_thread.set_result(None)).join()
    else:
        time.sleep(0.03)  # all of them are due in one round
    while ended < 500:
        before = ended
        await asyncio.sleep(0)
        rounds.append(ended - before)
    await asyncio.gather(*waits)
    assert max(rounds) <= 100
