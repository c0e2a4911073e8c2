"""The benchmarks run: their short form goes through every section that needs no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import run

ROOT = Path(__file__).parents[2]


SECTIONS = [name for name in run.SECTIONS if name not in ("peers", "vendors")]


@pytest.mark.parametrize("section", SECTIONS)
def test_section_runs_and_prints_its_table(section: str) -> None:
    """The quick form of a section ends well, prints a table with ratios, and writes no results."""
    results = ROOT / "benchmarks" / "RESULTS.md"
    before = results.read_bytes() if results.exists() else None
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--only", section]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "OUTBOX_DEFAULT" not in done.stderr
    assert "| case |" in done.stdout
    assert "Ratios are to" in done.stdout
    assert (results.read_bytes() if results.exists() else None) == before
