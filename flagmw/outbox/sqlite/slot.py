"""One slot's open file."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

from flagmw._support.encryption import Cipher
from flagmw.exceptions import OutboxError
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite import slot_lock
from flagmw.outbox.sqlite.disk import Reserve, is_low, reserve_bytes
from flagmw.outbox.sqlite.queue import SlotQueue
from flagmw.outbox.sqlite.recovery import Recovery
from flagmw.outbox.sqlite.rows import SlotLimits

# How often one looks whether the files are still there.
_LOOK_S = 0.02
# How long nothing is tried again after it failed.
RETRY_S = 5.0


# In place of the file that the business keys are in: some of them are still to be entered.
KEYS_LEFT = "left"


@dataclass(frozen=True, kw_only=True)
class SlotOptions:
    """The options of a directory; see `SqliteOutbox`."""

    directory: Path
    policy: Policy
    limits: SlotLimits
    seal: Cipher
    rng: random.Random
    required: bool = False
    allow_network: bool = False
    adopt_copies: bool = False
    full_sync: bool = True
    disk_is_low: Callable[[Path], bool] = is_low
    on_work: Callable[[], None] = field(default=lambda: None)


@dataclass(slots=True)
class OpenSlot:
    """A slot that this process has, with its file.

    Attributes:
        files: the inodes of database, log and index, which tell when somebody has removed or replaced one.
        tags: what lease tokens of this slot begin with.
        adrift: why its files have no name at the moment, so that they end with this process.
        salvage: what is still to be copied from a damaged file.
    """

    slot: slot_lock.Slot
    connection: sqlite3.Connection
    book: SlotQueue
    reserve: Reserve
    files: tuple[int, ...]
    tags: tuple[str, ...]
    version: int = -1
    begun: bool = False
    used: bool = False
    checked: bool = False
    reserved: bool = False
    reserve_at: float = 0.0
    adrift: str | None = None
    retry_at: float = 0.0
    salvage: Recovery | None = None
    paths: tuple[str, ...] = ()
    seen_at: float = 0.0
    keys_in: str = ""

    def __post_init__(self) -> None:
        self.paths = paths_of(self.slot.path)

    @property
    def log(self) -> Path:
        return Path(self.paths[1])

    def become(self, new: OpenSlot) -> None:
        """Take over all of *new*; leases that were handed out before are still known."""
        tags = self.tags
        for attribute in fields(self):
            setattr(self, attribute.name, getattr(new, attribute.name))
        self.tags = (*tags, *new.tags)


def vanished(slot_file: OpenSlot, *, sure: bool) -> bool:
    """True when somebody has removed a file of *slot_file*; looked at now and then only, unless it must be *sure*."""
    now = time.monotonic()
    if not sure and now < slot_file.seen_at + _LOOK_S:
        return False
    slot_file.seen_at = now
    return any(inode_of(path) != inode for path, inode in zip(slot_file.paths, slot_file.files, strict=True))


def drop(slot_file: OpenSlot) -> None:
    """Close the file and let others have the slot."""
    slot_file.begun = False
    if slot_file.salvage is not None:
        slot_file.salvage.close()
    with contextlib.suppress(sqlite3.Error):
        slot_file.connection.close()
    slot_file.slot.connection = None
    slot_file.slot.free()


def reserve_of(path: Path) -> Reserve:
    return Reserve(path.with_suffix(".reserve"), reserve_bytes(path.parent))


def paths_of(path: Path) -> tuple[str, ...]:
    return str(path), f"{path}-wal", f"{path}-shm"


def inode_of(path: str | Path) -> int:
    """Return the inode of *path*; 0 when there is nothing."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116
    except OSError:
        return 0


def error_text(error: Exception) -> str:
    """Return *error* as text for people, without what SQLite may quote of the data."""
    if isinstance(error, OutboxError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return getattr(error, "sqlite_errorname", type(error).__name__)
