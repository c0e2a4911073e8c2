"""The least that can keep events: a queue, one thread, one table, and a commit for whatever has come in."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

TABLE = "CREATE TABLE event (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, body BLOB)"


def connect(folder: Path, sync: str) -> sqlite3.Connection:
    """Return a connection set up as the outbox's own, with the table of the bare rows."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode = WAL", f"synchronous = {sync}", "wal_autocheckpoint = 4000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(TABLE)
    return connection


class BareWriter:
    """Insert events in groups. No ids to compare, no counters, no leases.

    Args:
        sync: what SQLite calls it: "FULL" survives a power cut, "NORMAL" a killed process.
        loop: whose tasks wait, None for threads. It is told once for a whole group.
    """

    def __init__(self, folder: Path, sync: str = "FULL", loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._jobs: queue.SimpleQueue[tuple[str, bytes, Any] | None] = queue.SimpleQueue()
        self._told = loop
        self._connection = connect(folder, sync)
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> BareWriter:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    def submit(self, event: dict[str, Any]) -> Any:
        """Return the future of *event*: a thread's, or the loop's."""
        stored: Any = Future() if self._told is None else self._told.create_future()
        self._jobs.put((event["id"], orjson.dumps(event), stored))
        return stored

    def _write(self) -> None:
        over = False
        while not over:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            work = [job for job in jobs if job is not None]
            over = len(work) < len(jobs)
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO event (id, body) VALUES (?, ?)", [job[:2] for job in work])
            self._connection.execute("COMMIT")
            if self._told is None:
                _settle(work)
            else:
                self._told.call_soon_threadsafe(_settle, work)


def _settle(work: list[tuple[str, bytes, Any]]) -> None:
    for _, _, stored in work:
        stored.set_result(None)
