"""Look into an outbox directory from outside: all slots, those of living processes too. Nothing here writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flagmw.outbox import _slots
from flagmw.outbox._events import Unreadable, from_bytes
from flagmw.outbox._seal import Seal
from flagmw.outbox._sqlite_counts import Counts
from flagmw.outbox.base import OutboxStats
from flagmw.types import Event

_WAIT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReport:
    """One slot as it is now.

    Attributes:
        alive: whether a process has it; only that one writes to it.
        trouble: why nothing can be said about it, else None.
    """

    name: str
    alive: bool
    stats: OutboxStats
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter and where it lies; without its event when that cannot be read (sealed, or a later version's)."""

    slot: str
    id: str
    vendor: str
    kind: str
    code: str
    attempts: int
    at: float
    event: Event | None = field(repr=False)


class Survey:
    """The slots of *directory*. *seal* opens what they hold."""

    def __init__(self, directory: Path, seal: Seal) -> None:
        self._directory, self._seal = directory, seal

    def living(self) -> list[str]:
        """Return the slots that processes have."""
        return [_name(number) for number in _slots.numbers(self._directory) if self._alive(number)]

    def orphans(self) -> list[str]:
        """Return the slots that no process has."""
        return [_name(number) for number in _slots.numbers(self._directory) if not self._alive(number)]

    def reports(self, now: float) -> list[SlotReport]:
        """Return every slot with its counts; *now* is seconds since the epoch."""
        found = []
        for number in _slots.numbers(self._directory):
            name, alive = _name(number), self._alive(number)
            try:
                with self._reading(number) as connection:
                    found.append(SlotReport(name=name, alive=alive, stats=_stats(connection, now)))
            except sqlite3.Error as error:
                trouble = f"cannot be read: {error}"
                found.append(SlotReport(name=name, alive=alive, stats=OutboxStats(), trouble=trouble))
        return found

    def letters(self, limit: int) -> list[Letter]:
        """Return up to *limit* dead letters, newest first; slots that cannot be read are passed over."""
        found: list[Letter] = []
        for number in _slots.numbers(self._directory):
            try:
                with self._reading(number) as connection:
                    rows = connection.execute(
                        "SELECT id, vendor, kind, code, attempts, at, body FROM dead ORDER BY n DESC LIMIT ?", (limit,)
                    ).fetchall()
            except sqlite3.Error:
                continue
            for id, vendor, kind, code, attempts, at, body in rows:
                event = self._event(body)
                found.append(
                    Letter(
                        slot=_name(number),
                        id=id,
                        vendor=vendor,
                        kind=kind,
                        code=code,
                        attempts=attempts,
                        at=at,
                        event=event,
                    )
                )
        return sorted(found, key=lambda letter: -letter.at)[:limit]

    def _alive(self, number: int) -> bool:
        slot = _slots.take(self._directory, number)
        if slot is not None:
            slot.free()
        return slot is None

    @contextmanager
    def _reading(self, number: int) -> Iterator[sqlite3.Connection]:
        path = _slots.file_of(self._directory, number)
        # One short transaction: a reader that stays would keep the log from being cut.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)) as connection:
            connection.execute("BEGIN")
            yield connection

    def _event(self, body: bytes) -> Event | None:
        try:
            return from_bytes(self._seal.open(body))
        except Unreadable:
            return None


def _name(number: int) -> str:
    return f"slot-{number}"  # as its file is called


def _stats(connection: sqlite3.Connection, now: float) -> OutboxStats:
    counts = Counts()
    counts.load(connection)
    leased = dict(
        connection.execute("SELECT vendor, count(*) FROM lease JOIN event USING (seq) GROUP BY vendor").fetchall()
    )
    oldest = {}
    for vendor in counts.vendors():
        row = connection.execute(
            "SELECT created FROM event WHERE vendor = ? ORDER BY seq LIMIT 1", (vendor,)
        ).fetchone()
        if row is not None:
            oldest[vendor] = max(0.0, now - row[0])
    return counts.stats(leased, oldest)
