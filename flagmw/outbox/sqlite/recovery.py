"""Recovery of rows from a damaged file, in small steps."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.outbox.sqlite.counters import SlotCounts
from flagmw.outbox.sqlite.database import connect, mark, marks
from flagmw.outbox.sqlite.header import mend
from flagmw.outbox.sqlite.rows import HANDED_OUT

# What must not be accepted again comes first. Rows get new numbers, for those of the new file go on meanwhile; they
# are copied in their order, and come due in it.
_COPIED = {
    "done": ("n", "what, at", ((str, bytes), (float, int))),
    "event": (
        "seq",
        "id, vendor, kind, visitor, key, once, created, due, attempts, refusals, refused_at, size, body",
        (str, str, str, str, (bytes, type(None)), int, float, float, int, int, (float, type(None)), int, bytes),
    ),
    "dead": (
        "n",
        "id, vendor, kind, visitor, key, once, attempts, code, at, size, body",
        (str, str, str, str, (bytes, type(None)), int, int, str, float, int, bytes),
    ),
}
_TABLES = tuple(_COPIED)
# What the counts say of rows that are still to be copied.
_MISSING = {"event": ("missing", "missing_bytes"), "dead": ("missing_dead", "missing_dead_bytes")}
_KEPT = {"event": ("queued", "bytes"), "dead": ("dead", "dead_bytes")}
# Rows read at once; when one of them lies on a destroyed page the range is halved until only that one is lost.
_RANGE = 64
# Rows copied in one transaction, and the seconds after which no more are read for it: whoever stores an event waits.
_STEP, _STEP_S = 512, 0.01


def set_aside(path: Path) -> Path | None:
    """Rename the file at *path* and its log so that nothing uses them; return the new name, None if there is none."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    with contextlib.suppress(OSError):
        path.with_name(f"{path.name}-shm").unlink()
    with contextlib.suppress(OSError):
        path.with_name(f"{path.name}-wal").rename(aside.with_name(f"{aside.name}-wal"))
    try:
        path.rename(aside)
    except OSError:
        return None
    return aside


class Recovery:
    """The copying of one damaged file into the one that has taken its place.

    Until a row is copied the counts have it as queued, or as dead; those that cannot be had are dropped as `DAMAGED`
    at the end. How far it has come is in the new file, so that the next process goes on after a kill.
    """

    def __init__(self, damaged: Path, table: str, after: int, saved: int = 0) -> None:
        self.damaged, self.saved = damaged, saved
        self._table, self._after = table, after
        self._source: sqlite3.Connection | None = None
        self._last: int | None = None

    @classmethod
    def begin(cls, damaged: Path, target: sqlite3.Connection) -> None:
        """Note in *target*, which is new, that *damaged* is to be copied, and take over its counts."""
        with contextlib.suppress(OSError):
            mend(damaged)
        old: dict[tuple[str, str, str], int] = {}
        if damaged.stat().st_size:
            with contextlib.suppress(sqlite3.Error), contextlib.closing(_readable(damaged)) as source:
                old = _old_counts(source)
        target.execute("BEGIN IMMEDIATE")
        rows = [(*label, count) for label, count in _expected(old).items()]
        target.executemany("REPLACE INTO counts VALUES (?, ?, ?, ?)", rows)
        cls(damaged, _TABLES[0], -1)._note(target)
        target.execute("COMMIT")

    @classmethod
    def under_way(cls, path: Path, target: sqlite3.Connection) -> Recovery | None:
        """Return the unfinished recovery into *target*, the database at *path*; None when that is nothing."""
        noted = marks(target).get("salvage")
        if not isinstance(noted, str):
            return None
        state = json.loads(noted)
        return cls(path.with_name(state["from"]), state["table"], state["after"], state["saved"])

    def step(self, target: sqlite3.Connection, counts: SlotCounts) -> bool:
        """Copy some rows in the transaction of *target*; return whether that was the end."""
        end = time.monotonic() + _STEP_S
        for _ in range(_STEP // _RANGE):
            if self._copy(target, counts):
                return True
            if time.monotonic() >= end:
                break
        self._note(target)
        return False

    def _copy(self, target: sqlite3.Connection, counts: SlotCounts) -> bool:
        """Copy the next rows; return whether those were the last."""
        number, columns, kinds = _COPIED[self._table]
        try:
            if self._source is None:
                self._source = _readable(self.damaged)
            if self._last is None:
                self._last = _last(self._source, self._table, number, counts)
            high = min(self._after + _RANGE, self._last)
            select = f"SELECT {number}, {columns} FROM {self._table}"  # noqa: S608 - our own names
            rows = _rows(self._source, select, number, self._after + 1, high)
        except (sqlite3.Error, OSError):
            # Nothing of this table can be read; the file is kept for an examination by hand.
            self._last, high, rows = self._after, self._after, []
        values = ", ".join("?" * len(kinds))
        insert = f"INSERT OR IGNORE INTO {self._table} ({columns}) VALUES ({values})"  # noqa: S608 - our own names
        for _, *row in rows:
            if all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True)):
                self._insert(target, counts, insert, row)
        self._after = high
        if high >= self._last:
            table = _TABLES.index(self._table) + 1
            if table == len(_TABLES):
                self._finish(target, counts)
                return True
            self._table, self._after, self._last = _TABLES[table], -1, None
        return False

    def close(self) -> None:
        """Close the damaged file."""
        source, self._source, self._last = self._source, None, None
        if source is not None:
            with contextlib.suppress(sqlite3.Error):
                source.close()

    def back(self, path: Path, target: sqlite3.Connection) -> None:
        """Go back to what *target* says, after a transaction that failed."""
        noted = self.under_way(path, target)
        if noted is not None:
            self._table, self._after, self.saved, self._last = noted._table, noted._after, noted.saved, None

    def _insert(self, target: sqlite3.Connection, counts: SlotCounts, insert: str, row: list[Any]) -> None:
        if self._table == "event":
            row[5] = HANDED_OUT if row[5] else 0
        if target.execute(insert, row).rowcount != 1:
            return
        if self._table == "done":
            counts.add("", "recent")
            return
        vendor, size = row[1], row[-2]
        (missing, missing_bytes), (rows_label, kept_bytes) = _MISSING[self._table], _KEPT[self._table]
        self.saved += self._table == "event"
        if counts.get(vendor, missing) > 0:
            counts.add(vendor, missing, -1)
        else:
            # The old counts knew less than the table did.
            counts.add(vendor, "accepted")
            counts.add(vendor, rows_label)
        known = min(size, counts.get(vendor, missing_bytes))
        counts.add(vendor, missing_bytes, -known)
        counts.add(vendor, kept_bytes, size - known)

    def _finish(self, target: sqlite3.Connection, counts: SlotCounts) -> None:
        """Drop what could not be copied."""
        for table, (missing, missing_bytes) in _MISSING.items():
            rows_label, kept_bytes = _KEPT[table]
            for vendor in counts.vendors(missing):
                lost = counts.get(vendor, missing)
                counts.add(vendor, missing, -lost)
                counts.add(vendor, rows_label, -lost)
                counts.add(vendor, "dropped", lost, ErrorCode.DAMAGED)
            for vendor in counts.vendors(missing_bytes):
                size = counts.get(vendor, missing_bytes)
                counts.add(vendor, missing_bytes, -size)
                counts.add(vendor, kept_bytes, -size)
        target.execute("DELETE FROM meta WHERE name = 'salvage'")

    def _note(self, target: sqlite3.Connection) -> None:
        state = {"from": self.damaged.name, "table": self._table, "after": self._after, "saved": self.saved}
        mark(target, "salvage", json.dumps(state))


