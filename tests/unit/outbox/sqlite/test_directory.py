"""The outbox directory for people: every slot, whoever has it, can be looked at and changed."""

from __future__ import annotations

import sqlite3
import time

import pytest

from flagmw.codes import ErrorCode
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.sqlite.directory import Directory
from flagmw.types import Dead, Delivered

LEASE_S = 60.0


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "outbox"


@pytest.fixture
def stores(folder, make_event):
    """Two processes' stores: each with a delivered, a dead, a leased and a waiting event."""
    opened = [SqliteOutbox(folder), SqliteOutbox(folder)]
    for number, store in enumerate(opened):
        events = [make_event(f"{number}-{n}", visitor=f"{number}-{n}") for n in range(4)]
        store.put_many(events, time.time())
        lease = store.claim(time.time(), 3, LEASE_S)
        store.ack(lease.part(0, 2), [Delivered(), Dead(ErrorCode.REFUSED)], time.time())
    yield opened
    for store in opened:
        assert store.stats(time.time()).balanced()
        store.close()


def test_status_tells_every_slot(folder, stores):
    """Live and free slots are told with their counts, which add up."""
    stores[1].close()
    live, free = Directory(folder).status()
    assert (live.number, live.state, free.number, free.state) == (0, "live", 1, "free")
    for slot in (live, free):
        stats = slot.stats
        assert (stats.accepted, stats.delivered, stats.dead, stats.queued, stats.leased) == (4, 1, 1, 2, 1)
        assert stats.balanced() and slot.file_bytes > 0
    assert stores[0].stats(time.time()).leased == 1, "looking ends no lease"


def test_dead_letters_of_living_processes(folder, stores):
    """They are told, revived and forgotten, and the processes deliver what came back."""
    directory = Directory(folder)
    assert {letter.event.id for letter in directory.dead()} == {"0-1", "1-1"}
    assert directory.revive(["0-1"], time.time()) == 1
    assert directory.forget(None) == 1
    lease = stores[0].claim(time.time(), 5, LEASE_S)
    assert {row.event.id for row in lease.rows} == {"0-1", "0-3"}
    assert stores[1].stats(time.time()).dropped == {ErrorCode.DISCARDED: 1}


def test_purge_reaches_every_slot(folder, stores):
    """A visitor's events go, wherever they wait; a holder that answers later changes nothing."""
    assert Directory(folder).purge(lambda event: event.visitor_key in ("0-2", "1-3", "1-1"), time.time()) == 3
    assert stores[0].stats(time.time()).leased == 0
    assert [s.stats(time.time()).dropped for s in stores] == [{ErrorCode.PURGED: 1}, {ErrorCode.PURGED: 2}]


def test_what_cannot_be_read_is_told(folder, stores):
    """A later version's file and one that is no database are named as such, and left alone."""
    for store in stores:
        store.close()
    connection = sqlite3.connect(folder / "slot-0.db")
    connection.execute("UPDATE meta SET value = 99 WHERE name = 'reader'")
    connection.commit()
    connection.close()
    (folder / "slot-1.db").write_bytes(b"no database" * 1_000)
    directory = Directory(folder)
    assert [slot.state for slot in directory.status()] == ["unreadable", "unreadable"]
    assert "later version" in directory.status()[0].why
    assert directory.dead() == [] and directory.forget(None) == 0


def test_nothing_there(folder):
    """A directory that does not exist has no slots."""
    assert Directory(folder).status() == []
