"""Parts of an upload: as many records as one call takes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flagmw.admin.bulk.sources import BadRow, Rejected
from flagmw.admin.errors import InvalidError
from flagmw.admin.monetate.datasets.records import RecordEncoder

# Monetate publishes no limit; calls of this size are within what gateways take.
MAX_ROWS, MAX_BYTES = 500, 1 << 20
KEPT_REJECTIONS = 1000

State = Literal["accepted", "earlier", "rejected", "replaced"]


@dataclass(frozen=True, slots=True)
class RecordResult:
    """The result of one record.

    Attributes:
        row: its number in the source, from 1.
        id: its unique key, else its identifier; "" where that is not known.
        state: "accepted" by Monetate, "earlier" by a run that this one resumes, "rejected", or "replaced" by a later
            record of the same key.
        reason: why it was rejected.
    """

    row: int
    id: str
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A record that is ready to be sent."""

    row: int
    id: str
    json: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Part:
    """Records of one call.

    Attributes:
        number: from 1.
        digest: SHA-256 of the records.
    """

    number: int
    records: Sequence[Record] = field(repr=False)
    digest: str

    @property
    def rows(self) -> int:
        """Return how many there are."""
        return len(self.records)

    @property
    def bytes(self) -> int:
        """Return how large they are."""
        return sum(len(record.json) for record in self.records)

    @property
    def first_row(self) -> int:
        """Return where the first one stands in the source."""
        return self.records[0].row

    @property
    def last_row(self) -> int:
        """Return where the last one stands in the source."""
        return self.records[-1].row


@dataclass(slots=True)
class RecordTally:
    """Counts of the records of the source so far.

    Attributes:
        read: how many there were.
        replaced: how many were left out since a later one of the same call has their key.
        rejected: the first of those that were not sent or not taken; `rejected_count` counts all.
    """

    read: int = 0
    replaced: int = 0
    rejected_count: int = 0
    rejected: list[Rejected] = field(default_factory=list)


class PartBuilder:
    """Turns rows into parts, one after the other, in constant memory.

    Args:
        on_record: called with every record that is left out.
        on_rejected: called with every record that is not sent.
    """

    def __init__(
        self,
        rows: Iterator[Sequence[Any] | Mapping[str, Any] | BadRow],
        encoder: RecordEncoder,
        *,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        on_record: Callable[[RecordResult], object] | None = None,
        on_rejected: Callable[[Rejected], object] | None = None,
    ) -> None:
        self._rows, self._encoder = enumerate(rows, 1), encoder
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._on_record, self._on_rejected = on_record, on_rejected
        self._number = 0
        self._waiting: Record | None = None
        self.tally = RecordTally()

    def next_part(self) -> Part | None:
        """Return the next part, None when there are no records left."""
        records: dict[Any, Record] = {}
        size = 0
        for record in self._records():
            if len(records) >= self._max_rows or (records and size + len(record.json) + 1 > self._max_bytes):
                self._waiting = record
                break
            place: Any = record.id if self._encoder.unique_key else record.row
            earlier = records.pop(place, None)
            if earlier is not None:
                # Which of two records of a key counts within one call is not published: the later one is sent alone.
                size -= len(earlier.json) + 1
                self.tally.replaced += 1
                self._tell(RecordResult(earlier.row, earlier.id, "replaced"))
            records[place] = record
            size += len(record.json) + 1
        if not records:
            return None
        self._number += 1
        kept = tuple(records.values())
        digest = hashlib.sha256(b"\n".join(record.json for record in kept)).hexdigest()
        return Part(self._number, kept, digest)

    def reject(self, row: int, own: str, reason: str) -> None:
        """Count a record that is not sent or not taken."""
        rejected = Rejected(row, reason)
        self.tally.rejected_count += 1
        if len(self.tally.rejected) < KEPT_REJECTIONS:
            self.tally.rejected.append(rejected)
        if self._on_rejected is not None:
            self._on_rejected(rejected)
        self._tell(RecordResult(row, own, "rejected", reason))

    def _records(self) -> Iterator[Record]:
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
            self.tally.read, row = found
            try:
                if isinstance(row, BadRow):
                    raise row
                own, text_of = self._encoder.encode(row)
            except BadRow as problem:
                self.reject(self.tally.read, "", str(problem))
                continue
            if len(text_of) > self._max_bytes:
                self.reject(self.tally.read, own, "is larger than a whole call may be")
                continue
            yield Record(self.tally.read, own, text_of)

    def _tell(self, result: RecordResult) -> None:
        if self._on_record is not None:
            self._on_record(result)
