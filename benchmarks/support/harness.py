"""Where things run and how they are timed: cores, the stub, clocks, callers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).parents[2]
# Other vendors' SDKs, and what flagmw is compared with but does not need, have a venv of their own.
PEERS_PLACE = ROOT / ".venv-peers"
PEERS_PYTHON = PEERS_PLACE / "bin" / "python"
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
# What is measured, and what it is measured with: the stub and the load.
OWN, OTHER = (CORES[0], CORES[-1]) if len(CORES) > 1 else (None, None)


@dataclass(frozen=True)
class Settings:
    """How long to measure; `quick` only proves that a section works."""

    rounds: int = 5
    quick: bool = False

    def n(self, full: int, quick: int) -> int:
        return quick if self.quick else full


def pin(cpu: int | None) -> None:
    """Keep this process, and what it starts, on one core."""
    if cpu is not None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {cpu})


def runner() -> asyncio.Runner:
    """Return the runner of a measuring process: on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


class Stub:
    """The stub vendor in its own process."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.support.stub", *([] if OTHER is None else ["--cpu", str(OTHER)])]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def mode(self, **options: float) -> None:
        """Set how it answers: delay_ms, slow, slow_s, hang."""
        self._ask(f"/_mode?{urlencode(options)}")

    def count(self) -> int:
        """Return the number of calls since the mode was set."""
        return int(self._ask("/_count"))

    def _ask(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def stub() -> Iterator[Stub]:
    vendor = Stub()
    try:
        yield vendor
    finally:
        vendor.stop()


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def timed(
    work: Callable[[], object], calls: int, clock: Callable[[], float] = time.process_time
) -> Mapping[str, float]:
    """Return the microseconds that one call of *work* takes: CPU, which nothing else on the machine adds to."""
    started = clock()
    for _ in range(calls):
        work()
    return {"time": (clock() - started) / calls * 1e6}


class _Meter:
    """Latencies, CPU and rate of some calls."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def read(self, calls: int) -> Mapping[str, float]:
        cpu, wall = time.process_time() - self.cpu, time.perf_counter() - self.wall
        return {
            "cpu": cpu / calls * 1e6,
            "p50": percentile(self.latencies, 0.50) * 1e3,
            "p99": percentile(self.latencies, 0.99) * 1e3,
            "p99.9": percentile(self.latencies, 0.999) * 1e3,
            "rate": calls / wall,
        }


async def tasks(call: Callable[[], Awaitable[Any]], calls: int, callers: int) -> Mapping[str, float]:
    """Make *calls* calls from *callers* tasks and say what one took."""
    each = max(1, calls // callers)
    meter = _Meter()

    async def caller() -> None:
        for _ in range(each):
            started = time.perf_counter()
            await call()
            meter.latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return meter.read(each * callers)


def threads(call: Callable[[], Any], calls: int, callers: int) -> Mapping[str, float]:
    """The same from threads."""
    each = max(1, calls // callers)
    meter = _Meter()

    def caller() -> None:
        for _ in range(each):
            started = time.perf_counter()
            call()
            meter.latencies.append(time.perf_counter() - started)

    running = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return meter.read(each * callers)


def machine() -> str:
    """Describe what the figures were taken on. No names of hosts or users, no paths."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu = platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    names = ("aiohttp", "fastapi", "flask", "gunicorn", "httpcore2", "httptools", "httpx", "httpx2", "orjson")
    installed = []
    for name in (*names, "uvicorn", "uvloop"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed.append(f"{name} {metadata.version(name)}")
    return (
        f"{len(CORES) or os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}; {', '.join(installed)}."
    )
