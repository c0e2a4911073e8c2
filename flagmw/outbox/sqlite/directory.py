"""Administration of a whole outbox directory.

A second connection looks at a file or changes it in a transaction of its own; the process that has the slot notices
at its next one. Slots that cannot be opened are listed with their state.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from flagmw._support.encryption import Cipher, PlainText
from flagmw.exceptions import OutboxError
from flagmw.outbox.base import DeadLetter, OutboxStats
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite import slot_lock
from flagmw.outbox.sqlite.business_keys import DirectoryKeys
from flagmw.outbox.sqlite.database import BUSY_S, SCHEMA, marks
from flagmw.outbox.sqlite.queue import SlotQueue
from flagmw.outbox.sqlite.rows import SlotLimits
from flagmw.types import Event

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatus:
    """One slot as it is now.

    Attributes:
        state: "live" (a process has it), "free" (the next one takes it), or "unreadable" with *why*.
        unreadable: queued events that the code or the keys at hand cannot read.
        file_bytes, log_bytes: how large the database and its log are.
    """

    number: int
    state: str
    why: str | None = None
    stats: OutboxStats = field(default_factory=OutboxStats)
    unreadable: int = 0
    file_bytes: int = 0
    log_bytes: int = 0


class Directory:
    """All slots of a `SqliteOutbox` in *directory*.

    Args:
        seal: opens what is encrypted; as the processes have it.
    """

    def __init__(self, directory: str | Path, policy: Policy | None = None, *, seal: Cipher | None = None) -> None:
        self._directory, self._policy, self._seal = Path(directory), policy or Policy(), seal or PlainText()

    def status(self) -> list[SlotStatus]:
        return [self._status(number) for number in slot_lock.numbers(self._directory)]

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """Return dead letters of all slots, newest first."""
        letters = [
            letter for number in self._readable() for letter in self._read(number, lambda book: book.dead(limit))
        ]
        return sorted(letters, key=lambda letter: -letter.at)[:limit]

    def revive(self, ids: Collection[str] | None, now: float) -> int:
        """As `Outbox.revive`."""
        return sum(self._in(number, lambda book: book.revive(ids, now)) for number in self._readable())

    def forget(self, ids: Collection[str] | None) -> int:
        """As `Outbox.forget`."""
        return sum(self._in(number, lambda book: book.forget(ids)) for number in self._readable())

    def purge(self, matches: Callable[[Event], bool], now: float) -> int:
        """As `Outbox.purge`."""
        return sum(self._purge(number, table, matches, now) for number in self._readable() for table in _TABLES)

    def _purge(self, number: int, table: str, matches: Callable[[Event], bool], now: float) -> int:
        gone, after = 0, -1
        while True:
            more, last = self._in(number, partial(_stretch, matches, now, after, table))
            gone += more
            if last is None:
                return gone
            after = last

    def _in(self, number: int, do: Callable[[SlotQueue], T]) -> T:
        """Return the result of *do* for slot *number*'s book, in one transaction.

        Raises:
            OutboxError: the file is locked for too long, or damaged.
        """
        try:
            with slot_lock.looking_into(self._directory, number), closing(self._connect(number)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                book = self._book(connection, number)
                with closing(DirectoryKeys(self._directory, self._policy)) as keys:
                    book.keys.shared = keys
                    result = do(book)
                    book.save()
                    connection.execute("COMMIT")
                    keys.apply(book.keys.changes)
                return result
        except sqlite3.Error as error:
            raise OutboxError(f"slot {number} of the outbox: {getattr(error, 'sqlite_errorname', 'error')}") from None

    def _read(self, number: int, do: Callable[[SlotQueue], T]) -> T:
        """As `_in`, for what only looks: nothing is written, not even what SQLite would tidy up."""
        try:
            with slot_lock.looking_into(self._directory, number), closing(self._connect(number, "ro")) as connection:
                connection.execute("BEGIN")
                return do(self._book(connection, number))
        except sqlite3.Error as error:
            raise OutboxError(f"slot {number} of the outbox: {getattr(error, 'sqlite_errorname', 'error')}") from None

    def _book(self, connection: sqlite3.Connection, number: int) -> SlotQueue:
        rng = random.Random()  # noqa: S311 - spreads retries, guards nothing
        book = SlotQueue(connection, f"{number}.admin.", self._policy, _NO_LIMITS, self._seal, rng, owner=False)
        book.load()
        return book

    def _status(self, number: int) -> SlotStatus:
        path = slot_lock.file_of(self._directory, number)
        log = path.with_name(f"{path.name}-wal")
        sizes = [p.stat().st_size if p.exists() else 0 for p in (path, log)]
        free = slot_lock.is_free(self._directory, number)
        try:
            if not self._known(number):
                why = "written by a later version of flagmw"
                return SlotStatus(number=number, state="unreadable", why=why, file_bytes=sizes[0], log_bytes=sizes[1])
            stats, unreadable = self._read(number, lambda book: (book.stats(time.time()), book.unreadable))
        except (OutboxError, sqlite3.Error) as error:
            why = str(error)
            return SlotStatus(number=number, state="unreadable", why=why, file_bytes=sizes[0], log_bytes=sizes[1])
        return SlotStatus(
            number=number,
            state="free" if free else "live",
            stats=stats,
            unreadable=unreadable,
            file_bytes=sizes[0],
            log_bytes=sizes[1],
        )

    def _readable(self) -> Iterator[int]:
        for number in slot_lock.numbers(self._directory):
            try:
                if self._known(number):
                    yield number
            except sqlite3.Error:
                continue

    def _known(self, number: int) -> bool:
        with slot_lock.looking_into(self._directory, number), closing(self._connect(number, "ro")) as connection:
            reader = marks(connection).get("reader")
            return isinstance(reader, int) and reader <= SCHEMA

    def _connect(self, number: int, mode: str = "rw") -> sqlite3.Connection:
        path = slot_lock.file_of(self._directory, number)
        uri = f"{path.resolve().as_uri()}?mode={mode}"
        return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)


def _stretch(
    matches: Callable[[Event], bool], now: float, after: int, table: str, book: SlotQueue
) -> tuple[int, int | None]:
    return book.purge(matches, now, after, table)


_TABLES = ("event", "dead")
_NO_LIMITS = SlotLimits(max_rows=1 << 62, max_bytes=1 << 62)
