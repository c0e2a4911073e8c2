"""The list of faults in tests/README.md says where each is tested, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_listed_faults_are_tested_where_it_says() -> None:
    """Every file that the list names for a fault exists, and names the fault unless the list has a note."""
    rows = re.findall(
        r"^\| ([UVIPRA]\d+) \| ([^|]*) \| ([^|]*)\|$", (TESTS / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) > 100
    wrong = []
    for fault, files, note in rows:
        for name in filter(None, files.split(", ")):
            path = TESTS / name
            if not path.is_file() or (not note.strip() and not re.search(rf"{fault}(?!\d)", path.read_text("utf-8"))):
                wrong.append((fault, name))
    assert wrong == []
