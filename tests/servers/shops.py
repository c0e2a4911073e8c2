"""Start the shops of `integrations/` under real servers, each a process of its own on a free port."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from flagmw.sandbox import SandboxServer
from tests.support.raw_vendor import free_port

ROOT = Path(__file__).parents[2]
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SERVERS = {
    "fastapi_shop": ["uvicorn", "app:app", "--log-level", "warning", "--host", "127.0.0.1", "--port"],
    "plain_asgi": ["uvicorn", "app:app", "--log-level", "warning", "--host", "127.0.0.1", "--port"],
    "plain_wsgi": ["gunicorn", "app:app", "-k", "gthread", "--threads", "8", "--log-level", "warning", "--bind"],
}
FLASK = ["gunicorn", "app:app", "-k", "gthread", "--threads", "4", "--log-level", "warning", "--bind"]
START_S = 60.0


@dataclass
class Shop:
    """A shop that runs."""

    name: str
    process: subprocess.Popen[str]
    url: str
    vendor: SandboxServer
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def terminate(self, timeout_s: float = 20.0) -> tuple[int, float]:
        """Ask the server to stop; return its exit code and the seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout_s)
        return code, time.monotonic() - started


@dataclass
class Visitor:
    """A browser that keeps cookies, at the shop's own host name."""

    shop: Shop
    user_agent: str = BROWSER
    cookies: dict[str, str] = field(default_factory=dict)
    # A server hangs up on a connection that was idle for two seconds: browsers ask again then, this one does not wait.
    http: httpx2.Client = field(
        default_factory=lambda: httpx2.Client(timeout=20, limits=httpx2.Limits(keepalive_expiry=1.0))
    )

    def open(self, path: str, method: str = "GET") -> httpx2.Response:
        headers = {"host": "www.mysite.com", "user-agent": self.user_agent}
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        response = self.http.request(method, self.shop.url + path, headers=headers)
        self.keep(response)
        return response

    def keep(self, response: httpx2.Response) -> None:
        for line in response.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value


def start_shop(
    name: str,
    vendor: SandboxServer,
    output: Path,
    *arguments: str,
    command: list[str] | None = None,
    **options: Any,
) -> Shop:
    """Start a shop's server, by *command* or as in `SERVERS`; *options* are flagmw's, *arguments* the server's."""
    port = free_port()
    server, *rest = command or SERVERS[name]
    address = f"127.0.0.1:{port}" if server == "gunicorn" else str(port)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLAGMW_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "FLAGMW_VENDORS__WT__BASE_URL": vendor.webtrends_url,
        **{f"FLAGMW_{option.upper()}": str(value) for option, value in options.items()},
    }
    with output.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", server, *rest, address, *arguments],
            cwd=ROOT / "integrations" / name,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
    shop = Shop(name, process, f"http://127.0.0.1:{port}", vendor, output)
    end = time.monotonic() + START_S
    while True:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{shop.url}/health", timeout=5).status_code == 200:
                return shop
        if process.poll() is not None or time.monotonic() > end:
            kill(shop)
            raise AssertionError(f"{name} did not start:\n{shop.said()}")
        time.sleep(0.05)


def kill(shop: Shop) -> None:
    """End the server's process, which ends its workers; whatever state it is in."""
    if shop.process.poll() is None:
        shop.process.terminate()
        try:
            shop.process.wait(9)
        except subprocess.TimeoutExpired:
            shop.process.kill()
            shop.process.wait(5)
