"""The attacks. Each is a function of the field, which picks what it needs with the field's dice and leaves it whole."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.chaos.keeper import Keeper
from tests.chaos.shop import ROOT, Shop, _signal, dropped_in_doubt
from tests.chaos.vendor import Vendor


@dataclass
class Field:
    """What is attacked.

    Attributes:
        shop: the shop this attack is on; the field is made anew for each.
        keeper: its Valkey servers, where it has any.
        disk: its own small file system, where it has one.
        left_s: how long the run goes on.
        trouble: what an attack itself found broken.
    """

    shop: Shop
    vendor: Vendor
    dice: random.Random
    keeper: Keeper | None = None
    disk: Path | None = None
    left_s: float = 60.0
    trouble: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def worker(self) -> int | None:
        workers = self.shop.workers()
        return self.dice.choice(workers) if workers else None

    def for_a_while(self, shortest_s: float, longest_s: float) -> None:
        time.sleep(min(self.dice.uniform(shortest_s, longest_s), max(0.3, self.left_s)))


Attack = Callable[[Field], None]


class NotNow(Exception):
    """The attack was not made: it would not be fair at this moment, or not on this shop."""


# Processes


def kill_one(field: Field) -> None:
    pid = field.worker()
    if pid is not None:
        _signal(pid, signal.SIGKILL)


def kill_all(field: Field) -> None:
    for pid in field.shop.workers():
        _signal(pid, signal.SIGKILL)


def freeze(field: Field) -> None:
    """Stop a process; once in a while for longer than a lease lasts."""
    pid = field.worker()
    if pid is None:
        return
    _signal(pid, signal.SIGSTOP)
    try:
        if field.left_s > 90 and field.dice.random() < 0.2:
            time.sleep(65)
        else:
            field.for_a_while(0.3, 3.0)
    finally:
        _signal(pid, signal.SIGCONT)


def fork(field: Field) -> None:
    for _ in range(field.dice.randint(1, 3)):
        field.shop.buy(f"o-fork-{field.shop.name}-{next(field.numbers)}", "u1", path="/fork")


def scheduled_job(field: Field) -> None:
    """Run a process that reports one thing and ends, as schedulers do, right after workers were killed."""
    if field.dice.random() < 0.5:
        kill_all(field)
    order = f"o-job-{field.shop.name}-{next(field.numbers)}"
    code = f"from tests.chaos.app import job; job({order!r})"
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=field.shop.environ, timeout=40, check=False, capture_output=True
        )


# Clocks


def clock_jump(field: Field) -> None:
    """Set the clock, perhaps with a restart meanwhile, and set it right again."""
    offset_s = field.dice.choice([-259_200, -3_600, -45, 45, 3_600, 259_200])
    field.shop.set_clock(offset_s)
    try:
        if field.dice.random() < 0.5:
            kill_one(field)
        field.for_a_while(0.5, 3.0)
    finally:
        field.shop.set_clock(0)


# Files


def remove_directory(field: Field) -> None:
    """Remove the outbox under living processes: they have the open files, and no other attack kills them meanwhile."""
    if field.keeper is not None:
        raise NotNow
    # Files of processes that ended before are held open by nobody, so what is in them is to be delivered first. What is
    # sold from here on is in files of living processes.
    end = time.monotonic() + 30
    while field.shop.forks_alive():
        if time.monotonic() > end:
            raise NotNow
        time.sleep(0.05)
    earlier = list(field.shop.promised)
    while not field.shop.settled(earlier):
        if time.monotonic() > end:
            raise NotNow  # removing the only copy of an event that no process has open would be no fault of the outbox
        time.sleep(0.2)
    shop = field.shop
    shop.directory_removed, shop.letters_gone = True, shop.letters()
    counted = dropped_in_doubt(shop.parts())
    field.vendor.mood = "down"
    field.for_a_while(0.2, 0.6)
    before = list(field.shop.sold)
    shutil.rmtree(field.shop.directory, ignore_errors=True)
    field.for_a_while(0.2, 0.6)
    field.vendor.mood = "well"
    end = time.monotonic() + 20
    # No other attack begins until they are there. The account at the end says what is missing, and why.
    while time.monotonic() < end and not shop.settled(before):
        time.sleep(0.2)
    shop.doubt_gone += max(0, counted - dropped_in_doubt(shop.parts()))


def clean_locks(field: Field) -> None:
    """Remove lock files, as cleaners of old files do."""
    for path in field.shop.directory.glob("*.lock"):
        path.unlink(missing_ok=True)


def strange_slot(field: Field) -> None:
    """Put a file where a slot's would be that is none, or cannot be opened."""
    path = field.shop.directory / f"slot-{field.dice.randint(20, 60)}.db"
    with contextlib.suppress(OSError):
        path.write_bytes(field.dice.randbytes(8192) if field.dice.random() < 0.5 else b"")
        if field.dice.random() < 0.3:
            path.chmod(0)


