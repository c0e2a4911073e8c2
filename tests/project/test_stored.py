"""Outbox directories and decision cookies of an earlier version are read by this one."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flagmw import ErrorCode, Flagmw, Flags, Reason
from flagmw._support.encryption import cipher_from_environment
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.outbox.sqlite.identity import FileIdentity
from flagmw.types import Delivered, Event
from flagmw.wsgi import FlagsMiddleware

STORED = Path(__file__).parents[1] / "samples" / "stored"
VISITORS = json.loads((STORED / "decision_cookies.json").read_text("utf-8"))
VENDORS = [vendor["name"] for vendor in VISITORS["vendors"]]
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ENVIRON = {
    "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/checkout", "QUERY_STRING": "", "SERVER_PORT": "443",
    "SERVER_NAME": "www.mysite.com", "HTTP_HOST": "www.mysite.com", "HTTP_USER_AGENT": BROWSER,
    "wsgi.url_scheme": "https", "REMOTE_ADDR": "198.51.100.23",
    "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.errors": sys.stderr, "wsgi.multithread": True,
}  # fmt: skip


@pytest.fixture(params=["outbox", "outbox_encrypted"])
def stored(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SqliteOutbox, dict[str, Any]]]:
    """Open a copy of a sample as the process that starts after an update does."""
    sample = STORED / request.param
    expected = json.loads((sample / "expected.json").read_text("utf-8"))
    slot = tmp_path / "slot-0.db"
    shutil.copy(sample / "slot-0.sqlite3", slot)
    # An update leaves the file where it was made, and this machine stands for the one that made it: no copy.
    marks = FileIdentity.of(slot).marks()
    with closing(sqlite3.connect(slot, isolation_level=None)) as connection:
        known = [(marks[name], name) for name in ("host", "inode")]
        connection.executemany("UPDATE meta SET value = ? WHERE name = ?", known)
    monkeypatch.setenv("STORED_KEY", expected["key"] or "")
    seal = cipher_from_environment("STORED_KEY" if expected["key"] else None)
    store = SqliteOutbox(tmp_path, seal=seal)
    yield store, expected
    store.close()


def shown(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "vendor": event.vendor,
        "kind": event.kind,
        "aliases": list(event.aliases),
        "metric": event.track.metric,
        "url": event.visit.url,
        "cookies": dict(event.visit.cookies),
        "exposed": [variant.key for variant in event.exposed],
        "at_most_once": event.at_most_once,
    }


def test_an_earlier_outbox_is_delivered(stored: tuple[SqliteOutbox, dict[str, Any]]) -> None:
    """Every event that waited, was leased or dead is there with all its content, and is counted on."""
    store, expected = stored
    now = expected["now"] + 3600.0  # leases of the dead process have run out, and so has every back-off
    events = {event["id"]: event for event in expected["events"]}
    letters = store.dead()
    assert sorted(letter.event.id for letter in letters) == expected["dead"]
    assert store.revive(None, now) == len(letters)
    read = {}
    while (lease := store.claim(now, 50, 60.0)) is not None:
        read |= {row.event.id: shown(row.event) for row in lease.rows}
        store.ack(lease, [Delivered()] * len(lease.rows), now)
    assert read == {id: events[id] for id in read}
    # What the dead process had in hand and may not be sent twice is dropped.
    once = {event["vendor"] for event in events.values() if event["at_most_once"]}
    dropped = {name: lane["leased"] if name in once else 0 for name, lane in expected["lanes"].items()}
    waiting = {name: lane["queued"] + lane["dead"] - dropped[name] for name, lane in expected["lanes"].items()}
    assert Counter(event["vendor"] for event in read.values()) == waiting
    stats = store.stats(now)
    assert stats.balanced()
    assert {name: lane.accepted for name, lane in stats.lanes.items()} == {
        name: lane["accepted"] for name, lane in expected["lanes"].items()
    }
    assert dict(stats.dropped) == {ErrorCode.AMBIGUOUS: sum(dropped.values())}
    assert stats.delivered == stats.accepted - sum(dropped.values())


@pytest.mark.parametrize("visitor", VISITORS["visitors"], ids=range(len(VISITORS["visitors"])))
def test_an_earlier_decision_cookie_is_read(visitor: dict[str, Any]) -> None:
    """All four vendors' decisions come out of the cookie of an earlier version; no vendor is asked."""
    fm = Flagmw.from_mapping(
        {"vendors": VISITORS["vendors"], "outbox": "memory://", **VISITORS["options"], "deadline_ms": 200}, environ={}
    )
    fm._context.clock = lambda: visitor["now"] + 60.0
    kept: dict[str, Any] = {}
    asked: dict[str, str] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        flags: Flags = environ["flagmw.flags"]
        for alias in visitor["variants"]:
            variant = flags.variant(alias)
            kept[alias] = {
                "key": variant.key,
                "vendor": variant.vendor,
                "payload": variant.payload,
                "experiment_id": variant.experiment_id,
                "ids": dict(variant.ids),
            }
            if variant.reason != Reason.CACHED:
                asked[alias] = f"{variant.reason} {variant.error_code}"
        start_response("200 OK", [])
        return []

    header = "; ".join(f"{name}={value}" for name, value in visitor["cookies"].items())
    body = FlagsMiddleware(app, flagmw=fm)({**ENVIRON, "HTTP_COOKIE": header}, lambda *_: None)
    getattr(body, "close", lambda: None)()
    fm.close(0.1)
    assert asked == {}
    assert kept == visitor["variants"]
    assert {variant["vendor"] for variant in kept.values()} == set(VENDORS)
