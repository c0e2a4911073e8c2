"""A shop under its server, and visitors who open its pages side by side and look at what they get."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from tests.support.raw_vendor import free_port

SHOPS = Path(__file__).resolve().parents[3] / "integrations"
SERVERS = {
    "uvicorn": ("fastapi_shop", ["uvicorn", "app:app", "--log-level", "warning", "--port", "{port}"]),
    "gunicorn": (
        "flask_shop",
        ["gunicorn", "app:app", "-k", "gthread", "--threads", "8", "--log-level", "warning", "-b", "127.0.0.1:{port}"],
    ),
}
DEADLINE_S = 0.3  # as integrations/shop.toml has it
# A server that ends is noticed at once; one that is slow to start may have a busy machine to share.
START_S = 120.0
PATIENCE_S = 10.0

PAGE = re.compile(
    r'<!doctype html><title>Checkout</title><h1>Checkout</h1><p id="variant" data-reason="[A-Z_]+"'
    r' data-code="(?P<code>[A-Z0-9_]*)" data-visitor="[0-9]*">(?P<variant>control|variation)</p>'
    r'<ul id="vendors"><li data-vendor="webtrends" data-reason="[A-Z_]+" data-code="(?P=code)">(?P=variant)</li></ul>'
    r'<form method="post" action="/buy"><button>(?P<button>Buy now|Place order)</button></form>'
)
BUTTONS = {"control": "Place order", "variation": "Buy now"}
OWN_COOKIE = re.compile(r"_wt\.[a-z]+-2490593(?!-ta_Evil)[^=\s]*=[^\s;]*(;.*)?")


@contextmanager
def shop(server: str, vendor_url: str) -> Iterator[tuple[int, Memory]]:
    """Run *server*'s shop until the block ends; yield its port and its memory.

    Raises:
        RuntimeError: it did not begin to serve; the text has what it printed.
    """
    port = free_port()
    name, words = SERVERS[server]
    environ = {variable: value for variable, value in os.environ.items() if not variable.startswith("FLAGMW_")}
    environ |= {"PYTHONPATH": str(SHOPS.parent), "FLAGMW_VENDORS__WT__BASE_URL": vendor_url}
    # Every page is to meet the fault: what is remembered would hide it.
    environ |= {"FLAGMW_REUSE_S": "0", "FLAGMW_STALE_S": "0"}
    with TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *(word.format(port=port) for word in words)],
            cwd=SHOPS / name,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            if not asyncio.run(_serves(port, process)):
                output.seek(0)
                raise RuntimeError(f"{server} did not start: {output.read().decode(errors='replace')[-2000:]}")
            yield port, Memory(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(12)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


async def _serves(port: int, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        browser = Browser(port)
        page = await browser.open("/health")
        await browser.close()
        if page.status == 200:
            return True
        await asyncio.sleep(0.05)
    return False


class Memory:
    """What a server's processes hold, as Linux tells it; nothing where it does not."""

    def __init__(self, pid: int) -> None:
        self._pid, self._before = pid, dict[int, int]()

    def start(self) -> None:
        """Begin to watch for a new peak."""
        for pid in self._pids():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): resets the peak
        self._before = {pid: self._kb(pid, "VmRSS") for pid in self._pids()}

    def grown_mb(self) -> float | None:
        """Return by how much the process that grew most has exceeded what it had, in MiB."""
        grown = [self._kb(pid, "VmHWM") - before for pid, before in self._before.items()]
        return max(grown) / 1024 if grown else None

    def _pids(self) -> list[int]:
        """Return the server's process and its children."""
        try:
            children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text()
        except OSError:
            return []
        return [self._pid, *map(int, children.split())]

    @staticmethod
    def _kb(pid: int, what: str) -> int:
        found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) if found else 0


@dataclass(frozen=True)
class Page:
    """What came of one request; status 0 when that was no whole answer."""

    status: int
    body: str
    set_cookies: tuple[str, ...]
    took_s: float
    foreign: bool = False

    @property
    def found(self) -> re.Match[str] | None:
        return PAGE.fullmatch(self.body)

    @property
    def wrong(self) -> bool:
        """Whether this is no whole checkout page, or has a cookie or header that nobody may set."""
        found = self.found
        return self.foreign or found is None or BUTTONS[found["variant"]] != found["button"]

    @property
    def decided(self) -> bool:
        found = self.found
        return found is not None and not found["code"]


@dataclass
class Browser:
    """One keep-alive connection to the shop; the cookies are told with each request."""

    port: int
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None, repr=False)

    async def open(self, path: str, cookies: Mapping[str, str] | None = None) -> Page:
        cookie = "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())
        request = (
            f"GET {path} HTTP/1.1\r\nHost: www.mysite.com\r\n"
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0\r\n"
            + (f"Cookie: {cookie}\r\n\r\n" if cookie else "\r\n")
        )
        started = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, headers, body = await self._exchange(request.encode("latin-1"))
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError):
            await self.close()
            return Page(0, "", (), time.perf_counter() - started)
        took_s = time.perf_counter() - started
        if any(name == "connection" and value == "close" for name, value in headers):
            await self.close()
        lines = tuple(value for name, value in headers if name == "set-cookie")
        foreign = any(OWN_COOKIE.fullmatch(line) is None or "evil.test" in line for line in lines)
        foreign |= any("x-evil" in name for name, _ in headers)
        return Page(status, body.decode("utf-8", "replace"), lines, took_s, foreign)

    async def _exchange(self, request: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in head[1:] if line]
        headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
        length = int(next(value for name, value in headers if name == "content-length"))
        return int(head[0].split()[1]), headers, await reader.readexactly(length)

    async def close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass


def jar(page: Page) -> dict[str, str]:
    """Return the cookies that *page* sets."""
    pairs = (line.partition(";")[0].partition("=") for line in page.set_cookies)
    return {name: value for name, _, value in pairs if value}
