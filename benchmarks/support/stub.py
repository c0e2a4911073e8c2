"""A vendor that costs next to nothing: a bare protocol on uvloop, in a process of its own, on a core of its own.

    python -m benchmarks.support.stub --cpu 1      prints its port

It answers all that `answers.py` knows. How it behaves is set by a request, so that one process serves a whole run:
`/_mode?delay_ms=20&slow=0.05&slow_s=2&hang=0`; `/_count` says how many other requests came since the last mode.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from benchmarks.support.answers import encoded
from benchmarks.support.harness import pin, runner


class Mode:
    """How every connection behaves now."""

    def __init__(self) -> None:
        self.answers = encoded()
        self.set({})

    def set(self, options: dict[str, str]) -> None:
        self.delay_s = float(options.get("delay_ms", 0)) / 1000
        self.slow, self.slow_s = float(options.get("slow", 0)), float(options.get("slow_s", 2))
        self.hang = options.get("hang", "0") == "1"
        self.count = 0
        # The same answers are slow in every run and for everyone measured.
        self.random = random.Random(11)

    def answer(self, path: bytes) -> bytes:
        return next(answer for beginning, answer in self.answers if path.startswith(beginning))


class Vendor(asyncio.Protocol):
    """One connection. Requests carry a Content-Length or no body."""

    def __init__(self, mode: Mode, loop: asyncio.AbstractEventLoop) -> None:
        self.mode, self.loop, self.unread = mode, loop, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.unread = self.unread + data if self.unread else data
        while self._request():
            pass

    def _request(self) -> bool:
        end = self.unread.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self.unread[:end]
        length = 0
        at = head.lower().find(b"\ncontent-length:")
        if at >= 0:
            length = int(head[at + 16 :].split(b"\r", 1)[0])
        if len(self.unread) < end + 4 + length:
            return False
        self.unread = self.unread[end + 4 + length :]
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/_"):
            self._control(path.decode())
            return True
        mode = self.mode
        mode.count += 1
        if mode.hang:
            return True
        delay = mode.slow_s if mode.slow and mode.random.random() < mode.slow else mode.delay_s
        if delay:
            self.loop.call_later(delay, self._send, mode.answer(path))
        else:
            self.transport.write(mode.answer(path))
        return True

    def _control(self, path: str) -> None:
        parts = urlsplit(path)
        if parts.path == "/_mode":
            self.mode.set(dict(parse_qsl(parts.query)))
        text = b"%d" % self.mode.count
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text))

    def _send(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)


async def serve(cpu: int | None) -> None:
    pin(cpu)
    loop, mode = asyncio.get_running_loop(), Mode()
    server = await loop.create_server(lambda: Vendor(mode, loop), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cpu", type=int)
    cpu = options.parse_args().cpu
    with contextlib.suppress(KeyboardInterrupt), runner() as loop:
        loop.run(serve(cpu))


if __name__ == "__main__":
    main()
