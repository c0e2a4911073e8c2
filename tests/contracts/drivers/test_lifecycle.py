"""What both drivers promise about threads, event loops, processes, cancellation and options."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import random
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flagmw._drivers.aio import AsyncDriver
from flagmw._drivers.blocking import BlockingDriver
from flagmw._support.deadline import Deadline
from flagmw._transports import connection as link
from flagmw._transports import resolver as net
from flagmw._transports.body import Limits
from flagmw._transports.resolver import Resolver
from flagmw.exceptions import ConfigError, TransportError
from flagmw.types import Call, Flow
from tests.contracts.drivers.conftest import NAMED
from tests.support.authority import Authority
from tests.support.busy import HELD_UP_S
from tests.support.raw_vendor import RawVendor, always, answer, forever, hang, http, read_request, send, sleep

BLOCKING = [name for colour, name in NAMED if colour == "blocking"] + ["httpx2"]
ASYNC = [name for colour, name in NAMED if colour == "async"] + ["httpx2"]


def soon(seconds: float = 2.0) -> Deadline:
    return Deadline.after(seconds, time.monotonic())


def ask(url: str, *, replay_safe: bool = False) -> Flow[str]:
    """Return the body of one call, or the code of its error."""
    try:
        reply = yield Call(method="GET", url=url, headers={}, replay_safe=replay_safe)
    except TransportError as error:
        return error.code.value
    return reply.body.decode()


def script(code: str, *arguments: str) -> Any:
    """Run *code* in a new interpreter and return the JSON that it prints."""
    prelude = """
        import json, os, sys, time
        from flagmw._support.deadline import Deadline
        from flagmw.types import Call
        from flagmw.exceptions import TransportError
        def soon(seconds=5.0): return Deadline.after(seconds, time.monotonic())
        def ask(url):
            try:
                reply = yield Call(method="GET", url=url, headers={})
            except TransportError as error:
                return error.code.value
            return reply.body.decode()
    """
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c"),
            *(textwrap.dedent(prelude) + textwrap.dedent(code), *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


# Nothing before the first use.


def test_import_brings_no_http_library_and_starts_nothing() -> None:
    """Importing and making the drivers loads no HTTP library and starts no thread."""
    assert script("""
        import threading
        import flagmw._drivers.aio, flagmw._drivers.blocking
        drivers = [flagmw._drivers.aio.AsyncDriver(), flagmw._drivers.blocking.BlockingDriver()]
        heavy = [name for name in ("httpx", "httpx2", "httpcore", "httpcore2", "h11", "anyio") if name in sys.modules]
        print(json.dumps([heavy, threading.active_count(), len(os.listdir("/proc/self/fd")) < 10]))
    """) == [[], 1, True]


@pytest.mark.parametrize("make", [BlockingDriver, AsyncDriver])
def test_missing_library_is_named(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any HTTP library the first use says what to install."""
    monkeypatch.setitem(sys.modules, "httpcore2", None)
    monkeypatch.setitem(sys.modules, "httpcore", None)
    with pytest.raises(ConfigError, match="pip install httpx2"):
        make(transport="httpx2").prepare()


def test_prepare_opens_no_connection(plain: Any, authority: Authority) -> None:
    """Preparing reads the authorities ahead of the first call and contacts nobody."""
    with RawVendor(always(b"{}"), tls=authority.context()) as vendor:
        driver = plain.make(ca_file=authority.ca_file)
        driver.prepare()
        assert vendor.connections == 0
        assert plain.ask(vendor.url, driver=driver).body == b"{}"


# Options.


@pytest.mark.parametrize("library", ["httpx2", "httpx"])
def test_client_is_refused_as_transport(library: str) -> None:
    """A client in place of a transport is refused with the cure."""
    lib = importlib.import_module(library)
    with lib.Client() as client:
        for make in (BlockingDriver, AsyncDriver):
            with pytest.raises(ConfigError, match=rf"{library}\.(Async)?HTTPTransport\(\)"):
                make(transport=client)


@pytest.mark.parametrize("library", ["httpx2", "httpx"])
def test_transport_of_the_other_colour_is_refused(library: str) -> None:
    """A blocking transport cannot serve the async driver, nor the other way round."""
    lib = importlib.import_module(library)
    with pytest.raises(ConfigError, match="BaseTransport"):
        BlockingDriver(transport=lib.AsyncHTTPTransport())
    with pytest.raises(ConfigError, match="AsyncBaseTransport"):
        AsyncDriver(transport=lib.HTTPTransport())
    with pytest.raises(ConfigError, match="got object"):
        BlockingDriver(transport=object())


