"""The journal of an upload: the state of each part."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from flagmw.admin.errors import ConflictError, InvalidError

NAME = "journal.jsonl"


class Part(Protocol):
    """What the journal notes of a part."""

    @property
    def number(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def first_row(self) -> int: ...
    @property
    def last_row(self) -> int: ...


@dataclass(slots=True)
class Entry:
    """What is known of a part.

    Attributes:
        attempts: how often its sending began. More than one means that the vendor may have it twice, which sets the
            same values again.
        taken: whether the vendor has accepted it.
        status_url: where the vendor says how far it is.
    """

    digest: str
    attempts: int = 0
    taken: bool = False
    status_url: str | None = None


class Journal:
    """A folder that one upload writes what it does to, so that it can go on after a kill.

    Each line is on disk before the next step is taken. Another process on the same folder is refused.

    Args:
        folder: made where it is missing.
        settings: what the parts depend on; another upload's folder is refused.
        durable: whether each line is forced to disk; not needed for a folder that nothing is resumed from.

    Raises:
        ConflictError: another process is uploading from this folder.
        InvalidError: the folder belongs to an upload with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, durable: bool = True) -> None:
        self.folder, self._durable = folder, durable
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConflictError(
                f"another process is uploading from {folder}; wait for it or use another folder"
            ) from None
        self.entries: dict[int, Entry] = {}
        self._file = os.fdopen(os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        try:
            self._read(dict(settings))
        except BaseException:
            self.close()
            raise

    @property
    def resumed(self) -> bool:
        """True when there was something to go on with."""
        return bool(self.entries)

    def made(self, part: Part) -> Entry:
        """Note that *part* is ready, and return what is known of it.

        Raises:
            ConflictError: a part of this number was made before and had other content: the source has changed.
        """
        known = self.entries.get(part.number)
        if known is None:
            known = self.entries[part.number] = Entry(part.digest)
            self._write({"part": part.number, "digest": part.digest, "rows": part.rows, "bytes": part.bytes})
        elif known.digest != part.digest:
            text = (
                f"part {part.number} (rows {part.first_row} to {part.last_row} of the source) is not what it was when "
                f"the upload began: the source has changed. Go on with the source as it was, or start in a new folder"
            )
            raise ConflictError(text)
        return known

    def sending(self, part: Part) -> None:
        """Note that *part* is about to be sent; from here on the vendor may have it."""
        entry = self.entries[part.number]
        entry.attempts += 1
        self._write({"part": part.number, "sending": entry.attempts})

    def not_sent(self, part: Part) -> None:
        """Note that the vendor surely did not take *part*."""
        self.entries[part.number].attempts -= 1
        self._write({"part": part.number, "not_sent": True})

    def taken(self, part: Part, status_url: str | None = None) -> None:
        """Note that the vendor has accepted *part*."""
        entry = self.entries[part.number]
        entry.taken, entry.status_url = True, status_url
        self._write({"part": part.number, "taken": True, "status_url": status_url})

    def close(self) -> None:
        """Let other processes use the folder."""
        self._file.close()
        os.close(self._lock)

    def _read(self, settings: dict[str, Any]) -> None:
        whole = [line for line in self._file if line.endswith(b"\n")]
        # A kill can leave half of a line; what it was about to say has not happened yet.
        self._file.truncate(sum(len(line) for line in whole))
        self._file.seek(0, os.SEEK_END)
        if not whole:
            self._write({"settings": settings})
            return
        if orjson.loads(whole[0]).get("settings") != settings:
            text = f"{self.folder} belongs to an upload with other options; use the same ones, or another folder"
            raise InvalidError(text, field="journal")
        for line in whole[1:]:
            self._note(orjson.loads(line))

    def _note(self, line: Mapping[str, Any]) -> None:
        number = line["part"]
        if "digest" in line:
            self.entries[number] = Entry(line["digest"])
        elif "sending" in line:
            self.entries[number].attempts = line["sending"]
        elif "not_sent" in line:
            self.entries[number].attempts -= 1
        elif "taken" in line:
            self.entries[number].taken, self.entries[number].status_url = True, line["status_url"]

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(orjson.dumps(line) + b"\n")
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())
