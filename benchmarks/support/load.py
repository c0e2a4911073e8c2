"""Ask a server as fast as it answers, over a few connections, and print as JSON how it did.

    python -m benchmarks.support.load http://127.0.0.1:8000/ --connections 16 --seconds 5 --cookie 'visitor=NUMBER'

It stops after `--requests` or `--seconds`, whichever comes first. `NUMBER` in the cookie is another number in each
request. It stands in for `wrk`, which tells no p99.9 and would ask for the same visitor each time.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import time
from typing import Any
from urllib.parse import urlsplit

from benchmarks.support.harness import OTHER, percentile, pin, runner


class Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, load: Load) -> None:
        self.load, self.unread, self.begun = load, b"", 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self.unread += data
        end = self.unread.find(b"\r\n\r\n")
        if end < 0:
            return
        found = re.search(rb"content-length: *(\d+)", self.unread[:end], re.IGNORECASE)
        if len(self.unread) < end + 4 + (int(found[1]) if found else 0):
            return
        self.load.latencies.append(time.perf_counter() - self.begun)
        self.load.bad += not self.unread.startswith(b"HTTP/1.1 200")
        self.load.unwanted += self.load.wanted not in self.unread[end:]
        self.unread = b""
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.ended()

    def _ask(self) -> None:
        if self.load.over():
            self.transport.close()
            return
        self.begun = time.perf_counter()
        self.transport.write(self.load.request())


class Load:
    """All connections together."""

    def __init__(self, url: str, cookie: str, wanted: str, connections: int, requests: int, seconds: float) -> None:
        parts = urlsplit(url)
        self.where = (parts.hostname or "", parts.port or 80)
        self._request = f"GET {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\ncookie: {cookie}\r\n\r\n".encode()
        self.latencies: list[float] = []
        self.bad = self.unwanted = 0
        self.wanted = wanted.encode()
        self._numbers = itertools.count()
        self._left, self._until = requests, time.perf_counter() + seconds
        self._open = self._connections = connections

    def request(self) -> bytes:
        return self._request.replace(b"NUMBER", b"%06d" % next(self._numbers))

    def over(self) -> bool:
        self._left -= 1
        return self._left < 0 or time.perf_counter() > self._until

    def ended(self) -> None:
        self._open -= 1
        if not self._open and not self._done.done():
            self._done.set_result(None)

    async def run(self) -> dict[str, float]:
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        started = time.perf_counter()
        for _ in range(self._connections):
            await loop.create_connection(lambda: Client(self), *self.where)
        await self._done
        wall, done = time.perf_counter() - started, self.latencies
        shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
        figures = {name: percentile(done, share) * 1e3 for name, share in shares.items()}
        defaults = 100 * self.unwanted / len(done)
        return {"rate": len(done) / wall, "requests": len(done), "bad": self.bad, "defaults": defaults, **figures}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("url")
    options.add_argument("--cookie", default="")
    options.add_argument("--wanted", default="", help="what a page has to hold; others are counted as defaults")
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--requests", type=int, default=1_000_000)
    options.add_argument("--seconds", type=float, default=5.0)
    asked = options.parse_args()
    pin(OTHER)
    load = Load(asked.url, asked.cookie, asked.wanted, asked.connections, asked.requests, asked.seconds)
    with runner() as loop:
        print(json.dumps(loop.run(load.run())))


if __name__ == "__main__":
    main()
