"""Events that must not arrive twice, in files that lose the proof that they were sent."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flagmw.codes import ErrorCode
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.valkey import LocalPolicy
from flagmw.types import Delivered, Retry

# A process that takes three events in each directory, hands them out, and is killed while they are on their way.
_HOLDER = """
import os, signal, sys, time
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.valkey import LocalPolicy
from flagmw.types import Event, Track, Visit
def event(n, once):
    return Event(id=f"e{n}", vendor="wt", kind="track", track=Track(id=f"t{n}", metric="purchase"), aliases=("a",),
        visit=Visit(url="https://x.example/"), visitor_key=f"v{n}", at_most_once=once)
boxes = [SqliteOutbox(directory) for directory in sys.argv[1:]]
for box in boxes:
    box.put_many([event(n, True) for n in range(3)] + [event(9, False)], time.time())
    held = [box.claim(time.time(), 1, 60.0) for _ in range(3)]
    assert all(lease.rows[0].event.at_most_once for lease in held)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield directories whose process died with three events on their way that must not be sent twice.

    Not copies, which would be in doubt for that alone.
    """
    directories = [tmp_path_factory.mktemp("killed") / "ob" for _ in range(len(BREAK) + 2)]
    holder = [sys.executable, "-c", _HOLDER, *map(str, directories)]
    assert subprocess.run(holder, timeout=60).returncode == -signal.SIGKILL
    return iter(directories)


def sent_by(outbox: SqliteOutbox) -> list[str]:
    """Deliver what can be had; return the ids in order."""
    sent: list[str] = []
    now = time.time()
    while (lease := outbox.claim(now, 10, 60.0)) is not None:
        sent += [row.event.id for row in lease.rows]
        outbox.ack(lease, [Delivered()] * len(lease.rows), now)
    return sent


def lose_leases(directory: Path) -> None:
    """Take the table of leases away from a file, as a page that reads as empty does."""
    connection = sqlite3.connect(directory / "slot-0.db")
    connection.execute("DELETE FROM lease")
    connection.commit()
    connection.close()


def break_lease_page(directory: Path) -> None:
    """Destroy the page on which the leases are."""
    path = directory / "slot-0.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'lease'").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))


def break_log(at: float) -> Callable[[Path], None]:
    """Return what flips a byte of the log, *at* a part of its length."""

    def act(directory: Path) -> None:
        path = directory / "slot-0.db-wal"
        with path.open("r+b") as file:
            file.seek(int(path.stat().st_size * at))
            (octet,) = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([octet ^ 0xFF]))

    return act


def leave(directory: Path) -> None:
    """Do nothing."""


BREAK = {
    "nothing": leave,
    "no leases": lose_leases,
    "lease page": break_lease_page,
    "log header": break_log(0.0),
    "log, 70 %": break_log(0.7),
    "log, 80 %": break_log(0.8),
    "log, 90 %": break_log(0.9),
}


@pytest.mark.parametrize("what", BREAK)
def test_a_lost_proof_sends_nothing_again(killed: Iterator[Path], what: str) -> None:
    """Whatever is destroyed of the file, an event that may have been sent is not sent again, nor lost uncounted."""
    directory = next(killed)
    BREAK[what](directory)
    outbox = SqliteOutbox(directory)
    assert [id for id in sent_by(outbox) if id != "e9"] == []
    stats = outbox.stats(time.time())
    assert stats.balanced() and stats.queued == 0
    letters = [letter for letter in outbox.dead() if letter.code is ErrorCode.AMBIGUOUS]
    assert len(letters) + stats.dropped.get(ErrorCode.AMBIGUOUS, 0) <= 3
    outbox.close()


def test_what_is_in_doubt_can_be_seen_and_sent_again(killed: Iterator[Path]) -> None:
    """Without its lease an event is laid aside as AMBIGUOUS; a person who knows better sends it."""
    directory = next(killed)
    lose_leases(directory)
    outbox = SqliteOutbox(directory)
    assert sent_by(outbox) == ["e9"]
    assert {(letter.event.id, letter.code) for letter in outbox.dead()} == {
        (f"e{n}", ErrorCode.AMBIGUOUS) for n in range(3)
    }
    assert outbox.revive(None, time.time()) == 3
    assert sorted(sent_by(outbox)) == ["e0", "e1", "e2"]
    outbox.close()


def test_a_copy_is_in_doubt_as_a_whole(tmp_path: Path, make_event) -> None:
    """What waits in a copied or restored file may have been sent since by the original."""
    original, copy = tmp_path / "one", tmp_path / "two"
    outbox = SqliteOutbox(original)
    outbox.put_many([make_event(id="once", at_most_once=True), make_event(id="often")], time.time())
    outbox.close()
    shutil.copytree(original, copy)
    outbox = SqliteOutbox(original)
    assert sorted(sent_by(outbox)) == ["often", "once"]
    outbox.close()
    outbox = SqliteOutbox(copy, adopt_copies=True)
    assert sent_by(outbox) == ["often"]
    assert [letter.code for letter in outbox.dead()] == [ErrorCode.AMBIGUOUS]
    outbox.close()


def test_what_comes_back_untried_is_in_no_doubt(tmp_path: Path, make_event) -> None:
    """Given back, or not sent: the mark goes with the lease, also over a restart."""
    outbox = SqliteOutbox(tmp_path)
    outbox.put_many([make_event(id="once", at_most_once=True)], 100.0)
    for settle in (
        lambda lease: outbox.release(lease, 100.0),
        lambda lease: outbox.ack(lease, [Retry(ErrorCode.CONNECT)], 100.0),
    ):
        lease = outbox.claim(100.0, 1, 60.0)
        assert lease is not None
        settle(lease)
    outbox.close()
    outbox = SqliteOutbox(tmp_path)
    lease = outbox.claim(200.0, 1, 60.0)
    assert lease is not None and lease.rows[0].attempts == 1
    outbox.ack(lease, [Delivered()], 200.0)
    outbox.close()


def test_a_salvaged_file_sends_nothing_twice(tmp_path: Path, make_event) -> None:
    """Of a file with a destroyed page anything may be out of date, so that what must not go twice is laid aside."""
    outbox = SqliteOutbox(tmp_path)
    events = [make_event(at_most_once=n % 2 == 0, url="https://x.example/" + "y" * 3000) for n in range(40)]
    outbox.put_many(events, time.time())
    outbox.close()
    path = tmp_path / "slot-0.db"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(8192))
    outbox = SqliteOutbox(tmp_path)
    sent = sent_by(outbox)
    stats = outbox.stats(time.time())
    often = {event.id for event in events if not event.at_most_once}
    assert sent and set(sent) <= often
    assert stats.dead >= 10 and stats.balanced()
    outbox.close()


def test_a_store_that_only_hands_on_buries_nothing(killed: Iterator[Path]) -> None:
    """In the store that a Valkey outbox forwards from, doubt is the server's to settle: it is told of the first try."""
    directory = next(killed)
    lose_leases(directory)
    outbox = SqliteOutbox(directory, LocalPolicy())
    leases = [lease for _ in range(4) if (lease := outbox.claim(time.time(), 1, 60.0)) is not None]
    again = {row.event.id: row.attempts for lease in leases for row in lease.rows}
    assert again == {"e0": 1, "e1": 1, "e2": 1, "e9": 0}
    outbox.close()
