"""An upload of records: sending its parts, and what each record came to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from flagmw.admin.bulk.journal import Journal
from flagmw.admin.bulk.sources import Format, Rejected, Source, open_rows
from flagmw.admin.errors import (
    AdminError,
    AmbiguousError,
    AnswerError,
    InvalidError,
    ServerError,
    UnreachableError,
)
from flagmw.admin.flow.effects import Flow, Work
from flagmw.admin.http.exchange import Exchange
from flagmw.admin.http.request import ApiRequest
from flagmw.admin.monetate.bodies import Schema
from flagmw.admin.monetate.datasets.parts import (
    MAX_BYTES,
    MAX_ROWS,
    Part,
    PartBuilder,
    Record,
    RecordResult,
    RecordTally,
)
from flagmw.admin.monetate.datasets.records import RecordEncoder

# So many records that Monetate itself refuses in one run come from a mistake in all of them.
MAX_REFUSED = 20
UNUSABLE = "the dataset cannot be used until its Identifier Name is set: schemas.set_identifier"
UNCHECKED = "records are sent unchecked: the schema could not be read"
# After these the records may have been taken.
UNSURE = (AmbiguousError, AnswerError, ServerError, UnreachableError)

logger = logging.getLogger("flagmw.admin")


@dataclass(frozen=True, slots=True)
class SentRecords:
    """A part that Monetate has accepted.

    Attributes:
        earlier: whether an earlier run sent it, so that this one did not.
        maybe_twice: whether a run ended while it sent this part, so that Monetate may have had it twice.
    """

    number: int
    rows: int
    bytes: int
    digest: str
    earlier: bool = False
    maybe_twice: bool = False


@dataclass(frozen=True, slots=True)
class UpsertProgress:
    """How far an upload is.

    Attributes:
        step: "sent", or "skipped" (an earlier run sent it).
        rows_read: of the source.
        parts, rows, bytes: that Monetate has accepted.
    """

    step: str
    part: int
    rows_read: int
    parts: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """What an upload did.

    Attributes:
        rows: how many records Monetate has accepted; they are loaded later.
        tally: counts of the others.
        warnings: what stands in the way of the records' use.
    """

    parts: tuple[SentRecords, ...]
    rows: int
    tally: RecordTally
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertOptions:
    """How an upload is made; see `Data.upsert`."""

    format: Format | None = None
    columns: Sequence[str] | None = None
    resend: bool | None = None
    sent_time: str | None = None
    journal: str | Path | None = None
    max_rows: int = MAX_ROWS
    max_bytes: int = MAX_BYTES
    on_progress: Callable[[UpsertProgress], object] | None = None
    on_rejected: Callable[[Rejected], object] | None = None
    on_record: Callable[[RecordResult], object] | None = None


class Upload:
    """One upload.

    Args:
        request: makes the request for a body.
        schema: of the dataset; None when it is not to be checked or could not be read.
        place: what the upload belongs to: host, retailer, dataset.
    """

    def __init__(
        self,
        exchange: Exchange,
        request: Callable[..., ApiRequest],
        source: Source | Mapping[str, Any],
        schema: Schema | None,
        options: UpsertOptions,
        place: Mapping[str, str],
    ) -> None:
        if not 0 < options.max_rows <= 100_000 or not 1000 <= options.max_bytes <= 50_000_000:
            raise InvalidError("from 1 to 100000 rows, and from 1000 to 50000000 bytes", field="max_rows")
        if options.sent_time is not None and not _is_moment(options.sent_time):
            raise InvalidError("must be a date and time of ISO 8601", field="sent_time")
        self._exchange, self._make, self._place = exchange, request, place
        self._source: Source = [source] if isinstance(source, Mapping) else source
        self._schema, self._options = schema, options
        self._sent: list[SentRecords] = []
        self._rows = self._bytes = self._refused = 0
        self._journal: Journal | None = None
        self._taken: list[Record] = []

    def plan(self) -> Flow[None]:
        """End a dry run with the request for the first part."""
        with ExitStack() as stack:
            builder = yield Work(lambda: self._open(stack, journal=False))
            part: Part | None = yield Work(builder.next_part)
            if part is None:
                raise self._nothing(builder.tally)
            self._exchange.stop(self._request(part.records))

    def run(self) -> Flow[UpsertResult]:
        """Send every part."""
        with ExitStack() as stack:
            builder: PartBuilder = yield Work(lambda: self._open(stack, journal=True))
            while True:
                part: Part | None = yield Work(builder.next_part)
                if part is None:
                    break
                yield from self._deliver(part, builder)
            if not self._sent:
                raise self._nothing(builder.tally)
        return UpsertResult(tuple(self._sent), self._rows, builder.tally, self._warned())

    def _open(self, stack: ExitStack, *, journal: bool) -> PartBuilder:
        options = self._options
        rows = open_rows(self._source, stack, format=options.format, columns=options.columns)
        of_file = isinstance(self._source, str | Path) or hasattr(self._source, "read")
        self._encoder = RecordEncoder(self._schema, rows.columns, texts=of_file and rows.columns is not None)
        if journal and options.journal is not None:
            settings = {**self._place, "max_rows": options.max_rows, "max_bytes": options.max_bytes}
            self._journal = Journal(Path(options.journal), settings)
            stack.callback(self._journal.close)
        return PartBuilder(
            rows.rows,
            self._encoder,
            max_rows=options.max_rows,
            max_bytes=options.max_bytes,
            on_record=options.on_record,
            on_rejected=options.on_rejected,
        )

    @property
    def _repeatable(self) -> bool:
        """Return whether records that are sent again take the place of themselves."""
        return self._encoder.unique_key is not None

    def _deliver(self, part: Part, builder: PartBuilder) -> Flow[None]:
        journal = self._journal
        entry = (yield Work(lambda: journal.made(part))) if journal is not None else None
        if entry is not None and entry.taken:
            self._add(part, part.records, "earlier", builder, maybe_twice=entry.attempts > 1)
            return
        again = entry is not None and entry.attempts > 0
        resend = self._repeatable if self._options.resend is None else self._options.resend
        if again and not resend:
            raise AmbiguousError(
                f"part {part.number} (rows {part.first_row} to {part.last_row}) may have been taken when the run "
                "ended, and without a unique key it would be there twice: look for its records, then call again "
                "with resend=True to send it, or without these rows in a new journal"
            )
        if journal is not None:
            yield Work(lambda: journal.sending(part))
        self._taken = []
        try:
            yield from self._send(part.records, builder)
        except UNSURE as error:
            self._add(part, self._taken, "accepted", builder, maybe_twice=again)
            raise self._unsure(part, error) from None
        except AdminError:
            self._add(part, self._taken, "accepted", builder, maybe_twice=again)
            # Of a part that was sent in halves, some may have been taken all the same.
            if journal is not None and not self._taken:
                yield Work(lambda: journal.not_sent(part))
            raise
        if journal is not None:
            yield Work(lambda: journal.taken(part))
        self._add(part, self._taken, "accepted", builder, maybe_twice=again)

    def _send(self, records: Sequence[Record], builder: PartBuilder) -> Flow[None]:
        """Send records, and note which were taken; those that Monetate refuses are looked for in halves."""
        request = self._request(records)
        try:
            yield from self._exchange.send(request)
        except InvalidError as error:
            if error.status != 400 or self._refused >= MAX_REFUSED:
                raise
            if len(records) == 1:
                self._refused += 1
                builder.reject(records[0].row, records[0].id, f"is refused by Monetate: {error.args[0]}")
                return
            half = len(records) // 2
            yield from self._send(records[:half], builder)
            yield from self._send(records[half:], builder)
            return
        self._taken += records

    def _request(self, records: Sequence[Record]) -> ApiRequest:
        sent = self._options.sent_time
        tail = b"" if sent is None else b',"_sent_time":' + orjson.dumps(sent)
        body = b'{"schema_rows":[' + b",".join(record.json for record in records) + b"]" + tail + b"}"
        return self._make(body, changes=not self._repeatable)

    def _unsure(self, part: Part, error: AdminError) -> AmbiguousError:
        cure = "call again with the same journal" if self._journal is not None else "send these rows again"
        if not self._repeatable:
            cure = "the schema has no unique key, so look for its records before you send them again"
        text = f"part {part.number} (rows {part.first_row} to {part.last_row}) may have been taken or not: {cure}"
        return AmbiguousError(f"{text} ({error.args[0]})", operation=error.operation, status=error.status)

    def _add(
        self, part: Part, records: Sequence[Record], state: Any, builder: PartBuilder, *, maybe_twice: bool
    ) -> None:
        if not records:
            return
        earlier = state == "earlier"
        size = sum(len(record.json) for record in records)
        self._sent.append(SentRecords(part.number, len(records), size, part.digest, earlier, maybe_twice))
        self._rows += len(records)
        self._bytes += size
        if self._options.on_record is not None:
            for record in records:
                self._options.on_record(RecordResult(record.row, record.id, state))
        if self._options.on_progress is not None:
            step = "skipped" if earlier else "sent"
            read, parts = builder.tally.read, len(self._sent)
            self._options.on_progress(UpsertProgress(step, part.number, read, parts, self._rows, self._bytes))

    def _warned(self) -> tuple[str, ...]:
        if self._schema is None or self._schema.get("named_identifier"):
            return ()
        logger.warning("%s", UNUSABLE)
        return (UNUSABLE,)

    @staticmethod
    def _nothing(tally: RecordTally) -> InvalidError:
        if not tally.read:
            return InvalidError("holds no records; nothing was sent", field="source")
        first = f"; record {tally.rejected[0].row} {tally.rejected[0].reason}" if tally.rejected else ""
        return InvalidError(f"none of its {tally.read} records was accepted{first}", field="source")


def _is_moment(text: object) -> bool:
    try:
        datetime.fromisoformat(str(text))
    except ValueError:
        return False
    return isinstance(text, str)
