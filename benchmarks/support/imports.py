"""What an import takes: the time and the memory of a whole process that does nothing else.

The children may write what they have compiled, whatever this process may: into a directory that is warm when the clock
starts and removed afterwards. Without it they would compile everything again each time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.support.harness import PEERS_PYTHON, ROOT, Settings, timed
from benchmarks.support.table import Column, Goal, Table, interleave

MODULES = ("json", "orjson", "httpx2", "httpx", "aiohttp", "fastapi", "flagmw", "flagmw.asgi", "flagmw.wsgi")
NOTHING, NOTHING_THERE = "python, nothing imported", "the peers' python, nothing imported"
OPENFEATURE = "openfeature.api, the peers' python"
# What the kernel calls the high-water mark of the new program; `ru_maxrss` would begin with its parent's.
PEAK = "{}\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def table(settings: Settings) -> Table:
    python = Path(sys.executable)
    wanted = [(NOTHING, python, "")]
    wanted += [(name, python, f"import {name}") for name in (MODULES[-3:] if settings.quick else MODULES)]
    if PEERS_PYTHON.exists():
        wanted.append((NOTHING_THERE, PEERS_PYTHON, ""))
        wanted.append((OPENFEATURE, PEERS_PYTHON, "from openfeature import api"))
    cases: dict[str, Callable[[], Mapping[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="flagmw-bench-") as compiled:
        for name, interpreter, statement in wanted:
            case = partial(imported, interpreter, statement, compiled)
            try:
                for _ in range(2):
                    case()
            except subprocess.CalledProcessError:
                continue  # not installed
            cases[name] = case
        rounds = interleave(cases, settings.n(2 * settings.rounds, 1))
    columns = [Column("time", "ms"), Column("memory", "MiB")]
    note = "All modules are compiled already." + (
        "" if OPENFEATURE in cases else " OpenFeature is not among the peers."
    )
    return Table("a process that imports", columns, rounds, NOTHING, note=note)


def goals(imports: Table) -> list[Goal]:
    memory = imports.median("flagmw", "memory")
    found = [Goal("G20", "import flagmw: peak memory", memory, at_most=16, unit="MiB")]
    if imports.has(OPENFEATURE):
        taken = imports.ratio("flagmw", OPENFEATURE, "time")
        found.append(Goal("G20", f"import flagmw: time over {OPENFEATURE}", taken, at_most=1.4))
    return found


def imported(interpreter: Path, statement: str, compiled: str) -> Mapping[str, float]:
    """Return the wall time of a whole process, and the most memory that it took."""
    memory = 0.0
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def start() -> None:
        nonlocal memory
        command = [interpreter, "-c", PEAK.format(statement)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        memory = float(done.stdout) / 1024

    return {"time": timed(start, 1, time.perf_counter)["time"] / 1e3, "memory": memory}
