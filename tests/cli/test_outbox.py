"""`flagmw outbox`, `flagmw purge` and `flagmw deliver`, on outboxes of dead and of living processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flagmw import Flagmw, Visit, cli
from flagmw.codes import ErrorCode
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.valkey import ValkeyOutbox
from flagmw.outbox.worker import claimer
from flagmw.sandbox import SandboxServer
from flagmw.types import Dead
from tests.contracts.outbox import on_valkey

ROOT = Path(__file__).parents[2]
TOKEN = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"
SECRET = "not-for-everybody"
URL = "https://www.mysite.com/"


class Site:
    """A site with an outbox on disk: its configuration, its vendor, and the command."""

    def __init__(self, folder: Path, vendor: SandboxServer, capsys: pytest.CaptureFixture[str]) -> None:
        self.vendor, self.outbox, self._capsys = vendor, folder / "outbox", capsys
        self.config = folder / "own.toml"
        self.config.write_text(
            f"""
            deadline_ms = 5000
            outbox = "sqlite://{self.outbox}"
            [[vendors]]
            type = "webtrends"
            name = "wt"
            domain_id = 2490593
            key_token = "{TOKEN}"
            url = "{URL}"
            base_url = "{vendor.webtrends_url}"
            """
        )

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run the command in this process; return exit code, output and errors."""
        self._capsys.readouterr()
        command, rest = arguments[0], [*arguments[1:], "--config", self.config]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["flagmw", *map(str, [command, *rest])])
            patch.setenv("COLUMNS", "200")
            try:
                cli.main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            else:
                code = 0
        return (code, *self._capsys.readouterr())

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        done, out, err = self.run(*arguments, "--json")
        assert done == code, (out, err)
        return json.loads(out)

    def flagmw(self) -> Flagmw:
        return Flagmw.from_mapping({}, file=self.config)

    def buy(self, fm: Flagmw, n: int, *, user_id: str | None = None) -> bytes:
        """Have a visitor buy *n* times; return the visitor in the form to keep."""
        flags = fm.decide(Visit(url=URL, user_id=user_id, user_agent="Mozilla/5.0 (X11; Linux x86_64)"))
        for _ in range(n):
            assert flags.track("purchase", data={"coupon": SECRET})
        return flags.save()

    def leave(self, n: int, **who: str) -> bytes:
        """Leave *n* events in the file of a process that has ended."""
        elsewhere = Flagmw.from_mapping({"outbox": "memory://"}, file=self.config)
        saved = self.buy(elsewhere, 0, **who)
        elsewhere.close(1)
        self.vendor.stop()
        fm = self.flagmw()
        try:
            for _ in range(n):
                assert fm.track("purchase", visitor=saved, data={"coupon": SECRET})
            fm.close(2)
        finally:
            self.vendor.start()
        return saved

    def bury(self, n: int) -> list[str]:
        """Leave *n* dead letters in the file of a process that has ended; return their ids."""
        self.leave(n)
        store = SqliteOutbox(self.outbox)
        later = time.time() + 3600
        lease = store.claim(later, n, 60.0)
        assert lease is not None and len(lease.rows) == n
        store.ack(lease, [Dead(ErrorCode.VENDOR_400)] * n, later)
        store.close()
        return [row.event.id for row in lease.rows]

    def stats(self) -> dict[str, int]:
        """Return the sums over all slots, as `status` tells them."""
        sums = dict.fromkeys(("accepted", "queued", "delivered", "dead"), 0)
        for slot in self.json("outbox", "status"):
            assert slot["balanced"], slot
            for lane in slot["vendors"].values():
                for name in sums:
                    sums[name] += lane[name]
        return sums


@pytest.fixture(scope="module")
def _server() -> Iterator[SandboxServer]:
    with SandboxServer("single", seed=3) as server:
        yield server


