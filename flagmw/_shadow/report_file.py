"""File with the reports of shadow vendors, one entry per process."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flagmw._shadow.report import Document, together

PROCESSES_MAX = 64


def write(path: Path, process: str, document: Document) -> None:
    """Put *document* in the place of what *process* has written before; the file is whole at any moment.

    Raises:
        OSError: the file cannot be written.
        ValueError: what is there is no such file; it is left alone.
    """
    with _alone(path):
        processes = {**_read(path), process: document} if path.exists() else {process: document}
        latest = sorted(processes, key=lambda name: float(processes[name].get("until", 0)))[-PROCESSES_MAX:]
        text = json.dumps({"flagmw_shadow": 1, "processes": {name: processes[name] for name in latest}})
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_text(text, "utf-8")
        draft.replace(path)


def read(path: Path) -> Document:
    """Return what all processes have reported together.

    Raises:
        OSError: there is no such file.
        ValueError: it holds something else.
    """
    return together(_read(path).values())


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is no report of shadow vendors") from None
    processes = document.get("processes") if isinstance(document, dict) and document.get("flagmw_shadow") == 1 else None
    if not isinstance(processes, dict) or not all(isinstance(entry, dict) for entry in processes.values()):
        raise ValueError(f"{path} is no report of shadow vendors")
    return processes


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from writing at the same time, where the platform has locks on files."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
