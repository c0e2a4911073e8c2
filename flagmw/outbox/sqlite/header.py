"""Check and repair the first bytes of a database file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

# Place and value ("Database File Format", section 1.3, sqlite.org). All of our files have the same there.
_FIXED = (
    (0, b"SQLite format 3\0"),
    (18, bytes((2, 2, 0, 64, 32, 32))),  # written and read with a log; nothing reserved; payload fractions
    (44, (4).to_bytes(4, "big")),  # schema format
    (56, (1).to_bytes(4, "big")),  # text encoding
    (64, (1).to_bytes(4, "big")),  # incremental vacuum
)
_PAGE_SIZE, _PAGES = 16, 28
_HEADER_BYTES = 100


def fits(path: Path) -> bool:
    """True when the header of the closed database at *path* is one of ours, as far as it is the same in all."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return True  # it cannot be read, which is another trouble
    return header == _mended(header)


def mend(path: Path) -> None:
    """Write into the closed database at *path* what its header must say, so that the rest can be read."""
    with path.open("r+b") as file:
        header = file.read(_HEADER_BYTES)
        if len(header) == _HEADER_BYTES:
            file.seek(0)
            file.write(_mended(header, path.stat().st_size))


def _mended(header: bytes, size: int = 0) -> bytes:
    if len(header) < _HEADER_BYTES:
        return header
    mended = bytearray(header)
    for place, value in _FIXED:
        mended[place : place + len(value)] = value
    page_size = _page_size()
    mended[_PAGE_SIZE : _PAGE_SIZE + 2] = (1 if page_size == 65536 else page_size).to_bytes(2, "big")
    pages = int.from_bytes(header[_PAGES : _PAGES + 4], "big")
    if size and size % page_size == 0 and pages:
        # Where the two disagree SQLite believes the header and takes the rest for nothing.
        mended[_PAGES : _PAGES + 4] = (size // page_size).to_bytes(4, "big")
    return bytes(mended)


def _page_size() -> int:
    connection = sqlite3.connect(":memory:")
    try:
        return int(connection.execute("PRAGMA page_size").fetchone()[0])
    finally:
        connection.close()
