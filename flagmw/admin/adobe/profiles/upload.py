"""A bulk update: sending its parts and following their status."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from flagmw.admin.adobe.profiles.answers import BatchStatus, accepted, batch_status, check_library, checked_status_url
from flagmw.admin.adobe.profiles.encode import RowEncoder, id_kind_of
from flagmw.admin.adobe.profiles.parts import MAX_BYTES, MAX_ROWS, Part, PartBuilder, Tally
from flagmw.admin.adobe.profiles.requests import status_request, upload_request
from flagmw.admin.bulk.journal import Journal
from flagmw.admin.bulk.sources import Format, Rejected, Source, open_rows
from flagmw.admin.errors import AdminError, AmbiguousError, AnswerError, InvalidError
from flagmw.admin.flow.effects import Flow, Sleep, Work
from flagmw.admin.http.exchange import Exchange
from flagmw.admin.http.request import ApiRequest

FIRST_POLL_S, LONGEST_POLL_S = 10.0, 60.0


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part that the vendor has accepted.

    Attributes:
        digest: SHA-256 of what was sent.
        earlier: whether an earlier run sent it, so that this one did not.
        maybe_twice: whether a run was ended while it sent this part, so that the vendor may have it twice. That sets
            the same values again.
        status: how far the vendor is with it; None when it was not asked or cannot be.
        trouble: why the state is not known.
    """

    number: int
    rows: int
    bytes: int
    digest: str
    earlier: bool = False
    maybe_twice: bool = False
    status_url: str | None = field(default=None, repr=False)
    status: BatchStatus | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload is.

    Attributes:
        rows_read: of the source.
        parts, rows, bytes: that the vendor has accepted.
        step: "sent", "skipped" (an earlier run sent it) or "status".
    """

    step: str
    part: int
    rows_read: int
    parts: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a bulk update did.

    Attributes:
        rows: how many rows the vendor has accepted.
        tally: what became of the others.
    """

    parts: tuple[SentPart, ...]
    rows: int
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """How a bulk update is made; see `Profiles.bulk_update`."""

    id_kind: str | None = None
    id_column: str | None = None
    columns: Sequence[str] | None = None
    format: Format | None = None
    version: int = 2
    send_repeats: bool | None = None
    journal: str | Path | None = None
    max_rows: int = MAX_ROWS
    max_bytes: int = MAX_BYTES
    wait_s: float = 0.0
    on_progress: Callable[[Progress], object] | None = None
    on_rejected: Callable[[Rejected], object] | None = None


