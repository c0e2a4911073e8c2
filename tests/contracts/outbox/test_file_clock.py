"""What ages in a file: only in time that a process saw pass, whatever clocks say and whoever looks."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from flagmw.codes import ErrorCode
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.sqlite.directory import Directory
from flagmw.types import Dead, Delivered

LEASE_S = 60.0
HOUR = 3600.0
DAY = 24 * HOUR

SCRIPT = """
import os, sys, time
from flagmw.outbox.sqlite.directory import Directory
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.types import Delivered, Event, Track, Visit

def event(id):
    track = Track(id=id, metric="m", key=id)
    return Event(id=id, vendor="wt", kind="track", track=track, aliases=(), visit=Visit(url="https://shop.example/"),
                 visitor_key=id)

def adopted(store):
    inner = store._stores.get()
    inner.writer.ask(inner.files.adopt)

folder = sys.argv[1]
"""


def run(folder: Path, body: str, code: int = 0) -> None:
    """Run *body* in a process of its own."""
    script = SCRIPT + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr


def workers_killed(folder: Path, workers: int = 3, events: int = 10) -> set[str]:
    """Leave the slots of as many workers that were killed with as many events each; return the ids."""
    folder.mkdir()
    body = f"""
    stores = [SqliteOutbox(folder) for _ in range({workers})]
    for n, store in enumerate(stores):
        store.put_many([event(f"{{n}}-{{m}}") for m in range({events})], time.time())
    os.kill(os.getpid(), 9)
    """
    run(folder, body, code=-9)
    return {f"{n}-{m}" for n in range(workers) for m in range(events)}


def delivered(folder: Path, now: float) -> list[str]:
    """Deliver all there is in a new process's store; return the ids."""
    store = SqliteOutbox(folder)
    found: list[str] = []
    try:
        store.open()
        files = store._stores.get().files
        store._stores.get().writer.ask(files.adopt)
        while lease := store.claim(now, 100, LEASE_S):
            found += [row.event.id for row in lease.rows]
            store.ack(lease, [Delivered()] * len(lease.rows), now)
        assert store.stats(now).balanced()
    finally:
        store.close()
    return found


TURNS = {
    "a job that tracks and ends": "store = SqliteOutbox(folder); store.put_many([event('job')], time.time()); "
    "adopted(store); store.close()",
    "a job that is killed": "store = SqliteOutbox(folder); store.put_many([event('job')], time.time()); "
    "adopted(store); os.kill(os.getpid(), 9)",
    "a job that reads its counts": "store = SqliteOutbox(folder); store.open(); adopted(store); "
    "store.stats(time.time()); store.close()",
    "a job that never asks for anything": "store = SqliteOutbox(folder); store.open(); adopted(store); store.close()",
    "a person who looks": "Directory(folder).status(); Directory(folder).dead()",
    "a person who revives and forgets": "Directory(folder).revive(None, time.time()); Directory(folder).forget(None)",
    "a forked child": "store = SqliteOutbox(folder); store.open(); child = os.fork()\n"
    "if child == 0:\n    store.put_many([event('child')], time.time()); store.close(); os._exit(0)\n"
    "os.waitpid(child, 0); adopted(store); store.close()",
}


@pytest.mark.parametrize("turn", TURNS)
def test_nothing_is_buried_between_two_processes(folder, turn):
    """Killed workers' events wait for a process that delivers, whoever has had or seen their files before."""
    told = workers_killed(folder)
    run(folder, TURNS[turn], code=-9 if "killed" in turn else 0)
    found = delivered(folder, time.time())
    assert told <= set(found) and len(found) == len(set(found))
    assert Directory(folder).dead() == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def test_business_keys_survive_a_job_s_end(folder, make_event):
    """An order that was delivered yesterday is not told again because a job has had the file for a moment."""
    first, now = SqliteOutbox(folder), time.time()
    first.put_many([make_event(key="order-1")], now)
    first.ack(first.claim(now, 1, LEASE_S), [Delivered()], now)
    first.put_many([make_event()], now)
    first.close()
    for _ in range(2):
        job = SqliteOutbox(folder)
        job.open()
        job.close()
    Directory(folder).forget(None)
    last = SqliteOutbox(folder)
    last.put_many([make_event(key="order-1")], now)
    assert last.stats(now).refused == {ErrorCode.DUPLICATE_KEY: 1}
    last.close()


