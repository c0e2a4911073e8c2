"""Lines of Session Stream files, read in blocks of bounded size."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from flagmw.admin.errors import InvalidError

BLOCK = 1 << 17
# Sessions have some kilobytes; a line beyond this is skipped and reported.
MAX_LINE = 16 << 20
GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
_OTHER = ((b"\xff\xfe\x00\x00", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


@dataclass(frozen=True, slots=True)
class LineProblem:
    """A line that is no session, or the end of a file that is cut.

    Attributes:
        line: counts from 1; 0 for the file as a whole.
    """

    file: str
    line: int
    reason: str


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Ahead:
    """A stream whose first bytes were read already."""

    def __init__(self, first: bytes, stream: _Stream) -> None:
        self._first, self._stream = first, stream

    def read(self, size: int = -1, /) -> bytes:
        if self._first:
            first, self._first = self._first[:size], self._first[size:]
            return first
        return self._stream.read(size)


class SessionFile:
    """One file, plain or gzip by what it begins with, whatever it is called.

    Args:
        source: a path, or an open binary stream such as `sys.stdin.buffer`.
        on_problem: called with what cannot be read.
        on_bytes: called with how many bytes of the file were read, before they are decompressed.
    """

    def __init__(
        self,
        source: str | Path | BinaryIO,
        on_problem: Callable[[LineProblem], object],
        on_bytes: Callable[[int], object] | None = None,
    ) -> None:
        self._source, self._on_problem, self._on_bytes = source, on_problem, on_bytes
        self.name = str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "standard input"))
        self.lines = 0

    def blocks(self) -> Iterator[list[bytes]]:
        """Yield lists of lines; `lines` is the number of lines before the list that was yielded last.

        Raises:
            InvalidError: the file cannot be opened.
        """
        with ExitStack() as stack:
            yield from self._split(self._opened(stack))

    def _opened(self, stack: ExitStack) -> _Stream:
        source = self._source
        raw: _Stream
        if isinstance(source, str | Path):
            try:
                raw = stack.enter_context(Path(source).open("rb"))  # noqa: SIM115 - the stack closes it
            except OSError as error:
                raise InvalidError(f"{source} cannot be read: {error.strerror}", field="source") from None
        else:
            raw = source
        counted = _Counted(raw, self._on_bytes) if self._on_bytes is not None else raw
        first = _at_least(counted, 4)
        ahead = _Ahead(first, counted)
        return _Unpacked(ahead) if first.startswith(GZIP) else ahead

    def _split(self, stream: _Stream) -> Iterator[list[bytes]]:
        pieces: list[bytes] = []  # of a line whose end has not come yet
        size, before, skipping, first = 0, 0, False, True
        while block := self._block(stream):
            if first:
                first = False
                for mark, encoding in _OTHER:
                    if block.startswith(mark):
                        self._report(0, f"is {encoding}; convert it to UTF-8: iconv -f {encoding} -t UTF-8")
                        return
                block = block.removeprefix(BOM)
            if skipping:
                end = block.find(b"\n")
                if end < 0:
                    continue
                block, skipping = block[end + 1 :], False
                before += 1
            if b"\n" in block:
                lines = b"".join([*pieces, block]).split(b"\n")
                pieces = [lines.pop()]
                size = len(pieces[0])
                self.lines = before
                yield lines
                before += len(lines)
            else:
                pieces.append(block)
                size += len(block)
            if size > MAX_LINE:
                self._report(before + 1, f"is longer than {MAX_LINE >> 20} MiB; it is skipped")
                pieces, size, skipping = [], 0, True
        self.lines = before
        rest = b"".join(pieces)
        if rest.strip():
            yield [rest]

    def _block(self, stream: _Stream) -> bytes:
        """Return the next bytes, none at the end, which is reported where it comes too early."""
        try:
            return stream.read(BLOCK)
        except (EOFError, zlib.error, OSError) as error:
            self._report(0, f"ends in the middle or is damaged ({error}); what came before is counted")
            return b""

    def _report(self, line: int, reason: str) -> None:
        self._on_problem(LineProblem(self.name, line, reason))


class _Unpacked:
    """A gzip stream of any number of members; what comes before damage is not lost, as in `gzip.GzipFile`."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._member = zlib.decompressobj(31)
        self._packed = b""

    def read(self, size: int = BLOCK, /) -> bytes:
        while True:
            if self._member.eof:
                # Zeros may follow the last member.
                self._packed = self._member.unused_data.lstrip(b"\0") or self._stream.read(BLOCK).lstrip(b"\0")
                if not self._packed:
                    return b""
                self._member = zlib.decompressobj(31)
            packed = self._packed or self._stream.read(BLOCK)
            found = self._member.decompress(packed, size)
            self._packed = self._member.unconsumed_tail
            if found:
                return found
            if not packed and not self._member.eof:
                raise EOFError("the compressed data has no end")


class _Counted:
    def __init__(self, stream: _Stream, on_bytes: Callable[[int], object]) -> None:
        self._stream, self._on_bytes = stream, on_bytes

    def read(self, size: int = -1, /) -> bytes:
        found = self._stream.read(size)
        self._on_bytes(len(found))
        return found


def _at_least(stream: _Stream, count: int) -> bytes:
    found = b""
    while len(found) < count and (more := stream.read(count - len(found))):
        found += more
    return found
