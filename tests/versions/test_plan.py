"""Which environments `make versions` makes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.versions.run import ROOT, interpreters, plan, release_of, short

PYTHONS = {(3, 11): Path("/p/3.11"), (3, 12): Path("/p/3.12"), (3, 13): Path("/p/3.13")}


def test_every_python_gets_the_lowest_and_the_newest_dependencies() -> None:
    """Django's series are those that a Python's users have."""
    assert [row.name for row in plan(PYTHONS)] == [
        "3.11-lowest-django-4.2",
        "3.11-highest-django-5.2",
        "3.12-lowest-django-4.2",
        "3.12-highest-django-6.1",
        "3.13-lowest-django-5.2",
        "3.13-highest-django-6.1",
    ]


def test_the_short_form_takes_one_other_python() -> None:
    """The Python that runs the suite is tested by the suite."""
    present = sys.version_info[:2]
    others = {version: path for version, path in PYTHONS.items() if version != present}
    (row,) = short({**PYTHONS, present: Path(sys.executable)})
    assert (row.version, row.resolution) == (min(others), "highest")
    assert short({present: Path(sys.executable)}) == []


def test_the_running_python_is_among_those_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no Python is passed over."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert interpreters() == {sys.version_info[:2]: Path(sys.executable)}
    broken = tmp_path / "python3.12"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    assert release_of(broken) is None
    assert release_of(tmp_path / "none") is None
    assert release_of(Path(sys.executable)) == sys.version_info[:3]


def test_statements_have_no_numbered_placeholders() -> None:
    """Python 3.12.0 to 3.12.3 take `?1` for a name and warn of sequences: an error under `-W error`."""
    numbered = re.compile(r"\?[0-9]+\b")
    found = [
        path.name
        for path in (ROOT / "flagmw").rglob("*.py")
        if "sqlite" in str(path) and numbered.search(path.read_text("utf-8"))
    ]
    assert found == []
