"""The table of what shadow vendors would have served, and its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flagmw._shadow import report_file
from flagmw._shadow.report import ALIASES_MAX, KEY_CHARS, OTHERS, PAIRS_MAX, Report, together

NOW = 1_800_000_000.0


def report(*rows: tuple[str, str, str], vendor: str = "later") -> Report:
    """Return a report with *rows* of (alias, served, shadow)."""
    made = Report([vendor], NOW)
    for alias, served, shadow in rows:
        made.asked(vendor, NOW + 1)
        made.compared(vendor, alias, "same" if served == shadow else "differs", served, shadow)
    return made


def test_document() -> None:
    """Each alias has its counts, and pairs where it differs, the most frequent first."""
    made = report(("a", "1", "1"), ("a", "1", "2"), ("a", "1", "3"), ("a", "1", "3"))
    made.compared("later", "b", "missing", "1", "")
    made.asked("later", NOW + 5, "DEADLINE")
    assert made.document() == {
        "since": NOW,
        "until": NOW + 5,
        "vendors": {
            "later": {
                "asked": 5,
                "failed": {"DEADLINE": 1},
                "aliases": {
                    "a": {
                        "same": 1,
                        "differs": 3,
                        "missing": 0,
                        "pairs": [
                            {"served": "1", "shadow": "3", "count": 2},
                            {"served": "1", "shadow": "2", "count": 1},
                        ],
                    },
                    "b": {"same": 0, "differs": 0, "missing": 1, "pairs": []},
                },
            }
        },
    }


def test_bounds() -> None:
    """Vendors that invent aliases and endless keys take no more room than there is; nothing goes uncounted."""
    made = report(
        *((f"alias-{n}", "a", "b") for n in range(1000)), *(("alias-0", str(n), "x" * 5000) for n in range(50))
    )
    rows = made.document()["vendors"]["later"]["aliases"]
    assert len(rows) == ALIASES_MAX + 1 and rows[OTHERS]["differs"] == 1000 - ALIASES_MAX
    assert rows["alias-0"]["differs"] == 51 and len(rows["alias-0"]["pairs"]) == PAIRS_MAX
    assert all(len(pair["shadow"]) <= KEY_CHARS for pair in rows["alias-0"]["pairs"])


def test_together() -> None:
    """Several processes' reports are one, with the pairs of all."""
    one, other = report(("a", "1", "2"), ("b", "1", "1")), report(("a", "1", "2"), ("a", "1", "3"))
    total = together([one.document(), other.document()])["vendors"]["later"]
    assert (total["asked"], total["aliases"]["b"]["same"]) == (4, 1)
    assert total["aliases"]["a"]["pairs"] == [
        {"served": "1", "shadow": "2", "count": 2},
        {"served": "1", "shadow": "3", "count": 1},
    ]
    assert together([]) == {"since": 0.0, "until": 0.0, "vendors": {}}


@pytest.mark.parametrize("document", [{}, {"since": 1}, {"since": 1, "until": 2, "vendors": []}, {"since": None}])
def test_what_is_no_report(document: Any) -> None:
    with pytest.raises(ValueError, match="no report of shadow vendors"):
        together([document])


def test_file(tmp_path: Path) -> None:
    """Each process has its place, which it writes anew; only so many are kept, the latest."""
    file = tmp_path / "shadow.json"
    for process in ("1", "2", "1"):
        report_file.write(file, process, report(("a", "1", "2")).document())
    assert report_file.read(file)["vendors"]["later"]["aliases"]["a"]["differs"] == 2
    for n in range(100):
        made = Report(["later"], NOW + n)
        report_file.write(file, f"more-{n}", made.document())
    processes = json.loads(file.read_text())["processes"]
    assert len(processes) == report_file.PROCESSES_MAX and "more-99" in processes and "1" not in processes
    assert {path.name for path in tmp_path.iterdir()} == {"shadow.json", "shadow.json.lock"}


@pytest.mark.parametrize("text", ["", "null", "[]", '{"processes": {}}', "{" * 100_000])
def test_a_file_of_somebody_elses_stays(tmp_path: Path, text: str) -> None:
    """What is no report is neither read as one nor written over."""
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="no report"):
        report_file.read(file)
    with pytest.raises(ValueError, match="no report"):
        report_file.write(file, "1", Report(["later"], NOW).document())
    assert file.read_text() == text