@pytest.mark.parametrize("ended", ["closed", "killed"])
@pytest.mark.parametrize("ahead_s", [72 * HOUR, 400 * DAY])
def test_a_clock_that_is_ahead_at_a_restart_makes_nothing_old(folder, make_event, ended, ahead_s):
    """Waiting events, refusals, dead letters and business keys are as old as the store saw them become."""
    now = time.time()
    events = [make_event(f"e{n}", visitor=f"v{n}") for n in range(4)]
    before = SqliteOutbox(folder)
    before.put_many([*events, make_event("sent", key="order-1"), make_event("odd")], now)
    lease = before.claim(now, 6, LEASE_S)
    outcomes = {"sent": Delivered(), "odd": Dead(ErrorCode.REFUSED), "e0": Dead(ErrorCode.REFUSED, verdict=False)}
    chosen = [index for index, row in enumerate(lease.rows) if row.event.id in outcomes]
    for index in chosen:
        before.ack(lease.part(index, index + 1), [outcomes[lease.rows[index].event.id]], now)
    for index in set(range(6)) - set(chosen):
        before.release(lease.part(index, index + 1), now)
    if ended == "closed":
        before.close()
    else:
        inner = before._stores.get()
        inner.writer.ask(lambda: inner.files.held()[0].slot.free())  # as the kernel does at a kill
    now += ahead_s
    after = SqliteOutbox(folder)
    after.put_many([make_event(key="order-1")], now)
    assert after.stats(now).refused == {ErrorCode.DUPLICATE_KEY: 1}
    lease = after.claim(now, 10, LEASE_S)
    assert {row.event.id for row in lease.rows} == {event.id for event in events}
    # The second and the third refusal come at once: they do not cover ten minutes, so they bury nothing.
    for _ in range(2):
        after.ack(lease, [Dead(ErrorCode.REFUSED, verdict=False)] * 4, now)
        now += 1
        lease = after.claim(now + 400, 10, LEASE_S) or lease
    stats = after.stats(now)
    assert (stats.queued, stats.dead, dict(stats.dropped)) == (4, 1, {})
    assert [letter.event.id for letter in after.dead()] == ["odd"]
    after.close()


def test_what_the_store_saw_pass_makes_old(folder, make_event):
    """Time that passes while a process has the file counts, over restarts too; the time between does not."""
    now = time.time()
    for turn in range(3):
        store = SqliteOutbox(folder)
        if turn == 0:
            store.put_many([make_event()], now)
        assert store.stats(now).queued == 1
        now += 23 * HOUR  # seen
        assert store.next_due(now) == 0
        store.close()
        now += 300 * HOUR  # not seen
    store = SqliteOutbox(folder)
    assert store.stats(now).oldest_s == pytest.approx(69 * HOUR, abs=5)
    now += 3 * HOUR + 5
    assert store.claim(now, 1, LEASE_S) is None
    assert [letter.code for letter in store.dead()] == [ErrorCode.TOO_OLD]
    store.close()


@pytest.mark.parametrize("state", ["killed", "closed", "live"])
def test_looking_changes_no_byte(folder, make_event, state):
    """Counts and dead letters are read without writing, whoever has the file and however its process ended."""
    if state == "killed":
        workers_killed(folder, 1)
    else:
        store = SqliteOutbox(folder)
        store.put_many([make_event() for _ in range(10)], time.time())
        if state == "closed":
            store.close()
        else:
            # The first quiet moment writes the log back.
            end = time.monotonic() + 10
            while (folder / "slot-0.db-wal").stat().st_size and time.monotonic() < end:
                time.sleep(0.05)
    before = contents(folder)
    for _ in range(2):
        (slot,) = Directory(folder).status()
        assert slot.stats.queued == 10 and 0 <= slot.stats.oldest_s < 60
        Directory(folder).dead()
        if state == "live":
            store.stats(time.time())
    assert contents(folder) == before
    if state == "live":
        store.close()


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of database and log; an empty log is as good as none."""
    return {p.name: text for p in folder.glob("slot-*.db*") if p.suffix != ".db-shm" and (text := p.read_bytes())}


def test_a_file_of_the_version_before_is_used(folder, make_event):
    """Rows without the newer column keep their age; a time that was never set buries nothing."""
    now = time.time()
    store = SqliteOutbox(folder)
    store.put_many([make_event("old"), make_event("unset"), make_event("letter")], now)
    store.ack(store.claim(now, 3, LEASE_S).part(2), [Dead(ErrorCode.REFUSED)], now)
    store.close()
    import sqlite3

    connection = sqlite3.connect(folder / "slot-0.db")
    connection.executescript("ALTER TABLE dead DROP COLUMN seen; DELETE FROM counts WHERE what = 'unseen'")
    connection.execute("UPDATE event SET created = 0 WHERE id = 'unset'")
    connection.commit()
    connection.close()
    assert [letter.event.id for letter in Directory(folder).dead()] == ["letter"]
    now += 71 * HOUR
    assert sorted(delivered(folder, now)) == ["old", "unset"]
    assert [letter.event.id for letter in Directory(folder).dead()] == ["letter"]
    assert (folder / "slot-0.db").exists()
