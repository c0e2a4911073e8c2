"""Fuzz all targets: `python -m tests.faults.fuzz.run [--seconds S | --inputs N] [--target NAME] [--seed N]`.

Prints a line per target and exits with 1 on a crash or an input that takes over 10 ms of processor time. Such
inputs are kept; `--replay FILE --target NAME` runs one again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_SECONDS = 10.0
LONGEST_S = 3600.0  # for one target, when inputs are what is asked for
START_S = 60.0
LIMIT_MS = 10.0
ROOT = Path(__file__).parents[3]
NAMES = (
    "cookie-reader", "set-cookie-writer", "answer", "built-answer", "tolerant-json", "visit", "track-data",
    "saved-visitor", "response-headers",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What one target came to."""

    name: str
    inputs: int
    slowest_ms: float
    slow: list[str]
    crashes: dict[str, str]
    guided: bool

    @property
    def good(self) -> bool:
        return self.inputs > 0 and not self.slow and not self.crashes


def fuzz(name: str, inputs: int, seconds: float, seed: int, folder: Path) -> Result:
    """Fuzz one target in a process of its own."""
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    order = [sys.executable, "-m", "tests.faults.fuzz.worker", name, str(inputs), str(seconds), str(seed), str(own)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            order, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds + START_S
        )
        said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return Result(name, 0, 0.0, [], {"an input without an end": str(own)}, False)
    except (IndexError, ValueError):
        return Result(
            name, 0, 0.0, [], {f"the process died ({done.returncode}): {done.stderr[-500:]}": str(own)}, False
        )
    # Half of the time goes into noting which lines were reached; what is slow is so without that as well.
    times = {path: plain_ms(name, Path(path)) for path in said["slow"]}
    slow = [path for path, ms in times.items() if ms > LIMIT_MS]
    return Result(name=name, **{**said, "slow": slow, "slowest_ms": max([said["slowest_ms"], *times.values()])})


def plain_ms(name: str, path: Path) -> float:
    """Return the processor time that a kept input takes without the fuzzer around it, the best of three."""
    from tests.faults.fuzz.targets import TARGETS

    data, times = path.read_bytes(), []
    for _ in range(3):
        started = time.thread_time()
        with suppress(Exception):  # which is told as a crash
            TARGETS[name](data)
        times.append((time.thread_time() - started) * 1000)
    return min(times)


def run(names: list[str], *, inputs: int | None, seconds: float, seed: int, folder: Path, jobs: int) -> list[Result]:
    """Fuzz *names*, *jobs* at a time: so many inputs in all, or so many seconds in all."""
    each = sys.maxsize if inputs is None else -(-inputs // len(names))
    time_s = seconds * jobs / len(names) if inputs is None else LONGEST_S
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda name: fuzz(name, each, time_s, seed, folder), names))


def show(results: list[Result]) -> str:
    """Return the table."""
    lines = [f"{'target':<20}{'inputs':>12}{'crashes':>9}{'over 10 ms':>12}{'slowest ms':>12}"]
    for one in results:
        lines.append(f"{one.name:<20}{one.inputs:>12,}{len(one.crashes):>9}{len(one.slow):>12}{one.slowest_ms:>12.2f}")
        lines += [f"    crash {what}\n        {path}" for what, path in one.crashes.items()]
        lines += [f"    slow  {path}" for path in one.slow]
    crashes, slow = sum(len(one.crashes) for one in results), sum(len(one.slow) for one in results)
    worst = max(one.slowest_ms for one in results)
    lines.append(f"{'all':<20}{sum(one.inputs for one in results):>12,}{crashes:>9}{slow:>12}{worst:>12.2f}")
    if not all(one.guided for one in results):
        lines.append("some ran by chance, without coverage: the fuzzer (atheris) is not installed for this Python")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tests.faults.fuzz.run", description="Fuzz everything that reads foreign bytes."
    )
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="for all targets together")
    bound.add_argument("--inputs", type=int, help="for all targets together")
    parser.add_argument("--target", action="append", choices=NAMES, help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="targets at a time")
    parser.add_argument("--keep", type=Path, help="folder for inputs that crash or are slow; a temporary one if none")
    parser.add_argument("--replay", type=Path, help="run this one input on the one target")
    options = parser.parse_args(arguments)
    names = options.target or list(NAMES)
    if options.replay is not None:
        if len(names) != 1:
            parser.error("--replay needs one --target")
        from tests.faults.fuzz.targets import TARGETS

        TARGETS[names[0]](options.replay.read_bytes())
        print("no crash")
        return 0
    folder = options.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    results = run(
        names, inputs=options.inputs, seconds=options.seconds, seed=options.seed, folder=folder, jobs=options.jobs
    )
    print(show(results))
    return 0 if all(one.good for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
