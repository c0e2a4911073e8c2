"""Progress on standard error, where that is a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Steps:
    """One line that says how far a long command is; nothing where standard error is no terminal.

    Use it as a context manager.
    """

    def __init__(self, title: str) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        quiet = not sys.stderr.isatty()
        self._progress = Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True)
        self._task = self._progress.add_task(title, total=None)

    def __enter__(self) -> Steps:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Show *text* as the state of things."""
        self._progress.update(self._task, description=text)