@pytest.fixture
def site(_server: SandboxServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    _server.start()
    _server.reset()
    return Site(tmp_path, _server, capsys)


@contextmanager
def living(site: Site) -> Iterator[Flagmw]:
    """A process that lives: this one, while the vendor is away."""
    fm = site.flagmw()
    fm.start()
    try:
        yield fm
    finally:
        fm.close(2)


def wait_for(found: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return result


# status


def test_status_before_during_and_after_an_outage(site: Site) -> None:
    """A living process's slot is read without disturbing it: what waits, how long, what has gone."""
    with living(site) as fm:
        saved = site.buy(fm, 1)
        assert fm.flush(10)
        assert site.stats() == {"accepted": 1, "queued": 0, "delivered": 1, "dead": 0}
        site.vendor.stop()
        for _ in range(3):
            fm.track("purchase", visitor=saved)
        wait_for(lambda: site.stats() == {"accepted": 4, "queued": 3, "delivered": 1, "dead": 0})
        (slot,) = site.json("outbox", "status")
        assert (slot["part"], slot["state"]) == ("slot-0", "live")
        assert 0 <= slot["vendors"]["wt"]["oldest_s"] < 60
        code, out, _ = site.run("outbox", "status")
        assert code == 0 and "live" in out and "wt" in out
        site.vendor.start()
        wait_for(lambda: site.stats()["delivered"] == 4, 40)
    assert [slot["state"] for slot in site.json("outbox", "status")] == ["free"]


def test_there_must_be_an_outbox(site: Site) -> None:
    """A directory that is not there, and one in memory, are one line and exit code 2."""
    code, _, err = site.run("outbox", "status")
    assert code == 2 and "nothing has been stored yet" in err
    site.config.write_text(site.config.read_text().replace(f"sqlite://{site.outbox}", "memory://"))
    for command in (("outbox", "status"), ("deliver",)):
        code, _, err = site.run(*command)
        assert code == 2 and "memory://" in err and err.count("\n") == 1


# dead


def test_dead_letters_are_listed_and_shown(site: Site) -> None:
    """What they are is told; cookie values and data only where they are asked for."""
    ids = site.bury(2)
    listed = site.json("outbox", "dead", "list")
    assert {letter["id"] for letter in listed} == set(ids)
    assert listed[0] | {"id": "", "at": "", "track_id": ""} == {
        "id": "",
        "vendor": "wt",
        "kind": "track",
        "code": "VENDOR_400",
        "attempts": 1,
        "at": "",
        "metric": "purchase",
        "aliases": ["ta_Project1"],
        "track_id": "",
    }
    code, out, _ = site.run("outbox", "dead", "list")
    assert code == 0 and ids[0] in out and "VENDOR_400" in out
    for form in ((), ("--json",)):
        code, out, err = site.run("outbox", "dead", "show", ids[0], *form)
        assert code == 0 and "_wt.user-2490593" in out and "coupon" in out
        assert SECRET not in out + err and "=" not in out
    shown = site.json("outbox", "dead", "show", ids[0], "--reveal")
    assert shown["event"]["data"] == {"coupon": SECRET}
    assert len(shown["event"]["cookies"]["_wt.user-2490593"]) > 10
    code, _, err = site.run("outbox", "dead", "show", "unknown")
    assert code == 2 and "no dead letter" in err


def test_dead_letters_are_settled(site: Site) -> None:
    """By id or all; what is queued again is delivered, what is dropped is counted."""
    ids = site.bury(3)
    assert site.run("outbox", "dead", "retry")[0] == 2, "neither ids nor --all"
    assert site.run("outbox", "dead", "drop", ids[0], "--all")[0] == 2, "both"
    assert site.json("outbox", "dead", "drop", ids[0]) == {"events": 1}
    # One that is not there is named, and ends it with 1; the others are settled all the same.
    for action in ("retry", "drop"):
        code, out, err = site.run("outbox", "dead", action, "unknown", ids[0], "unknown")
        assert (code, out) == (1, f"0 {'dropped' if action == 'drop' else 'queued again'}\n")
        assert f"no dead letter is named 'unknown', {ids[0]!r};" in err
    assert site.json("outbox", "dead", "retry", "--all") == {"events": 2}
    assert site.stats() == {"accepted": 3, "queued": 2, "delivered": 0, "dead": 0}
    assert site.json("outbox", "flush")["left"] == 0
    assert len(site.vendor.ledger()["conversions"]) == 2


def test_letters_of_a_living_process_are_settled(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters in a slot that is in use are settled beside its owner, who delivers what is queued again."""
    assert claimer._IDLE_S == 30
    monkeypatch.setattr(claimer, "_IDLE_S", 0.5)  # nobody tells the owner: it looks for itself
    ids = site.bury(2)
    with living(site) as fm:
        wait_for(lambda: fm.outbox_stats().dead == 2)
        assert site.json("outbox", "dead", "drop", ids[0]) == {"events": 1}
        assert site.json("outbox", "dead", "retry", ids[1]) == {"events": 1}
        wait_for(lambda: site.stats()["delivered"] == 1, 20)
    assert len(site.vendor.ledger()["conversions"]) == 1


# flush


def test_flush_delivers_what_dead_processes_left(site: Site) -> None:
    """All of it, at once; with the vendor away it says how much is left."""
    site.leave(5)
    site.vendor.stop()
    assert site.json("outbox", "flush", "--timeout", "1", code=1)["left"] == 5
    site.vendor.start()
    code, out, _ = site.run("outbox", "flush")
    assert code == 0 and "0 left" in out
    assert len(site.vendor.ledger()["conversions"]) == 5


# purge


@pytest.mark.parametrize("alive", [False, True])
def test_a_visitor_is_forgotten(site: Site, tmp_path: Path, alive: bool) -> None:
    """By user id, by what was saved, by a cookie: their events go, from slots in use too, and nobody else's."""
    site.leave(1, user_id="u-1")
    (tmp_path / "visitor").write_bytes(site.leave(2))
    cookies = json.loads(site.leave(3))["cookies"]
    site.leave(4)

    def forget() -> None:
        assert site.json("purge", "--user-id", "u-1")["events"] == 1
        assert site.json("purge", "--visitor", tmp_path / "visitor")["events"] == 2
        name = "_wt.user-2490593"
        assert site.json("purge", "--cookie", f"{name}={cookies[name]}")["events"] == 3
        assert site.json("purge", "--user-id", "nobody")["events"] == 0

    if alive:
        site.vendor.stop()
        with living(site) as fm:
            wait_for(lambda: fm.outbox_stats().queued == 10)
            forget()
        site.vendor.start()
    else:
        forget()
    assert site.stats() == {"accepted": 10, "queued": 4, "delivered": 0, "dead": 0}


def test_purge_needs_somebody(site: Site) -> None:
    """Without anything to go by nothing is removed."""
    site.leave(1)
    for arguments in ((), ("--cookie", "nothing"), ("--visitor", site.config)):
        code, _, err = site.run("purge", *arguments)
        assert code == 2 and err.startswith("flagmw: ")
    assert site.stats()["queued"] == 1


# deliver


def deliver(site: Site, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "flagmw.cli", "deliver", "--config", str(site.config), *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_deliver_once_drains_and_ends(site: Site) -> None:
    """It delivers what dead processes left and ends with 0; with the vendor away it ends with 1 in its time."""
    site.leave(7)
    site.vendor.stop()
    process = deliver(site, "--once", "--timeout", "1")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1, said
    site.vendor.start()
    process = deliver(site, "--once")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    first, last = said.strip().split("\n")
    assert first.startswith("flagmw deliver: started pid=") and "vendors=wt max_rate=none" in first
    assert last.startswith("flagmw deliver: stopped delivered=7 queued=0")
    assert len(site.vendor.ledger()["conversions"]) == 7


def test_P18_deliver_stops_on_sigterm(site: Site) -> None:
    """With the vendor hanging it ends within 8 s and 0, and what it had begun is there for the next one."""
    site.leave(6)
    site.vendor.faults([{"kind": "delay", "ms": 20_000, "route": "track"}])
    process = deliver(site)
    wait_for(lambda: sum(1 for rule in site.vendor.sandbox.faults.shown() if rule["hits"]), 30)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=15)
    assert process.returncode == 0, said
    assert time.monotonic() - started < 8
    assert "stopped delivered=0 queued=6" in said
    site.vendor.clear_faults()
    assert site.stats()["queued"] == 6


def test_P29_deliver_takes_over_from_the_dead(site: Site) -> None:
    """A process that is killed while it holds events leaves them to one that runs already."""
    saved = site.leave(0)
    process = deliver(site)
    site.vendor.stop()
    child = os.fork()
    if child == 0:
        fm = site.flagmw()
        for _ in range(4):
            fm.track("purchase", visitor=saved)
        fm.flush(1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    site.vendor.start()
    try:
        wait_for(lambda: len(site.vendor.ledger()["conversions"]) >= 4, 60)
    finally:
        process.terminate()
        process.communicate(timeout=15)
    assert process.returncode == 0
    assert site.stats()["queued"] == 0


# A server


def test_the_servers_part_is_seen_and_settled(site: Site, tmp_path: Path) -> None:
    """With Valkey what has left this machine is in `status`, can be purged, settled and delivered from here."""
    url = f"{on_valkey.address()}&dir={site.outbox}"
    text = site.config.read_text().replace(f"sqlite://{site.outbox}", url)
    site.config.write_text(text.replace("deadline_ms", 'deliver = "off"\ndeadline_ms', 1))
    with living(site) as fm:
        mine, others = site.buy(fm, 0, user_id="u-1"), site.buy(fm, 0)
        for visitor in (mine, others, others):
            assert fm.track("purchase", visitor=visitor)

        def on_server() -> int:
            return sum(
                lane["queued"]
                for slot in site.json("outbox", "status")
                if slot["part"] == "server"
                for lane in slot["vendors"].values()
            )

        wait_for(lambda: on_server() == 3, 20)
        assert site.json("purge", "--user-id", "u-1") == {"events": 1}
        store = ValkeyOutbox(url, MemoryOutbox())
        lease = wait_for(lambda: store.claim(time.time(), 1, 60.0))
        store.ack(lease, [Dead(ErrorCode.VENDOR_400)], time.time())
        store.close()
        (letter,) = site.json("outbox", "dead", "list")
        assert letter["id"] == lease.rows[0].event.id
        assert site.json("outbox", "dead", "retry", letter["id"])["events"] == 1
        assert site.json("outbox", "flush")["left"] == 0
    assert len(site.vendor.ledger()["conversions"]) == 2
