"""Checks of dataset files before they are sent."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flagmw.admin.bulk.ids import SeenIds
from flagmw.admin.errors import InvalidError

MAX_COLUMNS = 30
MAX_BYTES = 10_000_000_000
MAX_ROWS = 100_000_000
MAX_LINE = 1 << 20
# Of so many identifiers repeats are found; it takes up to 84 MB.
MAX_COMPARED = 5_000_000
NAME = re.compile(r"\d+-[A-Za-z0-9._-]+\.(?:csv|tsv)(?:\.gz|\.zip)?|\d+-[A-Za-z0-9._-]+\.(?:gz|zip)")


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file that Monetate will take.

    Attributes:
        name: what it will be called there: the dataset's id, a hyphen, its name.
        bytes: decompressed.
        compared: whether all identifiers were compared; of more than five million they are not.
    """

    path: Path
    name: str
    rows: int
    bytes: int
    columns: tuple[str, ...]
    compared: bool = True


def remote_name(path: Path, dataset_id: int) -> str:
    """Return the name of a file at Monetate.

    Raises:
        InvalidError: its end is none that Monetate takes.
    """
    if isinstance(dataset_id, bool) or not isinstance(dataset_id, int) or dataset_id < 1:
        raise InvalidError("must be the dataset's id, a number; schemas.list names it", field="dataset_id")
    stem = path.name.removeprefix(f"{dataset_id}-")
    name = f"{dataset_id}-{re.sub(r'[^A-Za-z0-9._-]+', '-', stem).lstrip('-')}"
    if not NAME.fullmatch(name):
        text = "let the name end with .csv or .tsv, also with .gz (not .gzip) or .zip after it"
        raise InvalidError(f"{path.name}: {text}", field="file")
    return name


def check_file(
    path: Path,
    dataset_id: int,
    *,
    identifier: str | None = None,
    fields: Sequence[str] | None = None,
    on_rows: Callable[[int], object] | None = None,
) -> CheckedFile:
    """Read a file through, in constant memory, and return what is in it.

    Args:
        identifier: the column that no two rows may share; the first one by default.
        fields: the columns of the dataset; None to check none.
        on_rows: called with the number of rows now and then.

    Raises:
        InvalidError: Monetate would refuse it or misread it; the text names the line.
    """
    name = remote_name(path, dataset_id)
    with ExitStack() as stack:
        try:
            raw = _opened(path, stack)
        except (OSError, zipfile.BadZipFile) as error:
            raise InvalidError(f"{path} cannot be read: {error}", field="file") from None
        counted = _Lines(raw)
        delimiter = "\t" if ".tsv" in path.name.lower() else ","
        reader = csv.reader(counted, delimiter=delimiter, strict=True)
        try:
            columns = next(reader, [])
            _check_header(columns, identifier, fields)
            rows, compared = _check_rows(reader, columns, identifier, on_rows)
        except csv.Error as error:
            raise InvalidError(f"line {reader.line_num} is no CSV: {error}", field="file") from None
        except UnicodeDecodeError:
            raise InvalidError(f"line {counted.lines + 1} is not UTF-8; convert the file", field="file") from None
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise InvalidError(f"is damaged after line {counted.lines}: {error}", field="file") from None
    if not rows:
        raise InvalidError("has a header and no rows; a full update with it would empty the dataset", field="file")
    return CheckedFile(path, name, rows, counted.bytes, tuple(columns), compared)


def _check_header(columns: Sequence[str], identifier: str | None, fields: Sequence[str] | None) -> None:
    if not columns:
        raise InvalidError("is empty; the first line must name the columns", field="file")
    if len(columns) > MAX_COLUMNS:
        raise InvalidError(f"has {len(columns)} columns; Monetate takes {MAX_COLUMNS}", field="file")
    for name in columns:
        if not name or name != name.strip():
            raise InvalidError("the first line has a column without a name, or with blanks around it", field="file")
    repeated = next((name for name in columns if columns.count(name) > 1), None)
    if repeated is not None:
        raise InvalidError(f'the first line has the column "{repeated}" twice', field="file")
    if identifier is not None and identifier not in columns:
        raise InvalidError(f'the first line has no column "{identifier}", the identifier', field="file")
    if fields is not None:
        unknown = next((name for name in columns if name not in fields), None)
        if unknown is not None:
            text = f'the dataset has no column "{unknown}"; files add none: use schemas.add_fields first'
            raise InvalidError(text, field="file")


def _check_rows(
    reader: Iterator[list[str]], columns: Sequence[str], identifier: str | None, on_rows: Callable[[int], object] | None
) -> tuple[int, bool]:
    place = columns.index(identifier) if identifier is not None else 0
    seen, rows, compared = SeenIds(most=MAX_COMPARED), 0, True
    for row in reader:
        if not row:
            continue
        rows += 1
        if len(row) != len(columns):
            text = f"row {rows} has {len(row)} values for {len(columns)} columns; put quotes round values with commas"
            raise InvalidError(text, field="file")
        own = row[place]
        if not own.strip():
            raise InvalidError(f'row {rows} has no "{columns[place]}"', field="file")
        if seen.full:
            compared = False
        elif seen.add(own, 1):
            text = f'row {rows} has the same "{columns[place]}" as one before; there may be one row for each'
            raise InvalidError(text, field="file")
        if rows > MAX_ROWS:
            raise InvalidError(f"has more than {MAX_ROWS:,} rows", field="file")
        if on_rows is not None and rows % 10_000 == 0:
            on_rows(rows)
    return rows, compared


class _Lines(Iterator[str]):
    """Lines as text, with a bound on their length and on the whole."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.lines = self.bytes = 0

    def __next__(self) -> str:
        line = self._raw.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.bytes += len(line)
        if len(line) > MAX_LINE:
            raise InvalidError(f"line {self.lines + 1} is longer than {MAX_LINE} bytes", field="file")
        if self.bytes > MAX_BYTES:
            raise InvalidError(f"has more than {MAX_BYTES / 1e9:.0f} GB, decompressed", field="file")
        text = line.decode("utf-8-sig" if self.lines == 0 else "utf-8")
        self.lines += 1
        return text


def _opened(path: Path, stack: ExitStack) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return io.BufferedReader(stack.enter_context(gzip.open(path, "rb")))
    if suffix == ".zip":
        archive = stack.enter_context(zipfile.ZipFile(path))
        files = [one for one in archive.infolist() if not one.is_dir()]
        if len(files) != 1:
            raise InvalidError(f"holds {len(files)} files; put one into it", field="file")
        return stack.enter_context(archive.open(files[0]))
    return stack.enter_context(path.open("rb"))
