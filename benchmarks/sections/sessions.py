"""What it costs to read Session Stream with names: about 750 bytes a session, one core."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import orjson

from benchmarks.support.harness import ROOT, Settings, Stub
from benchmarks.support.sessions import names, write
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw.admin.monetate.sessions.counting import count_sessions

PARSE, COUNT, BY, GZIP = "parse every line", "count with names", "count, also by city", "count, from gzip"

# What one process takes above what it has when it has imported what it needs.
MEMORY = """
import json, sys
from benchmarks.support.sessions import names
from flagmw.admin.monetate.sessions.counting import count_sessions
from tests.faults.bulk.uploader import peak_mib
before = peak_mib()
count_sessions([sys.argv[1]], names(), by="city")
print(json.dumps(peak_mib() - before))
"""


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("sessions: Session Stream with names")
    size = settings.n(200_000_000, 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "sessions.json", Path(folder) / "sessions.json.gz"
        write(plain, size)
        write(packed, size, packed=True)
        known = names()
        cases: dict[str, Callable[[], Mapping[str, float]]] = {
            PARSE: partial(timed, size, lambda: parse(plain)),
            COUNT: partial(timed, size, lambda: count_sessions([plain], known)),
            BY: partial(timed, size, lambda: count_sessions([plain], known, by="city")),
            GZIP: partial(timed, size, lambda: count_sessions([packed], known)),
        }
        rounds = interleave(cases, settings.rounds)
        memory = [sys.executable, "-c", MEMORY, str(plain)]
        done = subprocess.run(memory, cwd=ROOT, capture_output=True, text=True, check=True)
    note = "Parsing alone is orjson on each line, nothing kept. Bytes are those of the decompressed file."
    columns = [Column("time", "ms a MB", 2), Column("rate", "MB a second", 0)]
    table = Table("read a file", columns, rounds, PARSE, note=note)
    section.tables.append(table)
    section.goals.append(
        Goal("-", f"{COUNT}: MB a second on one core", table.median(COUNT, "rate"), at_least=100, unit="")
    )
    grown = float(json.loads(done.stdout))
    section.goals.append(Goal("-", f"{size / 1e6:,.0f} MB: memory over the start", grown, at_most=32, unit=" MiB"))
    return section


def parse(path: Path) -> None:
    """Parse every line and forget it."""
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)


def timed(size: int, work: Callable[[], object]) -> Mapping[str, float]:
    """Return what a megabyte takes, and how many there are in a second."""
    begun = time.process_time()
    work()
    taken = time.process_time() - begun
    return {"time": taken / size * 1e9, "rate": size / taken / 1e6}