class Upload:
    """One bulk update.

    Args:
        exchange: of the Profile API, with the limit that uploads count against.
        root: of the Profile API.
    """

    def __init__(self, exchange: Exchange, root: str, client: str, source: Source, options: BulkOptions) -> None:
        if options.version not in (1, 2):
            raise InvalidError("must be 1 or 2", field="version")
        if not 0 < options.max_rows <= MAX_ROWS or not 1000 <= options.max_bytes <= MAX_BYTES:
            raise InvalidError(f"at most {MAX_ROWS} rows and {MAX_BYTES} bytes, at least 1 and 1000", field="max_rows")
        self._exchange, self._root, self._client = exchange, root, client
        self._source, self._options = source, options
        self._sent: list[SentPart] = []
        self._rows = self._bytes = 0

    def plan(self) -> Flow[None]:
        """End a dry run with the request for the first part; no journal is written."""
        self._options = replace(self._options, journal=None)
        with ExitStack() as stack:
            builder = yield Work(lambda: self._open(stack))
            part: Part | None = yield Work(builder.next_part)
            if part is None:
                raise self._nothing(builder.tally)
            self._exchange.stop(self._request(part))

    def run(self) -> Flow[BulkResult]:
        """Send every part, then follow them for as long as the options say."""
        check_library()
        with ExitStack() as stack:
            builder = yield Work(lambda: self._open(stack))
            while True:
                part: Part | None = yield Work(builder.next_part)
                if part is None:
                    break
                yield from self._deliver(part, builder.tally)
            if not self._sent:
                raise self._nothing(builder.tally)
            yield from self._follow(builder.tally)
            return BulkResult(tuple(self._sent), self._rows, builder.tally)

    def _open(self, stack: ExitStack) -> PartBuilder:
        options = self._options
        rows = open_rows(self._source, stack, format=options.format, columns=options.columns)
        if options.id_kind is None and not rows.columns and rows.columns is not None:
            raise self._nothing(Tally())
        id_kind = id_kind_of(options.id_kind, rows.columns)
        encoder = RowEncoder(id_kind, options.id_column, columns=rows.columns, already_encoded=rows.encoded)
        settings = {
            "client": self._client,
            "root": self._root,
            "version": options.version,
            "id_kind": id_kind,
            "id_column": options.id_column,
            "max_rows": options.max_rows,
            "max_bytes": options.max_bytes,
            "send_repeats": options.send_repeats,
        }
        if options.journal is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flagmw-bulk-"))
        else:
            folder = str(options.journal)
        self._journal = Journal(Path(folder), settings, durable=options.journal is not None)
        stack.callback(self._journal.close)
        # A later upload of the same visitor overrides an earlier one there, and nowhere else.
        overrides = options.version == 2 and id_kind == "thirdPartyId"
        reject = overrides if options.send_repeats is None else not options.send_repeats
        return PartBuilder(
            rows.rows,
            encoder,
            Path(folder),
            reject_repeats=reject,
            max_rows=options.max_rows,
            max_bytes=options.max_bytes,
            on_rejected=options.on_rejected,
        )

    def _deliver(self, part: Part, tally: Tally) -> Flow[None]:
        entry = yield Work(lambda: self._journal.made(part))
        earlier = entry.taken
        if not earlier:
            yield from self._send(part)
        part.file.unlink(missing_ok=True)
        entry = self._journal.entries[part.number]
        self._sent.append(
            SentPart(part.number, part.rows, part.bytes, part.digest, earlier, entry.attempts > 1, entry.status_url)
        )
        self._rows += part.rows
        self._bytes += part.bytes
        self._tell("skipped" if earlier else "sent", part.number, tally)

    def _send(self, part: Part) -> Flow[None]:
        request = self._request(part)
        yield Work(lambda: self._journal.sending(part))
        try:
            reply = yield from self._exchange.send(request)
            answer = accepted(reply)
        except (AnswerError, AmbiguousError) as error:
            resumed = "call again with the same journal"
            cure = resumed if self._options.journal else "upload the source again; that sets the same values once more"
            text = f"part {part.number} may have been taken or not: {cure} ({error.args[0]})"
            raise AmbiguousError(text, operation=request.operation, status=error.status) from None
        except AdminError:
            yield Work(lambda: self._journal.not_sent(part))
            raise
        if not answer.success:
            yield Work(lambda: self._journal.not_sent(part))
            raise InvalidError(f"the vendor refuses part {part.number}: {answer.message}", operation=request.operation)
        yield Work(lambda: self._journal.taken(part, answer.status_url))

    def _request(self, part: Part) -> ApiRequest:
        version = self._options.version
        return upload_request(self._root, self._client, version, part.file, part.header, part.bytes)

    def _follow(self, tally: Tally) -> Flow[None]:
        left, pause = self._options.wait_s, FIRST_POLL_S
        while left > 0:
            for number, part in enumerate(self._sent):
                if part.trouble is None and part.status_url and not (part.status and part.status.done):
                    self._sent[number] = yield from self._asked(part)
                    self._tell("status", part.number, tally)
            open_parts = [
                part
                for part in self._sent
                if part.trouble is None and part.status_url and not (part.status and part.status.done)
            ]
            if not open_parts:
                return
            pause = min(pause, left)
            yield Sleep(pause)
            left -= pause
            pause = min(pause * 1.5, LONGEST_POLL_S)

    def _asked(self, part: SentPart) -> Flow[SentPart]:
        try:
            status = yield from state_of(self._exchange, self._root, part.status_url or "")
        except AdminError as error:
            return replace(part, trouble=str(error))
        return replace(part, status=status)

    def _tell(self, step: str, number: int, tally: Tally) -> None:
        if self._options.on_progress is not None:
            self._options.on_progress(Progress(step, number, tally.read, len(self._sent), self._rows, self._bytes))

    @staticmethod
    def _nothing(tally: Tally) -> InvalidError:
        if not tally.read:
            return InvalidError("holds no rows; nothing was sent", field="source")
        first = f"; row {tally.rejected[0].row} {tally.rejected[0].reason}" if tally.rejected else ""
        return InvalidError(f"none of its {tally.read} rows can be sent{first}", field="source")


def state_of(exchange: Exchange, root: str, url: str) -> Flow[BatchStatus]:
    """Return the state of an upload.

    Raises:
        AnswerError: the address is not the vendor's, or the answer says nothing.
    """
    request = status_request(checked_status_url(url, root), details=True)
    reply = yield from exchange.send(request)
    return batch_status(reply)
