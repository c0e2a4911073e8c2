"""What it costs to encode rows for a bulk update of profiles: five attributes each, one core."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.support.harness import ROOT, Settings, Stub
from benchmarks.support.table import Column, Goal, Section, Table, interleave
from flagmw.admin.adobe.profiles.encode import RowEncoder
from flagmw.admin.adobe.profiles.parts import PartBuilder
from flagmw.admin.bulk.sources import Source, open_rows

COLUMNS = ("thirdPartyId", "level", "region", "orders", "email", "active")
HAND, SEQUENCES, MAPPINGS, TABLE = "quote and join by hand", "sequences", "mappings", "CSV file"

# What one process takes above what it has when the client is made.
MEMORY = """
import json, sys
from benchmarks.sections.profiles import COLUMNS, encode, sequences
from tests.faults.bulk.uploader import peak_mib
import flagmw.admin.adobe.client, httpx2
before = peak_mib()
parts = encode(sequences(int(sys.argv[1])), COLUMNS)
print(json.dumps([parts, peak_mib() - before]))
"""


def run(settings: Settings, stub: Stub) -> Section:
    section = Section("profiles: rows of a bulk update")
    count = settings.n(200_000, 2_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *sequences(count)])
        cases: dict[str, Callable[[], Mapping[str, float]]] = {
            HAND: partial(timed, count, lambda: by_hand(sequences(count))),
            SEQUENCES: partial(timed, count, lambda: encode(sequences(count), COLUMNS)),
            MAPPINGS: partial(timed, count, lambda: encode(mappings(count), None)),
            TABLE: partial(timed, count, lambda: encode(path, None)),
        }
        rounds = interleave(cases, settings.rounds)
    note = "By hand: no ids are compared, nothing is checked, one file. Time of one core, the source's included."
    table = Table(
        "encode into parts", [Column("time", "us a row", 2), Column("rows", "a second", 0)], rounds, HAND, note=note
    )
    section.tables.append(table)
    for row in (SEQUENCES, MAPPINGS, TABLE):
        rate = table.median(row, "rows")
        section.goals.append(Goal("-", f"{row}: rows a second on one core", rate, at_least=50_000, unit=""))
    many = settings.n(500_000, 5_000)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(many)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    parts, mib = json.loads(done.stdout)
    section.goals.append(Goal("-", f"{many:,} rows: memory over the start", mib, at_most=64, unit=" MiB"))
    section.goals.append(Goal("-", f"{many:,} rows: uploads", parts, at_most=10, unit=""))
    return section


def sequences(count: int) -> Iterator[list[Any]]:
    """Yield customers with five attributes."""
    for number in range(count):
        level = "gold" if number % 3 else "silver"
        yield [f"customer-{number}", level, "Île-de-France, Paris", number, f"c{number}@example.com", True]


def mappings(count: int) -> Iterator[dict[str, Any]]:
    """Yield the same customers as mappings."""
    return (dict(zip(COLUMNS, row, strict=True)) for row in sequences(count))


def encode(source: Source, columns: tuple[str, ...] | None) -> int:
    """Encode *source* into parts and return how many there are."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        rows = open_rows(source, stack, format=None, columns=columns)
        encoder = RowEncoder("thirdPartyId", columns=rows.columns)
        builder = PartBuilder(rows.rows, encoder, Path(folder))
        parts = 0
        while builder.next_part() is not None:
            parts += 1
        return parts


def by_hand(rows: Iterator[list[Any]]) -> None:
    """Encode *rows* in the shortest way there is."""
    with tempfile.TemporaryFile("w") as file:
        file.writelines(",".join(quote(str(value), safe="") for value in row) + "\n" for row in rows)


def timed(count: int, work: Callable[[], object]) -> Mapping[str, float]:
    """Return what one row takes, and how many there are in a second."""
    begun = time.process_time()
    work()
    taken = time.process_time() - begun
    return {"time": taken / count * 1e6, "rows": count / taken}
