"""Requests per second of real servers with a shop behind them: uvicorn with FastAPI, gunicorn with Flask."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks import shops, visitor
from benchmarks.harness import ROOT, Settings, Stub
from benchmarks.table import Column, Goal, Section, Table, interleave

TIMES = [Column("p50", "ms", 2), Column("p99", "ms", 2)]
COLUMNS = [Column("rate", "/s", 0), Column("cpu", "us"), *TIMES, Column("bad", "", 0)]
UVICORN = ["uvicorn", "--factory", "benchmarks.shops:fastapi_shop", "--log-level", "error", "--no-access-log"]
GUNICORN = ["gunicorn", "benchmarks.shops:flask_shop()", "-k", "gthread", "--threads", "16", "--log-level", "error"]
SERVERS = {"uvicorn + FastAPI": UVICORN, "gunicorn gthread + Flask": GUNICORN}


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("end to end: a shop under load, 16 connections")
    rounds = min(settings.rounds, 3)
    modes = (shops.BARE, shops.COLD) if settings.quick else shops.modes()
    for server, command in SERVERS.items():
        for delay_ms in (0,) if settings.quick else (0, 20):
            cases = {mode: partial(measure, command, mode, stub, settings) for mode in modes}
            stub.mode(delay_ms=delay_ms)
            title = f"{server}, vendor {delay_ms} ms"
            table = Table(title, COLUMNS, interleave(cases, rounds), shops.BARE, ["rate"])
            section.tables.append(table)
            section.goals += goals(server, delay_ms, table)
    return section


def goals(server: str, delay_ms: int, table: Table) -> list[Goal]:
    asynchronous = server.startswith("uvicorn")
    warm, cold, id_warm, id_cold = (0.88, 0.37, "G8", "G9") if asynchronous else (0.92, 0.44, "G10", "G10")
    found = []
    if delay_ms == 0:
        measured = table.ratio(shops.COLD, shops.BARE, "rate")
        found.append(Goal(id_cold, f"{server}, every request a call: rate over bare", measured, at_least=cold))
        for row in [row for row in table.rounds if "reused" in row]:
            measured = table.ratio(row, shops.BARE, "rate")
            found.append(Goal(id_warm, f"{server}, {row}: rate over bare", measured, at_least=warm))
    elif asynchronous:
        # 16 connections can be answered 800 times a second when each answer takes 20 ms.
        measured = table.median(shops.COLD, "rate") / 800
        found.append(Goal("G9", f"{server}, 20 ms: rate over 800/s", measured, at_least=0.87))
    return found


def measure(command: list[str], mode: str, stub: Stub, settings: Settings) -> Mapping[str, float]:
    """Start a server, find its cookies, load it, and return rate, latencies and the CPU of a request."""
    with serving(command, mode, stub) as (url, pid):
        cookie = cookies(url, wanted="control" if mode == shops.BARE else "variation")
        if mode in (shops.NAIVE, shops.COLD):
            # Each request is another visitor's, so that every one is a call.
            cookie = visitor.header({**visitor.vendor_cookies(who="NUMBER")})
        load = [sys.executable, "-m", "benchmarks.load", url, "--cookie", cookie]
        limits = ["--requests", "40"] if settings.quick else ["--seconds", "4"]
        if not settings.quick:
            subprocess.run([*load, "--seconds", "0.5"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        before = cpu_s(pid)
        text = subprocess.run([*load, *limits], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        figures: dict[str, float] = json.loads(text)
        return {**figures, "cpu": (cpu_s(pid) - before) / figures["requests"] * 1e6}


@contextlib.contextmanager
def serving(command: list[str], mode: str, stub: Stub) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    place = ["--bind", f"127.0.0.1:{port}"] if command is GUNICORN else ["--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "BENCH_MODE": mode, "BENCH_STUB": stub.url, "PYTHONPATH": str(ROOT)}
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
