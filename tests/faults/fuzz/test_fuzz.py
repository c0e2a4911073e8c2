"""The fuzz targets for a moment: every seed and some hundred inputs of each."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from tests.faults.fuzz import run, targets, worker

INPUTS = 400


@pytest.mark.parametrize("name", run.NAMES)
def test_nothing_crashes(name: str, tmp_path: Path) -> None:
    """Of some hundred inputs that come of the seeds by chance none crashes a target; `make fuzz` goes by coverage."""
    judge = worker.Judge(targets.TARGETS[name], tmp_path, INPUTS, 60.0)
    for data in islice(worker.mutated(targets.seeds(name), random.Random(7)), INPUTS):
        judge(data)
    assert (judge.tried, judge.crashes) == (INPUTS, {})


@pytest.mark.parametrize("name", run.NAMES)
def test_seeds_are_good(name: str) -> None:
    """Each target takes all of its seeds, without a fuzzer."""
    for seed in targets.seeds(name):
        targets.TARGETS[name](seed)


def test_every_target_is_run() -> None:
    """The command knows all targets."""
    assert list(run.NAMES) == list(targets.TARGETS)


def _crash(data: bytes) -> None:
    raise IndexError(data)


def _slow(data: bytes) -> None:
    sum(range(2_000_000))


@pytest.mark.parametrize(("target", "kind"), [(_crash, "crash"), (_slow, "slow")])
def test_a_bad_input_is_noted_and_kept(target: Callable[[bytes], None], kind: str, tmp_path: Path) -> None:
    """An input that crashes or is slow is in the report, and in a file to run it again with."""
    judge = worker.Judge(target, tmp_path, 10, 10.0)
    judge(b"the input")
    report = judge.report(guided=False)
    kept = [*report["crashes"].values(), *report["slow"]]
    assert len(kept) == 1
    assert Path(kept[0]).name.startswith(kind)
    assert Path(kept[0]).read_bytes() == b"the input"
    assert not run.Result(name="x", **report).good


def test_command_prints_a_line_per_target() -> None:
    """The command runs what it is told for as many inputs as it is told, and says what came of it."""
    order = [
        sys.executable,
        "-m",
        "tests.faults.fuzz.run",
        "--inputs",
        "300",
        "--target",
        "saved-visitor",
        "--target",
        "track-data",
    ]
    done = subprocess.run(order, cwd=run.ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    table = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert table["saved-visitor"][:3] == ["150", "0", "0"]
    assert table["all"][:3] == ["300", "0", "0"]
