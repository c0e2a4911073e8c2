"""What goes wrong with processes and disks, by the id of the fault, in the SQLite outbox."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.sqlite import disk as sqlite_disk
from flagmw.outbox.sqlite.rows import DUE, FIRST, OLDEST, UNPARK, WAITING
from flagmw.types import Dead, Delivered, Retry
from tests.support.busy import HELD_UP_S

LEASE_S = 60.0
Open = Callable[..., SqliteOutbox]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest.fixture
def open_store(folder: Path) -> Iterator[Open]:
    """Open stores on one directory; each has a slot of its own, and all must balance at the end."""
    opened: list[SqliteOutbox] = []

    def open(**options: object) -> SqliteOutbox:
        opened.append(SqliteOutbox(folder, **options))
        return opened[-1]

    yield open
    for store in opened:
        assert store.stats(time.time()).balanced()
        store.close()


def rows(path: Path, query: str) -> list[tuple]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def ids(lease) -> list[str]:
    return [] if lease is None else [row.event.id for row in lease.rows]


def eventually(true: Callable[[], object], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


SCRIPT = """
import os, signal, sqlite3, sys, threading, time
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.types import Delivered, Event, Track, Visit

def event(id, visitor=None, once=False):
    visit = Visit(url="https://shop.example/")
    track = Track(id=id, metric="m")
    return Event(id=id, vendor="wt", kind="track", track=track, aliases=(), visit=visit,
                 visitor_key=visitor or id, at_most_once=once)

store = SqliteOutbox(sys.argv[1])
now = time.time
"""


def run(folder: Path, body: str, *, code: int = 0, timeout: float = 30, **options: object) -> str:
    """Run *body* in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + textwrap.dedent(body), str(folder)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


# Kills


KILL = """
class Deadly(sqlite3.Connection):
    def execute(self, statement, *values):
        if statement.lstrip().startswith({before!r}) and armed:
            os.kill(os.getpid(), signal.SIGKILL)
        result = super().execute(statement, *values)
        if statement.lstrip().startswith({after!r}) and armed:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

armed = False
connect = sqlite3.connect
sqlite3.connect = lambda *a, **o: connect(*a, factory=Deadly, **o)
store.put_many([event("first"), event("second")], now())
lease = store.claim(now(), 1, 60)
armed = True
"""

POINTS = {
    "before the commit of a put": (("COMMIT", "-"), "store.put_many([event('third')], now())", 2),
    "after the commit of a put": (("-", "COMMIT"), "store.put_many([event('third')], now())", 3),
    "during the insert": (("-", "INSERT INTO event"), "store.put_many([event('third')], now())", 2),
    "before the commit of an ack": (("COMMIT", "-"), "store.ack(lease, [Delivered()], now())", 2),
    "after the commit of an ack": (("-", "COMMIT"), "store.ack(lease, [Delivered()], now())", 1),
    "before the commit of a claim": (("COMMIT", "-"), "store.claim(now(), 1, 60)", 2),
    "after the commit of a claim": (("-", "COMMIT"), "store.claim(now(), 1, 60)", 2),
    "before a checkpoint": (("PRAGMA wal_checkpoint", "-"), "store.close()", 2),
    "after a checkpoint": (("-", "PRAGMA wal_checkpoint"), "store.close()", 2),
    "during a vacuum": (("-", "PRAGMA incremental_vacuum"), "time.sleep(20)", 2),
}


@pytest.mark.parametrize("point", POINTS)
def test_P1_P2_P3_P4_killed_at(folder, open_store, point):
    """Whatever moment the kill finds: what was acknowledged is there, nothing is there twice, and the file is sound."""
    (before, after), action, left = POINTS[point]
    run(folder, KILL.format(before=before, after=after) + action, code=-signal.SIGKILL)
    store, later = open_store(), time.time() + LEASE_S + 1
    stats = store.stats(later)
    assert stats.balanced() and stats.queued == left
    assert stats.delivered == (1 if left == 1 else 0)
    found: list[str] = []
    while lease := store.claim(later, 10, LEASE_S):
        found += ids(lease)
        store.ack(lease, [Delivered()] * len(lease.rows), later)
    assert sorted(found) == {1: ["second"], 2: ["first", "second"], 3: ["first", "second", "third"]}[left]
    store.close()
    assert rows(folder / "slot-0.db", "PRAGMA integrity_check") == [("ok",)]


