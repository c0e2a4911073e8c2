"""Real servers with a small application each, a vendor that a test scripts, and requests written byte by byte."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contracts.edges.driver import DOMAIN, TOKEN
from tests.support.raw_vendor import free_port

BIN = Path(sys.executable).parent
START_S = 30.0

CONFIGURED = f"""
import os
from flagmw import Flagmw, Webtrends

vendor = Webtrends({DOMAIN}, "{TOKEN}", "https://www.mysite.com", name="wt", base_url=os.environ["VENDOR"])
options = dict(reuse_s=0, stale_s=0) | eval(os.environ["OPTIONS"])
fm = Flagmw(vendors=[vendor], cookie_secure=False, **options)

def shown(flags):
    variant = flags.variant("ta_A")
    flags.track("purchase")
    return f"{{variant.key}} {{variant.reason}} {{variant.error_code or '-'}}"

def counted():
    stats = fm.outbox_stats()
    counts = {{" ".join(label): n for label, n in fm.counts().items()}}
    return {{"counts": counts, "balanced": stats.balanced(), "accepted": stats.accepted, "delivered": stats.delivered}}
"""

ASGI = (
    CONFIGURED
    + """
import asyncio, json, time
from flagmw.asgi import FlagsMiddleware, flags_from

lags = []

async def watch():
    while True:
        started = time.perf_counter()
        await asyncio.sleep(0.005)
        lags.append(time.perf_counter() - started - 0.005)

async def view(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.startup":
                scope["state"]["watch"] = asyncio.create_task(watch())
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["path"] == "/counted":
        body = json.dumps({**counted(), "lags": lags})
    else:
        took = time.perf_counter() - scope["state"]["started"]
        body = f"{shown(flags_from(scope))} {took * 1000:.3f}"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})

inner = FlagsMiddleware(view, flagmw=fm)

async def app(scope, receive, send):
    if scope["type"] == "http":
        scope["state"]["started"] = time.perf_counter()
    await inner(scope, receive, send)
"""
)

WSGI = (
    CONFIGURED
    + """
import json
from flagmw.wsgi import FlagsMiddleware, flags_from

def view(environ, start_response):
    body = json.dumps(counted()) if environ["PATH_INFO"] == "/counted" else shown(flags_from(environ))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body.encode()]

app = FlagsMiddleware(view, flagmw=fm)
"""
)

_UVICORN = ["uvicorn", "--port", "{port}", "--log-level", "warning", "--loop", "asyncio"]
_GUNICORN = ["gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "--worker-class"]
SERVERS = {
    "uvicorn": (ASGI, [*_UVICORN, "--http", "httptools", "app:app"]),
    "gunicorn": (WSGI, [*_GUNICORN, "gthread", "--threads", "8", "app:app"]),
    "gunicorn gevent": (WSGI, [*_GUNICORN, "gevent", "app:app"]),
}


@contextmanager
def serving(server: str, folder: Path, vendor_url: str, **options: object) -> Iterator[int]:
    """Run *server* with an application in *folder* until the block ends; yield its port.

    Raises:
        RuntimeError: it did not begin to serve.
    """
    source, words = SERVERS[server]
    port = free_port()
    (folder / "app.py").write_text(source)
    root = str(Path(__file__).resolve().parents[3])
    environ = {
        **os.environ,
        "PYTHONPATH": root,
        "VENDOR": vendor_url,
        "OPTIONS": repr({"exclude": ["/counted"], **options}),
    }
    command = [BIN / words[0], *(word.format(port=port) for word in words[1:])]
    with (folder / "printed").open("wb") as printed:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            end = time.monotonic() + START_S
            while process.poll() is None and exchange(port, "GET /counted HTTP/1.1").status != 200:
                if time.monotonic() > end:
                    break
                time.sleep(0.05)
            else:
                if process.poll() is None:
                    yield port
                    return
            raise RuntimeError(f"{server} did not start: {(folder / 'printed').read_text()[-2000:]}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@dataclass(frozen=True)
class Got:
    """What came back; status 0 for nothing that is an answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known == name]


def exchange(
    port: int,
    line: str,
    headers: Mapping[str, str] | list[tuple[str, str]] = (),
    host: str = "www.mysite.com",
    timeout_s: float = 10,
) -> Got:
    """Send one request of exactly these lines on a connection of its own; return what comes until it is closed."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    lines = [line, f"Host: {host}", "Connection: close", *(f"{name}: {value}" for name, value in pairs), "", ""]
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as sock:
            sock.sendall("\r\n".join(lines).encode("latin-1"))
            while data := sock.recv(65536):
                received += data
    except OSError:
        pass  # a server that refuses a request may cut the connection before it has read it all
    head, _, body = received.partition(b"\r\n\r\n")
    start, *fields = head.decode("latin-1").split("\r\n")
    split = (field.partition(":") for field in fields)
    status = start.split(" ")[1] if start.startswith("HTTP/1.") else "0"
    return Got(int(status), [(name.lower(), value.strip()) for name, _, value in split], body)
