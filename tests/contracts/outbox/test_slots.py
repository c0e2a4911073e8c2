"""Who has which slot: whatever a cleaner, another user, damage, a new image or a stopped process does to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.sqlite.directory import Directory
from flagmw.outbox.sqlite.identity import FileIdentity
from flagmw.types import Delivered, Retry

LEASE_S = 60.0

SCRIPT = """
import json, os, sys, time
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.types import Delivered, Event, Track, Visit

def event(id):
    return Event(id=id, vendor="wt", kind="track", track=Track(id=id, metric="m"), aliases=(),
                 visit=Visit(url="https://shop.example/"), visitor_key=id)

def adopt(store):
    store.open()
    store._stores.get().writer.ask(store._stores.get().files.adopt)

def deliver(store):
    found = []
    while lease := store.claim(time.time(), 50, 60):
        found += [row.event.id for row in lease.rows]
        store.ack(lease, [Delivered()] * len(lease.rows), time.time())
    return found

store = SqliteOutbox(sys.argv[1])
"""


def script(body: str) -> str:
    return SCRIPT + textwrap.dedent(body)


def run(folder: Path, body: str, *, code: int = 0, prefix: tuple[str, ...] = ()) -> str:
    """Run *body* in a process of its own and return what it printed."""
    command = [*prefix, sys.executable, "-c", script(body), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def deliver(store: SqliteOutbox) -> list[str]:
    found: list[str] = []
    while lease := store.claim(time.time(), 50, LEASE_S):
        found += [row.event.id for row in lease.rows]
        store.ack(lease, [Delivered()] * len(lease.rows), time.time())
    return found


def adopt(store: SqliteOutbox) -> None:
    """Look for slots of dead processes now, and not within five seconds."""
    store.open()
    inner = store._stores.get()
    inner.writer.ask(inner.files.adopt)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest.fixture
def store(folder):
    """A store whose account balances at the end."""
    store = SqliteOutbox(folder)
    yield store
    assert store.stats(time.time()).balanced()
    store.close()


# Ownership


def test_a_lease_of_before_a_clean_end_is_settled_by_its_successor(folder, make_event):
    """Whoever holds a lease may still be sending when the store is closed; the answer counts all the same."""
    now, store = time.time(), SqliteOutbox(folder)
    events = [make_event(), make_event(at_most_once=True)]
    store.put_many(events, now)
    leases = [store.claim(now, 1, LEASE_S), store.claim(now, 1, LEASE_S)]
    store.close()
    store = SqliteOutbox(folder)
    assert store.stats(now).leased == 2
    for lease in leases:
        store.ack(lease, [Delivered()], now)
    stats = store.stats(now)
    assert (stats.delivered, stats.queued, stats.leased) == (2, 0, 0)
    store.close()


def test_a_cleaner_of_lock_files_gives_no_live_slot_away(folder, store, make_event):
    """Other processes leave a live slot alone although its lock file is gone, and the lock file is made again."""
    store.put_many([make_event(f"mine-{n}") for n in range(20)], time.time())
    for _ in range(3):
        (folder / "slot-0.lock").unlink()
        body = "adopt(store); print(json.dumps(deliver(store))); store.put_many([event('x')], time.time())"
        assert "mine" not in run(folder, body + "; deliver(store); store.close()")
        assert Directory(folder).status()[0].state == "live"
    (folder / "slot-0.lock").unlink()
    adopt(store)
    assert (folder / "slot-0.lock").exists()
    assert len(deliver(store)) == 20


def test_looking_at_a_live_slot_keeps_the_locks_on_it(folder, store, make_event):
    """A person's look from within the process that has the slot ends neither its lock nor SQLite's."""
    store.put_many([make_event()], time.time())
    for _ in range(3):
        assert Directory(folder).status()[0].state == "live"
    assert run(folder, "adopt(store); print(len(deliver(store))); store.close()") == "0\n"
    locks = Path("/proc/locks").read_text() if Path("/proc/locks").exists() else ""
    inode = str((folder / "slot-0.db").stat().st_ino)
    held = [line.split() for line in locks.splitlines() if f":{inode} " in line and line.split()[4] == str(os.getpid())]
    assert not locks or {line[1] for line in held} >= {"FLOCK", "POSIX"}


def test_a_stopped_process_keeps_its_leases(folder):
    """The answer that came before a process stood still for longer than its lease is the only one that is asked for."""
    body = """
    store.put_many([event("a"), event("b")], time.time())
    lease = store.claim(time.time(), 1, 0.8)
    print("claimed", flush=True)
    sys.stdin.readline()
    later = store.claim(time.time(), 5, 0.8)
    again = [row.event.id for row in later.rows]
    store.ack(lease, [Delivered()], time.time())
    stats = store.stats(time.time())
    print(again, stats.delivered, stats.queued)
    """
    command = [sys.executable, "-c", script(body), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "claimed\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate("\n", timeout=30)
    assert output == "['b'] 1 1\n"


MACHINE = FileIdentity(inode=5, made="aa", host="this", boot="b1")


@pytest.mark.parametrize(
    ("known", "ours"),
    [
        ({}, True),
        ({"host": "image-before"}, True),  # the kernel still runs
        ({"host": "", "boot": "b0"}, True),  # a container that was started again elsewhere, with its volume
        ({"boot": "b0"}, True),  # the machine was started again
        ({"host": "other", "boot": "b0"}, False),
        ({"inode": 6}, False),
        ({"made": "bb"}, False),
        ({"made": ""}, True),
        ({"made": None, "boot": None}, True),  # of the version before
    ],
)
def test_whose_a_file_is(known, ours):
    """A copy is known by inode and making, another machine by what no build of an image changes."""
    assert MACHINE.is_of(MACHINE.marks() | known) is ours


def test_another_machine_id_keeps_no_events(folder):
    """A file with the id of an image that is gone is delivered by the next build's process on the same machine."""
    run(folder, "store.put_many([event('a')], time.time()); store.close()")
    import sqlite3

    connection = sqlite3.connect(folder / "slot-0.db")
    connection.execute("UPDATE meta SET value = 'of-the-image-before' WHERE name = 'host'")
    connection.commit()
    connection.close()
    assert run(folder, "print(deliver(store)); store.close()") == "['a']\n"


