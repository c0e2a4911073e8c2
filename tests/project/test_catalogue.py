"""The list of faults in tests/README.md says where each is tested, and tests of that name are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
README = (TESTS / "README.md").read_text("utf-8")
ROWS = re.findall(r"^\| ([UVIPRA]\d+) \| ([^|]*)\| ([^|]*)\|$", README, re.MULTILINE)
FAMILIES = {"U": 34, "V": 20, "I": 32, "P": 31, "R": 13, "A": 32}


def named_in(path: Path) -> set[str]:
    """Return the faults that names of tests in *path*, or keys of its tables, begin or go on with."""
    text = path.read_text("utf-8")
    names = re.findall(r"def test_(\w+)", text)
    return {fault for name in names for fault in re.findall(r"(?:^|_)([UVIPRA]\d+)(?=_|$)", name)} | set(
        re.findall(r'"([UVIPRA]\d+)_', text)
    )


def test_listed_faults_are_tested_where_it_says() -> None:
    """Every file that the list names for a fault exists and names the fault in a test or a case."""
    listed = [(fault, name) for fault, files, _ in ROWS for name in filter(None, files.strip().split(", "))]
    assert [(fault, name) for fault, name in listed if fault not in named_in(TESTS / name)] == []


def test_every_fault_is_listed_once() -> None:
    """Each has a row, tested or with what it waits for, and the sum above the table is that of its rows."""
    assert [fault for fault, _, _ in ROWS] == [
        f"{kind}{n}" for kind, end in FAMILIES.items() for n in range(1, end + 1)
    ]
    untested = [fault for fault, files, note in ROWS if not files.strip()]
    assert [f for f, files, note in ROWS if bool(files.strip()) is note.startswith("waits for: ")] == []
    assert f"{len(ROWS) - len(untested)} of {len(ROWS)} are tested; {len(untested)} wait" in README
