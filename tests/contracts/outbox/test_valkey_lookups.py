"""What requests ask a Valkey server directly, in a few milliseconds or not at all."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flagmw._support.encryption import AesGcm
from flagmw._support.secret import Secret
from flagmw._valkey.lookups import Away, Memory
from flagmw.outbox.valkey import ValkeySeen, ValkeyVisitors
from tests.contracts.outbox.on_valkey import address, shared_server
from tests.contracts.outbox.test_valkey_faults import free_port, serve, stopped  # noqa: F401 - a fixture
from tests.support.busy import HELD_UP_S

PATIENT_MS = 2_000  # where the answer is what is tested, a busy machine may take its time


@pytest.fixture
def closing():
    opened = []
    yield lambda store: opened.append(store) or store
    for store in opened:
        store.close()


def test_an_exposure_is_first_once_for_all_machines(closing):
    """Each of vendor, visitor, alias and variant makes another exposure; the same is told once, wherever it is read."""
    url = address()
    here, there = (closing(ValkeySeen(url, wait_ms=PATIENT_MS)) for _ in range(2))
    assert here.first("wt", "ann", "banner", "blue", 60)
    assert not here.first("wt", "ann", "banner", "blue", 60)
    assert not there.first("wt", "ann", "banner", "blue", 60)
    for other in (("wt", "ann", "banner", "red"), ("wt", "bob", "banner", "blue"), ("adobe", "ann", "banner", "blue")):
        assert there.first(*other, 60)


def test_an_exposure_is_told_again_after_its_time(closing):
    """The memory of it ends after ttl_s, here and on the server; without a time there is none."""
    seen = closing(ValkeySeen(address(), wait_ms=PATIENT_MS))
    assert seen.first("wt", "ann", "banner", "blue", 0.05)
    time.sleep(0.1)
    assert seen.first("wt", "ann", "banner", "blue", 60)
    assert seen.first("wt", "eve", "banner", "blue", 0) and seen.first("wt", "eve", "banner", "blue", 0)


def test_many_threads_agree_on_one_first(closing):
    """Of many requests at once exactly one is the first."""
    seen = closing(ValkeySeen(address(), wait_ms=PATIENT_MS))
    with ThreadPoolExecutor(16) as pool:
        firsts = list(pool.map(lambda _: seen.first("wt", "ann", "banner", "blue", 60), range(64)))
    assert sum(firsts) == 1


def test_a_burst_is_answered_in_turn(closing):
    """A hundred requests at once, far more than there are threads, all learn what the server knows."""
    url = address()
    mine, visitors = (closing(ValkeyVisitors(url, wait_ms=PATIENT_MS)) for _ in range(2))
    assert mine.save("ann", b"state", 60)
    with ThreadPoolExecutor(100) as pool:
        loaded = list(pool.map(lambda _: visitors.load("ann"), range(200)))
    assert loaded == [b"state"] * 200


def test_memory_weighs_keys(closing):
    """Long keys count against the room as values do."""
    memory = Memory(1_000, lambda key, value: len(key) + len(value))
    for number in range(10):
        memory.put(f"{number}" * 200, b"v", 60)
    assert [memory.get(f"{number}" * 200) for number in range(10)] == [None] * 6 + [b"v"] * 4
    memory.put("k" * 2_000, b"v", 60)
    assert memory.get("k" * 2_000) is None


def test_names_of_visitors_are_not_shown_to_the_server(closing):
    """Keys hold digests; every key expires."""
    url = address(prefix="privacy")
    closing(ValkeySeen(url, wait_ms=PATIENT_MS)).first("wt", "ann@shop.example", "banner", "blue", 60)
    closing(ValkeyVisitors(url, wait_ms=PATIENT_MS)).save("ann@shop.example", b"state", 60)
    client = shared_server().client()
    keys = list(client.scan_iter("privacy:*"))
    assert len(keys) == 2 and not any(b"ann" in key for key in keys)
    assert all(0 < client.pttl(key) <= 60_000 for key in keys)


def test_a_visitor_is_known_on_every_machine(closing):
    """What one process saved another one loads, until it expires or is forgotten."""
    url = address()
    here, there = (closing(ValkeyVisitors(url, wait_ms=PATIENT_MS)) for _ in range(2))
    assert here.load("ann") is None
    assert here.save("ann", b"one", 60) and there.load("ann") == b"one"
    assert there.save("ann", b"two", 60) and here.load("ann") == b"two"
    assert there.forget("ann") and here.load("ann") is None
    assert here.save("bob", b"gone soon", 0.05)
    time.sleep(0.1)
    assert here.load("bob") is None


def test_visitors_can_be_sealed(closing):
    """With a key the server holds nothing readable, and without it nothing can be loaded."""
    url = address(prefix="sealed")
    seal = AesGcm([Secret("A" * 43 + "=")])
    sealed = closing(ValkeyVisitors(url, wait_ms=PATIENT_MS, seal=seal))
    assert sealed.save("ann", b"secret state", 60) and sealed.load("ann") == b"secret state"
    client = shared_server().client()
    assert not any(b"secret" in client.get(key) for key in client.scan_iter("sealed:*"))
    other = closing(ValkeyVisitors(url, wait_ms=PATIENT_MS, seal=AesGcm([Secret("B" * 43 + "=")])))
    assert other.load("ann") is None


@pytest.mark.parametrize("state", ["down", "hanging"])
def test_a_server_that_is_away_costs_next_to_nothing(closing, serve, state):  # noqa: F811
    """Memory answers; a request waits a few milliseconds at most, and soon not even that."""
    if state == "down":
        _ask_while_away(closing, f"valkey://127.0.0.1:{free_port()}/0")
        return
    server = serve()
    with stopped(server):
        _ask_while_away(closing, address(server))


def _ask_while_away(closing, url):
    seen, visitors = closing(ValkeySeen(url)), closing(ValkeyVisitors(url))
    begin = time.perf_counter()
    for number in range(1_000):
        assert seen.first("wt", f"visitor-{number}", "banner", "blue", 60)
        assert not seen.first("wt", f"visitor-{number}", "banner", "blue", 60)
        assert not visitors.save(f"visitor-{number}", b"state", 60)
        assert visitors.load(f"visitor-{number}") == b"state"
    # Until the breaker opens, a few questions wait for 5 ms each; all of them would wait for 20 s.
    assert time.perf_counter() - begin < HELD_UP_S


def test_a_server_that_comes_back_is_asked_again(closing, serve):  # noqa: F811
    """After a rest the server's answer counts again, without anybody's help."""
    server = serve()
    url = address(server)
    visitors, other = closing(ValkeyVisitors(url)), closing(ValkeyVisitors(url, wait_ms=PATIENT_MS))
    with stopped(server):
        for number in range(20):
            assert not visitors.save(f"visitor-{number}", b"mine", 60)
    assert other.save("ann", b"theirs", 60)
    end = time.monotonic() + 15
    with pytest.raises(Away):
        visitors.load("ann")  # the rest goes on: nobody here knows of ann, which is not to say that she is new
    while True:
        with contextlib.suppress(Away):
            assert visitors.load("ann") == b"theirs"
            break
        assert time.monotonic() < end
        time.sleep(0.05)
