"""What both drivers promise for every answer that a vendor may give, and for every way it may fail."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from flagmw._transports.body import Limits
from flagmw.exceptions import TransportError
from flagmw.types import Call, Flow, Reply
from tests.support.authority import Authority
from tests.support.busy import HELD_UP_S, best
from tests.support.raw_vendor import (
    RawVendor,
    always,
    answer,
    chunked,
    close,
    drip,
    forever,
    free_port,
    hang,
    http,
    read_request,
    reset,
    send,
    sleep,
)

SHORT_S = 0.25
# The machine that runs this may be busy: what counts is that the call is cut, not how fast.
SLACK_S = 0.25


@pytest.fixture
def vendor() -> Iterator[RawVendor]:
    with RawVendor(always(b"{}")) as vendor:
        yield vendor


# Calls, replies and flows.


def test_call_is_sent_as_given_and_nothing_is_added(drive: Any, vendor: RawVendor) -> None:
    """The vendor sees the call's own headers, gzip as the one encoding, and no library's name."""
    drive.ask(f"{vendor.url}/a", method="POST", headers={"X-Token": "t", "Host": "evil.example"}, body=b"abc")
    received = vendor.requests[0]
    assert received.head.startswith("POST /a HTTP/1.1\r\n")
    assert received.body == b"abc"
    assert received.headers == {
        "host": f"127.0.0.1:{vendor.port}",
        "x-token": "t",
        "accept-encoding": "gzip",
        "content-length": "3",
    }


def test_a_call_with_a_share_of_the_time_leaves_the_rest(drive: Any, vendor: RawVendor) -> None:
    """One that hangs ends at its share of what is left, and the next call of the flow has the rest."""

    def flow(hung: str) -> Flow[tuple[str, str, float]]:
        begun = time.monotonic()
        try:
            yield Call(method="GET", url=hung, headers={}, share=0.25)
        except TransportError as error:
            took_s = time.monotonic() - begun
            reply = yield Call(method="GET", url=vendor.url, headers={})
            return error.code.value, reply.body.decode(), took_s
        raise AssertionError("it answered")

    with RawVendor(hang) as silent:
        code, body, took_s = drive.run(flow(silent.url), 2.0)
    assert (code, body) == ("DEADLINE", "{}")
    assert 0.45 < took_s < 1.9


def test_target_is_sent_verbatim(drive: Any, vendor: RawVendor) -> None:
    """Path and query reach the vendor without being encoded or decoded again."""
    drive.ask(f"{vendor.url}/a%2Fb/%7Bx%7D?q=a+b%20c&d=(1)'!")
    assert vendor.requests[0].head.startswith("GET /a%2Fb/%7Bx%7D?q=a+b%20c&d=(1)'! HTTP/1.1")


def test_reply_has_lower_case_names_and_the_first_of_several(drive: Any) -> None:
    """Reply headers are read by lower-case name; of equal names the first counts."""
    with RawVendor(answer(b"{}", 203, [("X-One", "1"), ("x-one", "2"), ("Retry-After", "3")])) as vendor:
        reply = drive.ask(vendor.url).reply
    assert reply.status == 203
    assert reply.headers == {"content-length": "2", "x-one": "1", "retry-after": "3"}
    assert reply.body == b"{}"
    assert 0 < reply.elapsed_s < 2


def test_gzip_and_chunks_are_decoded(drive: Any) -> None:
    """A compressed body arrives decoded, also of several members and in chunks of one byte."""
    data = gzip.compress(b"hello ") + gzip.compress(b"world")
    head = http(b"", headers=[("Content-Encoding", "GZIP"), ("transfer-encoding", "chunked")], length=-1)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in data)
    with RawVendor([read_request, send(head + chunks + b"0\r\n\r\n")]) as vendor:
        assert drive.ask(vendor.url).body == b"hello world"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b"])
def test_header_that_would_split_the_request_is_not_sent(drive: Any, vendor: RawVendor, value: str) -> None:
    """A line break in a header value fails the call before a byte of it is written."""
    answered = drive.ask(vendor.url, headers={"user-agent": value})
    assert (answered.code, answered.error.sent) == ("INTERNAL", False)
    assert vendor.requests == []


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://127.0.0.1/", "http:///x", "http://127.0.0.1:99999/", "http://a/ö"]
)
def test_address_that_cannot_be_called_is_our_fault(drive: Any, url: str) -> None:
    """A malformed address is an internal error and never reaches the network."""
    answered = drive.ask(url)
    assert (answered.code, answered.error.sent) == ("INTERNAL", False)


def test_flow_of_several_calls_reuses_the_connection(drive: Any, vendor: RawVendor) -> None:
    """Calls one after the other go through one connection."""

    def flow() -> Flow[list[int]]:
        statuses = []
        for number in range(3):
            reply = yield Call(method="GET", url=f"{vendor.url}/{number}", headers={})
            statuses.append(reply.status)
        return statuses

    assert drive.run(flow()) == [200, 200, 200]
    assert vendor.connections == 1


def test_exception_of_a_flow_reaches_the_caller(plain: Any, vendor: RawVendor) -> None:
    """What a flow raises itself passes through the driver, and the flow is closed."""
    closed = []

    def flow() -> Flow[None]:
        try:
            yield Call(method="GET", url=vendor.url, headers={})
            raise LookupError("mine")
        finally:
            closed.append(True)

    with pytest.raises(LookupError, match="mine"):
        plain.run(flow())
    assert closed == [True]


def test_flow_that_does_not_handle_a_failure_raises_it(plain: Any) -> None:
    """An unhandled transport error reaches the caller as it is."""

    def flow() -> Flow[Reply]:
        return (yield Call(method="GET", url=f"http://127.0.0.1:{free_port()}/", headers={}))

    with pytest.raises(TransportError, match="CONNECT"):
        plain.run(flow())


def test_deadline_that_has_passed_makes_no_call(drive: Any, vendor: RawVendor) -> None:
    """A flow whose time is over is told so at its first call, and may still return something."""
    answered = drive.ask(vendor.url, deadline_s=-1)
    assert (answered.code, answered.error.sent) == ("DEADLINE", False)
    assert vendor.connections == 0


def test_flow_that_goes_on_after_the_deadline_is_closed(plain: Any, vendor: RawVendor) -> None:
    """A flow hears of its deadline once; if it asks for another call, the driver ends it."""
    heard = []

    def flow() -> Flow[None]:
        while True:
            try:
                yield Call(method="GET", url=vendor.url, headers={})
            except TransportError as error:
                heard.append(error.code.value)

    with pytest.raises(TransportError, match="DEADLINE"):
        plain.run(flow(), deadline_s=0)
    assert heard == ["DEADLINE"]


# Getting a connection.


def test_U1_connection_refused(drive: Any) -> None:
    """A closed port fails at once, and surely nothing was sent."""
    answered = drive.ask(f"http://127.0.0.1:{free_port()}/")
    assert (answered.code, answered.error.sent) == ("CONNECT", False)
    assert best(lambda: drive.ask(f"http://127.0.0.1:{free_port()}/").elapsed_s, 0.5) < 0.5


def test_U1_silent_host_costs_one_connection_attempt(own: Any) -> None:
    """A host that drops packets is given up after the time for connecting, before the deadline."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        answered = own.ask(f"http://127.0.0.1:{address[1]}/", deadline_s=3 * HELD_UP_S)
        for filler in fillers:
            filler.close()
    assert (answered.code, answered.error.sent) == ("CONNECT", False)
    assert 0.09 < answered.elapsed_s < HELD_UP_S


