"""Show the main job: a visitor of the FastAPI shop, the sandbox as the vendor, real HTTP between them.

`make demo` walks through it once; `make demo SERVE=1` leaves sandbox and shop running to be clicked through. With
`VENDORS=webtrends,adobe`, or `VENDORS=all`, several vendors decide for the same page.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from re import search

import common
import httpx2
import many_vendors

from flagmw.sandbox import SandboxServer

HERE = Path(__file__).parent
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"


class Visitor:
    """Somebody with a browser: keeps cookies, prints what happens."""

    def __init__(self, shop: str) -> None:
        self._browser = httpx2.Client(base_url=shop, headers={"user-agent": BROWSER}, timeout=10)
        self._seen = False

    def go(self, method: str, path: str) -> str:
        started = time.perf_counter()
        answer = self._browser.request(method, path)
        elapsed = (time.perf_counter() - started) * 1000
        answer.raise_for_status()
        say(f"{method} {path} -> {answer.status_code} in {elapsed:.0f} ms; {self._what(answer.text)}")
        cookies = answer.headers.get_list("set-cookie")
        for cookie in cookies if not self._seen else cookies[:1]:
            name, _, rest = cookie.partition("=")
            value, _, attributes = rest.partition("; ")
            say(f"    Set-Cookie: {name}={value[:16]}... ({len(value)} characters); {attributes}")
        if self._seen and len(cookies) > 1:
            say(f"    and {len(cookies) - 1} more, renewed")
        self._seen = True
        return answer.text

    @staticmethod
    def _what(page: str) -> str:
        found = search(r'id="variant" data-reason="(\w+)" data-code="(\w*)"[^>]*>([^<]*)<', page)
        if found:
            return f'ta_Project1 = "{found[3]}" ({found[1]}{" " + found[2] if found[2] else ""})'
        track = search(r'id="track">([^<]*)<', page)
        return f"track {track[1]}" if track else f"{len(page)} characters"


def main(serve: bool) -> int:
    port = int(os.environ.get("SHOP_PORT", 8000)) if serve else free_port()
    vendor_port = int(os.environ.get("SANDBOX_PORT", 8765)) if serve else 0
    signal.signal(signal.SIGTERM, ended)
    for name, taken in (("SHOP_PORT", port), ("SANDBOX_PORT", vendor_port)):
        if serve and not is_free(taken):
            print(
                f"port {taken} is in use: end what listens there, or choose another one with {name}=", file=sys.stderr
            )
            return 1
    shop_server = None
    try:
        with SandboxServer(seed=3, port=vendor_port) as vendor, (shop_server := running_shop(port, vendor)) as shop:
            if serve:
                return wait(shop, vendor.url, shop_server)
            return tour(shop, vendor)
    except KeyboardInterrupt:
        say("ended")
        return 0 if serve else 130


def ended(*_: object) -> None:
    """End as by Ctrl-C: shop and sandbox are stopped on the way out."""
    raise KeyboardInterrupt


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def tour(shop: str, vendor: SandboxServer) -> int:
    if common.chosen() == ("webtrends",):
        return report(walk(shop, vendor))
    return report(many_vendors.walk(shop, vendor, BROWSER, title, say))


def walk(shop: str, vendor: SandboxServer) -> dict[str, bool]:
    title(f"Sandbox of Webtrends Optimize on {vendor.url}, shop on {shop}")
    visitor = Visitor(shop)

    title("1. First visit: the vendor decides before the view runs, its cookies go to the browser")
    first = variant_of(visitor.go("GET", "/checkout"))

    title("2. Second visit, with those cookies: the same variant")
    second = variant_of(visitor.go("GET", "/checkout"))

    title("3. The visitor buys: the view says flags.track(...), the outbox delivers it")
    visitor.go("POST", "/buy")
    arrived = wait_for(vendor, 1)
    show_ledger(vendor)

    title("4. The vendor is killed: the visitor keeps the variant, a new one gets the default, the purchase is kept")
    vendor.stop()
    kept = variant_of(visitor.go("GET", "/checkout"))
    fallback = Visitor(shop).go("GET", "/checkout")
    visitor.go("POST", "/buy")

    title("5. The vendor is back: the purchase made meanwhile arrives")
    vendor.start()
    arrived_late = wait_for(vendor, 2)
    again = poll(lambda: variant_of(visitor.go("GET", "/checkout")), first)
    show_ledger(vendor)

    return {
        "same variant on the second visit": first == second != "",
        "the conversion arrived": arrived,
        "the same variant while the vendor was down": kept == first,
        "a new visitor's page stayed up meanwhile": 'data-reason="ERROR"' in fallback,
        "the conversion made meanwhile arrived": arrived_late,
        "the same variant after the outage": again,
    }


def report(checks: dict[str, bool]) -> int:
    title("Checked")
    for what, good in checks.items():
        say(f"{'ok  ' if good else 'FAIL'} {what}")
    return 0 if all(checks.values()) else 1


def wait(shop: str, vendor: str, server: running_shop) -> int:
    title("Running until Ctrl-C")
    say(f"shop:    {shop}/  (then /checkout, buy, /stream, /health)")
    say(f"ledger:  {vendor}/__sandbox__/ledger")
    say(f'faults:  curl -X PUT {vendor}/__sandbox__/faults -d \'{{"rules": [{{"kind": "hang"}}]}}\'')
    while server.runs():
        time.sleep(0.5)
    print("the shop has ended; its own message is above", file=sys.stderr)
    return 1


class running_shop:
    """The FastAPI shop under uvicorn, as a process of its own."""

    def __init__(self, port: int, vendor: SandboxServer) -> None:
        self._port = port
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE / "fastapi_shop"), "app:app"]
        self._command = [*command, "--port", str(port), "--log-level", "warning"]
        self._events = tempfile.TemporaryDirectory()
        outbox = f"sqlite://{self._events.name}"
        self._environ = {**os.environ, "FLAGMW_OUTBOX": outbox, **many_vendors.base_urls(vendor)}

    def __enter__(self) -> str:
        self._process = subprocess.Popen(self._command, env=self._environ)  # noqa: S603 - our own command line
        try:
            return self._started()
        except BaseException:
            self.__exit__()
            raise

    def _started(self) -> str:
        for _ in range(150):
            if not self.runs():
                sys.exit("the shop did not start; its own message is above")
            try:
                socket.create_connection(("127.0.0.1", self._port), 0.2).close()
                return f"http://127.0.0.1:{self._port}"
            except OSError:
                time.sleep(0.1)
        sys.exit("the shop did not start within 15 seconds")

    def runs(self) -> bool:
        return self._process.poll() is None

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._events.cleanup()


def variant_of(page: str) -> str:
    found = search(r'id="variant"[^>]*>([^<]*)<', page)
    return found[1] if found else ""


def show_ledger(vendor: SandboxServer) -> None:
    ledger = vendor.ledger()
    lint = sum(len(request["lint"]) for request in ledger["requests"])
    say(f"vendor's ledger: {len(ledger['requests'])} requests ({lint} against the documentation)")
    for conversion in ledger["conversions"]:
        seen = {name: conversion[name] for name in ("alias", "metric", "variation", "data", "system_uid")}
        say(f"    conversion {seen}")


def wait_for(vendor: SandboxServer, conversions: int) -> bool:
    for _ in range(200):
        if len(vendor.ledger()["conversions"]) >= conversions:
            return True
        time.sleep(0.1)
    return False


def poll(read: Callable[[], str], wanted: str) -> bool:
    for _ in range(20):
        if read() == wanted:
            return True
        time.sleep(0.5)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(serve="--serve" in sys.argv[1:]))
