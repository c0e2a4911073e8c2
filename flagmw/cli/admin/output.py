"""Results as tables, JSON or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from rich.table import Table

from flagmw.admin.http.planned import PlannedRequest
from flagmw.cli.table import print_table
from flagmw.cli.text import cell, console, say, say_json, shown

Row: TypeAlias = Mapping[str, Any]
Columns: TypeAlias = "Sequence[str] | Mapping[str, Callable[[Row], Any]]"
"""Fields of the rows, or titles with what stands below them."""


def print_document(document: Any, *, as_json: bool) -> None:
    """Print one object: names and values, or JSON."""
    if as_json or not isinstance(document, Mapping):
        say_json(document)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in document.items():
        # In JSON that is made here, line ends are lines; those in a text of the vendor's are written out.
        inner = isinstance(value, Mapping | list | tuple)
        table.add_row(cell(name), cell(text_of(value, indent=2), lines=inner))
    console(wide=True).print(table)


def print_rows(rows: Iterable[Row], columns: Columns, *, as_json: bool, as_csv: bool) -> None:
    """Print a list. JSON and CSV are written row by row; JSON has every field, the others have *columns*."""
    if as_json:
        _json_rows(rows)
    elif as_csv:
        _csv_rows(rows, columns)
    else:
        cells = ([text_of(value) for value in _values(row, columns)] for row in rows)
        say(f"{print_table(list(columns), cells)} rows", sys.stderr)


def print_planned(request: PlannedRequest, *, as_json: bool, curl: bool) -> None:
    """Print what a command would send; secrets are masked."""
    if curl:
        say(request.curl())
        return
    if as_json:
        document = {
            "operation": request.operation,
            "method": request.method,
            "url": request.url,
            "headers": dict(request.headers),
            "body": _body(request),
        }
        say_json(document)
        return
    say(f"{request.method} {request.url}")
    for name, value in request.headers.items():
        say(f"{name}: {value}")
    if request.body:
        body = _body(request)
        say("")
        say(body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False))


def text_of(value: Any, indent: int | None = None) -> str:
    """Return *value* for one cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, indent=indent, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _body(request: PlannedRequest) -> Any:
    try:
        return request.json()
    except ValueError:
        return request.body.decode("utf-8", "replace")


def _json_rows(rows: Iterable[Row]) -> None:
    # What ends in the middle is no JSON, so that nobody takes a part for the whole.
    between = "[\n"
    for row in rows:
        sys.stdout.write(between + json.dumps(row).replace("\x7f", "\\u007f"))
        between = ",\n"
    sys.stdout.write("[]\n" if between == "[\n" else "\n]\n")
    sys.stdout.flush()


def _values(row: Row, columns: Columns) -> list[Any]:
    if isinstance(columns, Mapping):
        return [value(row) for value in columns.values()]
    return [row.get(column) for column in columns]


def _csv_rows(rows: Iterable[Row], columns: Columns) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    # A terminal gets no commands; a file gets the texts as they are.
    plain = shown if sys.stdout.isatty() else str
    for row in rows:
        writer.writerow([plain(text_of(value)) for value in _values(row, columns)])
    sys.stdout.flush()