def test_P3_a_kill_between_delivery_and_ack_is_a_second_attempt(folder, open_store):
    """The event is there again, under the same id, and says that it was tried before."""
    run(folder, "store.put_many([event('a')], now()); store.claim(now(), 1, 60); os.kill(os.getpid(), 9)", code=-9)
    row = open_store().claim(time.time(), 1, LEASE_S).rows[0]
    assert (row.event.id, row.attempts) == ("a", 1)


def test_P3_a_dead_holder_s_at_most_once_event_is_not_sent_again(folder, open_store):
    """It may have been sent, so it is dropped as ambiguous."""
    body = "store.put_many([event('a', once=True)], now()); store.claim(now(), 1, 60); os.kill(os.getpid(), 9)"
    run(folder, body, code=-9)
    store = open_store()
    assert store.claim(time.time(), 1, LEASE_S) is None
    assert store.stats(time.time()).dropped == {ErrorCode.AMBIGUOUS: 1}


def test_P2_acknowledged_events_survive_random_kills(folder, open_store):
    """Ten processes are killed in the middle of putting: every id that was told is in the files, once."""
    told: set[str] = set()
    for turn in range(10):
        body = f"""
        for n in range(100_000):
            print(*store.put_many([event(f"{turn}-{{n}}-{{m}}") for m in range(3)], now()), flush=True)
        """
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT + textwrap.dedent(body), str(folder)], stdout=subprocess.PIPE, text=True
        )
        first = process.stdout.readline()
        time.sleep(0.01 * (turn % 5))
        process.kill()
        told.update(first.split())
        told.update(
            word for line in process.stdout.read().splitlines() for word in line.split() if line.count("-") == 6
        )
        process.wait()
        process.stdout.close()
    store = open_store()
    found: list[str] = []
    while lease := store.claim(time.time(), 500, LEASE_S):
        found += ids(lease)
        store.ack(lease, [Delivered()] * len(lease.rows), time.time())
    print(f"{len(told)} acknowledged, {len(found)} found after 10 kills")
    assert told <= set(found) and len(found) == len(set(found))


def test_P5_every_acknowledged_event_is_synced(folder, open_store, make_event):
    """The log is synced at each commit (WAL with synchronous=FULL), which is what a power cut needs.

    Whether the disk keeps its word is beyond a test in this process; that SQLite calls fsync is SQLite's own promise.
    """
    store = open_store()
    store.put_many([make_event()], time.time())
    inner = store._stores.get().files.own().connection
    assert inner.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert inner.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


# Disks


def test_P6_events_are_refused_while_the_disk_is_nearly_full(folder, open_store, make_event, caplog):
    """At the floor nothing more is taken, told and counted; deliveries go on, and with room events are taken again."""
    low = False
    store = open_store(disk_is_low=lambda path: low)
    kept = make_event()
    store.put_many([kept], time.time())
    low = True
    time.sleep(0.3)
    assert list(store.put_many([make_event()], time.time())) == []
    assert store.stats(time.time()).refused == {ErrorCode.DISK_FULL: 1}
    assert "DISK_FULL" in caplog.text
    store.ack(store.claim(time.time(), 1, LEASE_S), [Delivered()], time.time())
    low = False
    time.sleep(0.3)
    assert len(store.put_many([make_event()], time.time())) == 1


