"""Business keys of an outbox directory, shared by its processes.

A file of their own, `keys.db`, beside the slots. Whoever tracks with a key reserves it there first, in a transaction
that syncs nothing and takes a fraction of a millisecond. The reservation is pending until the event is in a slot: it
ends with its process, or after a minute. So if an event was never stored, the next one with the key is accepted.
The slots are what counts: a slot that is opened enters its keys anew, and gives up an event whose key is another's.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from flagmw.exceptions import OutboxError
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite.disk import sync
from flagmw.outbox.sqlite.keys_file import KeysFile

PENDING, WAITING, DONE = 0, 1, 2
PENDING_S = 60.0
_SLACK_S = 3600.0
_TRIM_EVERY = 1024
# Where the policy sets no end.
_WAITING_MAX_S = 14 * 86400.0
_MOST = 100_000
_PUT = "REPLACE INTO held (key, id, state, at, owner) VALUES (?, ?, ?, ?, ?)"


class KeyHolder(NamedTuple):
    """A business key, as a digest, and the event that reports it."""

    key: bytes
    id: str


class KeyChange(NamedTuple):
    """A key's new state: *state* is WAITING or DONE, or None when it is free again."""

    key: bytes
    id: str | None
    state: int | None


class DirectoryKeys:
    """The keys, as one process uses them, from any of its threads. Opens nothing before the first use.

    Args:
        policy: says how long a key is held by an event that waits, and by one that is settled, and how many are kept.
    """

    def __init__(
        self,
        directory: Path,
        policy: Policy,
        *,
        allow_network: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        done_s = policy.recent_max_age_s
        waiting_s = min(policy.max_age_s, _WAITING_MAX_S) + done_s
        # Settled keys are given up by the slots, by their own clocks; this is for slots that are not there any more.
        self._ages = {PENDING: PENDING_S, WAITING: waiting_s, DONE: done_s + _SLACK_S}
        self._most = policy.recent_max_rows or _MOST
        self._file = KeysFile(directory, allow_network=allow_network, clock=clock)
        self._changed = 0
        self._todo: list[KeyChange] = []

    def reserve(self, wanted: Sequence[KeyHolder]) -> set[str]:
        """Return the ids whose key another event holds; the other keys are theirs now, for a minute unless kept.

        Raises:
            OutboxError: the file cannot be used.
        """
        with self._file.transaction() as (connection, at):
            for change in list(self._todo):
                # Committed in a slot, and not noted here so far.
                self._change(connection, change, at)
            return {holder.id for holder in wanted if not self._take(connection, holder, PENDING, at)}

    def enter(self, held: Sequence[KeyHolder]) -> set[str]:
        """As `reserve`, for events that are in a slot: the keys stay theirs."""
        with self._file.transaction() as (connection, at):
            return {holder.id for holder in held if not self._take(connection, holder, WAITING, at)}

    def apply(self, changes: Sequence[KeyChange] = ()) -> bool:
        """Note what was committed in a slot, and have it on the disk; return whether that is done, or is left to do."""
        self._todo += changes
        if not self._todo:
            return True
        try:
            with self._file.transaction() as (connection, at):
                for change in self._todo:
                    self._change(connection, change, at)
                self._changed += len(self._todo)
                if self._changed >= _TRIM_EVERY:
                    self._changed = 0
                    self._trim(connection, at)
            if any(change.state == WAITING for change in self._todo):
                # Not within the transaction, which would hold up other processes' requests.
                sync(self._file.log)
        except (OutboxError, OSError):
            del self._todo[: -self._most]
            return False
        self._todo = []
        return True

    def identity(self) -> str:
        """Return the file's identity: a file that replaces it has another one.

        Raises:
            OutboxError: the file cannot be used.
        """
        with self._file.transaction():
            return self._file.instance

    @property
    def instance(self) -> str:
        """The file that is open: slots that have entered their keys in another one do so again."""
        return self._file.instance

    def tidy(self) -> None:
        """Write a long log back; nobody waits for the disk meanwhile."""
        self._file.tidy()

    def close(self) -> None:
        self._file.close()

    # Rows

    def _take(self, connection: sqlite3.Connection, wanted: KeyHolder, state: int, at: float) -> bool:
        """Give the key to *wanted* unless another event holds it; return whether it has it."""
        row = connection.execute("SELECT id, state, at, owner FROM held WHERE key = ?", (wanted.key,)).fetchone()
        if row is not None:
            holder, was, since, owner = row
            if holder == wanted.id and was >= state:
                return True
            over = since <= at - self._ages.get(was, 0.0) or (was == PENDING and not self._file.owner.lives(owner))
            if holder != wanted.id and not over:
                return False
        owner = self._file.owner.name() if state == PENDING else ""
        connection.execute(_PUT, (wanted.key, wanted.id, state, at, owner))
        return True

    def _change(self, connection: sqlite3.Connection, change: KeyChange, at: float) -> None:
        if change.state is None:
            connection.execute(
                "DELETE FROM held WHERE key = :key AND (id = :id OR (:id IS NULL AND state = :done))",
                {"key": change.key, "id": change.id, "done": DONE},
            )
            return
        row = connection.execute("SELECT id, state FROM held WHERE key = ?", (change.key,)).fetchone()
        if row is None or row[0] == change.id:
            connection.execute(_PUT, (change.key, change.id, change.state, at, ""))

    def _trim(self, connection: sqlite3.Connection, at: float) -> None:
        for state, age_s in self._ages.items():
            connection.execute("DELETE FROM held WHERE state = ? AND at <= ?", (state, at - age_s))
        (done,) = connection.execute("SELECT count(*) FROM held WHERE state = ?", (DONE,)).fetchone()
        if done > self._most:
            connection.execute(
                "DELETE FROM held WHERE key IN (SELECT key FROM held WHERE state = ? ORDER BY at LIMIT ?)",
                (DONE, done - self._most),
            )
