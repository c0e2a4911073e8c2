"""Async functions of the site where no loop runs, and where one does."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from flagmw._support import hooks
from flagmw.exceptions import ConfigError


async def named(inbound: Any) -> str:
    """Return the name of the thread, after a turn of the loop."""
    await asyncio.sleep(0)
    return threading.current_thread().name


class Callable:
    async def __call__(self, inbound: Any) -> str:
        return await named(inbound)


@pytest.mark.parametrize("hook", [named, partial(named), Callable(), lambda inbound: named(inbound)])
def test_own_loop(hook: Any) -> None:
    """Whatever returns something to be awaited is awaited, in this thread or beside a running loop in another."""
    assert hooks.call("identify", hook, SimpleNamespace(), 1) == threading.current_thread().name

    async def beside() -> Any:
        return hooks.call("identify", hook, SimpleNamespace(), 1)

    assert asyncio.run(beside()) == "flagmw-hook"


def test_deadline_leaves_threads_behind() -> None:
    """The deadline holds also where the function waits for a thread, and its own time-out stays its own."""
    free = threading.Event()

    async def slow(inbound: Any) -> None:
        await asyncio.to_thread(free.wait, 10)

    async def failing(inbound: Any) -> None:
        raise TimeoutError("of the database")

    began = time.monotonic()
    with pytest.raises(TimeoutError, match="consent took longer than 50 ms"):
        hooks.call("consent", slow, SimpleNamespace(), 0.05)
    assert time.monotonic() - began < 5
    free.set()
    with pytest.raises(TimeoutError, match="of the database"):
        hooks.call("consent", failing, SimpleNamespace(), 1)


def test_greenlets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that share a thread cannot have a loop each: that is said at the start."""
    monkeypatch.setitem(sys.modules, "gevent.monkey", SimpleNamespace(is_module_patched=lambda name: False))
    hooks.check_loops(["identify"])
    monkeypatch.setitem(sys.modules, "gevent.monkey", SimpleNamespace(is_module_patched=lambda name: True))
    with pytest.raises(ConfigError, match="identify: async functions cannot run beside gevent"):
        hooks.check_loops(["identify"])
