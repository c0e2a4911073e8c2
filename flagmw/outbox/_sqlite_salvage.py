"""What can be saved of a damaged file, or of one that somebody removed while it was open."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.outbox._sqlite_file import connect
from flagmw.outbox._sqlite_rows import DOUBT_ALL

_COPIED = {
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
    "done": ("n", "what, at", ((str, bytes), float)),
}
# Rows read at once; when one of them lies on a destroyed page the range is halved until only that one is lost.
_RANGE = 512


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


def copy_from_file(damaged: Path, target: sqlite3.Connection) -> int:
    """Copy what is readable of *damaged* into the empty *target*; return how many queued events that were.

    What was written last may be missing, so that any event may have been sent: those that must not be sent twice are
    marked as being in doubt.
    """
    source = connect(damaged)
    try:
        # What makes SQLite read a file that is shorter than its header says ("PRAGMA writable_schema").
        source.execute("PRAGMA writable_schema = ON")
        return copy_from(source, target, sure=False)
    finally:
        source.close()


def copy_from(source: sqlite3.Connection, target: sqlite3.Connection, *, sure: bool = True) -> int:
    """Copy what is readable of *source* into the empty *target*; return how many queued events that were.

    Args:
        sure: whether nothing of it can be missing or out of date.
    """
    target.execute("BEGIN IMMEDIATE")
    try:
        for table, (number, columns, kinds) in _COPIED.items():
            marks = ", ".join("?" for _ in kinds)
            insert = f"INSERT OR IGNORE INTO {table} ({number}, {columns}) VALUES (?, {marks})"  # noqa: S608
            for row in _rows(source, table, number, columns):
                if all(isinstance(value, kind) for value, kind in zip(row[1:], kinds, strict=True)):
                    target.execute(insert, row)
        try:
            for lease in source.execute("SELECT seq, token, until, lease_s FROM lease").fetchall():
                target.execute("INSERT OR IGNORE INTO lease VALUES (?, ?, ?, ?)", lease)
        except (sqlite3.Error, UnicodeDecodeError, OverflowError):
            sure = False
        if not sure:
            target.execute(DOUBT_ALL)
        saved = _recount(target, _old_counts(source))
        target.execute("COMMIT")
        return saved
    except BaseException:
        target.execute("ROLLBACK")
        raise


def _rows(source: sqlite3.Connection, table: str, number: str, columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield every row that can be read, in order."""
    last = _last(source, table, number)
    query = f"SELECT {number}, {columns} FROM {table} WHERE {number} BETWEEN ? AND ?"  # noqa: S608
    todo = [(low, min(low + _RANGE - 1, last)) for low in range(0, last + 1, _RANGE)]
    todo.reverse()
    while todo:
        low, high = todo.pop()
        try:
            yield from source.execute(query, (low, high)).fetchall()
        except (sqlite3.Error, UnicodeDecodeError, OverflowError):
            if low < high:
                middle = (low + high) // 2
                todo += [(middle + 1, high), (low, middle)]


def _last(source: sqlite3.Connection, table: str, number: str) -> int:
    """Return the highest number, or where the table's end cannot be read, one that is surely not below it."""
    try:
        return int(source.execute(f"SELECT max({number}) FROM {table}").fetchone()[0] or 0)  # noqa: S608
    except (sqlite3.Error, ValueError, TypeError):
        counts = _old_counts(source)
        return min(10_000_000, sum(n for (_, what, _), n in counts.items() if what == "accepted") * 2)


def _old_counts(source: sqlite3.Connection) -> dict[tuple[str, str, str], int]:
    try:
        rows = source.execute("SELECT vendor, what, code, n FROM counts").fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return {}
    return {
        (vendor, what, code): n
        for vendor, what, code, n in rows
        if isinstance(n, int) and all(isinstance(text, str) for text in (vendor, what, code))
    }


def _recount(target: sqlite3.Connection, old: dict[tuple[str, str, str], int]) -> int:
    """Write counters that agree with the rows: what was accepted and is nowhere any more is dropped as `DAMAGED`."""
    new = {label: n for label, n in old.items() if label[1] in ("accepted", "delivered", "duplicates", "dropped")}
    new |= {label: n for label, n in old.items() if label[1] == "refused"}
    for table, what, size in (("event", "queued", "bytes"), ("dead", "dead", "dead_bytes")):
        for vendor, n, total in target.execute(f"SELECT vendor, count(*), sum(size) FROM {table} GROUP BY vendor"):  # noqa: S608
            new[vendor, what, ""], new[vendor, size, ""] = n, total
    new["", "recent", ""] = target.execute("SELECT count(*) FROM done").fetchone()[0]
    for vendor in {vendor for vendor, what, _ in new if what in ("accepted", "queued", "dead")}:
        ends = [n for (whose, what, _), n in new.items() if whose == vendor and what in _ENDS]
        missing = new.get((vendor, "accepted", ""), 0) - sum(ends)
        if missing > 0:
            label = (vendor, "dropped", str(ErrorCode.DAMAGED))
            new[label] = new.get(label, 0) + missing
        elif missing < 0:
            new[vendor, "accepted", ""] = sum(ends)
    target.execute("DELETE FROM counts")
    target.executemany("INSERT INTO counts VALUES (?, ?, ?, ?)", [(*label, n) for label, n in new.items()])
    return sum(n for (_, what, _), n in new.items() if what == "queued")


_ENDS = ("delivered", "queued", "dead", "dropped")
