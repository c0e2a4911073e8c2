"""The deadline, on a clock that the test moves."""

from __future__ import annotations

import pytest

from flagmw._support.deadline import Deadline


def test_deadline() -> None:
    """What is left shrinks to nothing and no further."""
    deadline = Deadline.after(0.3, 100.0)
    assert deadline.left(100.0) == pytest.approx(0.3)
    assert deadline.left(100.25) == pytest.approx(0.05)
    assert deadline.left(101.0) == 0.0
