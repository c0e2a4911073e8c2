"""One business key, one event: over threads, processes, kills and restarts of a directory or a Valkey server."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flagmw import Flagmw, Monetate, Visit
from flagmw.codes import ErrorCode
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.sqlite.business_keys import PENDING_S, WAITING, DirectoryKeys, KeyChange, KeyHolder
from flagmw.outbox.sqlite.directory import Directory
from flagmw.types import Dead, Delivered
from tests.contracts.outbox.on_valkey import address
from tests.contracts.outbox.test_valkey_faults import eventually

VISIT = Visit(url="https://shop.example/", cookies={"mt.v": "2.1.1"})
# Nobody is there: what is tracked stays in the outbox.
NOBODY = "http://127.0.0.1:9/"

# A process of a shop: tracks what its input says, one key a line, and says what that returned.
_SHOP = f"""
import sys
from flagmw import Flagmw, Monetate, Visit
fm = Flagmw(vendors=[Monetate("acme", "a-1/p/shop.example", base_url="{NOBODY}")], outbox=sys.argv[1])
fm.start()
print("ready", flush=True)
for line in sys.stdin:
    visit = Visit(url="https://shop.example/", cookies={{"mt.v": "2.1.1"}})
    print(fm.track("purchase", visitor=visit, key=line.strip()), flush=True)
