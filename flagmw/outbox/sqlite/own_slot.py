"""The slot that a process stores its own events in."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
from pathlib import Path

from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite import slot_lock
from flagmw.outbox.sqlite.database import lacks_room
from flagmw.outbox.sqlite.disk import is_low, remote_type
from flagmw.outbox.sqlite.slot import RETRY_S, OpenSlot, SlotOptions, error_text
from flagmw.outbox.sqlite.slot_opener import SlotOpener

# What a process runs out of, which says nothing of a slot.
_OF_THE_PROCESS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class OwnSlot:
    """The process's own slot, taken at the first use and again after it failed.

    Attributes:
        slot_file: the slot; None while there is none.
        trouble: why there is none, as text.
    """

    def __init__(self, options: SlotOptions, opener: SlotOpener, throttle: Throttle) -> None:
        self._options, self._opener, self._throttle = options, opener, throttle
        self.slot_file: OpenSlot | None = None
        self.trouble: str | None = None
        self._retry_at = 0.0

    def get(self) -> OpenSlot:
        """Return the slot, taken at the first call.

        Raises:
            OutboxError: none can be had at the moment; the text says why.
        """
        if self.slot_file is None:
            if self.trouble is not None and time.monotonic() < self._retry_at:
                raise OutboxError(self.trouble)
            try:
                self.slot_file = self._take_first()
            except (OSError, sqlite3.Error, OutboxError) as error:
                self.failed(error)
                raise OutboxError(self.trouble) from None
            if self.trouble is not None:
                self.trouble = None
                self._throttle.change(logging.WARNING, ErrorCode.OUTBOX_FAILED, "events are kept on disk again")
        return self.slot_file

    def failed(self, error: Exception) -> None:
        """Note and log that the slot is lost to *error*."""
        self.slot_file = None
        self.trouble = error_text(error)
        self._retry_at = time.monotonic() + RETRY_S
        consequence = "nothing is stored" if self._options.required else "events are kept in memory only"
        self._throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"{consequence}: {self.trouble}")

    def _take_first(self) -> OpenSlot:
        directory = self._options.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        remote = remote_type(directory)
        if remote is not None and not self._options.allow_network:
            raise OutboxError(
                f"the outbox is on a network file system ({remote}), where file locks cannot be trusted: "
                "choose a local directory, or add ?network=allow"
            )
        for number in range(slot_lock.MAX_SLOTS):
            slot_file = self._take(directory, number)
            if slot_file is not None:
                return slot_file
        raise OutboxError(f"all {slot_lock.MAX_SLOTS} slots of the outbox are taken")

    def _take(self, directory: Path, number: int) -> OpenSlot | None:
        """Return slot *number*; None if another has it or it cannot be opened, which says nothing of the others.

        Raises:
            sqlite3.Error, OSError, OutboxError: not even a new one can be made there.
        """
        path = slot_lock.file_of(directory, number)
        new = not os.path.lexists(path) and not os.path.lexists(path.with_suffix(".lock"))
        slot = None
        try:
            slot = slot_lock.take(directory, number)
            return None if slot is None else self._opener.open(slot)
        except (OutboxError, OSError, sqlite3.Error) as error:
            if new:
                # No empty files are left behind with every try.
                for new_path in (path, path.with_suffix(".lock")) if slot is not None else ():
                    new_path.unlink(missing_ok=True)
            if slot is not None:
                slot.free()
            if new or (isinstance(error, OSError) and error.errno in _OF_THE_PROCESS):
                raise
            if isinstance(error, sqlite3.Error) and lacks_room(error) and is_low(directory):
                raise
            self._opener.leave(number, error)
            return None