def test_U2_slow_dns(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer costs the deadline and no more."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(3 * HELD_UP_S) and [])
    # Callers that ask for one name share the lookup, so each run takes a name of its own.
    answered = own.ask(f"http://slow-{own.colour}-{own.library}.test/", deadline_s=SHORT_S)
    release.set()
    assert (answered.code, answered.error.sent) == ("DEADLINE", False)
    assert answered.elapsed_s < HELD_UP_S


def test_U2_unknown_name(drive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is a failure of DNS, and surely nothing was sent."""

    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    answered = drive.ask("http://unknown.test/")
    assert (answered.code, answered.error.sent) == ("DNS", False)


def test_next_address_is_tried(own: Any, vendor: RawVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first address refuses, the second is used, and the host's name stays in the request."""
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, vendor.port)) for ip in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)
    assert own.ask(f"http://vendor.test:{vendor.port}/").body == b"{}"
    assert vendor.requests[0].headers["host"] == f"vendor.test:{vendor.port}"


def test_A4_request_timeout_on_a_reused_connection(own: Any) -> None:
    """A 408 that crosses a request on a kept connection is repeated once on a new one, if the call allows it."""
    kept = [read_request, send(http(b"one")), read_request, send(http(b"", status=408)), close]
    with RawVendor(kept, always(b"two")) as vendor:
        assert own.ask(vendor.url, replay_safe=True).body == b"one"
        assert own.ask(vendor.url, replay_safe=True).body == b"two"
        assert [request.connection for request in vendor.requests] == [0, 0, 1]
    with RawVendor(kept, always(b"two")) as vendor:
        assert own.ask(vendor.url).body == b"one"
        assert own.ask(vendor.url).reply.status == 408
    with RawVendor([read_request, send(http(b"", status=408)), close]) as vendor:
        assert own.ask(vendor.url, replay_safe=True).reply.status == 408
        assert len(vendor.requests) == 1


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("data", "refused_by"),
    [
        (_CHUNKED + b"\r\n2  \r\n{}\r\n0\r\n\r\n", ()),
        (_CHUNKED + b"\r\n2\t\r\n{}\r\n0\r\n\r\n", ()),
        (_CHUNKED + b"\r\n0002\r\n{}\r\n0000\r\n\r\n", ()),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", ()),
        (b"HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 2\r\n\r\n{}", ()),
        (b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}", ("httptools",)),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}", ("httptools", "httpcore", "httpcore2")),
        (_CHUNKED + b"\r\n 2\r\n{}\r\n0\r\n\r\n", ("httptools", "httpcore", "httpcore2", "aiohttp")),
        (_CHUNKED + b"\r\n2\n{}\n0\n\n", ("httptools", "httpcore", "httpcore2", "aiohttp")),
    ],
)
def test_A4_odd_answers(own: Any, data: bytes, refused_by: tuple[str, ...]) -> None:
    """Padding and single line feeds of old servers are taken; what moves the bounds of an answer is not."""
    with RawVendor([read_request, send(data), close]) as vendor:
        driver = own.make(transport="httpx2") if own.library.startswith("httpcore") else own.driver
        answered = own.ask(vendor.url, driver=driver)
    if own.library in refused_by:
        assert answered.code in ("TRANSPORT", "TRUNCATED")
    else:
        assert answered.body == b"{}"


