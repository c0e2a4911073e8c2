"""Every test's end looks at what the test has used: an outbox that loses events fails it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

TESTS = """
from dataclasses import replace

from flagmw import Flagmw
from flagmw.outbox.memory import MemoryOutbox
from flagmw.testing import FakeVendor


class Crooked(MemoryOutbox):
    def stats(self, now):
        return replace(super().stats(now), accepted=7)


def test_honest():
    assert Flagmw(vendors=[FakeVendor({"ta_A": "b"})]).outbox_stats().balanced()


def test_crooked():
    Flagmw(vendors=[FakeVendor({"ta_A": "b"})], outbox=Crooked()).outbox_stats()


def test_made_up_label():
    fm = Flagmw(vendors=[FakeVendor({"ta_A": "b"})])
    fm._counts.add("undecided", "", "a vendor's own words")
    fm.outbox_stats()
"""


def test_loss_fails_the_test_that_used_it(tmp_path: Path) -> None:
    """Of three tests without an assertion of their own, those with a loss and with an open label fail."""
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "test_them.py").write_text(TESTS)
    order = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(order, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "events are unaccounted for: OutboxStats(accepted=7" in done.stdout
    assert "FAILED test_them.py::test_made_up_label" in done.stdout
