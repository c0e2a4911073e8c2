"""The driver that runs operations in the calling thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from flagmw._support.forksafe import Lock
from flagmw.admin.flow.effects import Effect, Flow, Send, Sleep, Wait, Work
from flagmw.admin.http.library import (
    Options,
    answered,
    body_of,
    client_options,
    limited,
    load,
    reading,
    timeouts,
    translated,
)
from flagmw.types import Reply

T = TypeVar("T")


class BlockingDriver:
    """Run operations on blocking HTTP clients; safe from any thread and after a fork.

    Args:
        sleep: waits for seconds; tests pass their clock's.
    """

    def __init__(self, options: Options | None = None, *, sleep: Callable[[float], object] = time.sleep) -> None:
        self._options = options or Options()
        self._sleep = sleep
        self._lock = Lock()
        self._clients: dict[bool, Any] = {}
        self._pid = 0

    def run(self, flow: Flow[T]) -> T:
        """Run *flow* to its end and return its result."""
        try:
            effect = next(flow)
            while True:
                try:
                    result = self._perform(effect)
                except BaseException as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            flow.close()

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send():
                return self._send(effect)
            case Sleep(seconds):
                return self._sleep(seconds)
            case Wait(future):
                return future.result()
            case Work(function):
                return function()

    def _send(self, effect: Send) -> Reply:
        library = load()
        begun = time.monotonic()
        call = effect.call
        try:
            with body_of(call) as content:
                request = self._client(reading(call)).build_request(
                    call.method, call.url, headers=dict(call.headers), content=content, timeout=timeouts(effect)
                )
                response = self._client(reading(call)).send(request, stream=True)
                try:
                    body = bytearray()
                    for chunk in response.iter_bytes():
                        limited(body, chunk, effect, begun)
                finally:
                    response.close()
        except library.HTTPError as error:
            raise translated(error) from None
        return answered(response, bytes(body), time.monotonic() - begun)

    def _client(self, reads: bool) -> Any:
        with self._lock:
            if self._pid != os.getpid():
                # A forked child must not use its parent's connections.
                self._pid, self._clients = os.getpid(), {}
            if reads not in self._clients:
                self._clients[reads] = load().Client(**client_options(self._options, reads))
            return self._clients[reads]

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()