@pytest.mark.parametrize("library", ["httpx2", "httpx"])
def test_transport_serves_calls_and_stays_open(library: str) -> None:
    """A caller's transport gets requests of its own library, and `close` leaves it alone."""
    lib = importlib.import_module(library)
    closed = []

    class Mine(lib.MockTransport):  # type: ignore[name-defined, misc]
        def close(self) -> None:
            closed.append("close")

        async def aclose(self) -> None:
            closed.append("aclose")

    def handle(request: Any) -> Any:
        assert isinstance(request, lib.Request)
        assert "user-agent" not in request.headers
        return lib.Response(200, json={"path": request.url.path}, headers={"set-cookie": "a=b"})

    blocking = BlockingDriver(transport=Mine(handle))
    assert json.loads(blocking.run(ask("http://vendor.test/p"), soon())) == {"path": "/p"}
    blocking.close()

    async def main() -> str:
        driver = AsyncDriver(transport=Mine(handle))
        result = await driver.run(ask("http://vendor.test/p"), soon())
        await driver.aclose()
        return result

    assert json.loads(asyncio.run(main())) == {"path": "/p"}
    assert closed == []


def test_whatever_a_transport_raises_becomes_a_transport_error(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that no transport should raise still ends as an error of the call."""
    import httpx2

    def handle(request: Any) -> Any:
        raise StopIteration

    assert BlockingDriver(transport=httpx2.MockTransport(handle)).run(ask("http://vendor.test"), soon()) == "TRANSPORT"
    assert asyncio.run(AsyncDriver(transport=httpx2.MockTransport(handle)).run(ask("http://v.test"), soon()))


def test_transport_that_hangs_is_left_at_the_deadline() -> None:
    """A caller's blocking transport cannot hold a call beyond its deadline."""
    import httpx2

    release = threading.Event()

    def handle(request: Any) -> Any:
        release.wait(3 * HELD_UP_S)
        return httpx2.Response(200)

    driver = BlockingDriver(transport=httpx2.MockTransport(handle))
    started = time.monotonic()
    assert driver.run(ask("http://vendor.test"), soon(0.15)) == "DEADLINE"
    assert time.monotonic() - started < HELD_UP_S
    release.set()
    driver.close()


def test_ca_file_must_exist() -> None:
    """A wrong path is refused when the driver is made."""
    for make in (BlockingDriver, AsyncDriver):
        with pytest.raises(ConfigError, match=r"ca_file='/nowhere\.pem'"):
            make(ca_file="/nowhere.pem")


def test_ca_file_without_certificates_fails_the_call(plain: Any, authority: Authority, tmp_path: Path) -> None:
    """A file that holds no authority is a failure of TLS, now and again."""
    path = tmp_path / "empty.pem"
    path.write_text("nothing")
    driver = plain.make(ca_file=path)
    with RawVendor(always(b"{}"), tls=authority.context()) as vendor:
        for _ in range(2):
            answered = plain.ask(vendor.url, driver=driver)
            assert (answered.code, answered.error.sent) == ("TLS", False)


# Proxies.


@pytest.fixture
def proxy() -> Any:
    """A proxy that opens tunnels and notes what it was asked for."""

    def serve(connection: Any) -> None:
        received = connection.read_request()
        if not received.head.startswith("CONNECT "):
            connection.send(http(b"forwarded"))
            hang(connection)
        connection.send(b"HTTP/1.1 200 Go ahead\r\n\r\n")
        place = received.head.split()[1].rpartition(":")[2]
        with socket.create_connection(("127.0.0.1", int(place))) as upstream:

            def back() -> None:
                while data := upstream.recv(65536):
                    connection.sock.sendall(data)

            threading.Thread(target=back, daemon=True).start()
            while data := connection.sock.recv(65536):
                upstream.sendall(data)

    with RawVendor(serve) as vendor:
        yield vendor


def test_proxy_of_the_environment_only_when_asked(
    own: Any, proxy: RawVendor, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxy variables count with `trust_env=True` alone; TLS then is with the vendor, through the tunnel."""
    own.ca_file = str(authority.ca_file)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:p%40ss@127.0.0.1:{proxy.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "other.test")
    with RawVendor(always(b"{}"), tls=authority.context()) as vendor:
        assert own.ask(vendor.url).body == b"{}"
        assert proxy.connections == 0
        driver = own.make(trust_env=True)
        assert own.ask(vendor.url, driver=driver).body == b"{}"
        assert own.ask(vendor.url, driver=driver).body == b"{}"
        assert proxy.connections == 1
        assert proxy.requests[0].head.startswith(f"CONNECT 127.0.0.1:{vendor.port} HTTP/1.1")
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"
        assert "proxy-authorization" not in vendor.requests[1].headers
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert own.ask(vendor.url, driver=own.make(trust_env=True)).body == b"{}"
        assert proxy.connections == 1


def test_proxy_for_plain_http(plain: Any, proxy: RawVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """An http address is sent to its proxy whole."""
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert plain.ask("http://vendor.test/a?b", driver=plain.make(trust_env=True)).body == b"forwarded"
    assert proxy.requests[0].head.startswith("GET http://vendor.test/a?b HTTP/1.1")


def test_proxy_that_refuses(plain: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused tunnel is a failure to connect; a proxy that is no http address is refused at the start."""
    with RawVendor(answer(b"no", 407)) as refusing:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{refusing.port}")
        answered = plain.ask("https://vendor.test/", driver=plain.make(trust_env=True))
        assert (answered.code, answered.error.sent) == ("CONNECT", False)
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        plain.make(trust_env=True)


# Threads of the blocking driver.


def test_submit_runs_in_named_daemon_threads() -> None:
    """Submitted flows run in at most `pool_size` daemon threads, which end with `close`."""
    seen: set[tuple[str, bool]] = set()

    def flow(url: str) -> Flow[str]:
        thread = threading.current_thread()
        seen.add((thread.name, thread.daemon))
        return (yield from ask(url))

    with RawVendor(forever(answer(b"{}"), sleep(0.01))) as vendor:
        driver = BlockingDriver(pool_size=3)
        futures = [driver.submit(flow(vendor.url), soon(5)) for _ in range(20)]
        assert {each.result(5) for each in futures} == {"{}"}
        assert seen == {("flagmw-1", True), ("flagmw-2", True), ("flagmw-3", True)}
        assert vendor.connections <= 3
        ours = [each for each in threading.enumerate() if each.name.startswith("flagmw-") and each.name[7:].isdigit()]
        driver.close()
        for thread in ours:
            thread.join(2)
            assert not thread.is_alive()
        assert driver.submit(flow(vendor.url), soon()).result(2) == "{}"
        driver.close()


def test_submit_passes_exceptions_on() -> None:
    """A flow's own exception is the future's."""

    def flow() -> Flow[None]:
        raise LookupError("mine")
        yield

    driver = BlockingDriver()
    with pytest.raises(LookupError, match="mine"):
        driver.submit(flow(), soon()).result(2)
    driver.close()


def test_forgotten_driver_leaves_no_thread() -> None:
    """A driver that nobody closed takes its threads along when it is collected."""
    with RawVendor(always(b"{}")) as vendor:
        driver = BlockingDriver()
        before = set(threading.enumerate())
        assert driver.submit(ask(vendor.url), soon()).result(2) == "{}"
        ours = [each for each in threading.enumerate() if each not in before and each.name == "flagmw-1"]
        assert ours
        del driver
        gc.collect()
        for thread in ours:
            thread.join(2)
            assert not thread.is_alive()
        assert vendor.wait_open(0)


def test_exit_does_not_wait_for_a_name_server() -> None:
    """A lookup that hangs does not keep the interpreter from ending."""
    started = time.monotonic()
    result = script("""
        import asyncio, socket
        socket.getaddrinfo = lambda *_, **__: time.sleep(60)
        from flagmw._drivers.aio import AsyncDriver
        from flagmw._drivers.blocking import BlockingDriver
        results = [BlockingDriver().submit(ask("http://a.test"), soon(0.1)).result(),
                   BlockingDriver().run(ask("http://b.test"), soon(0.1)),
                   asyncio.run(AsyncDriver().run(ask("http://c.test"), soon(0.1)))]
        print(json.dumps(results))
    """)
    assert result == ["DEADLINE"] * 3
    assert time.monotonic() - started < 3 * HELD_UP_S


# P15, P16: forks.


@pytest.mark.parametrize("transport", BLOCKING)
def test_P15_fork_blocking(transport: str) -> None:
    """A forked child uses threads and connections of its own, and leaves its parent's intact and unheld."""
    with RawVendor(always(b"{}")) as vendor:
        results = script(
            """
            from flagmw._drivers.blocking import BlockingDriver
            url, driver = sys.argv[1], BlockingDriver(transport=sys.argv[2])
            results = [driver.submit(ask(url), soon()).result(5)]
            read, write = os.pipe()
            done, told = os.pipe()
            child = os.fork()
            if not child:
                os.close(write)
                good = driver.submit(ask(url), soon()).result(5) == "{}" and driver.run(ask(url), soon()) == "{}"
                os.write(told, b"y" if good else b"n")
                os.read(read, 1)
                os._exit(0)
            os.close(read)
            results.append(os.read(done, 1).decode())
            results.append(driver.run(ask(url), soon()))
            driver.close()
            # The parent's connection must be gone now, although the child still lives.
            time.sleep(0.2)
            results.append(driver.run(ask(url + "/open"), soon()))
            os.close(write)
            results.append(os.waitpid(child, 0)[1])
            print(json.dumps(results))
            """,
            vendor.url,
            transport,
        )
        assert results == ["{}", "y", "{}", "{}", 0]
        assert [each.connection for each in vendor.requests] == [0, 1, 1, 0, 2]


@pytest.mark.parametrize("transport", BLOCKING)
def test_P16_fork_closes_what_the_child_inherited(transport: str, authority: Authority) -> None:
    """An inherited socket is closed in the child without a word, so that the parent alone decides its end."""
    for tls in (None, authority.context()):
        with RawVendor(always(b"{}"), tls=tls) as vendor:
            results = script(
                """
                from flagmw._drivers.blocking import BlockingDriver
                url, driver = sys.argv[1], BlockingDriver(ca_file=sys.argv[2], transport=sys.argv[3])
                def sockets():
                    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if int(fd) > 2
                             and os.path.exists(f"/proc/self/fd/{fd}") or os.path.islink(f"/proc/self/fd/{fd}")]
                    return sum(link.startswith("socket:") for link in links)
                results = [driver.run(ask(url), soon()), sockets()]
                child = os.fork()
                if not child:
                    good = driver.run(ask(url), soon()) == "{}" and sockets() == 1
                    os._exit(0 if good else 1)
                results += [os.waitpid(child, 0)[1], driver.run(ask(url), soon())]
                print(json.dumps(results))
                """,
                vendor.url,
                str(authority.ca_file),
                transport,
            )
            assert results == ["{}", 1, 0, "{}"]
            assert [each.connection for each in vendor.requests] == [0, 1, 0]


@pytest.mark.parametrize("transport", ASYNC)
def test_P15_fork_async(transport: str) -> None:
    """The same holds for the async driver, whose child runs a loop of its own."""
    with RawVendor(always(b"{}")) as vendor:
        results = script(
            """
            import asyncio
            from flagmw._drivers.aio import AsyncDriver
            url, driver, loop = sys.argv[1], AsyncDriver(transport=sys.argv[2]), asyncio.new_event_loop()
            results = [loop.run_until_complete(driver.run(ask(url), soon()))]
            child = os.fork()
            if not child:
                other = asyncio.new_event_loop()
                good = other.run_until_complete(driver.run(ask(url), soon())) == "{}"
                os._exit(0 if good else 1)
            results.append(os.waitpid(child, 0)[1])
            results.append(loop.run_until_complete(driver.run(ask(url), soon())))
            loop.run_until_complete(driver.aclose())
            loop.close()
            print(json.dumps(results))
            """,
            vendor.url,
            transport,
        )
        assert results == ["{}", 0, "{}"]
        assert [each.connection for each in vendor.requests] == [0, 1, 0]


# P17: event loops.


@pytest.mark.parametrize("transport", ["httpx2", "httptools"])
def test_P17_two_loops_one_after_the_other(transport: str) -> None:
    """A second event loop gets connections of its own; those of the closed loop are closed."""
    with RawVendor(always(b"{}")) as vendor:
        driver = AsyncDriver(transport=transport)
        for number in range(3):
            assert asyncio.run(driver.run(ask(vendor.url), soon())) == "{}"
            assert vendor.connections == number + 1
        assert vendor.wait_open(1)


@pytest.mark.parametrize("transport", ASYNC)
def test_P17_two_loops_at_once(transport: str) -> None:
    """Event loops in several threads share a driver and no connection."""
    with RawVendor(forever(answer(b"{}"), sleep(0.005))) as vendor:
        driver = AsyncDriver(transport=transport)
        results: list[str] = []

        async def main() -> None:
            for _ in range(5):
                results.extend(await asyncio.gather(*(driver.run(ask(vendor.url), soon()) for _ in range(4))))
            await driver.aclose()

        threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert results == ["{}"] * 60
        assert vendor.connections == 12
        assert vendor.wait_open(0)


@pytest.mark.parametrize("transport", ASYNC)
def test_calls_beyond_the_bound_wait(transport: str) -> None:
    """More calls than connections wait for their turn, within their deadlines."""
    with RawVendor(forever(answer(b"{}"), sleep(0.01))) as vendor:

        async def main() -> list[str]:
            driver = AsyncDriver(max_connections=4, transport=transport)
            results = await asyncio.gather(*(driver.run(ask(vendor.url), soon()) for _ in range(20)))
            await driver.aclose()
            return results

        assert asyncio.run(main()) == ["{}"] * 20
        assert vendor.connections == 4


def test_slow_dns_leaves_the_default_executor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups that hang neither block the loop nor take the application's threads."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(3 * HELD_UP_S) and [])

    async def main() -> tuple[list[str], float]:
        driver = AsyncDriver()
        calls = [asyncio.create_task(driver.run(ask(f"http://n{n}.test/"), soon(0.2))) for n in range(40)]
        await asyncio.sleep(0.02)
        started = time.monotonic()
        await asyncio.to_thread(lambda: None)
        waited = time.monotonic() - started
        return await asyncio.gather(*calls), waited

    results, waited = asyncio.run(main())
    release.set()
    assert results == ["DEADLINE"] * 40
    assert waited < HELD_UP_S
    assert sum(thread.name.startswith("flagmw-dns") for thread in threading.enumerate()) <= 4


# Cancellation.


@pytest.mark.parametrize("transport", ASYNC)
def test_cancellation_passes_through(transport: str) -> None:
    """Cancelling a call raises CancelledError, closes the flow and its connection."""
    closed = []

    def flow(url: str) -> Flow[None]:
        try:
            yield Call(method="GET", url=url, headers={})
        finally:
            closed.append(True)

    with RawVendor([read_request, hang]) as vendor:

        async def main() -> None:
            task = asyncio.create_task(AsyncDriver(transport=transport).run(flow(vendor.url), soon()))
            while not vendor.requests:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert closed == [True]
        assert vendor.wait_open(0)


@pytest.mark.parametrize(
    ("library", "count"), [("httpcore2", 2000), ("httpcore", 800), ("httptools", 2000), ("aiohttp", 2000)]
)
def test_pool_is_sound_after_2000_cancellations(library: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling at any moment leaks no connection and no slot."""
    if library == "httpcore":
        monkeypatch.setitem(sys.modules, "httpcore2", None)
    rng = random.Random(7)
    with RawVendor(forever(read_request, sleep(0.001), send(http(b"{")[:-1]), sleep(0.001), send(b"{"))) as vendor:

        async def main() -> list[str]:
            # The scripted vendor accepts slower than it is called here.
            transport = None if library.startswith("httpcore") else library
            driver = AsyncDriver(max_connections=8, limits=Limits(connect_s=2), transport=transport)

            async def cancelled() -> str:
                task = asyncio.create_task(driver.run(ask(vendor.url), soon(10)))
                await asyncio.sleep(rng.random() * 0.006)
                task.cancel()
                try:
                    return await task
                except asyncio.CancelledError:
                    return "cancelled"

            ends: list[str] = []
            for _ in range(count // 16):
                ends += await asyncio.gather(*(cancelled() for _ in range(16)))
            assert len(ends) == count
            assert ends.count("cancelled") > count // 10
            assert set(ends) <= {"cancelled", "{"}
            assert await asyncio.to_thread(vendor.wait_open, 8)
            after = await asyncio.gather(*(driver.run(ask(vendor.url), soon()) for _ in range(8)))
            await driver.aclose()
            return after

        assert asyncio.run(main()) == ["{"] * 8
        assert vendor.wait_open(0)


def test_deadlines_in_rows_leave_the_pool_sound(own: Any) -> None:
    """After many calls that were too late, a good one works."""
    with RawVendor(*[[read_request, hang]] * 30, always(b"{}")) as vendor:
        for _ in range(30):
            assert own.ask(vendor.url, deadline_s=0.01).code == "DEADLINE"
        while vendor.connections < 30:
            own.ask(vendor.url, deadline_s=0.01)
        assert own.ask(vendor.url).body == b"{}"
        assert vendor.wait_open(1)


# Connections that are kept.


def test_surplus_connections_are_closed(own: Any) -> None:
    """After a burst no more connections stay open than the driver keeps."""
    bound = {"pool_size": 2} if own.colour == "blocking" else {"max_connections": 2}
    driver = own.make(**bound)
    with RawVendor(forever(answer(b"{}"), sleep(0.01))) as vendor:
        if own.colour == "blocking":
            threads = [threading.Thread(target=driver.run, args=(ask(vendor.url), soon())) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:

            async def main() -> None:
                await asyncio.gather(*(driver.run(ask(vendor.url), soon()) for _ in range(6)))

            own.runner.run(main())
        assert vendor.connections > 1
        assert vendor.wait_open(2)


def test_connection_that_idled_too_long_is_replaced(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is not used again after the time when vendors hang up."""
    monkeypatch.setattr(link, "IDLE_S", 0.75)
    with RawVendor(always(b"{}")) as vendor:
        assert own.ask(vendor.url).body == b"{}"
        assert own.ask(vendor.url).body == b"{}"
        assert vendor.connections == 1
        time.sleep(0.8)
        assert own.ask(vendor.url).body == b"{}"
        assert vendor.connections == 2
        assert vendor.wait_open(1)


def test_two_hosts_share_a_driver(own: Any) -> None:
    """A connection serves its own scheme, host and port alone."""
    with RawVendor(always(b"one")) as one, RawVendor(always(b"two")) as two:
        for _ in range(3):
            assert (own.ask(one.url).body, own.ask(two.url).body) == (b"one", b"two")
        assert (one.connections, two.connections) == (1, 1)


@pytest.mark.parametrize(("colour", "transport"), [("blocking", "httpx2"), ("async", "httpx2"), *NAMED])
def test_no_answer_reaches_another_call(colour: str, transport: str) -> None:
    """Among many calls that are cut at random moments, each answer belongs to its own question."""

    def echo(connection: Any) -> None:
        rng = random.Random(connection.number)
        while True:
            received = connection.read_request()
            connection.sleep(rng.random() * 0.01)
            reply = http(received.head.split()[1].encode())
            connection.send(reply[:30])
            connection.sleep(rng.random() * 0.004)
            connection.send(reply[30:])

    rng = random.Random(3)
    with RawVendor(echo) as vendor:
        urls = [f"{vendor.url}/{number}" for number in range(600)]
        lefts = [rng.random() * 0.1 for _ in urls]
        if colour == "blocking":
            driver = BlockingDriver(transport=transport)
            with ThreadPoolExecutor(16) as pool:
                ends = list(pool.map(lambda url, left: driver.run(ask(url), soon(left)), urls, lefts))
            driver.close()
        else:

            async def main() -> list[str]:
                driver = AsyncDriver(transport=transport)
                gate = asyncio.Semaphore(16)

                async def one(url: str, left: float) -> str:
                    async with gate:
                        return await driver.run(ask(url), soon(left))

                ends = await asyncio.gather(*map(one, urls, lefts))
                await driver.aclose()
                return ends

            ends = asyncio.run(main())
    good = [(url, end) for url, end in zip(urls, ends, strict=True) if end.startswith("/")]
    assert len(good) > 50
    assert set(ends) - {end for _, end in good} <= {"DEADLINE", "CONNECT"}
    assert all(url.endswith(end) and end.count("/") == 1 for url, end in good)
    assert vendor.connections > 10


# Names.


def test_one_lookup_serves_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that ask for the same name at the same time share one lookup."""
    asked = []

    def look(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        time.sleep(0.05)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look)
    resolver = Resolver()
    futures = [resolver.lookup("shared.test", 443) for _ in range(10)]
    assert [each.result(2) for each in futures] == [[]] * 10
    assert asked == ["shared.test"]
    resolver.lookup("shared.test", 443).result(2)
    assert asked == ["shared.test"] * 2


def test_stuck_lookup_does_not_bar_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup that hangs is left behind, while there are threads for another."""
    release = threading.Event()
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]
    answers = [lambda: release.wait(5) and [], lambda: rows]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.pop(0)())
    monkeypatch.setattr(net, "_STALE_S", 0.02)
    resolver = Resolver()
    stuck = resolver.lookup("stuck.test", 443)
    time.sleep(0.03)
    assert resolver.lookup("stuck.test", 443).result(2) == [(socket.AF_INET, ("192.0.2.1", 443))]
    assert not stuck.done()
    release.set()


# Quiet.


def test_nothing_is_logged_above_debug(own: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a good nor a failed call writes a line above DEBUG, and none says what was sent or received."""
    reply = answer(b"{}", headers=[("x-secret", "canary"), ("set-cookie", "canary")])
    with caplog.at_level(logging.DEBUG), RawVendor(reply, [read_request]) as vendor:
        own.ask(f"{vendor.url}/path?token=canary", headers={"cookie": "canary"})
        own.ask(f"{vendor.url}/path?token=canary", headers={"cookie": "canary"})
    assert [each for each in caplog.records if each.levelno > logging.DEBUG] == []
    assert "canary" not in caplog.text


def test_limits_are_the_documented_ones() -> None:
    """The defaults of the limits."""
    assert Limits() == Limits(wire_bytes=262_144, decoded_bytes=524_288, connect_s=0.1)


def test_connection_made_while_the_loop_was_busy_counts() -> None:
    """A loop that is late to see its connection does not take a vendor that answered at once for one that did not."""

    async def main() -> str:
        driver = AsyncDriver(limits=Limits(connect_s=0.1))
        task = asyncio.create_task(driver.run(ask(vendor.url), soon(5)))
        for _ in range(3):
            await asyncio.sleep(0)
            time.sleep(0.15)  # the application does something that does not yield
        try:
            return await task
        finally:
            await driver.aclose()

    with RawVendor(always(b"in time")) as vendor:
        assert asyncio.run(main()) == "in time"


# Transports by name.


@pytest.mark.parametrize(("make", "name"), [(BlockingDriver, "aiohttp"), (AsyncDriver, "urllib"), (BlockingDriver, "")])
def test_unknown_transport_is_refused_with_those_there_are(make: Any, name: str) -> None:
    """A name that means no transport of this colour is refused when the driver is made."""
    with pytest.raises(ConfigError, match=rf'no transport {name!r}; use "httptools"'):
        make(transport=name)


@pytest.mark.parametrize(
    ("make", "name"), [(BlockingDriver, "httptools"), (AsyncDriver, "httptools"), (AsyncDriver, "aiohttp")]
)
def test_missing_package_of_a_transport_names_the_cure(make: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport whose package is not installed is refused with the cure, the default as well."""
    monkeypatch.setitem(sys.modules, name, None)
    cure = r"pip install 'flagmw\[aiohttp\]'" if name == "aiohttp" else 'pip install it, or choose transport="httpx2"'
    with pytest.raises(ConfigError, match=cure):
        make(transport=name)
    if name == "httptools":
        with pytest.raises(ConfigError, match=cure):
            make()


def test_loop_that_ends_without_aclose_leaves_aiohttp_usable() -> None:
    """With aiohttp too a new loop starts anew; what the old one left is closed at that moment."""
    with RawVendor(always(b"{}")) as vendor:
        results = script(
            """
            import asyncio, warnings
            from flagmw._drivers.aio import AsyncDriver
            warnings.simplefilter("ignore", ResourceWarning)
            driver = AsyncDriver(transport="aiohttp")
            print(json.dumps([asyncio.run(driver.run(ask(sys.argv[1]), soon())) for _ in range(3)]))
            """,
            vendor.url,
        )
        assert results == ["{}"] * 3
        assert vendor.connections == 3
