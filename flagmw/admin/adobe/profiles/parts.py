"""Parts of an upload: rows encoded into files that the vendor takes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from flagmw.admin.adobe.profiles.encode import RowEncoder
from flagmw.admin.bulk.ids import SeenIds
from flagmw.admin.bulk.sources import BadRow, Rejected
from flagmw.admin.errors import InvalidError

# "Less than 50 MB" and "should not exceed 500,000".
MAX_BYTES = 50_000_000
MAX_ROWS = 500_000
# A profile of more than 64 kB is more than the vendor keeps.
LARGE_ROW = 64_000
# Rows of ids that come again in a part are merged in memory, so a part ends with so many of them.
MAX_MERGED = 50_000
KEPT_REJECTIONS = 1000
WRITE_ROWS = 512


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is ready to be sent.

    Attributes:
        number: from 1.
        rows: how many, after merging.
        first_row, last_row: where they stand in the source.
        digest: SHA-256 of the whole body.
    """

    number: int
    file: Path = field(repr=False)
    header: bytes = field(repr=False)
    rows: int
    bytes: int
    first_row: int
    last_row: int
    digest: str


@dataclass(slots=True)
class PartTally:
    """What became of the rows of the source so far.

    Attributes:
        read: how many there were.
        merged: how many were merged into an earlier row of the same id and part.
        empty: how many had no value and were left out.
        large: how many are so large that the vendor may not keep all of it.
        forgotten: whether there were so many ids that repeats over parts far from each other are not noticed.
        rejected: the first of those that cannot be sent; `rejected_count` counts all.
    """

    read: int = 0
    merged: int = 0
    empty: int = 0
    large: int = 0
    forgotten: bool = False
    rejected_count: int = 0
    rejected: list[Rejected] = field(default_factory=list)


class PartBuilder:
    """Encode rows into parts, one after the other, in constant memory.

    Args:
        rows: of the source.
        folder: where the files are made.
        reject_repeats: whether a row is rejected whose id is in an earlier part.
        on_rejected: is told of every row that is not sent.
    """

    def __init__(
        self,
        rows: Iterator[Sequence[Any] | Mapping[str, Any] | BadRow],
        encoder: RowEncoder,
        folder: Path,
        *,
        reject_repeats: bool = True,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        on_rejected: Callable[[Rejected], object] | None = None,
    ) -> None:
        self._rows, self._encoder, self._folder = enumerate(rows, 1), encoder, folder
        self._reject_repeats, self._max_rows, self._max_bytes = reject_repeats, max_rows, max_bytes
        self._on_rejected = on_rejected
        self._seen = SeenIds()
        self._number = 0
        self._waiting: tuple[int, Sequence[Any] | Mapping[str, Any]] | None = None
        self.tally = PartTally()

    def next_part(self) -> Part | None:
        """Return the next part, None when there are no rows left."""
        self._number += 1
        self._encoder.begin_part()
        if self._seen.full:
            self._seen.clear()
            self.tally.forgotten = True
        path = self._folder / f"part-{self._number:05}.rows"
        with path.open("w+b") as file:
            written = _Written(file)
            self._fill(written)
            written.flush()
            if not written.rows:
                path.unlink()
                return None
            if written.again:
                self._merge(written, path)
            header = self._encoder.header()
            digest = hashlib.sha256(header)
            file.seek(0)
            while piece := file.read(1 << 20):
                digest.update(piece)
            size = len(header) + file.tell()
        return Part(self._number, path, header, written.rows, size, written.first, written.last, digest.hexdigest())

    def _fill(self, written: _Written) -> None:
        encoder = self._encoder
        for number, row in self._next_rows():
            if isinstance(row, BadRow):
                self._reject(number, str(row))
                continue
            names = encoder.name_count
            try:
                identity, cells = encoder.row(row)
            except BadRow as problem:
                encoder.forget_names(names)
                self._reject(number, str(problem))
                continue
            values = ",".join(cells).rstrip(",")
            if not values:
                self.tally.empty += 1
                continue
            line = f"{identity},{values}\n"
            room = self._max_bytes - encoder.header_bytes - len(line)
            if room <= 0:
                encoder.forget_names(names)
                self._reject(number, "is larger than a whole upload may be, or comes with too many new columns")
                continue
            if written.bytes >= room or written.rows >= self._max_rows or len(written.again) >= MAX_MERGED:
                self._waiting = (number, row)
                encoder.forget_names(names)
                return
            before = self._seen.add(identity, self._number, move=not self._reject_repeats)
            if before and before != self._number and self._reject_repeats:
                self._reject(number, f"has an id that is in part {before} already, which it would override")
                continue
            if before == self._number:
                written.again[identity] = []
            if len(line) > LARGE_ROW:
                self.tally.large += 1
            written.add(line, number)

    def _next_rows(self) -> Iterator[tuple[int, Sequence[Any] | Mapping[str, Any] | BadRow]]:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            yield waiting
        while True:
            try:
                found = next(self._rows, None)
            except (OSError, EOFError, zlib.error) as error:
                text = f"cannot be read after row {self.tally.read}: {error}; nothing of the last part was sent"
                raise InvalidError(text, field="source") from None
            if found is None:
                return
            self.tally.read = found[0]
            yield found

    def _merge(self, written: _Written, path: Path) -> None:
        """Write the part again with the rows of one id in one line, where the first of them stood."""
        again = written.again
        file = written.file
        file.seek(0)
        for raw in file:
            identity, _, values = raw.decode().rstrip("\n").partition(",")
            if identity in again:
                again[identity] = _over(again[identity], values.split(","))
        file.seek(0)
        made = path.with_suffix(".merged")
        with made.open("wb") as output:
            rows = 0
            for raw in file:
                identity = raw[: raw.index(b",")].decode()
                if identity in again:
                    cells = again[identity]
                    if not cells:
                        continue  # its line was written where the id came first
                    raw = f"{identity},{','.join(cells)}\n".encode()
                    again[identity] = []
                output.write(raw)
                rows += 1
        self.tally.merged += written.rows - rows
        written.rows = rows
        file.seek(0)
        file.truncate()
        with made.open("rb") as source:
            while piece := source.read(1 << 20):
                file.write(piece)
        file.flush()
        made.unlink()

    def _reject(self, number: int, reason: str) -> None:
        rejected = Rejected(number, reason)
        self.tally.rejected_count += 1
        if len(self.tally.rejected) < KEPT_REJECTIONS:
            self.tally.rejected.append(rejected)
        if self._on_rejected is not None:
            self._on_rejected(rejected)


class _Written:
    """What has been written of a part."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.rows = self.bytes = self.first = self.last = 0
        self.again: dict[str, list[str]] = {}
        self._lines: list[str] = []

    def add(self, line: str, number: int) -> None:
        self._lines.append(line)
        self.rows += 1
        self.bytes += len(line)
        self.first = self.first or number
        self.last = number
        if len(self._lines) >= WRITE_ROWS:
            self.flush()

    def flush(self) -> None:
        self.file.write("".join(self._lines).encode())
        self._lines = []


def _over(before: list[str], after: list[str]) -> list[str]:
    """Return two rows of one id as one: of two values the later one, of none and one the one."""
    longer = before + [""] * (len(after) - len(before))
    return [after[at] if at < len(after) and after[at] else value for at, value in enumerate(longer)]