def test_P6_disk_full(folder, open_store, make_event):
    """When the disk is full after all, new events are counted as refused and those on disk are delivered."""
    store = open_store()
    events = [make_event() for _ in range(20)]
    store.put_many(events, time.time())
    connection = store._stores.get().files.own().connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    store._stores.get().writer.ask(lambda: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    large = make_event(url="https://shop.example/" + "x" * 50_000)
    assert list(store.put_many([large], time.time())) == []
    assert store.stats(time.time()).refused == {ErrorCode.DISK_FULL: 1}
    while lease := store.claim(time.time(), 10, LEASE_S):
        store.ack(lease, [Delivered()] * len(lease.rows), time.time())
    assert store.stats(time.time()).delivered == 20


def test_P6_a_reserve_lets_deletes_go_on(folder, tmp_path):
    """On a disk with no room at all the reserve is given up, and what is queued is delivered and deleted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    body = """
    from pathlib import Path
    store = SqliteOutbox(Path(sys.argv[1]) / "outbox", disk_is_low=lambda path: False)
    store.put_many([event(f"e{n}") for n in range(50)], now())
    reserve = Path(sys.argv[1]) / "outbox" / "slot-0.reserve"
    while not reserve.exists() or reserve.stat().st_size < 4 << 20:
        time.sleep(0.01)
    with open(Path(sys.argv[1]) / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == 28
    refused = 0
    while not refused and len(os.listdir(Path(sys.argv[1]))) < 10:
        refused = not store.put_many([event(f"late{time.time()}")], now())
    assert reserve.exists()
    n = 0
    while lease := store.claim(now(), 10, 60):
        store.ack(lease, [Delivered()] * len(lease.rows), now())
        n += len(lease.rows)
    stats = store.stats(now())
    print(n >= 50, stats.queued, stats.balanced(), bool(stats.refused))
    """
    mount = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    script = f'mount -t tmpfs -o size=8m tmpfs "{disk}" && exec "$0" -c "$1" "{disk}"'
    done = subprocess.run(
        [*mount, script, sys.executable, SCRIPT + textwrap.dedent(body)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "True 0 True True\n", done.stderr


@pytest.mark.parametrize("how", ["a file in the way", "nobody may write"])
def test_P7_without_a_directory_events_are_kept_in_memory(folder, open_store, make_event, caplog, how):
    """A store that cannot be opened is told as an error; events are delivered from memory meanwhile."""
    folder.write_text("") if how == "a file in the way" else folder.symlink_to("/proc/self/nothing")
    store = open_store()
    event = make_event()
    assert list(store.put_many([event], time.time())) == [event.id]
    assert store.trouble is not None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    lease = store.claim(time.time(), 5, LEASE_S)
    assert ids(lease) == [event.id]
    store.release(lease, time.time())
    lease = store.claim(time.time(), 5, LEASE_S)
    store.ack(lease, [Delivered()], time.time())
    assert store.stats(time.time()).delivered == 1


def test_P7_a_required_outbox_takes_nothing_without_its_disk(folder, make_event):
    """Where memory is no substitute, a put is an error that says why."""
    folder.write_text("")
    store = SqliteOutbox(folder, required=True)
    with pytest.raises(OutboxError):
        store.open()
    with pytest.raises(OutboxError):
        store.put_many([make_event()], time.time())
    store.close()


def test_P7_memory_is_left_when_the_disk_is_back(folder, open_store, make_event, monkeypatch):
    """Some seconds after the trouble is over new events go to the disk again, and nothing was lost."""
    monkeypatch.setattr("flagmw.outbox.sqlite.own_slot.RETRY_S", 0.05)
    folder.write_text("")
    store = open_store()
    store.put_many([make_event()], time.time())
    folder.unlink()
    time.sleep(0.1)
    store.put_many([make_event()], time.time())
    assert store.trouble is None
    assert store.stats(time.time()).queued == 2
    assert rows(folder / "slot-0.db", "SELECT count(*) FROM event") == [(1,)]


def test_P8_a_lock_held_elsewhere_delays_and_loses_nothing(folder, open_store, make_event):
    """While another program holds the file a submit returns at once, and is done when the lock is gone."""
    store = open_store()
    store.put_many([make_event()], time.time())
    other = sqlite3.connect(folder / "slot-0.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    begin = time.perf_counter()
    stored = store.submit([make_event()], time.time())
    assert time.perf_counter() - begin < 2  # the lock is held all the time
    with pytest.raises(TimeoutError):
        stored.result(6.0)
    assert store.stats(time.time()).queued <= 1, "counts are told all the same"
    other.execute("ROLLBACK")
    other.close()
    assert len(stored.result(10)) == 1
    assert store.stats(time.time()).queued == 2


def test_P9_every_write_begins_immediate():
    """No other form of BEGIN is in the code: a deferred one fails at once when it turns into a write."""
    package = Path(sys.modules[SqliteOutbox.__module__].__file__).parent
    text = "".join(path.read_text("utf-8") for path in package.glob("*.py"))
    reads = text.count('"ro"))')  # connections that cannot write, for a look at one moment
    assert text.count('"BEGIN') - text.count('"BEGIN IMMEDIATE"') <= reads
    assert text.count('"BEGIN IMMEDIATE"') > 0


def damaged(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if ".damaged-" in path.name and path.name.endswith("Z")]


def test_P10_garbage_is_set_aside(folder, open_store, make_event, caplog):
    """A file that is no database is kept under another name, told, and a new one takes its place."""
    folder.mkdir()
    (folder / "slot-0.db").write_bytes(os.urandom(9_000))
    store = open_store()
    assert len(store.put_many([make_event()], time.time())) == 1
    assert len(damaged(folder)) == 1 and "DAMAGED" in caplog.text


@pytest.mark.parametrize("what", ["truncated", "page", "log", "header"])
def test_P10_what_can_be_read_of_a_damaged_file_is_saved(folder, open_store, make_event, what):
    """The rest of the events is delivered, the lost ones are counted, and the damaged file is kept."""
    store = open_store()
    events = [make_event() for _ in range(300)]
    store.put_many(events, time.time())
    store.close()
    path = folder / "slot-0.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        if what == "truncated":
            file.truncate(size * 2 // 3)
        elif what == "page":
            file.seek(size // 2 // 4096 * 4096)
            file.write(os.urandom(3 * 4096))
        elif what == "header":
            file.write(os.urandom(40))
    if what == "log":
        path.with_name("slot-0.db-wal").write_bytes(os.urandom(50_000))
    store = open_store()
    found: list[str] = []
    while lease := store.claim(time.time(), 50, LEASE_S):
        found += ids(lease)
        store.ack(lease, [Delivered()] * len(lease.rows), time.time())
    stats = store.stats(time.time())
    print(f"{what}: {len(found)} of 300 saved, dropped {dict(stats.dropped)}")
    assert set(found) <= {event.id for event in events} and len(found) == len(set(found))
    assert stats.balanced() and len(store.put_many([make_event()], time.time())) == 1
    if what == "log":
        assert len(found) == 300
    elif what in ("truncated", "page"):
        assert found and len(damaged(folder)) == 1
        assert stats.accepted - sum(stats.dropped.values()) == len(found)


def test_P10_damage_that_shows_while_the_store_is_open(folder, open_store, make_event):
    """The writer sets the file aside, saves what it can, and does what it was about to do."""
    store = open_store()
    store.put_many([make_event() for _ in range(400)], time.time())
    inner = store._stores.get()
    inner.writer.ask(lambda: inner.files.own().connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    inner.writer.ask(lambda: inner.files.own().connection.execute("PRAGMA shrink_memory").fetchall())
    path = folder / "slot-0.db"
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(path.stat().st_size - 4096 * 3))
    delivered = 0
    for _ in range(20):
        lease = store.claim(time.time(), 50, LEASE_S)
        if lease is None:
            break
        store.ack(lease, [Delivered()] * len(lease.rows), time.time())
        delivered += len(lease.rows)
    assert len(store.put_many([make_event()], time.time())) == 1
    assert store.stats(time.time()).balanced()


@pytest.mark.parametrize("name", ["slot-0.db", "slot-0.db-wal"])
def test_P10_deleted_while_open(folder, open_store, make_event, name):
    """Somebody removes a file under a running process: its events go to a new one."""
    store = open_store()
    first, second = make_event(), make_event()
    store.put_many([first], time.time())
    (folder / name).unlink()
    assert list(store.put_many([second], time.time())) == [second.id]
    store.close()
    assert sorted(rows(folder / "slot-0.db", "SELECT id FROM event")) == sorted([(first.id,), (second.id,)])


def test_P10_mutated_bodies_are_left_alone(folder, open_store, make_event):
    """A row whose bytes make no sense is neither delivered nor lost nor in the way of others."""
    store = open_store()
    bad, good = make_event(visitor="ann"), make_event(visitor="ann")
    store.put_many([bad, good], time.time())
    store.close()
    connection = sqlite3.connect(folder / "slot-0.db")
    connection.execute("UPDATE event SET body = x'7b00ff' WHERE id = ?", (bad.id,))
    connection.commit()
    connection.close()
    store = open_store()
    lease = store.claim(time.time(), 5, LEASE_S)
    assert ids(lease) == [good.id]
    store.ack(lease, [Delivered()], time.time())
    assert store.next_due(time.time()) is None, "nothing to wait for"
    assert store.stats(time.time()).queued == 1


def test_P11_one_connection_has_each_file(folder, open_store, make_event):
    """A second store of the same directory takes a slot of its own."""
    first, second = open_store(), open_store()
    first.put_many([make_event()], time.time())
    second.put_many([make_event()], time.time())
    assert (first.stats(time.time()).accepted, second.stats(time.time()).accepted) == (1, 1)
    assert rows(folder / "slot-1.db", "SELECT count(*) FROM event") == [(1,)]


def test_P12_the_log_is_written_back_when_idle(folder, open_store, make_event):
    """After a moment without work the log is empty again."""
    store = open_store()
    for _ in range(20):
        store.put_many([make_event() for _ in range(20)], time.time())
    log = folder / "slot-0.db-wal"
    assert log.stat().st_size > 0
    eventually(lambda: log.stat().st_size == 0)


def test_P12_the_log_is_bounded_under_load(folder, open_store, make_event):
    """However much is written, the log stays near its limit."""
    store = open_store(full_sync=False)
    for _ in range(120):
        store.put_many([make_event(url="https://shop.example/" + "x" * 2_000) for _ in range(100)], time.time())
    assert (folder / "slot-0.db-wal").stat().st_size < 40 * 1024 * 1024


MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:26 / /mnt/share rw,relatime - nfs4 server:/export rw
31 30 0:27 / /mnt/share/local\\040disk rw - xfs /dev/sdb rw
32 22 0:28 / /mnt/ssh rw - fuse.sshfs me@host:/ rw
33 22 0:29 / /mnt/mine rw - fuse.gocryptfs dir rw
34 22 0:30 / /var/lib/docker rw - overlay overlay rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv", None),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/a/b", "nfs4"),
        ("/mnt/shared", None),
        ("/mnt/share/local disk/a", None),
        ("/mnt/ssh/a", "fuse.sshfs"),
        ("/mnt/mine", None),
        ("/var/lib/docker/x", None),
    ],
)
def test_P13_network_file_systems_are_known(tmp_path, path, kind):
    """The table of mounts says what a directory lies on, the innermost mount counting."""
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    assert sqlite_disk.remote_type(Path(path), table) == kind


def test_P13_a_network_file_system_is_refused_unless_forced(folder, open_store, make_event, monkeypatch):
    """There file locks cannot be trusted: events are kept in memory, and the text says how to force it."""
    monkeypatch.setattr("flagmw.outbox.sqlite.own_slot.remote_type", lambda directory: "nfs4")
    store = open_store()
    store.put_many([make_event()], time.time())
    assert "nfs4" in store.trouble and "network=allow" in store.trouble
    forced = open_store(allow_network=True)
    forced.put_many([make_event()], time.time())
    assert forced.trouble is None


@pytest.mark.parametrize("jump_s", [3600, -3600, -365 * 86400])
@pytest.mark.parametrize("state", ["new", "leased", "retry"])
def test_P14_the_clock_jumps_while_no_process_runs(folder, open_store, make_event, jump_s, state):
    """Due times of a file from another time are cut to the longest wait there is; nothing is stuck, nothing too old."""
    now = 1_800_000_000.0
    store = open_store(policy=Policy())
    store.put_many([make_event()], now)
    if state != "new":
        lease = store.claim(now, 1, LEASE_S)
        if state == "retry":
            store.ack(lease, [Retry(ErrorCode.RATE_LIMITED, after_s=3600)], now)
    store.close()
    store, now = open_store(), now + jump_s
    due_s = store.next_due(now)
    assert due_s is not None and due_s <= {"new": 3600, "leased": LEASE_S, "retry": 3600}[state]
    assert store.claim(now + due_s, 1, LEASE_S) is not None
    assert store.stats(now + due_s).dead == 0


@pytest.mark.parametrize("jump_s", [-3600, -72 * 3600])
def test_P14_a_short_wait_stays_short_when_the_clock_jumps_while_no_process_runs(
    folder, open_store, make_event, jump_s
):
    """The next process tries again when the last one would have, and not after the longest wait there is."""
    now = 1_800_000_000.0
    store = open_store()
    store.put_many([make_event()], now)
    store.ack(store.claim(now, 1, LEASE_S), [Retry(ErrorCode.CONNECT)], now)
    due_s = store.next_due(now)
    store.close()
    store, now = open_store(), now + jump_s
    store.put_many([], now)
    lease = store.claim(now, 1, LEASE_S)
    assert lease is not None or store.next_due(now) <= due_s + 1


# Processes


def test_P16_a_child_never_touches_the_parent_s_file(folder, open_store):
    """With an open store a child gets a slot of its own, ends, and leaves the parent's file sound and locked."""
    output = run(
        folder,
        """
        store.put_many([event("parent")], now())
        child = os.fork()
        if child == 0:
            assert store.stats(now()).queued == 0
            store.put_many([event("child")], now())
            store.close()
            sys.exit(0)  # a normal end, with all finalisers
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        store.put_many([event("later")], now())
        print(store.stats(now()).queued, sorted(p for p in os.listdir(sys.argv[1]) if p.endswith(".db")))
        """,
    )
    assert output == "2 ['slot-0.db', 'slot-1.db']\n"
    assert rows(folder / "slot-0.db", "PRAGMA integrity_check") == [("ok",)]


def test_P16_forks_while_the_store_is_busy(folder):
    """Children that are forked in the middle of writing neither hang nor disturb: each stores its own event."""
    output = run(
        folder,
        """
        stop = threading.Event()

        def put():
            n = 0
            while not stop.is_set():
                store.put_many([event(f"parent-{n}")], now())
                n += 1

        busy = threading.Thread(target=put)
        busy.start()
        good = 0
        for turn in range(25):
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                os._exit(0 if store.put_many([event(f"child-{turn}")], now()) else 1)
            good += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop.set()
        busy.join()
        store.close()
        print(good)
        """,
        timeout=60,
    )
    assert output == "25\n"
    assert rows(folder / "slot-0.db", "PRAGMA integrity_check") == [("ok",)]


def test_P16_a_child_does_not_keep_its_dead_parent_s_slot(folder, open_store):
    """The lock of a parent that died is free although a child of it lives on."""
    output = run(
        folder,
        """
        store.put_many([event("parent")], now())
        child = os.fork()
        if child == 0:
            os.close(1); os.close(2)
            time.sleep(20)
            os._exit(0)
        print(child, flush=True)
        os.kill(os.getpid(), 9)
        """,
        code=-9,
    )
    child = int(output)
    try:
        assert ids(open_store().claim(time.time(), 5, LEASE_S)) == ["parent"]
    finally:
        os.kill(child, signal.SIGKILL)


def test_P22_events_at_interpreter_shutdown_are_stored(folder, open_store):
    """When no thread can run any more the caller writes, or is told; nothing hangs."""
    output = run(
        folder,
        """
        class Late:
            def __del__(self, store=store, event=event, now=now, write=os.write):
                write(1, repr(list(store.put_many([event("late")], now()))).encode())

        store.put_many([event("early")], now())
        time.sleep(0.5)  # a thread that the shutdown freezes in the middle of writing keeps the store to itself
        sys.modules["late"] = type(sys)("late")
        sys.modules["late"].late = Late()
        """,
    )
    assert output == "['late']"
    assert sorted(ids(open_store().claim(time.time(), 5, LEASE_S))) == ["early", "late"]


def test_P23_hand_off_queue_full(folder, open_store, make_event):
    """While the writer is held up exposures give way to tracks, the newest first; nobody waits."""
    store = open_store()
    store.open()
    writer = store._stores.get().writer
    gate = threading.Event()
    blocked = threading.Thread(target=lambda: writer.ask(gate.wait))
    blocked.start()
    eventually(lambda: not writer.pending())
    exposures = [make_event(kind="exposure") for _ in range(9_000)]
    first = store.submit(exposures, time.time())
    tracks = [make_event() for _ in range(2_000)]
    begin = time.perf_counter()
    second = store.submit(tracks, time.time())
    late = store.submit([make_event(kind="exposure")], time.time())
    assert time.perf_counter() - begin < HELD_UP_S
    gate.set()
    blocked.join()
    assert list(first.result(30)) == [event.id for event in exposures[:8_000]]
    assert len(second.result(30)) == 2_000
    assert list(late.result(30)) == []
    assert store.stats(time.time()).refused == {ErrorCode.QUEUE_FULL: 1_001}


def test_P25_a_later_version_s_file_is_left_alone(folder, open_store, make_event, caplog):
    """Old code does not touch a file that only newer code can read, and takes another slot."""
    store = open_store()
    store.put_many([make_event()], time.time())
    store.close()
    connection = sqlite3.connect(folder / "slot-0.db")
    connection.execute("UPDATE meta SET value = 99 WHERE name IN ('schema', 'reader')")
    connection.commit()
    connection.close()
    before = (folder / "slot-0.db").read_bytes()
    store = open_store()
    store.put_many([make_event()], time.time())
    assert store.stats(time.time()).accepted == 1
    assert "later version" in caplog.text
    assert (folder / "slot-0.db").read_bytes() == before


def test_P25_a_file_with_more_columns_is_used(folder, open_store, make_event):
    """Newer code may add columns and tables with defaults: this code reads and writes such a file."""
    store = open_store()
    store.put_many([make_event()], time.time())
    store.close()
    connection = sqlite3.connect(folder / "slot-0.db")
    connection.executescript(
        "ALTER TABLE event ADD COLUMN shade TEXT DEFAULT 'blue'; ALTER TABLE dead ADD COLUMN shade TEXT;"
        "ALTER TABLE lease ADD COLUMN shade TEXT; CREATE TABLE later (n); "
        "UPDATE meta SET value = 2 WHERE name = 'schema'"
    )
    connection.close()
    store = open_store()
    store.put_many([make_event()], time.time())
    lease = store.claim(time.time(), 5, LEASE_S)
    store.ack(lease, [Delivered(), Dead(ErrorCode.REFUSED)], time.time())
    stats = store.stats(time.time())
    assert (stats.accepted, stats.delivered, stats.dead) == (2, 1, 1)


def test_P26_P27_two_takers_and_a_late_one(folder, open_store, make_event):
    """One holder at a time; an answer after the lease ran out changes nothing."""
    store, now = open_store(), time.time()
    store.put_many([make_event()], now)
    late = store.claim(now, 5, LEASE_S)
    assert store.claim(now, 5, LEASE_S) is None
    current = store.claim(now + LEASE_S, 5, LEASE_S)
    store.ack(late, [Delivered()], now + LEASE_S)
    assert store.stats(now + LEASE_S).delivered == 0
    store.ack(current, [Delivered()], now + LEASE_S)
    assert store.stats(now + LEASE_S).delivered == 1


def test_P29_a_dead_process_s_events_are_adopted(folder, open_store, make_event):
    """A process that lives takes over within 5 s and is told that there is work; an empty slot is let go again."""
    live = open_store()
    live.put_many([make_event()], time.time())
    told = threading.Event()
    live.on_work = told.set
    run(folder, "store.put_many([event('orphan')], now()); os.kill(os.getpid(), 9)", code=-9)
    begin = time.monotonic()
    assert told.wait(8)
    print(f"adopted after {time.monotonic() - begin:.1f} s")
    found = []
    while lease := live.claim(time.time(), 5, LEASE_S):
        found += ids(lease)
        live.ack(lease, [Delivered()] * len(lease.rows), time.time())
    assert "orphan" in found
    assert live.stats(time.time()).delivered == 2
    eventually(lambda: live.stats(time.time()).accepted == 1, 12)
    other = open_store()
    other.open()
    assert other.stats(time.time()).delivered == 1, "the next process goes on counting in the freed slot"


def test_P30_a_copied_file_waits_for_a_word(folder, tmp_path, make_event, caplog):
    """A restored or copied file may hold what was delivered elsewhere: it is told and left, until it is wanted."""
    event = make_event()
    store = SqliteOutbox(folder)
    store.put_many([event], time.time())
    store.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(folder / "slot-0.db", copy)
    store = SqliteOutbox(copy)
    assert store.claim(time.time(), 5, LEASE_S) is None
    assert "copies=adopt" in caplog.text
    store.close()
    store = SqliteOutbox(copy, adopt_copies=True)
    assert ids(store.claim(time.time(), 5, LEASE_S)) == [event.id]
    store.close()
    again = SqliteOutbox(copy)
    assert again.stats(time.time()).queued == 1, "it belongs here from now on"
    again.close()


def test_P31_without_file_descriptors_events_are_kept_in_memory(folder):
    """A process that may open nothing more goes on; the events are delivered."""
    output = run(
        folder,
        """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, 100))
        stored = list(store.put_many([event("a")], now()))
        lease = store.claim(now(), 5, 60)
        store.ack(lease, [Delivered()], now())
        print(stored, store.stats(now()).delivered)
        """,
    )
    assert output == "['a'] 1\n"


def test_P31_without_threads_the_caller_writes(folder, monkeypatch, make_event):
    """A process at its thread limit stores events in the threads that it has."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        store = SqliteOutbox(folder)
        assert len(store.put_many([make_event()], time.time())) == 1
    store.close()
    assert rows(folder / "slot-0.db", "SELECT count(*) FROM event") == [(1,)]


# What else the files promise


def test_files_belong_to_their_owner(folder, open_store, make_event):
    """Nobody else can read what visitors did, whatever the umask."""
    before = os.umask(0)
    try:
        store = open_store()
        store.put_many([make_event()], time.time())
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert {"slot-0.db", "slot-0.db-wal", "slot-0.lock"} <= set(modes)
    assert set(modes.values()) == {0o600}, modes


def test_counts_go_on_after_a_restart(folder, open_store, make_event):
    """The identity holds over the lives of processes, by vendor."""
    store = open_store()
    store.put_many([make_event(), make_event(), make_event(vendor="adobe")], time.time())
    store.ack(store.claim(time.time(), 1, LEASE_S, {"adobe"}), [Delivered()], time.time())
    store.ack(store.claim(time.time(), 1, LEASE_S, {"wt"}), [Dead(ErrorCode.REFUSED)], time.time())
    store.close()
    store = open_store()
    stats = store.stats(time.time())
    assert (stats.accepted, stats.delivered, stats.queued, stats.dead) == (3, 1, 1, 1)
    assert (stats.lanes["wt"].accepted, stats.lanes["adobe"].dead) == (2, 1)


def test_no_claim_looks_at_all_rows(folder, open_store, make_event):
    """Every statement of the claim path finds its rows by an index, and sorts nothing."""
    open_store().put_many([make_event()], time.time())
    for query in (DUE, FIRST, WAITING, OLDEST, UNPARK):
        connection = sqlite3.connect(folder / "slot-0.db")
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", (1,) * query.count("?")).fetchall()
        connection.close()
        told = "; ".join(step[3] for step in plan)
        assert "SEARCH" in told and "SCAN" not in told and "TEMP B-TREE" not in told, told


def test_a_change_by_another_program_is_seen(folder, open_store, make_event):
    """What a person removes with other means is not counted on from memory."""
    store = open_store()
    store.put_many([make_event(), make_event()], time.time())
    connection = sqlite3.connect(folder / "slot-0.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM event WHERE seq = 1")
    connection.execute("UPDATE counts SET n = 1 WHERE what IN ('queued', 'accepted')")
    connection.execute("COMMIT")
    connection.close()
    assert store.stats(time.time()).queued == 1
    assert len(ids(store.claim(time.time(), 5, LEASE_S))) == 1


def test_a_lease_without_its_event_hides_no_other(folder, open_store, make_event):
    """A lease that salvage or a person has left behind does not keep the next event with its number from delivery."""
    store = open_store()
    store.open()
    connection = sqlite3.connect(folder / "slot-0.db", isolation_level=None)
    connection.execute("INSERT INTO lease VALUES (1, 'gone', 9e9, 60)")
    connection.close()
    event = make_event()
    store.put_many([event], time.time())
    assert ids(store.claim(time.time(), 5, LEASE_S)) == [event.id]