"""


class Shop:
    """A process of a shop."""

    def __init__(self, outbox: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SHOP, outbox], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def ready(self) -> Shop:
        assert self.answer() == "ready"
        return self

    def ask(self, key: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{key}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def track(self, key: str) -> str | None:
        self.ask(key)
        return None if (said := self.answer()) == "None" else said

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


@pytest.fixture
def shops() -> Iterator[Callable[..., list[Shop]]]:
    started: list[Shop] = []

    def start(outbox: str, n: int = 1) -> list[Shop]:
        new = [Shop(outbox) for _ in range(n)]
        started.extend(new)
        return [shop.ready() for shop in new]

    yield start
    for shop in started:
        shop.kill()


@pytest.fixture
def shop() -> Iterator[Callable[[str], Flagmw]]:
    made: list[Flagmw] = []

    def make(outbox: str) -> Flagmw:
        made.append(Flagmw(vendors=[Monetate("acme", "a-1/p/shop.example", base_url=NOBODY)], outbox=outbox))
        return made[-1]

    yield make
    for fm in made:
        fm.close(0.1)


def rows(directory: Path) -> int:
    """Return how many events wait in all slots of *directory*."""
    return sum(slot.stats.queued for slot in Directory(directory).status())


def keys_of(directory: Path, **options: object) -> DirectoryKeys:
    return DirectoryKeys(directory, Policy(), **options)


@pytest.mark.parametrize("outbox", ["memory://", "sqlite://{}", "valkey"])
def test_the_second_track_of_a_process_returns_none(shop, tmp_path: Path, outbox: str) -> None:
    """As the docstring says: None for what was told, in the same request, thread or later."""
    fm = shop(address(dir=tmp_path) if outbox == "valkey" else outbox.format(tmp_path))
    answers = [fm.track("purchase", visitor=VISIT, key="o-1") for _ in range(3)]
    assert answers[0] is not None and answers[1:] == [None, None]
    assert fm.track("refund", visitor=VISIT, key="o-1") is not None, "the metric is part of it"
    assert fm.track("purchase", visitor=VISIT, key="o-2") is not None
    assert fm.counts()["track_dropped", "monetate", ErrorCode.DUPLICATE_KEY] == 2
    eventually(lambda: fm.outbox_stats().accepted == 3)


def test_two_processes_at_the_same_moment(shops, tmp_path: Path) -> None:
    """Exactly one of two processes that track a key at once is told its id, and there is one row for each key."""
    pair = shops(f"sqlite://{tmp_path}", 2)
    for n in range(30):
        for one in pair:
            one.ask(f"o-{n}")
        assert sorted(one.answer() == "None" for one in pair) == [False, True]
    eventually(lambda: rows(tmp_path) == 30)
    # A restart of one, and of both; and what is new is told again.
    pair[0].end()
    (third,) = shops(f"sqlite://{tmp_path}")
    assert [third.track(f"o-{n}") for n in range(5)] == [None] * 5
    pair[1].kill()
    third.kill()
    (fourth,) = shops(f"sqlite://{tmp_path}")
    assert [fourth.track(f"o-{n}") for n in range(30)] == [None] * 30
    assert fourth.track("o-99") is not None


def test_a_killed_process_leaves_no_key_without_its_event(shops, tmp_path: Path) -> None:
    """A key that was reserved by a process that died before it stored the event is free for the next who tries."""
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path\n"
            "from flagmw.outbox.sqlite.business_keys import DirectoryKeys, KeyHolder\n"
            "from flagmw.outbox.policy import Policy\n"
            "print(DirectoryKeys(Path(sys.argv[1]), Policy()).reserve([KeyHolder(b'k', 'e1')]), flush=True)\n"
            "time.sleep(60)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "set()\n"
    keys = keys_of(tmp_path)
    assert keys.reserve([KeyHolder(b"k", "e2")]) == {"e2"}, "its process is alive"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert keys.reserve([KeyHolder(b"k", "e2")]) == set()
    assert keys.reserve([KeyHolder(b"k", "e1")]) == {"e1"}
    keys.close()
    assert not list(tmp_path.glob("keys-*.lock")), "nothing is left of either"


def test_a_reservation_ends_with_time(tmp_path: Path) -> None:
    """What was never stored holds a key for a minute; what is in a slot holds it until it is settled, and later."""
    now = [1_000.0]
    one, other = (keys_of(tmp_path, clock=lambda: now[0]) for _ in range(2))
    assert one.reserve([KeyHolder(b"a", "e1"), KeyHolder(b"b", "e2")]) == set()
    assert one.apply([KeyChange(b"b", "e2", WAITING)])
    now[0] += PENDING_S + 1
    assert other.reserve([KeyHolder(b"a", "x1"), KeyHolder(b"b", "x2")]) == {"x2"}
    now[0] += 72 * 3600.0
    assert other.reserve([KeyHolder(b"b", "x2")]) == {"x2"}, "a clock that was set forward makes nobody forget"
    assert one.apply([KeyChange(b"b", "e2", None)])
    assert other.reserve([KeyHolder(b"b", "x2")]) == set()
    one.close()
    other.close()


def test_a_key_is_free_again_when_its_event_is_laid_aside(tmp_path: Path, make_event) -> None:
    """An event that was refused for good was not told; while one is delivered or in doubt its key stays taken."""
    outbox, other = SqliteOutbox(tmp_path), SqliteOutbox(tmp_path)
    now = time.time()
    first, second = make_event(id="first", key="o-1"), make_event(id="second", key="o-1")
    assert outbox.reserve([first]) == set()
    outbox.put_many([first], now)
    assert other.reserve([second]) == {"second"}
    lease = outbox.claim(now, 1, 60.0)
    outbox.ack(lease, [Dead(ErrorCode.REFUSED)], now)
    assert other.reserve([second]) == set()
    other.put_many([second], now)
    assert outbox.revive(None, now) == 0, "the key is the other's now"
    assert Directory(tmp_path).revive(None, now) == 0, "nor for who does it by hand"
    other.ack(other.claim(now, 1, 60.0), [Delivered()], now)
    assert outbox.reserve([make_event(id="third", key="o-1")]) == {"third"}
    assert outbox.stats(now).balanced() and other.stats(now).balanced()
    outbox.close()
    other.close()


@pytest.mark.parametrize("what", ["removed", "destroyed", "never there"])
def test_the_file_of_keys_is_made_again_from_the_slots(tmp_path: Path, make_event, what: str) -> None:
    """The shared file is an index: who removes or destroys it makes nothing be told twice."""
    now = time.time()
    outbox = SqliteOutbox(tmp_path)
    outbox.put_many([make_event(key="waits"), make_event(key="done", vendor="gone")], now)
    lease = outbox.claim(now, 1, 60.0, {"wt"})
    outbox.ack(lease, [Delivered()], now)
    outbox.close()
    path = tmp_path / "keys.db"
    if what == "destroyed":
        path.write_bytes(os.urandom(8192))
    else:
        path.unlink()
    for log in tmp_path.glob("keys.db-*"):
        log.unlink()
    if what == "never there":
        # As an earlier version left it.
        with sqlite3.connect(tmp_path / "slot-0.db") as connection:
            connection.execute("DELETE FROM meta WHERE name = 'keys'")
        connection.close()
    first, second = SqliteOutbox(tmp_path), SqliteOutbox(tmp_path)
    first.open()
    second.open()
    events = [make_event(id="a", key="waits"), make_event(id="b", key="done", vendor="gone")]
    assert second.reserve(events) == {"a", "b"}
    first.close()
    second.close()


def test_two_slots_with_one_key_tell_it_once(tmp_path: Path, make_event) -> None:
    """Where the same key came into two slots, as with an earlier version, the second to be opened gives way."""
    now = time.time()
    for n in range(2):
        alone = tmp_path / str(n)
        outbox = SqliteOutbox(alone)
        outbox.put_many([make_event(id=f"e{n}", key="o-1")], now)
        outbox.close()
    both = tmp_path / "both"
    both.mkdir()
    shutil.copy(tmp_path / "0" / "slot-0.db", both / "slot-0.db")
    shutil.copy(tmp_path / "1" / "slot-0.db", both / "slot-1.db")
    outboxes = [SqliteOutbox(both, adopt_copies=True) for _ in range(2)]
    for outbox in outboxes:
        outbox.open()
    # Whichever of them has the second slot: the first one may have looked after it.
    stats = [slot.stats for slot in Directory(both).status()]
    assert sum(one.queued for one in stats) == 1
    assert [dict(one.dropped) for one in stats if one.dropped] == [{ErrorCode.DUPLICATE_KEY: 1}]
    assert all(one.balanced() for one in stats)
    for outbox in outboxes:
        outbox.close()


def test_a_process_that_stands_still_holds_up_nobody(shop, tmp_path: Path) -> None:
    """While somebody has the file locked, a key holds within the process, for a moment's wait, and is counted."""
    fm = shop(f"sqlite://{tmp_path}")
    assert fm.track("purchase", visitor=VISIT, key="o-0") is not None
    blocker = sqlite3.connect(tmp_path / "keys.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    assert fm.track("purchase", visitor=VISIT, key="o-1") is not None
    assert fm.track("purchase", visitor=VISIT, key="o-1") is None
    assert time.monotonic() - started < 1.0
    assert fm.counts()["key_unshared", "monetate", ErrorCode.OUTBOX_FAILED] == 2
    blocker.execute("ROLLBACK")
    blocker.close()
    assert fm.track("purchase", visitor=VISIT, key="o-1") is None
    eventually(lambda: fm.outbox_stats().accepted == 2)


def test_a_store_without_shared_keys_is_deduplicated_by_the_process(make_event) -> None:
    """Somebody else's store knows no keys: the process does."""

    class Theirs(MemoryOutbox):
        reserve = None  # type: ignore[assignment]

    fm = Flagmw(vendors=[Monetate("acme", "a-1/p/shop.example", base_url=NOBODY)], outbox=Theirs())
    answers = [fm.track("purchase", visitor=VISIT, key="o-1") for _ in range(2)]
    assert answers[0] is not None and answers[1] is None
    fm.close(0.1)


def test_threads_at_once(shop, tmp_path: Path) -> None:
    fm = shop(f"sqlite://{tmp_path}")
    answers: list[str | None] = []
    ready = threading.Barrier(8)

    def buy() -> None:
        ready.wait()
        answers.append(fm.track("purchase", visitor=VISIT, key="o-1"))

    threads = [threading.Thread(target=buy) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer is not None for answer in answers) == 1


def test_a_forked_child_shares_the_keys(shop, tmp_path: Path) -> None:
    fm = shop(f"sqlite://{tmp_path}")
    assert fm.track("purchase", visitor=VISIT, key="o-1") is not None
    child = os.fork()
    if child == 0:
        good = fm.track("purchase", visitor=VISIT, key="o-1") is None
        good &= fm.track("purchase", visitor=VISIT, key="o-2") is not None
        good &= fm._delivery._process.get().stored(5.0)
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert fm.track("purchase", visitor=VISIT, key="o-2") is None


def test_two_machines_that_share_a_server(shop, tmp_path: Path) -> None:
    """Each with a directory of its own: the server says whose a key is, at once where it answers in time."""
    url = address()
    one, other = (shop(f"{url}&dir={tmp_path / name}") for name in "ab")
    one.start()
    other.start()
    told = 0
    for n in range(10):
        answers = [fm.track("purchase", visitor=VISIT, key=f"o-{n}") for fm in (one, other)]
        told += sum(answer is not None for answer in answers)
    # On a busy machine an answer may come too late; the server then finds the duplicate when it is forwarded.
    assert 10 <= told < 20
    eventually(lambda: one.outbox_stats().queued == one.outbox_stats().accepted == 10)
    eventually(lambda: other.track("purchase", visitor=VISIT, key="o-1") is None)


def test_a_duplicate_that_the_server_finds_later(make_event, tmp_path: Path) -> None:
    """Two machines that could not ask: what is forwarded second is counted as a duplicate, and not delivered."""
    from flagmw.outbox.valkey import ValkeyOutbox

    url = address()
    boxes = [ValkeyOutbox(f"{url}&dir={tmp_path / name}") for name in "ab"]
    for n, box in enumerate(boxes):
        box.put_many([make_event(id=f"e{n}", key="o-1")], time.time())
    for box in boxes:
        eventually(lambda box=box: box._process.get().local.stats(time.time()).queued == 0)
    stats = boxes[0].stats(time.time())
    assert (stats.queued, stats.refused) == (1, {ErrorCode.DUPLICATE_KEY: 1})
    for box in boxes:
        box.close()


def test_many_keys_are_entered_while_events_are_stored(tmp_path: Path, make_event, monkeypatch) -> None:
    """A file whose keys nobody knows: none of its keys is missed, and no event waits until all of them are entered."""
    monkeypatch.setattr("flagmw.outbox.sqlite.slot_keys._STEP_S", 0.0)
    count = 3_000
    first = SqliteOutbox(tmp_path)
    first.put_many([make_event(f"e{n}", key=f"k{n}") for n in range(count)], time.time())
    first.close()
    for path in tmp_path.glob("keys*"):
        path.unlink()
    store, known = SqliteOutbox(tmp_path), 0
    stored_between = 0
    while known < count:
        store.put_many([make_event()], time.time())
        with contextlib.closing(sqlite3.connect(tmp_path / "keys.db")) as keys:
            known = keys.execute("SELECT count(*) FROM held").fetchone()[0]
        stored_between += known < count
    assert stored_between >= 3
    other = SqliteOutbox(tmp_path)
    taken = other.reserve([make_event(f"late-{n}", key=f"k{n}") for n in range(0, count, 100)])
    assert len(taken) == count // 100
    for each in (store, other):
        each.close()
