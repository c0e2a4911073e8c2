"""Rows to upload, from files, iterables and database cursors."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson

from flagmw.admin.errors import InvalidError

Format = Literal["csv", "jsonl", "batch"]
Source: TypeAlias = "str | Path | Iterable[Any]"
"""A path, or rows: mappings, or sequences whose columns are named; a database cursor names its own."""

MAX_LINE = 1 << 20
BOM = b"\xef\xbb\xbf"
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".batch": "batch",
    ".txt": "batch",
}


class BadRow(Exception):
    """A row that cannot be sent; the text says why."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is not sent.

    Attributes:
        row: its number in the source, from 1, without the header.
    """

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class SourceRows:
    """Rows of one source.

    Attributes:
        columns: the names of the values of each row, in order; None when rows are mappings.
        rows: a sequence of values, a mapping, or what is wrong with the row.
        encoded: whether names and values are percent-encoded already, as in a batch file.
    """

    columns: Sequence[str] | None
    rows: Iterator[Sequence[Any] | Mapping[str, Any] | BadRow]
    encoded: bool = False


def open_rows(source: Source, stack: ExitStack, *, format: Format | None, columns: Sequence[str] | None) -> SourceRows:
    """Return the rows of *source*; what has to be closed is put on *stack*.

    Args:
        format: of a file; by its name's end when left out.
        columns: the names of the values, for rows that are sequences and for a CSV file without a header.

    Raises:
        InvalidError: the file cannot be read, or nothing says what the columns are.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        kind = format or _format_of(path)
        try:
            opened = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise InvalidError(f"{path} cannot be read: {error.strerror}", field="source") from None
        return _of_file(gzip.GzipFile(fileobj=opened) if path.suffix == ".gz" else opened, kind, columns)
    if hasattr(source, "read"):
        if format is None:
            raise InvalidError('say what the file holds: "csv", "jsonl" or "batch"', field="format")
        return _of_file(source, format, columns)
    described = getattr(source, "description", None)
    if columns is None and described:
        columns = [str(column[0]) for column in described]
    return _of_iterable(iter(source), columns)


def _of_iterable(rows: Iterator[Any], columns: Sequence[str] | None) -> SourceRows:
    first = next(rows, None)
    if first is None:
        return SourceRows(columns, iter(()))
    everything = itertools.chain([first], rows)
    if isinstance(first, Mapping):
        return SourceRows(None, (row if isinstance(row, Mapping) else BadRow("is no mapping") for row in everything))
    if columns is None:
        raise InvalidError("name the columns of rows that are sequences", field="columns")
    return SourceRows(columns, (_checked(row, len(columns)) for row in everything))


def _checked(row: Any, width: int) -> Sequence[Any] | BadRow:
    if isinstance(row, str | bytes | Mapping) or not isinstance(row, Sequence):
        return BadRow("is no sequence of values")
    return row if len(row) <= width else BadRow(f"has {len(row)} values for {width} columns")


def _of_file(file: Any, format: Format, columns: Sequence[str] | None) -> SourceRows:
    if format == "jsonl":
        lines = (line.encode(errors="surrogatepass") if isinstance(line, str) else line for line in _lines(file))
        return SourceRows(None, (_object(line.removeprefix(BOM)) for line in lines if not line.isspace()))
    text = _decoded(file)
    if format == "batch":
        return _batch(text)
    reader = csv.reader(text)
    if columns is None:
        try:
            columns = next(reader, None)
        except csv.Error as error:
            raise InvalidError(f"the header cannot be read: {error}", field="source") from None
        if columns is None:
            return SourceRows((), iter(()))
    return SourceRows(columns, _csv_rows(reader, len(columns)))


def _lines(file: Any) -> Iterator[Any]:
    """Yield the lines of *file*; of one that is too long its beginning, which is no row."""
    while line := file.readline(MAX_LINE + 1):
        yield line
        end = b"\n" if isinstance(line, bytes) else "\n"
        while len(line) > MAX_LINE and not line.endswith(end):
            line = file.readline(MAX_LINE + 1)


def _decoded(file: Any) -> Iterator[str]:
    first = True
    for line in _lines(file):
        # What is no UTF-8 becomes text that cannot be sent, so that its row alone is rejected.
        text = line.decode("utf-8", "surrogateescape") if isinstance(line, bytes) else line
        yield text.removeprefix("\ufeff") if first else text
        first = False


def _csv_rows(reader: Iterator[list[str]], width: int) -> Iterator[Sequence[str] | BadRow]:
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield BadRow(f"is no CSV: {error}")
            continue
        if row is None:
            return
        if row:
            yield row if len(row) <= width else BadRow(f"has {len(row)} values for {width} columns")


def _batch(text: Iterator[str]) -> SourceRows:
    """Read the vendor's own form: `batch=pcId,a,b`, and rows that are encoded already."""
    header = next(text, "").strip()
    if not header.startswith("batch="):
        raise InvalidError('a batch file begins with "batch="; give format="csv" for a CSV file', field="source")
    columns = [name.strip() for name in header.removeprefix("batch=").split(",")]
    rows: Iterator[Any] = (
        _checked([cell.strip() for cell in line.strip().split(",")], len(columns)) for line in text if line.strip()
    )
    return SourceRows(columns, rows, encoded=True)


def _object(line: bytes) -> Mapping[str, Any] | BadRow:
    if len(line) > MAX_LINE:
        return BadRow(f"is longer than {MAX_LINE} bytes")
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return BadRow("is no JSON")
    return row if isinstance(row, dict) else BadRow("is no JSON object")


def _format_of(path: Path) -> Format:
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    kind = _SUFFIXES.get(suffixes[-1] if suffixes else "")
    if kind is None:
        raise InvalidError(f'{path.name}: say what it holds: format="csv", "jsonl" or "batch"', field="format")
    return kind
