"""The list of faults in tests/README.md says where each is tested, and what the others wait for."""

from __future__ import annotations

from tests.project.table import FAULTS, README, ROW, written

TEXT = README.read_text("utf-8")


def test_the_list_is_what_the_tests_names_say() -> None:
    """`python -m tests.project.table` has been run since a test was added or moved."""
    assert written(TEXT) == TEXT


def test_every_fault_is_listed_once_and_an_untested_one_says_why() -> None:
    rows = ROW.findall(TEXT)
    assert [fault for fault, _, _ in rows] == FAULTS
    assert [fault for fault, files, note in rows if not files.strip() and not note.startswith("waits for: ")] == []
