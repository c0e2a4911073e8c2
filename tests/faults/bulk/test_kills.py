"""A bulk update survives kills; `make bulk` runs the long form."""

from __future__ import annotations

from tests.faults.bulk import kills


def test_nothing_is_left_out_or_sent_twice_unmarked() -> None:
    """Killed before and after the vendor answers, and resumed: every row arrives, what may be there twice is marked."""
    done = kills.run(2, rows=2_000, part_rows=200)
    print(done.text())
    assert done.kills == 2
    assert (done.missing, done.unmarked, done.changed) == (0, 0, 0)
    assert done.last["rows"] == 2_000


def test_command_goes_on_after_kills() -> None:
    """The same of `flagmw adobe profiles bulk` with a file: the same command again goes on."""
    done = kills.run(1, rows=300, part_rows=100, by_command=True)
    print(done.text())
    assert done.kills == 1
    assert (done.missing, done.unmarked, done.changed) == (0, 0, 0)
    assert done.last["rows"] == 300