def fill_disk(field: Field) -> None:
    """Fill the outbox's file system to the last byte, and make room again."""
    if field.disk is None:
        raise NotNow
    filler = field.disk / "filler"
    try:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 65536)
        field.for_a_while(0.5, 3.0)
    finally:
        filler.unlink(missing_ok=True)


# The vendor


def outage(field: Field) -> None:
    field.vendor.mood = field.dice.choice(["down", "half", "closing", "slow"])
    try:
        field.for_a_while(0.5, 5.0)
    finally:
        field.vendor.mood = "well"


# The server


def kill_server(field: Field) -> None:
    if field.keeper is not None:
        field.keeper.fail_over(in_step=False)


def freeze_server(field: Field) -> None:
    if field.keeper is not None:
        with field.keeper.frozen():
            field.for_a_while(0.3, 3.0)


def fail_over(field: Field) -> None:
    if field.keeper is not None:
        field.keeper.fail_over(in_step=True)


# Visitors


@contextmanager
def _many() -> Iterator[Callable[..., Any]]:
    with ThreadPoolExecutor(4) as pool:
        yield lambda work, *given: pool.submit(work, *given)


def poison(field: Field) -> None:
    """Buy as visitors for whom the vendor fails: with 500, or by closing."""
    with _many() as do:
        for _ in range(field.dice.randint(5, 30)):
            n = next(field.numbers)
            do(field.shop.buy, f"p-{field.shop.name}-{n}", f"bad{n}{field.dice.randint(0, 1)}")


def bad_cookies(field: Field) -> None:
    """Look at pages with cookies that name clusters and visitors which cannot be."""
    odd = [
        "mboxEdgeCluster=999",
        "mbox=session#aaaabbbbccccddddeeeeffff00001111#1999999999|PC#aaaabbbbccccddddeeeeffff00001111.999_0#1999999999",
        "_wt.user-2490593=bad1; _wt.control-2490593-ta_A=~~~",
        "_wt.user-2490593=" + "x" * 3000,
        "mt.v=" + "9" * 200,
        'a="; b=\\x00; ;;; =; flagmw=x.y.z',
    ]
    with _many() as do:
        for _ in range(field.dice.randint(5, 25)):
            cookie = field.dice.choice(odd)
            do(lambda cookie=cookie: field.shop.get("/checkout", cookie=cookie))


def odd_text(field: Field) -> None:
    """Buy with data that is hard to write down: halves of characters, controls, long and deep text."""
    for text in field.dice.sample(["\ud83d", "\x00\x1f", "x" * 5000, "\u202e", '"}],', "%%%", "\ufdd0\uffff"], 3):
        data = json.dumps({"note": text})
        field.shop.buy(f"o-odd-{field.shop.name}-{next(field.numbers)}", "u2", data=data)


def fresh_identities(field: Field) -> None:
    """Look at pages as somebody else each time."""
    with _many() as do:
        for _ in range(field.dice.randint(20, 60)):
            identity = f"_wt.user-2490593=f{field.dice.getrandbits(60)}"
            do(lambda identity=identity: field.shop.get("/checkout", cookie=identity))


def host_flood(field: Field) -> None:
    """Look at pages of hosts that are not there."""
    with _many() as do:
        for _ in range(field.dice.randint(20, 60)):
            host = f"{field.dice.getrandbits(200):x}.example"
            do(lambda host=host: field.shop.get(f"/checkout?{quote(host)}", host=host))


ATTACKS: Mapping[str, Attack] = {
    attack.__name__.replace("_", "-"): attack
    for attack in (
        kill_one, kill_all, freeze, fork, scheduled_job, clock_jump, remove_directory, clean_locks, strange_slot,
        fill_disk, outage, kill_server, freeze_server, fail_over, poison, bad_cookies, odd_text, fresh_identities,
        host_flood,
    )
}  # fmt: skip
# These need the processes to live, or the vendor's mood to be theirs: nothing else of their kind goes on meanwhile.
EXCLUSIVE = frozenset({"remove-directory"})
ON_FILES = frozenset({"remove-directory", "fill-disk"})
ON_SERVER = frozenset({"kill-server", "freeze-server", "fail-over"})


@contextmanager
def small_disk(folder: Path, size: str = "96m") -> Iterator[Path | None]:
    """Give a small file system of its own, where this process may make one; else None."""
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "chaos", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