# Slots that cannot be opened


def a_directory(path: Path) -> None:
    path.mkdir()


def a_link(path: Path) -> None:
    (path.parent.parent / "elsewhere").write_bytes(b"of somebody else")
    path.symlink_to(path.parent.parent / "elsewhere")


BAD = {
    "a directory": ("slot-0.db", a_directory),
    "a link": ("slot-0.db", a_link),
    "a link to nothing": ("slot-0.db", lambda path: path.symlink_to("nothing")),
    "a directory for the lock": ("slot-0.lock", a_directory),
    "a directory for the log": ("slot-0.db-wal", a_directory),
    "a directory for the index": ("slot-0.db-shm", a_directory),
}


@pytest.mark.parametrize("what", BAD)
def test_a_slot_that_cannot_be_opened_is_left_aside(folder, make_event, caplog, what):
    """The process takes the next slot, adopts the others' events, and names the bad one."""
    name, spoil = BAD[what]
    before = SqliteOutbox(folder), SqliteOutbox(folder)
    for number, each in enumerate(before):
        each.put_many([make_event(f"{number}-{n}") for n in range(5)], time.time())
    for each in before:
        each.close()
    bad = folder / name
    bad.unlink(missing_ok=True)
    spoil(bad)
    if name != "slot-0.db":
        time.sleep(0.01)
    store = SqliteOutbox(folder)
    assert len(store.put_many([make_event("new")], time.time())) == 1
    adopt(store)
    assert {"new", *(f"1-{n}" for n in range(5))} <= set(deliver(store))
    assert store.stats(time.time()).balanced()
    assert "slot-0.db" in store.trouble and "slot-0.db" in caplog.text
    assert [record for record in caplog.records if "memory" in record.getMessage()] == []
    store.close()
    if what == "a link":
        assert (folder.parent / "elsewhere").read_bytes() == b"of somebody else"