def _readable(damaged: Path) -> sqlite3.Connection:
    """Open a damaged file.

    Raises:
        OSError, sqlite3.Error: it is not there, or holds nothing.
    """
    if not damaged.stat().st_size:
        raise OSError(f"{damaged.name} is empty")
    source = connect(damaged)
    try:
        # What makes SQLite read a file that is shorter than its header says ("PRAGMA writable_schema").
        source.execute("PRAGMA writable_schema = ON")
    except sqlite3.Error:
        source.close()
        raise
    return source


def _rows(source: sqlite3.Connection, select: str, number: str, low: int, high: int) -> list[tuple[Any, ...]]:
    """Return every row with a number from *low* to *high* that can be read, in order."""
    rows: list[tuple[Any, ...]] = []
    todo = [(low, high)]
    while todo:
        low, high = todo.pop()
        try:
            rows += source.execute(f"{select} WHERE {number} BETWEEN ? AND ?", (low, high)).fetchall()
        except (sqlite3.Error, UnicodeDecodeError, OverflowError):
            if low < high:
                middle = (low + high) // 2
                todo += [(middle + 1, high), (low, middle)]
    return rows


def _last(source: sqlite3.Connection, table: str, number: str, counts: SlotCounts) -> int:
    """Return the highest number, or where the table's end cannot be read, one that is surely not below it."""
    try:
        return int(source.execute(f"SELECT max({number}) FROM {table}").fetchone()[0] or 0)  # noqa: S608
    except (sqlite3.Error, ValueError, TypeError):
        return min(10_000_000, counts.total("accepted") * 2)


def _old_counts(source: sqlite3.Connection) -> dict[tuple[str, str, str], int]:
    try:
        rows = source.execute("SELECT vendor, what, code, n FROM counts").fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return {}
    return {
        (vendor, what, code): count
        for vendor, what, code, count in rows
        if isinstance(count, int) and all(isinstance(text, str) for text in (vendor, what, code))
    }


def _expected(old: dict[tuple[str, str, str], int]) -> dict[tuple[str, str, str], int]:
    """Return counts that balance, with every row that is still to be copied as missing."""
    new = {label: max(0, count) for label, count in old.items() if label[1] in _TAKEN_OVER}
    for table, rows_label in _KEPT.items():
        for what, missing in zip(rows_label, _MISSING[table], strict=True):
            # What the damaged file missed itself, of one that was damaged before, is missing still.
            new |= {
                (vendor, missing, ""): count for (vendor, counted, _), count in list(new.items()) if counted == what
            }
    for vendor in {vendor for vendor, what, _ in new if what in ("accepted", *_ENDS)}:
        ends = sum(count for (whose, what, _), count in new.items() if whose == vendor and what in _ENDS)
        lost = new.get((vendor, "accepted", ""), 0) - ends
        if lost > 0:
            label = (vendor, "dropped", str(ErrorCode.DAMAGED))
            new[label] = new.get(label, 0) + lost
        elif lost < 0:
            new[vendor, "accepted", ""] = ends
    return new


_ENDS = ("delivered", "queued", "dead", "dropped")
_TAKEN_OVER = ("accepted", "duplicates", "refused", "bytes", "dead_bytes", "now", "unseen", *_ENDS)
