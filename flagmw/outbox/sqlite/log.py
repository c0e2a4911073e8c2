"""Detect commits lost to damage inside a write-ahead log.

SQLite reads a log up to the first frame whose checksum is wrong and takes the rest for leftovers, without a word. What
was committed after that frame is then undone. Source: sqlite.org, "Database File Format", section 4, and "WAL-mode File
Format", section 2.1.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

_HEADER, _FRAME_HEADER = 32, 24


def lost_commits(connection: sqlite3.Connection, path: Path) -> bool:
    """True when the log of the database *path*, which *connection* has read, holds commits that were not read.

    True as well after a commit that a power failure cut off: it was never acknowledged, but cannot be distinguished.
    """
    name = path.with_name(f"{path.name}-wal")
    try:
        if name.stat().st_size <= _HEADER:
            return False
        # What SQLite itself says, for its index must not be opened beside it: closing that would drop its locks
        # ("How To Corrupt An SQLite Database File", section 2.2).
        busy, in_use, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        with name.open("rb") as log:
            header = log.read(_HEADER)
            if not _sound(header):
                return True
            step = _FRAME_HEADER + int.from_bytes(header[8:12], "big")
            place = _HEADER + max(0, in_use) * step
            while not busy:
                log.seek(place)
                frame = log.read(_FRAME_HEADER)
                if len(frame) < _FRAME_HEADER:
                    return False
                # Written since the log began anew, and the last of a commit.
                if frame[8:16] == header[16:24] and frame[4:8] != bytes(4):
                    return True
                place += step
    except (OSError, sqlite3.Error):
        pass
    return False


def _sound(header: bytes) -> bool:
    """True when the log's header has the checksum that it says."""
    order: Literal["big", "little"] = "big" if header[3] & 1 else "little"
    first = second = 0
    for start in range(0, 24, 8):
        first = (first + int.from_bytes(header[start : start + 4], order) + second) & 0xFFFFFFFF
        second = (second + int.from_bytes(header[start + 4 : start + 8], order) + first) & 0xFFFFFFFF
    return header[24:32] == first.to_bytes(4, "big") + second.to_bytes(4, "big")
