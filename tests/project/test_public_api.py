"""Public names, signatures, attributes and commands are those of public_api.txt."""

from __future__ import annotations

import difflib

from tests.project.public_api import SNAPSHOT, text


def test_public_names_are_unchanged() -> None:
    """A change that is meant is written down: python -m tests.project.public_api."""
    before, now = SNAPSHOT.read_text("utf-8").splitlines(), text().splitlines()
    assert list(difflib.unified_diff(before, now, "public_api.txt", "now", lineterm="", n=0)) == []
