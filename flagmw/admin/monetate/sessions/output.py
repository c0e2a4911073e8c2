"""Reports and rows of sessions as JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import orjson

from flagmw.admin.errors import InvalidError
from flagmw.admin.monetate.sessions.counting import SessionReport

RowFormat = Literal["json", "csv", "parquet"]
REPORT_COLUMNS = ("kind", "id", "name", "variant_id", "variant", "sessions")
# So many rows make a group of a Parquet file.
GROUP = 10_000
_LISTS = ("experiences", "page_events", "targets")


def report_json(report: SessionReport) -> dict[str, Any]:
    """Return a report as JSON has it."""
    return {**asdict(report), "by": [list(pair) for pair in report.by], "unmatched": report.unmatched}


def report_rows(report: SessionReport) -> Iterator[dict[str, Any]]:
    """Yield a report as one table: a row for each experience, variant, page event, target and value."""
    for one in report.experiences:
        yield _row("experience", one.id, one.name, one.sessions)
        for part in one.variants:
            yield {**_row("variant", one.id, one.name, part.sessions), "variant_id": part.part, "variant": part.name}
    for kind, rows in (("page_event", report.page_events), ("target", report.targets)):
        for one in rows:
            yield _row(kind, one.id, one.name, one.sessions)
    for value, count in report.by:
        yield _row(report.column or "", value, None, count)


def write_report(report: SessionReport, path: str | Path) -> None:
    """Write a report to a file: JSON, CSV or Parquet by the end of its name.

    Raises:
        InvalidError: the name has another end.
        ImportError: the library for Parquet is not installed.
    """
    kind = format_of(path)
    if kind == "json":
        Path(path).write_bytes(orjson.dumps(report_json(report), option=orjson.OPT_INDENT_2) + b"\n")
        return
    if kind == "parquet":
        arrow, parquet = load_parquet()
        rows = list(report_rows(report))
        parquet.write_table(arrow.Table.from_pylist(rows, schema=_report_schema(arrow)), str(path))
        return
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, REPORT_COLUMNS)
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in report_rows(report))


class RowWriter:
    """Writes sessions one by one, as lines of JSON, as CSV or as Parquet; nothing is kept in memory.

    Args:
        target: a path, or an open binary stream (not for Parquet).
        columns: of each row before the ones that every row has.
    """

    def __init__(self, target: str | Path | BinaryIO, kind: RowFormat, columns: Sequence[str] = ()) -> None:
        self._kind, self._names = kind, [*columns, "city", *_LISTS]
        self._group: list[dict[str, Any]] = []
        self._own = isinstance(target, str | Path)
        self._parquet: Any = None
        self._file: BinaryIO | None = None
        if kind == "parquet":
            if not isinstance(target, str | Path):
                raise InvalidError("Parquet goes to a file; name one that ends with .parquet", field="rows")
            self._arrow, parquet = load_parquet()
            self._schema = _rows_schema(self._arrow, columns)
            self._parquet = parquet.ParquetWriter(str(target), self._schema)
            return
        self._file = Path(target).open("wb") if isinstance(target, str | Path) else target  # noqa: SIM115 - see close
        if kind == "csv":
            self._file.write(_csv_line(self._names))

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row of `readable`."""
        if self._parquet is not None:
            self._group.append({name: _flat(name, value) for name, value in row.items()})
            if len(self._group) >= GROUP:
                self._flush()
        elif self._file is not None and self._kind == "csv":
            self._file.write(_csv_line([cell(row.get(name)) for name in self._names]))
        elif self._file is not None:
            self._file.write(orjson.dumps(row) + b"\n")

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._parquet is not None:
            self._flush()
            self._parquet.close()
        elif self._file is not None and self._own:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _flush(self) -> None:
        if self._group:
            self._parquet.write_table(self._arrow.Table.from_pylist(self._group, schema=self._schema))
            self._group = []


def format_of(path: str | Path) -> RowFormat:
    """Return the format that the end of a name says.

    Raises:
        InvalidError: it says none.
    """
    kinds: dict[str, RowFormat] = {
        ".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".parquet": "parquet"
    }  # fmt: skip
    kind = kinds.get(Path(path).suffix.lower())
    if kind is None:
        raise InvalidError(f"{path}: let the name end with .json, .jsonl, .csv or .parquet", field="output")
    return kind


def load_parquet() -> Any:
    """Return pyarrow and its module for Parquet.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError("Parquet needs pyarrow: pip install 'flagmw[parquet]'") from None
    return pyarrow, pyarrow.parquet


def cell(value: Any) -> Any:
    """Return a value for CSV; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return orjson.dumps(value).decode()
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def _row(kind: str, own: str, name: str | None, sessions: int) -> dict[str, Any]:
    return {"kind": kind, "id": own, "name": name, "variant_id": None, "variant": None, "sessions": sessions}


def _csv_line(cells: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode("utf-8", "surrogatepass")


def _flat(name: str, value: Any) -> Any:
    """Return a value as the column of a Parquet file takes it: lists of texts, and texts."""
    if name in _LISTS:
        return [{key: None if one is None else str(one) for key, one in entry.items()} for entry in value]
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _rows_schema(arrow: Any, columns: Sequence[str]) -> Any:
    text = arrow.string()

    def listed(*names: str) -> Any:
        return arrow.list_(arrow.struct([(name, text) for name in names]))

    return arrow.schema(
        [
            *((name, text) for name in columns),
            ("city", text),
            ("experiences", listed("id", "name", "variant_id", "variant")),
            ("page_events", listed("id", "title", "time")),
            ("targets", listed("id", "title", "value")),
        ]
    )


def _report_schema(arrow: Any) -> Any:
    return arrow.schema([(name, arrow.int64() if name == "sessions" else arrow.string()) for name in REPORT_COLUMNS])