def test_files_of_another_user_are_left_aside():
    """A process that may not read one slot stores and adopts in the others."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="flagmw-", dir="/tmp") as name:  # which every user can reach
        folder = Path(name)
        body = """
        for n, each in enumerate([store, SqliteOutbox(sys.argv[1])]):
            each.put_many([event(str(n))], time.time())
        os.kill(os.getpid(), 9)
        """
        run(folder, body, code=-9)
        folder.chmod(0o777)
        if root:
            for path in folder.glob("slot-1*"):
                os.chown(path, 65534, 65534)
        else:
            for path in folder.glob("slot-0*"):
                path.chmod(0)
        body = """
        first = SqliteOutbox(sys.argv[1] + "/first")  # whatever is imported late, this user may be unable to read
        adopt(first); first.put_many([event("x")], time.time()); deliver(first); first.close()
        if os.geteuid() == 0:
            os.setgid(65534); os.setuid(65534)
        adopt(store)
        print(sorted(deliver(store)), "slot-0.db" in store.trouble)
        store.close()
        """
        assert run(folder, body) == "['1'] True\n"


@pytest.mark.parametrize("place", [0, 9, 16, 17, 18, 19, 20, 21, 23, 31, 44, 47, 56, 59, 67])
def test_a_changed_byte_of_the_header_costs_nothing(folder, make_event, place):
    """The file is mended or copied, all events are delivered, and the slot is used."""
    store = SqliteOutbox(folder)
    store.put_many([make_event(f"e{n}") for n in range(30)], time.time())
    store.close()
    with (folder / "slot-0.db").open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x04]))
    store = SqliteOutbox(folder)
    assert len(store.put_many([make_event("new")], time.time())) == 1
    assert sorted(deliver(store)) == sorted([*(f"e{n}" for n in range(30)), "new"])
    stats = store.stats(time.time())
    assert stats.balanced() and (stats.accepted, dict(stats.dropped)) == (31, {})
    assert store.trouble is None
    store.close()


def test_an_emptied_database_keeps_its_log(folder, make_event, caplog):
    """A database cut to nothing is set aside with its log, which SQLite would have removed."""
    run(folder, "store.put_many([event('a')], time.time()); os.kill(os.getpid(), 9)", code=-9)
    os.truncate(folder / "slot-0.db", 0)
    log = (folder / "slot-0.db-wal").read_bytes()
    store = SqliteOutbox(folder)
    assert len(store.put_many([make_event()], time.time())) == 1
    assert [path.read_bytes() for path in folder.glob("*.damaged-*-wal")] == [log]
    assert "damaged" in caplog.text
    store.close()


def test_a_large_file_is_copied_while_new_events_are_taken(folder, make_event, monkeypatch):
    """The account is whole at any moment of it, a process that ends goes on in the next one, and nothing is twice."""
    monkeypatch.setattr("flagmw.outbox.sqlite.slot_opener._SALVAGE_S", 0.0)
    monkeypatch.setattr("flagmw.outbox.sqlite.recovery._RANGE", 200)
    store = SqliteOutbox(folder)
    events = [make_event(f"e{n}", key=f"order-{n}") for n in range(3_000)]
    store.put_many(events, time.time())
    store.ack(store.claim(time.time(), 1, LEASE_S), [Delivered()], time.time())
    store.close()
    with (folder / "slot-0.db").open("r+b") as file:
        file.write(os.urandom(16))
        file.seek(100 * 4096)
        file.write(os.urandom(4096))
    store = SqliteOutbox(folder)
    found: list[str] = []
    for turn in range(3):
        assert len(store.put_many([make_event(f"new-{turn}")], time.time())) == 1
        stats = store.stats(time.time())
        assert stats.balanced() and stats.accepted == 3_001 + turn
        found += deliver(store)
        store.close()
        store = SqliteOutbox(folder)
    end = time.monotonic() + 20
    while store.stats(time.time()).queued and time.monotonic() < end:
        found += deliver(store)
    stats = store.stats(time.time())
    lost = stats.dropped.get(ErrorCode.DAMAGED, 0)
    print(f"{len(found)} of 3,002 saved, {lost} lost")
    assert len(found) == len(set(found)) == 3_002 - lost and 0 < lost < 200
    assert stats.balanced() and stats.accepted == 3_003
    store.close()


# Files that somebody removes


REMOVALS = {
    "directory": lambda folder: shutil.rmtree(folder, ignore_errors=True),
    "renamed": lambda folder: folder.rename(folder.with_name("moved")),
    "all files": lambda folder: [path.unlink() for path in folder.iterdir()],
    "slot-0.db": lambda folder: (folder / "slot-0.db").unlink(),
    "slot-0.db renamed": lambda folder: (folder / "slot-0.db").rename(folder / "slot-7.db"),
    "slot-0.db-wal": lambda folder: (folder / "slot-0.db-wal").unlink(),
    "slot-0.db-shm": lambda folder: (folder / "slot-0.db-shm").unlink(),
    "slot-0.lock": lambda folder: (folder / "slot-0.lock").unlink(),
}


@pytest.mark.parametrize("what", REMOVALS)
def test_removed_files_leave_no_doubt_of_what_nobody_was_given(folder, store, make_event, what):
    """At-most-once events that were not handed out are sent from the new files; what was is settled by who has it."""
    now = time.time()
    store.put_many([make_event(at_most_once=True) for _ in range(4)], now)
    given = store.claim(now, 1, LEASE_S)
    REMOVALS[what](folder)
    time.sleep(0.03)
    store.put_many([make_event()], now)
    store.ack(given, [Retry(ErrorCode.CONNECT)], now)
    sent: list[str] = []
    while (lease := store.claim(now + 10, 1, LEASE_S)) is not None:
        sent += [row.event.id for row in lease.rows]
    assert (len(sent), len(set(sent))) == (5, 5)
    assert list(store.dead()) == []


@pytest.mark.parametrize("what", REMOVALS)
def test_files_that_are_removed_are_made_again(folder, store, make_event, caplog, what):
    """The account never falls, what is on its way is settled once, and the events lie in files with a name again."""
    store.put_many([make_event(f"e{n}") for n in range(30)], time.time())
    lease = store.claim(time.time(), 5, LEASE_S)
    REMOVALS[what](folder)
    for n in range(3):
        assert store.stats(time.time()).accepted == 30 + n
        assert len(store.put_many([make_event(f"late-{n}")], time.time())) == 1
        time.sleep(0.03)
    stats = store.stats(time.time())
    assert (stats.accepted, stats.queued, stats.leased) == (33, 33, 5)
    store.ack(lease, [Delivered()] * 5, time.time())
    adopt(store)
    assert {path.name for path in folder.iterdir()} >= {"slot-0.db", "slot-0.db-wal", "slot-0.lock"}
    if what != "slot-0.lock":
        assert "removed" in caplog.text
    taken = [row.event.id for row in lease.rows]
    found = run(folder.with_name("moved") if what == "renamed" else folder, "adopt(store); print(deliver(store))")
    assert found == "[]\n", "another process has or finds the same events"
    assert sorted([*taken, *deliver(store)]) == sorted([f"e{n}" for n in range(30)] + [f"late-{n}" for n in range(3)])
    if what == "slot-0.db renamed":
        assert "slot-7.db was left behind" in (store.trouble or "")
    else:
        assert store.trouble is None


def test_open_files_are_served_while_no_directory_can_be_made(folder, make_event, monkeypatch):
    """It is told, nothing is lost or uncounted, and the events get files as soon as there can be any."""
    monkeypatch.setattr("flagmw.outbox.sqlite.slots.RETRY_S", 0.05)
    store = SqliteOutbox(folder)
    store.put_many([make_event() for _ in range(10)], time.time())
    folder.rename(folder.with_name("gone"))
    folder.write_text("in the way")
    shutil.rmtree(folder.with_name("gone"))
    time.sleep(0.03)
    assert len(store.put_many([make_event()], time.time())) == 1
    assert "removed" in store.trouble
    lease = store.claim(time.time(), 3, LEASE_S)
    store.ack(lease, [Delivered()] * 3, time.time())
    assert (store.stats(time.time()).accepted, store.stats(time.time()).queued) == (11, 8)
    folder.unlink()
    time.sleep(0.1)
    store.put_many([make_event()], time.time())
    assert store.trouble is None and (folder / "slot-0.db").exists()
    store.close()
    again = SqliteOutbox(folder)
    assert again.stats(time.time()).queued == 9
    assert len(deliver(again)) == 9
    again.close()


def test_what_ends_with_the_process_is_counted(folder, make_event):
    """Events in files without a name are lost at the end, as such; a required outbox takes none."""
    store, required = SqliteOutbox(folder), SqliteOutbox(folder, required=True)
    store.put_many([make_event() for _ in range(4)], time.time())
    required.open()
    folder.rename(folder.with_name("gone"))
    folder.write_text("in the way")
    shutil.rmtree(folder.with_name("gone"))
    time.sleep(0.03)
    with pytest.raises(OutboxError, match="removed"):
        required.put_many([make_event()], time.time())
    store.put_many([make_event()], time.time())
    store.close()
    stats = store.stats(time.time())
    assert stats.balanced() and dict(stats.dropped) == {ErrorCode.LOST_AT_EXIT: 5}
    required.close()


# Links


@pytest.mark.parametrize("name", ["slot-0.reserve", "slot-0.lock", "slot-0.db", "slot-0.db-wal", "slot-0.db-shm"])
def test_no_link_is_followed(folder, make_event, name):
    """A link that lies where a file of ours is to be has nothing written to what it names."""
    folder.mkdir()
    victim = folder.with_name("victim")
    victim.write_bytes(b"precious" * 1_000)
    (folder / name).symlink_to(victim)
    store = SqliteOutbox(folder)
    assert len(store.put_many([make_event()], time.time())) == 1
    inner = store._stores.get()
    inner.writer.ask(inner.files.room.keep_reserves)
    assert len(deliver(store)) == 1
    store.close()
    assert victim.read_bytes() == b"precious" * 1_000
    assert json.dumps([path.name for path in folder.iterdir()])
