"""The glossary names places that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_places_exist() -> None:
    """Each place in the last column of the glossary is a file or folder of the package."""
    rows = [line for line in (ROOT / "docs" / "glossary.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    places = [place for row in rows for place in re.findall(r"`([^`]+)`", row.rsplit("|", 2)[1])]
    assert len(places) > 40
    assert [place for place in places if place != "place" and not (ROOT / "flagmw" / place).exists()] == []
