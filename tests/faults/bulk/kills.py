"""A bulk update whose process is killed again and again, and what the vendor has of it in the end."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.bulk.uploader import COLUMNS
from tests.faults.bulk.uploader import rows as rows_of
from tests.support.http_vendor import Answer, HttpVendor, Request

ROOT = Path(__file__).parents[3]
ENVIRON = {
    **os.environ,
    "ADOBE_TOKEN": "t",
    "ADOBE_CLIENT_ID": "k",
    "ADOBE_TENANT": "acme",
    "ADOBE_CLIENT_CODE": "acme",
}
TAKEN = b"<response><success>true</success><message>Batch submitted for processing</message></response>"


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        kills: how many processes were killed.
        missing: rows that the vendor never got.
        unmarked: parts that it got twice although nobody said that it may have.
        marked: parts that were said to have been sent twice perhaps, and those of them that were.
        changed: parts of one number that were not the same each time.
    """

    kills: int
    rows: int
    parts: int
    uploads: int
    missing: int
    unmarked: int
    marked: tuple[int, int]
    changed: int
    last: dict[str, Any]

    def text(self) -> str:
        marked, twice = self.marked
        return (
            f"{self.kills} kills, {self.rows} rows in {self.parts} parts, {self.uploads} uploads: "
            f"{self.missing} rows missing, {self.unmarked} parts sent twice unmarked, "
            f"{marked} marked as perhaps sent twice ({twice} were)"
        )


class Killer:
    """A vendor that kills the process it serves, before or after it answers."""

    def __init__(self, kills: int, seed: int) -> None:
        self._left, self._random = kills, random.Random(seed)
        self.killed = 0
        self.process: subprocess.Popen[str] | None = None
        self.bodies: list[tuple[str, int, list[bytes]]] = []
        self._until = self._random.randrange(1, 4)
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        with self._lock:
            lines = request.body.split(b"\n")[1:-1]
            ids = [line.partition(b",")[0] for line in lines]
            self.bodies.append((hashlib.sha256(request.body).hexdigest(), len(ids), ids))
            self._until -= 1
            if self._until <= 0 and self.killed < self._left and self.process is not None:
                self._until = self._random.randrange(1, 4)
                if self._random.random() < 0.5:
                    self._kill()
                else:
                    # After the answer, while the next part is made or the journal is written.
                    threading.Timer(self._random.random() * 0.01, self._kill, [self.process]).start()
        return Answer(200, TAKEN)

    def _kill(self, process: subprocess.Popen[str] | None = None) -> None:
        (process or self.process).kill()  # type: ignore[union-attr]
        self.killed += 1


def run(kills: int, rows: int, part_rows: int, seed: int = 1, *, by_command: bool = False) -> Outcome:
    """Upload *rows* rows, kill the process *kills* times, and start it again until it comes to its end.

    Args:
        by_command: the process is `flagmw adobe profiles bulk` with a CSV file.
    """
    killer = Killer(kills, seed)
    with HttpVendor(killer) as vendor, tempfile.TemporaryDirectory() as folder:
        while True:
            command = (
                _command(vendor.url, folder, rows, part_rows)
                if by_command
                else [
                    sys.executable,
                    "-m",
                    "tests.faults.bulk.uploader",
                    vendor.url,
                    folder,
                    str(rows),
                    str(part_rows),
                ]
            )
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRON
            )
            killer.process = process
            output, errors = process.communicate(timeout=300)
            if process.returncode == 0:
                break
            assert process.returncode == -9, errors
            vendor.requests.clear()
    last = _plain(json.loads(output)) if by_command else json.loads(output)
    sent = Counter(digest for digest, _, _ in killer.bodies)
    marked = {digest for _, _, twice, digest in last["parts"] if twice}
    arrived = {identity for _, _, ids in killer.bodies for identity in ids}
    return Outcome(
        kills=killer.killed,
        rows=rows,
        parts=len(last["parts"]),
        uploads=len(killer.bodies),
        missing=rows - len(arrived),
        unmarked=sum(1 for digest, times in sent.items() if times > 1 and digest not in marked),
        marked=(len(marked), sum(1 for digest in marked if sent[digest] > 1)),
        changed=len(set(sent) - {digest for *_, digest in last["parts"]}),
        last=last,
    )


def _command(url: str, folder: str, rows: int, part_rows: int) -> list[str]:
    """Return the command that uploads a file, which is made where it is missing."""
    path = Path(folder) / "rows.csv"
    if not path.exists():
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows_of(rows)])
    words = ["adobe", "profiles", "bulk", str(path), "--journal", f"{folder}/journal", "--max-rows", str(part_rows)]
    reached = ["--base-url", url, "--profile-url", url, "--max-wait", "600", "--json"]
    return [sys.executable, "-m", "flagmw.cli", *words, *reached]


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Return what the command prints in the form of the uploader's."""
    parts = [[one["number"], one["earlier"], one["maybe_twice"], one["digest"]] for one in document["parts"]]
    return {**document, "parts": parts}
