"""The driver that runs operations on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from flagmw.admin.flow.effects import Effect, Flow, Send, Sleep, Wait, Work
from flagmw.admin.http.library import (
    Options,
    answered,
    chunks_of,
    client_options,
    limited,
    load,
    reading,
    timeouts,
    translated,
)
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Reply

T = TypeVar("T")


class AsyncDriver:
    """Run operations on asynchronous HTTP clients; each event loop gets connections of its own.

    Args:
        sleep: waits for seconds; tests pass their clock's.
    """

    def __init__(
        self, options: Options | None = None, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._options = options or Options()
        self._sleep = sleep
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: dict[bool, Any] = {}

    async def run(self, flow: Flow[T]) -> T:
        """Run *flow* to its end and return its result."""
        try:
            effect = next(flow)
            while True:
                try:
                    result = await self._perform(effect)
                except BaseException as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            flow.close()

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send():
                return await self._send(effect)
            case Sleep(seconds):
                return await self._sleep(seconds)
            case Wait(future):
                # Shielded: a task that gives up waiting must not cancel the work that others wait for.
                return await asyncio.shield(asyncio.wrap_future(future))
            case Work(function):
                return await asyncio.to_thread(function)

    async def _send(self, effect: Send) -> Reply:
        library = load()
        begun = time.monotonic()
        client = self._client(reading(effect.call))
        try:
            async with asyncio.timeout(effect.timeout_s):
                response, body = await self._exchange(client, effect)
        except library.HTTPError as error:
            raise translated(error) from None
        except TimeoutError:
            raise TransportError(ErrorCode.DEADLINE) from None
        return answered(response, bytes(body), time.monotonic() - begun)

    async def _exchange(self, client: Any, effect: Send) -> tuple[Any, bytearray]:
        call, begun = effect.call, time.monotonic()
        request = client.build_request(
            call.method, call.url, headers=dict(call.headers), content=chunks_of(call), timeout=timeouts(effect)
        )
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                limited(body, chunk, effect, begun)
        finally:
            await response.aclose()
        return response, body

    def _client(self, reads: bool) -> Any:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._clients = loop, {}
        if reads not in self._clients:
            self._clients[reads] = load().AsyncClient(**client_options(self._options, reads))
        return self._clients[reads]

    async def aclose(self) -> None:
        """Close the connections; the next call opens new ones."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()
