"""Calls of the site's functions of the request, plain or async."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from functools import partial
from importlib import import_module
from typing import Any

from flagmw.exceptions import ConfigError

Hook = Callable[[Any], Any]


def resolved(option: str, value: Any) -> Any:
    """Return the function that *value* is, or names as "package.module.function" or "package.module:function".

    Raises:
        ConfigError: nothing of that name can be imported.
    """
    if not isinstance(value, str) or not ("." in value or ":" in value):
        return value
    module, _, name = value.partition(":") if ":" in value else value.rpartition(".")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f'{option}: {value!r} cannot be imported: write it as "package.module.function" ({error})'
        ) from error
    return found


def is_async(hook: Any) -> bool:
    """Say whether *hook* is known to return something to be awaited."""
    while isinstance(hook, partial):
        hook = hook.func
    return inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(getattr(type(hook), "__call__", None))  # noqa: B004


def call(option: str, hook: Hook, inbound: Any, wait_s: float) -> Any:
    """Return what *hook* says of the request, from `answer` if that has asked already.

    What has to be awaited runs to its end in an event loop of its own, for *wait_s* at most.
    """
    answers = getattr(inbound, "answers", None)
    if answers is not None and option in answers:
        said, error = answers[option]
        if error is not None:
            raise error
        return said
    in_context: Callable[[Callable[[], Any]], Any] | None = getattr(inbound, "in_context", None)

    def ask() -> Any:
        said = hook(inbound)
        if not inspect.isawaitable(said):
            return said
        run: Callable[[Coroutine[Any, Any, Any]], Any] = getattr(inbound, "run", None) or run_in_own_loop
        return run(within(option, said, wait_s))

    return ask() if in_context is None else in_context(ask)


async def answer(
    option: str, hook: Hook, inbound: Any, wait_s: float, to_thread: Callable[[Hook], Any] | None = None
) -> Any:
    """Ask *hook* on the running loop and keep its answer for `call`; return None where it has failed.

    Args:
        to_thread: makes an async function of a plain one that may block.
    """
    said = error = None
    try:
        said = await to_thread(hook)(inbound) if to_thread is not None and not is_async(hook) else hook(inbound)
        if inspect.isawaitable(said):
            said = await within(option, said, wait_s)
    except Exception as failure:
        said, error = None, failure
    inbound.answers = {**getattr(inbound, "answers", {}), option: (said, error)}
    return said


async def within(option: str, awaitable: Awaitable[Any], wait_s: float) -> Any:
    """Return the result of *awaitable*, which gets *wait_s*.

    Raises:
        TimeoutError: it took longer.
    """
    import asyncio

    limit = asyncio.timeout(wait_s)
    try:
        async with limit:
            return await awaitable
    except TimeoutError:
        if not limit.expired():
            raise
        raise TimeoutError(f"{option} took longer than {wait_s * 1000:.0f} ms") from None


def run_in_own_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run *coroutine* to its end in a new event loop, and in a new thread if this one has a running loop."""
    import asyncio
    from concurrent.futures import Future

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(coroutine)
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(_run(coroutine))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=copy_context().run, args=(run,), name="flagmw-hook", daemon=True).start()
    return future.result()


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    import asyncio

    # Not `asyncio.run`, which waits for threads that the function has left running.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def check_loops(options: list[str]) -> None:
    """Refuse async functions where no thread of a blocking server can run a loop.

    Raises:
        ConfigError: gevent or eventlet has replaced threads, so that several requests share one.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if (gevent is not None and gevent.is_module_patched("threading")) or (
        eventlet is not None and eventlet.is_monkey_patched("thread")
    ):
        raise ConfigError(
            f"{', '.join(options)}: async functions cannot run beside gevent's or eventlet's threads: make them plain"
        )
