"""Start a real server with a shop behind it, load it, and say how it did."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.support import shops, visitor
from benchmarks.support.harness import ROOT, Settings, Stub

UVICORN = ["uvicorn", "--factory", "benchmarks.support.shops:fastapi_shop", "--log-level", "error", "--no-access-log"]
GUNICORN = [
    "gunicorn",
    "benchmarks.support.shops:flask_shop()",
    "-k",
    "gthread",
    "--threads",
    "16",
    "--log-level",
    "error",
]


def measure(
    command: list[str], mode: str, stub: Stub, settings: Settings, transport: str = "", seconds: float = 3
) -> Mapping[str, float]:
    """Start a server, find its cookies, load it, and return rate, latencies and the CPU of a request."""
    with serving(command, mode, stub, transport) as (url, pid):
        wanted = "control" if mode == shops.BARE else "variation"
        cookie = cookies(url, wanted)
        if mode in (shops.NAIVE, shops.COLD):
            # Each request is another visitor's, so that every one is a call.
            cookie = visitor.header(visitor.vendor_cookies(who="NUMBER"))
        load = [sys.executable, "-m", "benchmarks.support.load", url, "--cookie", cookie, "--wanted", wanted]
        limits = ["--requests", "40"] if settings.quick else ["--seconds", str(seconds)]
        if not settings.quick:
            subprocess.run([*load, "--seconds", "0.5"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        before, asked = cpu_s(pid), stub.count()
        text = subprocess.run([*load, *limits], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        figures: dict[str, float] = json.loads(text)
        assert not figures["bad"], f"{figures['bad']} answers of mode {mode!r} are no pages"
        cpu = (cpu_s(pid) - before) / figures["requests"] * 1e6
        return {**figures, "cpu": cpu, "calls": (stub.count() - asked) / figures["requests"]}


@contextlib.contextmanager
def serving(command: list[str], mode: str, stub: Stub, transport: str) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    place = ["--bind", f"127.0.0.1:{port}"] if command is GUNICORN else ["--host", "127.0.0.1", "--port", str(port)]
    folder = tempfile.TemporaryDirectory(prefix="flagmw-bench-")
    environment = {**os.environ, "BENCH_MODE": mode, "BENCH_STUB": stub.url, "PYTHONPATH": str(ROOT)}
    environment |= {visitor.OUTBOX: folder.name, **({"BENCH_TRANSPORT": transport} if transport else {})}
    # It inherits this process's core.
    server = subprocess.Popen(
        [sys.executable, "-m", *command, *place],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                break
            if server.poll() is not None:
                raise RuntimeError(f"the server of mode {mode!r} ended at its start")
            time.sleep(0.1)
        yield url, server.pid
    finally:
        server.terminate()
        server.wait(20)
        folder.cleanup()


def cookies(url: str, wanted: str) -> str:
    """Return the Cookie header of a browser that has seen some pages, of which the last had to show *wanted*."""
    jar, shown = visitor.Jar(), ""
    for _ in range(5):
        request = urllib.request.Request(url, headers={"Cookie": jar.header})
        with urllib.request.urlopen(request, timeout=10) as answer:
            for line in answer.headers.get_all("Set-Cookie") or ():
                jar.take(line)
            shown = json.load(answer)["variant"]
    # The first pages may be too late for their deadline.
    if shown != wanted:
        raise RuntimeError(f"the shop shows {shown!r} instead of {wanted!r}")
    return jar.header


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its children so far; 0 where the system does not tell."""
    total = 0.0
    with contextlib.suppress(OSError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += cpu_s(int(child))
    return total
