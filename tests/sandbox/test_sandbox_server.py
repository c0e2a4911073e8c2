"""The server around the sandbox: its own routes, its life, its ledger's bounds."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from flagmw.exceptions import ConfigError
from flagmw.sandbox import SandboxServer, create_app, serve
from flagmw.sandbox.ledger import Ledger
from flagmw.sandbox.server import _listen
from tests.support.busy import HELD_UP_S

DOMAIN = 2490593


def test_health(caller: Any, vendor: Any) -> None:
    """The health route says which scenario is played."""
    assert caller.http.get(f"{vendor.url}/__sandbox__/health").json() == {"status": "ok", "scenario": "shop"}


def test_ledger_route(caller: Any, vendor: Any) -> None:
    """The ledger is readable and filterable over HTTP, and DELETE clears it."""
    url = f"{vendor.url}/__sandbox__/ledger"
    (first, *_) = caller.control(**{"_wt.track": "true"})
    caller.track(["ta_Project1"], "purchase")
    caller.track(["ta_Project2"], "signup")
    uid = first["params"]["systemUID"]
    everything = caller.http.get(url).json()
    assert [len(everything[k]) for k in ("requests", "views", "conversions")] == [3, 4, 2]
    assert everything == vendor.ledger()
    kept = caller.http.get(url, params={"alias": "ta_Project2"}).json()
    assert [len(kept[k]) for k in ("requests", "views", "conversions")] == [2, 1, 1]
    assert [c["alias"] for c in vendor.ledger(metric="purchase")["conversions"]] == ["ta_Project1"]
    assert len(vendor.ledger(system_uid=uid)["conversions"]) == 2 and not vendor.ledger(system_uid="1")["views"]
    assert caller.http.delete(url).status_code == 204
    assert caller.http.get(url).json()["requests"] == []


def test_fault_routes(caller: Any, vendor: Any) -> None:
    """Faults are set, shown and removed over HTTP, and a wrong rule is 422 with a text."""
    url = f"{vendor.url}/__sandbox__/faults"
    rules = {"rules": [{"route": "control", "kind": "status", "status": 500, "times": 1}]}
    assert caller.http.put(url, json=rules).status_code == 200
    assert caller.post(f"control/{DOMAIN}").status_code == 500
    assert caller.http.get(url).json()["rules"][0]["hits"] == 1
    assert caller.http.delete(url).json() == {"rules": []}
    for bad in ({"rules": [{"kind": "x"}]}, {"rules": 1}, [], {}):
        response = caller.http.put(url, json=bad)
        assert response.status_code == 422 and response.json()["error"]


def test_scenario_routes(caller: Any, vendor: Any) -> None:
    """A scenario can be read, changed and put back at run time; reset returns to the first one."""
    url = f"{vendor.url}/__sandbox__/scenario"
    shape = caller.http.get(url).json()
    shape["webtrends"][0]["projects"] = shape["webtrends"][0]["projects"][:1]
    assert caller.http.put(url, json=shape).json() == shape
    assert len(caller.control()) == 1
    assert "did you mean 'domain_id'" in caller.http.put(url, json={"webtrends": [{"domainid": 1}]}).json()["error"]
    assert caller.http.post(f"{vendor.url}/__sandbox__/reset").status_code == 204
    assert len(caller.control()) == 4


def test_rotate_route(caller: Any, vendor: Any) -> None:
    """Keys are rotated over HTTP, for an account that exists."""
    url = f"{vendor.url}/__sandbox__/rotate-keys"
    caller.control()
    assert caller.http.post(url, json={"domain_id": DOMAIN}).status_code == 204
    assert caller.control()[0]["body"]["message"]["errorCode"] == 102
    assert caller.http.post(url, json={"domain_id": 1}).status_code == 422


def test_a_seed_repeats_assignment(caller: Any, vendor: Any) -> None:
    """After a reset the same requests get the same visitors and variations."""

    def run() -> list[Any]:
        vendor.reset()
        found = []
        for _ in range(5):
            caller.cookies.clear()
            found += [(e["params"]["systemUID"], e["params"]["r_experimentID"]) for e in caller.control()]
        return found

    assert run() == run()


def test_kill_and_revive() -> None:
    """A stopped vendor refuses connections, and comes back on the same port with its ledger and cookies."""
    server = SandboxServer("single", seed=1)
    server.start()
    url, port = f"{server.webtrends_url}/control/{DOMAIN}", server.port
    assert httpx2.post(url, json={}).status_code == 200
    server.stop()
    server.stop()
    assert not server.running
    with pytest.raises(httpx2.ConnectError):
        httpx2.post(url, json={})
    server.start()
    server.start()
    assert server.port == port and httpx2.post(url, json={}).status_code == 200
    assert len(server.ledger()["requests"]) == 2
    server.stop()


def test_stopping_cuts_what_hangs() -> None:
    """Requests that hang when the vendor is killed end at once."""
    outcome: list[str] = []
    with SandboxServer() as server:
        server.faults([{"kind": "hang"}])

        def ask() -> None:
            try:
                httpx2.post(f"{server.webtrends_url}/control/{DOMAIN}", json={}, timeout=60)
            except httpx2.TransportError as error:
                outcome.append(type(error).__name__)

        thread = threading.Thread(target=ask)
        thread.start()
        while not server.ledger()["requests"]:
            time.sleep(0.005)
        before = time.monotonic()
    thread.join(20)
    assert time.monotonic() - before < HELD_UP_S and outcome and "Timeout" not in outcome[0]


def test_many_at_once(vendor: Any) -> None:
    """Concurrent callers all get their answers, and all are in the ledger."""

    def ask() -> None:
        with httpx2.Client() as http:
            for _ in range(20):
                http.post(f"{vendor.webtrends_url}/control/{DOMAIN}", json={})

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [entry["n"] for entry in vendor.ledger()["requests"]]
    assert numbers == list(range(1, 81))


def test_the_ledger_is_bounded() -> None:
    """Only the last entries are kept, and what fell out is counted."""
    ledger = Ledger(limit=3)
    for n in range(5):
        ledger.conversion({"alias": str(n)})
        ledger.view(n, {"alias": str(n)})
    read = ledger.read()
    assert [entry["alias"] for entry in read["conversions"]] == ["2", "3", "4"]
    assert read["dropped"] == {"requests": 0, "views": 2, "conversions": 2}


def test_loopback_only() -> None:
    """Another address than loopback must be allowed in so many words."""
    with pytest.raises(ConfigError, match="allow_remote"):
        serve("0.0.0.0", 0)
    with pytest.raises(ConfigError, match="loopback"):
        SandboxServer(host="192.0.2.1")


def test_sandboxes_share_nothing() -> None:
    """Two applications have ledgers and faults of their own."""
    first, second = create_app().state.sandbox, create_app("single").state.sandbox
    first.ledger.conversion({"alias": "a"})
    first.faults.replace([{"kind": "close"}])
    assert second.ledger.read()["conversions"] == [] and second.faults.shown() == []


def test_missing_packages_are_named() -> None:
    """Without its extra the sandbox says what to install."""
    for name in ("starlette", "uvicorn", "cryptography"):
        program = f"import sys; sys.modules[{name!r}] = None\nimport flagmw.sandbox"
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert "pip install 'flagmw[sandbox]'" in run.stderr


def test_clearing_also_forgets_what_is_still_under_way(caller: Any, vendor: Any) -> None:
    """A request that began before the ledger was cleared does not turn up in it afterwards."""
    vendor.faults([{"kind": "delay", "ms": 800}])
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(caller.control, **{"_wt.track": "true"})
        while not vendor.sandbox.faults.shown()[0]["hits"] and not asked.done():
            time.sleep(0.005)
        vendor.clear_ledger()
        assert asked.result()
    ledger = vendor.ledger()
    assert not ledger["requests"] and not ledger["views"]


def test_F2_a_kept_connection_is_quick() -> None:
    """No call waits for the client's delayed acknowledgement, which takes 40 ms."""
    with SandboxServer(seed=1) as server, httpx2.Client(base_url=server.url) as client:
        client.get("/__sandbox__/ledger")
        times = []
        for _ in range(10):
            started = time.perf_counter()
            client.get("/__sandbox__/ledger")
            times.append(time.perf_counter() - started)
    assert min(times) < 0.02, times
    listener = _listen("127.0.0.1", 0)
    assert listener.proto == socket.IPPROTO_TCP and listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    listener.close()
