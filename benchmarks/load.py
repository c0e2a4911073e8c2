"""Ask a server as fast as it answers, over a few connections, and say how it did: `wrk` where installed, else this.

    python -m benchmarks.load http://127.0.0.1:8000/ --connections 16 --seconds 5 --cookie 'a=b'

The bounded form stops after `--requests` or `--seconds`, whichever comes first, and prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import time
from typing import Any
from urllib.parse import urlsplit

from benchmarks.harness import OTHER, percentile, pin


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
        self.unread = b""
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.ended()

    def _ask(self) -> None:
        if self.load.over():
            self.transport.close()
            return
        self.begun = time.perf_counter()
        self.transport.write(self.load.request)


class Load:
    """All connections together."""

    def __init__(self, url: str, cookie: str, connections: int, requests: int, seconds: float) -> None:
        parts = urlsplit(url)
        self.where = (parts.hostname or "", parts.port or 80)
        self.request = f"GET {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\ncookie: {cookie}\r\n\r\n".encode()
        self.latencies: list[float] = []
        self.bad = 0
        self._left, self._until = requests, time.perf_counter() + seconds
        self._open = self._connections = connections

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
        return {"rate": len(done) / wall, "requests": len(done), "bad": self.bad, **figures}


def wrk(url: str, cookie: str, connections: int, seconds: float) -> dict[str, float] | None:
    """Return what wrk says, or None where it is not installed. It tells no p99.9."""
    if shutil.which("wrk") is None:
        return None
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--latency",
        "-H",
        f"Cookie: {cookie}",
        url,
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    found = dict(re.findall(r"^\s+(50|99)%\s+([\d.]+(?:us|ms|s))", text, re.MULTILINE))
    times = {}
    for share, figure in found.items():
        number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", figure).groups()  # type: ignore[union-attr]
        times[f"p{share}"] = float(number) * units[unit]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    done = re.search(r"(\d+) requests in", text)
    assert rate is not None and done is not None, text
    figures = {"rate": float(rate[1]), "requests": float(done[1]), "bad": float(bad[1]) if bad else 0.0}
    return {**figures, **times}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("url")
    options.add_argument("--cookie", default="")
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--requests", type=int, default=1_000_000)
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--tail", action="store_true", help="never wrk, which knows no p99.9")
    asked = options.parse_args()
    pin(OTHER)
    figures = None if asked.tail else wrk(asked.url, asked.cookie, asked.connections, asked.seconds)
    if figures is None:
        load = Load(asked.url, asked.cookie, asked.connections, asked.requests, asked.seconds)
        figures = asyncio.run(load.run())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
