"""What a visitor does in a shop, and what has to be true of it under every server."""

from __future__ import annotations

import signal
import subprocess
import time
import uuid
from re import search

import httpx2

from flagmw.sandbox import SandboxServer
from tests.servers.matrix.servers import Cell, running

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0.0.0 "


class Failed(AssertionError):
    """Something that must hold does not; the text says what."""


def expect(good: bool, what: str) -> None:
    if not good:
        raise Failed(what)


def run(cell: Cell, vendor: SandboxServer) -> None:
    """Start *cell*, go through the shop, end the server, and check the vendor's ledger.

    Raises:
        Failed, RuntimeError: what was wrong.
    """
    me = BROWSER + uuid.uuid4().hex
    with running(cell, vendor.webtrends_url) as (url, process):
        # uWSGI closes connections without saying so, which a client that keeps them finds out too late.
        once = httpx2.Limits(max_keepalive_connections=0)
        with httpx2.Client(base_url=url, headers={"user-agent": me}, timeout=20, limits=once) as browser:
            uid = walk(browser)
        # What the end finds undelivered stays on disk for the next process, and there is none here.
        delivered(vendor, uid)
        printed = end(process)
    conversions = vendor.ledger(system_uid=uid)["conversions"]
    bought = [c for c in conversions if c["metric"] == "purchase"]
    expect(len(bought) == 1, f"{len(bought)} purchases in the ledger, not 1")
    expect(bought[0]["alias"] == "ta_Project1", "the purchase counts for another test")
    ended = [c for c in conversions if c["metric"] == "Page_Stream_End"]
    expect(len(ended) == 4, f"the stream's track arrived for {len(ended)} tests, not 4; the server said: {printed}")
    lint = [x for r in vendor.ledger()["requests"] if r["headers"].get("user-agent") == me for x in r["lint"]]
    expect(not lint, f"requests against the documentation: {lint}")


def walk(browser: httpx2.Client) -> str:
    """Visit, come back, buy, stream; return the visitor's id at the vendor."""
    first = browser.get("/checkout")
    key, uid = read(first)
    names = {cookie.partition("=")[0] for cookie in first.headers.get_list("set-cookie")}
    expect("_wt.user-2490593" in names and "_wt.control-2490593-ta_Project1" in names, f"cookies set: {sorted(names)}")
    expect("private" in first.headers.get("cache-control", ""), "a personal page that shared caches may keep")
    expect("cookie" in first.headers.get("vary", "").lower(), "a personal page without Vary: Cookie")
    expect(read(browser.get("/checkout")) == (key, uid), "another variant or visitor on the second visit")
    expect('id="track"' in browser.post("/buy").text, "no track id after buying")
    expect(browser.get("/stream").text == "".join(f"{n}: {key}\n" for n in range(3)), "a stream that differs")
    health = browser.get("/health")
    expect(health.status_code == 200 and "set-cookie" not in health.headers, "cookies on an excluded path")
    expect("cookie" not in health.headers.get("vary", "").lower(), "an excluded path was edited")
    head = browser.head("/checkout")
    expect("set-cookie" not in head.headers, "HEAD got cookies")
    return uid


def read(page: httpx2.Response) -> tuple[str, str]:
    expect(page.status_code == 200, f"status {page.status_code}")
    found = search(r'data-code="(\w*)" data-visitor="(\d+)">([^<]*)<', page.text)
    expect(found is not None, "the page shows no decision: " + page.text[:300])
    assert found is not None
    return found[3], found[2]


def delivered(vendor: SandboxServer, uid: str) -> None:
    """Wait until the vendor has the track that was made last."""
    for _ in range(300):
        if any(c["metric"] == "Page_Stream_End" for c in vendor.ledger(system_uid=uid)["conversions"]):
            return
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> str:
    """End the server as a deploy does; nothing that was accepted may be lost by it. Return what it printed."""
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        printed = process.communicate(timeout=15)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        raise Failed("the server did not end within 15 s of SIGTERM") from None
    expect(time.monotonic() - started < 12, "a slow shutdown")
    expect("Traceback" not in printed, f"a traceback at the end: {printed[-1500:]}")
    return printed[-1500:]
