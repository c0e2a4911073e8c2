"""The management commands in this process, on a real sandbox."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flagmw import cli
from flagmw.sandbox import SandboxServer
from tests.cli.conftest import Done
from tests.sandbox.adobe_admin import boxed

__all__ = ["Done"]

PREFIXES = ("FLAGMW_", "ADOBE_", "MONETATE_", "CONTENTSTACK_", "XDG_")


class Typed:
    """Runs commands as somebody types them; *sandbox* is added to each when it is set."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.always: list[str] = []

    def __call__(self, *words: str | int | Path, stdin: str | bytes | None = None, **streams: Any) -> Done:
        """Run a command.

        Args:
            stdin: what standard input holds.
            streams: other streams instead, None for a closed one: `stdout`, `stderr`, and `terminal` for input.
        """
        text = stdin.encode() if isinstance(stdin, str) else stdin
        own = {"stdin": streams.pop("terminal", io.TextIOWrapper(io.BytesIO(text or b""), "utf-8")), **streams}
        with self._monkeypatch.context() as patch:
            for name, stream in own.items():
                patch.setattr(sys, name, stream)
            return self._run(words)

    def _run(self, words: tuple[Any, ...]) -> Done:
        self._monkeypatch.setattr(sys, "argv", ["flagmw", *map(str, words), *self.always])
        self._capsys.readouterr()
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        else:
            code = 0
        out, err = self._capsys.readouterr()
        return Done(code, out, err)


@pytest.fixture
def bare(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Typed:
    """Commands in an empty home, with no variable of ours set."""
    for name in os.environ:
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Typed(capsys, monkeypatch)


@pytest.fixture(scope="session")
def _adobe_box() -> Iterator[SandboxServer]:
    with SandboxServer(boxed.scenario(tenant="demo", bulk_s=0.0), seed=7) as server:
        yield server


@pytest.fixture
def adobe_box(_adobe_box: SandboxServer) -> SandboxServer:
    _adobe_box.reset()
    return _adobe_box


@pytest.fixture
def adobe(bare: Typed, adobe_box: SandboxServer) -> Typed:
    """`flagmw adobe` on the sandbox."""
    bare.always = ["--sandbox", adobe_box.url]
    return bare