def test_dead_addresses_before_a_working_one(own: Any, vendor: RawVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four silent IPv6 addresses cost one turn of the race, and nothing once they have lost."""
    silent, fillers = [socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=0) for _ in range(4)], []
    for listener in silent:
        for _ in range(4):
            filler = socket.socket(socket.AF_INET6)
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
    rows: list[Any] = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", listener.getsockname()) for listener in silent]
    rows.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", vendor.port)))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)
    first = own.ask(f"http://vendor.test:{vendor.port}/", deadline_s=0.3)
    again = own.make()
    second = own.ask(f"http://vendor.test:{vendor.port}/", deadline_s=0.3, driver=again)
    for sock in [*silent, *fillers]:
        sock.close()
    assert (first.body, second.body) == (b"{}", b"{}")
    assert second.elapsed_s < 0.04 < first.elapsed_s, "the winner of the first race is tried first"


def test_all_addresses_are_dead(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every address refuses the failure is that of connecting, and it comes at once."""
    ports = [free_port() for _ in range(3)]
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)
    answered = own.ask("http://vendor.test/", deadline_s=2)
    assert (answered.code, answered.error.sent) == ("CONNECT", False)
    assert answered.elapsed_s < HELD_UP_S


def test_link_local_address_is_refused(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor's name that points to a machine's metadata service is not called."""
    row = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [row])
    assert own.ask("http://vendor.test/").code == "CONNECT"
    assert own.ask("http://169.254.169.254/").code == "CONNECT"


@pytest.mark.parametrize(
    "host",
    [
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "2852039166",
        "0xA9FEA9FE",
        "0251.254.0xa9fe",
    ],
)
def test_link_local_address_in_other_words_is_refused(own: Any, host: str) -> None:
    """Nor is one that is written in a form which the system or a gateway turns into it."""
    assert own.ask(f"http://{host}/").code == "CONNECT"


def test_U3_tls_good_certificate(drive: Any, authority: Authority) -> None:
    """A certificate of the given authority is accepted, and the connection is kept."""
    drive.ca_file = str(authority.ca_file)
    with RawVendor(always(b"{}"), tls=authority.context()) as vendor:
        assert drive.ask(vendor.url).body == b"{}"
        assert drive.ask(f"https://127.0.0.1:{vendor.port}/").body == b"{}"
        assert vendor.connections == 1
        assert drive.ask(f"https://localhost:{vendor.port}/").body == b"{}"


@pytest.mark.parametrize("kind", ["expired", "wrong_host", "self_signed", "old_protocol"])
def test_U3_tls_bad_server(drive: Any, authority: Authority, kind: str) -> None:
    """A server that cannot prove who it is gets no request."""
    drive.ca_file = str(authority.ca_file)
    with RawVendor(always(b"{}"), tls=authority.context(kind)) as vendor:
        answered = drive.ask(vendor.url)
        assert (answered.code, answered.error.sent) == ("TLS", False)
        assert vendor.requests == []
        assert vendor.connections == 1


def test_U3_tls_unknown_authority(drive: Any, authority: Authority) -> None:
    """Without the private authority its certificates are worth nothing."""
    with RawVendor(always(b"{}"), tls=authority.context()) as vendor:
        assert drive.ask(vendor.url).code == "TLS"
        assert vendor.requests == []


def test_U3_tls_server_speaks_plain_http(drive: Any) -> None:
    """There is no fallback from https to http."""
    with RawVendor([send(http(b"plain", 400)), hang]) as vendor:
        answered = drive.ask(f"https://127.0.0.1:{vendor.port}/")
        assert (answered.code, answered.error.sent) == ("TLS", False)
        assert vendor.connections == 1


def test_U3_tls_handshake_that_hangs(own: Any) -> None:
    """A handshake that never ends is cut at the deadline."""
    with RawVendor(hang) as vendor:
        answered = own.ask(f"https://127.0.0.1:{vendor.port}/", deadline_s=SHORT_S)
        assert (answered.code, answered.error.sent) == ("DEADLINE", False)
        assert answered.elapsed_s < HELD_UP_S
        assert vendor.wait_open(0)


# Losing it.


def test_U4_reset_after_request(drive: Any) -> None:
    """A reset instead of an answer is reported, and the next call works."""
    with RawVendor([read_request, reset], always(b"{}")) as vendor:
        answered = drive.ask(vendor.url, replay_safe=True)
        assert (answered.code, answered.error.sent) == ("RESET", True)
        assert drive.ask(vendor.url).body == b"{}"


def test_U4_reset_in_body(drive: Any) -> None:
    """A reset in the middle of a body is no answer, and the next call works."""
    start = http(b"{", length=100)
    with RawVendor([read_request, send(start), sleep(0.05), reset], always(b"{}")) as vendor:
        assert drive.ask(vendor.url, replay_safe=True).code == "RESET"
        assert drive.ask(vendor.url).body == b"{}"


def test_U4_hang_up_after_accept(drive: Any) -> None:
    """A connection that is closed without a word is a reset too, and is not tried again."""
    with RawVendor([read_request, close], always(b"{}")) as vendor:
        assert drive.ask(vendor.url, replay_safe=True).code == "RESET"
        assert vendor.connections == 1


def test_answer_before_the_whole_request_was_read(own: Any) -> None:
    """A refusal that comes while a long request is still being written is an answer."""
    refusal = http(b"no", 413, [("connection", "close")])
    with RawVendor([sleep(0.05), send(refusal), sleep(0.2), close]) as vendor:
        answered = own.ask(vendor.url, method="POST", body=b"x" * 100_000)
        assert answered.reply is None or answered.reply.status == 413
        assert answered.code in (None, "RESET")


# Waiting for it.


def _assert_cut(answered: Any, vendor: RawVendor, own_transport: bool) -> None:
    assert (answered.code, answered.error.sent) == ("DEADLINE", True)
    assert answered.elapsed_s < HELD_UP_S
    if own_transport:
        assert vendor.wait_open(0), "the connection of a late call must be closed"


def test_U5_silence(drive: Any) -> None:
    """A vendor that says nothing is cut at the deadline, and not much later."""
    with RawVendor([read_request, hang]) as vendor:
        _assert_cut(drive.ask(vendor.url, deadline_s=SHORT_S), vendor, drive.own)
        assert best(lambda: drive.ask(vendor.url, deadline_s=SHORT_S).elapsed_s, SHORT_S + SLACK_S) < SHORT_S + SLACK_S


def test_U6_drip_headers(drive: Any) -> None:
    """Headers that come byte by byte are cut at the deadline of the whole call."""
    with RawVendor([read_request, drip(http(b"{}"), 0.03)]) as vendor:
        _assert_cut(drive.ask(vendor.url, deadline_s=SHORT_S), vendor, drive.own)
        assert best(lambda: drive.ask(vendor.url, deadline_s=SHORT_S).elapsed_s, SHORT_S + SLACK_S) < SHORT_S + SLACK_S


def test_U7_drip_body(drive: Any) -> None:
    """A body that comes byte by byte is cut at the deadline, and its connection is not used again."""
    with RawVendor([read_request, send(http(b"", length=100)), drip(b"x" * 100, 0.03)], always(b"{}")) as vendor:
        answered = drive.ask(vendor.url, deadline_s=SHORT_S)
        _assert_cut(answered, vendor, drive.own)
        assert drive.ask(vendor.url).body == b"{}"
        assert vendor.connections == 2


def test_U7_drip_body_over_tls(own: Any, authority: Authority) -> None:
    """TLS changes nothing about the deadline."""
    own.ca_file = str(authority.ca_file)
    script = [read_request, send(http(b"", length=100)), drip(b"x" * 100, 0.03)]
    with RawVendor(script, tls=authority.context()) as vendor:
        _assert_cut(own.ask(vendor.url, deadline_s=SHORT_S), vendor, own.own)


def test_vendor_that_does_not_read(own: Any) -> None:
    """A request that cannot be written is cut at the deadline."""
    with RawVendor([sleep(3 * HELD_UP_S)]) as vendor:
        answered = own.ask(vendor.url, method="POST", body=b"x" * 20_000_000, deadline_s=SHORT_S)
        _assert_cut(answered, vendor, own_transport=False)


# Answers that are odd, broken or too much.


def test_U14_interim_answers_are_skipped(drive: Any) -> None:
    """Early hints before the answer change nothing."""
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 3
    with RawVendor([read_request, send(early + http(b"{}"))]) as vendor:
        assert drive.ask(vendor.url).body == b"{}"


def test_U14_interim_flood(own: Any) -> None:
    """An endless row of interim answers is cut at the size limit."""
    with RawVendor([read_request, forever(send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100))]) as vendor:
        assert own.ask(vendor.url, deadline_s=10).code == "TOO_LARGE"
        assert vendor.wait_open(0)


def test_U14_slow_interim_flood(own: Any) -> None:
    """A slow row of interim answers is cut at the deadline."""
    with RawVendor([read_request, forever(send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), sleep(0.02))]) as vendor:
        _assert_cut(own.ask(vendor.url, deadline_s=SHORT_S), vendor, own.own)


def test_U14_switching_protocols_is_refused(own: Any) -> None:
    """A 101 that nobody asked for is no answer, and its connection is closed."""
    with RawVendor([read_request, send(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n"), hang]) as vendor:
        assert own.ask(vendor.url).code == "PROTOCOL"
        assert vendor.wait_open(0)


@pytest.mark.parametrize("status", [200, 204, 304])
def test_U14_empty_answer(drive: Any, status: int) -> None:
    """An answer without a body is a reply with an empty body, even if it names an encoding."""
    data = http(b"", status, [("content-encoding", "gzip")], length=-1 if status != 200 else 0)
    with RawVendor([read_request, send(data)]) as vendor:
        answered = drive.ask(vendor.url)
        assert (answered.reply.status, answered.body) == (status, b"")


def test_head_has_no_body(drive: Any) -> None:
    """The length in an answer to HEAD promises nothing."""
    with RawVendor([read_request, send(http(b"", length=500))]) as vendor:
        assert drive.ask(vendor.url, method="HEAD").body == b""


def test_body_up_to_the_end_of_the_connection(drive: Any) -> None:
    """A body without a length ends with the connection, which is not used again."""
    with RawVendor([read_request, send(http(b"old style", length=-1))]) as vendor:
        assert drive.ask(vendor.url).body == b"old style"
        assert drive.ask(vendor.url).body == b"old style"
        assert vendor.connections == 2


@pytest.mark.parametrize(
    "data",
    [http(b'{"a":', length=50), chunked(b'{"a":', end=False), http(b"{}")[: len("HTTP/1.1 200 S")]],
    ids=["length", "chunks", "headers"],
)
def test_U17_truncated(drive: Any, data: bytes) -> None:
    """An answer that ends too early is no answer."""
    with RawVendor([read_request, send(data), close], always(b"{}")) as vendor:
        answered = drive.ask(vendor.url, replay_safe=True)
        # In the middle of the headers httpx cannot tell a beginning from nothing.
        assert answered.code == "TRUNCATED" or (answered.code == "RESET" and data[-1:] == b"S" and not drive.own)
        assert answered.error.sent
        assert vendor.connections == 1


def test_U17_truncated_over_tls(own: Any, authority: Authority) -> None:
    """TLS changes nothing about an answer that ends too early."""
    own.ca_file = str(authority.ca_file)
    with RawVendor([read_request, send(http(b"{", length=50)), close], tls=authority.context()) as vendor:
        assert own.ask(vendor.url).code == "TRUNCATED"


def test_garbage_is_a_transport_error(drive: Any) -> None:
    """What is no HTTP at all is reported as such."""
    with RawVendor([read_request, send(b"SSH-2.0-OpenSSH_9.0\r\n\r\n"), hang]) as vendor:
        assert drive.ask(vendor.url).code == "TRANSPORT"


def test_bytes_after_an_answer_never_reach_the_next_call(own: Any, authority: Authority) -> None:
    """A second answer that nobody asked for ends the connection instead of answering the next visitor."""
    own.ca_file = str(authority.ca_file)
    stray = http(b"first") + http(b"stray")
    for tls in (None, authority.context()):
        with RawVendor([read_request, send(stray), hang], always(b"right"), tls=tls) as vendor:
            assert own.ask(vendor.url).body == b"first"
            assert own.ask(vendor.url).body == b"right"
            assert vendor.connections == 2


def test_late_bytes_after_an_answer_never_reach_the_next_call(own: Any, authority: Authority) -> None:
    """The same holds when they come while the connection is idle."""
    own.ca_file = str(authority.ca_file)
    for tls in (None, authority.context()):
        script = [read_request, send(http(b"first")), sleep(0.02), send(http(b"stray")), hang]
        with RawVendor(script, always(b"right"), tls=tls) as vendor:
            assert own.ask(vendor.url).body == b"first"
            time.sleep(0.08)
            assert own.ask(vendor.url).body == b"right"


@cache
def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()


def test_U24_gzip_bomb(drive: Any) -> None:
    """A small body that would unpack to 200 MB is stopped at the limit without taking the memory."""
    bomb = _bomb(200 << 20)
    assert len(bomb) < 256 * 1024
    with RawVendor([read_request, send(http(bomb, headers=[("content-encoding", "gzip")]))]) as vendor:
        drive.ask(f"http://127.0.0.1:{free_port()}/")
        tracemalloc.start()
        try:
            answered = drive.ask(vendor.url, deadline_s=5)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert answered.code == "TOO_LARGE"
    assert peak < 5 << 20


@pytest.mark.parametrize("length", [None, -1], ids=["announced", "unannounced"])
def test_U25_large_body(drive: Any, length: int | None) -> None:
    """A body of 10 MB is stopped at the limit and its connection closed."""
    with RawVendor([read_request, send(http(b"x" * 10_000_000, length=length))]) as vendor:
        assert drive.ask(vendor.url, deadline_s=5).code == "TOO_LARGE"
        assert vendor.wait_open(0)


@pytest.mark.parametrize(("size", "code"), [(999, None), (1000, None), (1001, "TOO_LARGE")])
def test_U25_decoded_limit_is_exact(drive: Any, size: int, code: str | None) -> None:
    """The limit for the decoded body holds to the byte."""
    driver = drive.make(limits=Limits(decoded_bytes=1000))
    for data in (
        http(b"x" * size),
        http(gzip.compress(b"x" * size), headers=[("content-encoding", "gzip")]),
    ):
        with RawVendor([read_request, send(data)]) as vendor:
            assert drive.ask(vendor.url, driver=driver).code == code


@pytest.mark.parametrize(("more", "code"), [(1, None), (0, None), (-1, "TOO_LARGE")])
def test_U25_wire_limit_is_exact(own: Any, more: int, code: str | None) -> None:
    """The limit for what is received counts headers too, and holds to the byte."""
    for data in (http(b"x" * 2000), chunked(b"x" * 2000)):
        driver = own.make(limits=Limits(wire_bytes=len(data) + more))
        with RawVendor([read_request, send(data), hang]) as vendor:
            assert own.ask(vendor.url, driver=driver).code == code


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("br", b"{}"),
        ("deflate", zlib.compress(b"{}")),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}"))),
        ("gzip", b"{}"),
        ("gzip", gzip.compress(b'{"a": "a longer text"}')[:-6]),
        ("gzip", gzip.compress(b"{}") + b"trailing"),
        ("gzip", gzip.compress(b"") * 1000),
    ],
    ids=["br", "deflate", "double", "not-gzip", "cut-off", "trailing", "many-members"],
)
def test_U26_content_encoding(drive: Any, encoding: str, data: bytes) -> None:
    """An encoding that is wrong, doubled, unfinished or was not asked for is refused."""
    with RawVendor([read_request, send(http(data, headers=[("content-encoding", encoding)]))]) as vendor:
        assert drive.ask(vendor.url).code == "ENCODING"


def test_U26_content_encoding_in_two_lines(drive: Any) -> None:
    """A second header line cannot hide a second encoding."""
    lines = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    with RawVendor([read_request, send(http(gzip.compress(b"{}"), headers=lines))]) as vendor:
        assert drive.ask(vendor.url).code == "ENCODING"


def test_U26_identity(drive: Any) -> None:
    """Identity is no encoding."""
    with RawVendor(answer(b"{}", headers=[("content-encoding", "identity")])) as vendor:
        assert drive.ask(vendor.url).body == b"{}"


def test_U27_many_headers(drive: Any) -> None:
    """Two thousand small headers are taken, or refused for their size."""
    lines = [(f"x-{number}", "v") for number in range(2000)]
    with RawVendor(answer(b"{}", headers=lines)) as vendor:
        assert drive.ask(vendor.url).code in (None, "TOO_LARGE")


def test_U27_large_header(drive: Any) -> None:
    """A header of a megabyte is refused for its size."""
    with RawVendor(answer(b"{}", headers=[("x-large", "v" * 1_000_000)])) as vendor:
        assert drive.ask(vendor.url, deadline_s=5).code == "TOO_LARGE"
        assert vendor.wait_open(0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_U28_redirect_not_followed(drive: Any, vendor: RawVendor, status: int) -> None:
    """A redirect is a reply like any other; nobody calls the place that it names."""
    with RawVendor(answer(b"", status, [("location", f"{vendor.url}/evil")])) as first:
        assert drive.ask(first.url).reply.status == status
        assert first.connections == 1
    assert vendor.connections == 0


def test_U29_set_cookie_ignored(drive: Any) -> None:
    """A vendor's Set-Cookie is neither kept nor shown, and no later call carries it."""
    with RawVendor(always(b"{}", headers=[("Set-Cookie", "id=one; path=/")])) as vendor:
        assert "set-cookie" not in drive.ask(vendor.url).reply.headers
        drive.ask(vendor.url)
        assert "cookie" not in vendor.requests[1].headers


# Keeping connections.


def test_U30_idle_close_reconnects(own: Any) -> None:
    """A connection that was closed while idle is noticed; the call goes through a new one."""
    for replay_safe in (True, False):
        with RawVendor(answer(b"one"), answer(b"two")) as vendor:
            assert own.ask(vendor.url).body == b"one"
            assert vendor.wait_open(0)
            time.sleep(0.02)
            assert own.ask(vendor.url, replay_safe=replay_safe).body == b"two"


def test_U30_close_upon_the_second_request(own: Any) -> None:
    """A reused connection that closes without a byte is replaced once where a repeat is safe."""
    with RawVendor([answer(b"one"), read_request, close], always(b"two")) as vendor:
        assert own.ask(vendor.url).body == b"one"
        assert own.ask(vendor.url, replay_safe=True).body == b"two"
        assert [each.connection for each in vendor.requests] == [0, 0, 1]


def test_U30_reset_upon_the_second_request(own: Any) -> None:
    """The same holds for a reset."""
    with RawVendor([answer(b"one"), read_request, reset], always(b"two")) as vendor:
        assert own.ask(vendor.url).body == b"one"
        assert own.ask(vendor.url, replay_safe=True).body == b"two"


def test_U30_not_repeated_unless_safe(own: Any) -> None:
    """A call that must not be repeated fails, and says that it may have been received."""
    with RawVendor([answer(b"one"), read_request, close], always(b"two")) as vendor:
        assert own.ask(vendor.url).body == b"one"
        answered = own.ask(vendor.url, method="POST", body=b"x")
        assert (answered.code, answered.error.sent) == ("RESET", True)
        assert len(vendor.requests) == 2


def test_U30_not_repeated_after_a_first_byte(own: Any) -> None:
    """An answer that began and broke off is not asked for again."""
    with RawVendor([answer(b"one"), read_request, send(b"HTTP/1.1"), close], always(b"two")) as vendor:
        assert own.ask(vendor.url).body == b"one"
        assert own.ask(vendor.url, replay_safe=True).code == "TRUNCATED"
        assert vendor.connections == 1


def test_U30_repeated_at_most_once(own: Any) -> None:
    """The repeat itself is not repeated."""
    with RawVendor([answer(b"one"), read_request, close], [read_request, close]) as vendor:
        own.ask(vendor.url)
        assert own.ask(vendor.url, replay_safe=True).code == "RESET"
        assert vendor.connections == 2


def test_U30_connection_close_is_honoured(own: Any) -> None:
    """A connection that the vendor means to close is not kept."""
    with RawVendor(always(b"{}", headers=[("connection", "close")])) as vendor:
        assert own.ask(vendor.url).body == b"{}"
        assert own.ask(vendor.url).body == b"{}"
        assert vendor.connections == 2


def test_driver_works_again_after_close(drive: Any, vendor: RawVendor) -> None:
    """Closing ends idle connections; the next use starts anew."""
    assert drive.ask(vendor.url).body == b"{}"
    drive.close_driver(drive.driver)
    if drive.own:
        assert vendor.wait_open(0)
    assert drive.ask(vendor.url).body == b"{}"
    assert vendor.connections == (2 if drive.own else 1)
