"""The example shops under the servers that people run them with."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx2

from tests.servers.shops import Shop, Visitor
from tests.support.busy import HELD_UP_S

CONTROL = "_wt.control-2490593-ta_Project1"
USER = "_wt.user-2490593"


def shown(response: httpx2.Response) -> dict[str, str]:
    """Return the variant that a checkout page shows, why, and for which visitor of the vendor's."""
    found = re.search(
        r'<p id="variant" data-reason="(.*?)" data-code="(.*?)" data-visitor="(.*?)">(.*?)</p>', response.text
    )
    assert found is not None, response.text
    return dict(zip(("reason", "code", "visitor", "variant"), found.groups(), strict=True))


def wait_for(found: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return result


def decided(visitor: Visitor) -> httpx2.Response:
    """Open the checkout until it is decided: on a busy machine the first answer may come too late."""

    def page() -> httpx2.Response | None:
        response = visitor.open("/checkout")
        return response if not shown(response)["code"] else None

    response: httpx2.Response = wait_for(page, 10)
    return response


def test_visitor_decides_comes_back_and_buys(shop: Shop, visitor: Visitor) -> None:
    """A visitor gets a variant and cookies, keeps both on the next page, and their purchase counts once."""
    first = decided(visitor)
    assert first.status_code == 200
    assert shown(first)["variant"] in ("control", "variation")
    assert {CONTROL, USER} <= visitor.cookies.keys()
    for line in first.headers.get_list("set-cookie"):
        assert "Domain=mysite.com" in line
        assert "Secure" not in line  # the connection is plain http here
    assert first.headers["cache-control"] == "private"
    assert first.headers["vary"] == "Cookie"

    second = decided(visitor)
    assert shown(second) == {**shown(first), "reason": "CACHED"}  # decided a moment ago: nobody is asked again

    bought = visitor.open("/buy", "POST")
    assert re.search(r'<p id="track">[0-9a-f-]{36}</p>', bought.text)
    wait_for(lambda: shop.vendor.ledger()["conversions"], 5)
    ledger = shop.vendor.ledger()
    (conversion,) = ledger["conversions"]
    assert (conversion["alias"], conversion["metric"]) == ("ta_Project1", "purchase")
    assert conversion["system_uid"] == shown(first)["visitor"]
    (track,) = [request for request in ledger["requests"] if request["action"] == "track"]
    assert {CONTROL, USER} <= track["cookies"].keys()
    assert track["data"] == {"revenue": 49.9, "units": 2, "currency": "GBP"}
    assert [request["lint"] for request in ledger["requests"]] == [[]] * len(ledger["requests"])


def test_page_that_reads_content(shop: Shop, visitor: Visitor) -> None:
    """The front page shows what the vendor's JSON variant says."""
    wait_for(lambda: re.search("<p>(Summer|Winter) sale</p>", visitor.open("/").text), 10)


def chunks(shop: Shop, path: str, visitor: Visitor) -> tuple[str, list[bytes]]:
    """Return the head and the chunks of a chunked answer, as they are on the wire."""
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    request = f"GET {path} HTTP/1.1\r\nhost: www.mysite.com\r\nuser-agent: {visitor.user_agent}\r\n"
    with socket.create_connection(("127.0.0.1", httpx2.URL(shop.url).port or 0), 5) as sock:
        sock.sendall(f"{request}cookie: {cookies}\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    found = []
    while (size := int(body.partition(b"\r\n")[0], 16)) > 0:
        start = body.index(b"\r\n") + 2
        found.append(body[start : start + size])
        body = body[start + size + 2 :]
    return head.decode("latin-1").lower(), found


def test_stream_arrives_in_pieces(shop: Shop, visitor: Visitor) -> None:
    """Each piece of a stream is a chunk of its own, headers come once, and the track at the end counts."""
    variant = shown(decided(visitor))["variant"]
    head, pieces = chunks(shop, "/stream", visitor)
    assert "content-length" not in head
    assert head.count("cache-control: private") == head.count("vary: cookie") == 1
    assert pieces == [f"{n}: {variant}\n".encode() for n in range(3)]
    wait_for(lambda: shop.vendor.ledger(metric="Page_Stream_End")["conversions"], 5)


def test_health_is_left_alone(shop: Shop, visitor: Visitor) -> None:
    """An excluded path gets no cookie and no header of ours, and nobody is asked."""
    response = visitor.open("/health")
    assert response.json()["vendors"]["wt"].keys() == {"breaker", "next_probe_s", "in_flight", "hedges"}
    assert not {"set-cookie", "cache-control", "vary"} & response.headers.keys()
    assert shop.vendor.ledger()["requests"] == []
    assert visitor.open("/nothing/here").status_code == 404


def test_head_and_options_mint_no_visitor(shop: Shop, visitor: Visitor) -> None:
    """HEAD and OPTIONS reach the shop and cost no decision."""
    for method in ("HEAD", "OPTIONS"):
        assert visitor.open("/checkout", method).status_code in (200, 404, 405)
    assert visitor.cookies == {}
    assert shop.vendor.ledger()["requests"] == []


def test_outage_of_the_vendor(shop: Shop, visitor: Visitor) -> None:
    """While the vendor is down pages come with defaults, in time; when it is back, what was made meanwhile arrives."""
    decided(visitor)
    stranger, took = Visitor(shop, http=visitor.http), []
    shop.vendor.stop()
    try:
        for path in ("/", "/checkout", "/checkout"):
            started = time.monotonic()
            response = stranger.open(path)
            took.append(time.monotonic() - started)
            assert response.status_code == 200
        assert min(took) < 0.6 and max(took) < HELD_UP_S
        assert shown(response)["variant"] == "control"
        assert shown(response)["reason"] == "ERROR"
        assert shown(response)["code"]
        assert stranger.cookies == {}
        bought = visitor.open("/buy", "POST")
        assert "None" not in bought.text
        # Later pages need no answer either: who was decided keeps their cookies.
        assert CONTROL in visitor.cookies
    finally:
        shop.vendor.start()
    assert shop.process.poll() is None
    assert shown(decided(stranger))["variant"] in ("control", "variation")
    wait_for(lambda: shop.vendor.ledger(metric="purchase")["conversions"], 15)
    time.sleep(0.1)
    assert len(shop.vendor.ledger(metric="purchase")["conversions"]) == 1


def test_sigterm_ends_cleanly_and_delivers(shop: Shop, visitor: Visitor) -> None:
    """A server that is told to stop stops, quietly and in time, and a purchase of the last moment arrives."""
    decided(visitor)
    # Slow, so that the purchase is still under way when the signal comes: what is not begun stays for the next process.
    shop.vendor.faults([{"kind": "delay", "ms": 1000, "route": "track"}])
    visitor.open("/buy", "POST")
    wait_for(lambda: any(rule["hits"] for rule in shop.vendor.sandbox.faults.shown()), 20)
    visitor.http.close()
    code, elapsed = shop.terminate()
    print(f"{shop.name} stopped after {elapsed:.1f} s with {code}")
    # uvicorn ends by the signal itself once it has shut down; gunicorn returns.
    assert code in (0, -15)
    assert elapsed < 8
    assert len(shop.vendor.ledger(metric="purchase")["conversions"]) == 1
    assert "Traceback" not in shop.said()
