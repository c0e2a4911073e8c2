"""Public names, signatures, attributes and commands are those of public_api.txt."""

from __future__ import annotations

import difflib
import subprocess
import sys

from tests.project.public_api import SNAPSHOT, text


def test_public_names_are_unchanged() -> None:
    """A change that is meant is written down: python -m tests.project.public_api."""
    before, now = SNAPSHOT.read_text("utf-8").splitlines(), text().splitlines()
    assert list(difflib.unified_diff(before, now, "public_api.txt", "now", lineterm="", n=0)) == []


def test_import_loads_no_event_loop() -> None:
    """A script that imports the package pays for no event loop, sockets or TLS."""
    heavy = ("asyncio", "socket", "sqlite3", "ssl", "subprocess")
    code = f"import sys, flagmw; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == "[]"
