"""The servers that people run, as command lines, and the shops that run under them."""

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

import httpx2

BIN = Path(sys.executable).parent
SHOPS = Path(__file__).resolve().parents[3] / "integrations"

ASGI_APPS = {"fastapi_shop": "app:app", "django_shop": "asgi:application", "plain_asgi": "app:app"}
WSGI_APPS = {"flask_shop": "app:app", "django_shop": "wsgi:application", "plain_wsgi": "app:app"}

UVICORN = ["uvicorn", "--app-dir", "{dir}", "--port", "{port}", "--log-level", "warning"]
GUNICORN = ["gunicorn", "--chdir", "{dir}", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "--workers", "1"]
GRANIAN = ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"]
UWSGI = ["pyuwsgi", "--http", "127.0.0.1:{port}", "--master", "--enable-threads", "--threads", "4"]

SERVERS: Mapping[str, tuple[str, list[str]]] = {
    "uvicorn h11": ("asgi", [*UVICORN, "--http", "h11", "--loop", "asyncio", "{app}"]),
    "uvicorn httptools": ("asgi", [*UVICORN, "--http", "httptools", "--loop", "asyncio", "{app}"]),
    "uvicorn uvloop": ("asgi", [*UVICORN, "--http", "httptools", "--loop", "uvloop", "{app}"]),
    "hypercorn": ("asgi", ["hypercorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "{app}"]),
    "granian": ("asgi", [*GRANIAN, "{app}"]),
    "gunicorn sync": ("wsgi", [*GUNICORN, "{app}"]),
    "gunicorn gthread": ("wsgi", [*GUNICORN, "--worker-class", "gthread", "--threads", "8", "{app}"]),
    "gunicorn gevent": ("wsgi", [*GUNICORN, "--worker-class", "gevent", "{app}"]),
    "gunicorn preload": ("wsgi", [*GUNICORN, "--worker-class", "gthread", "--threads", "4", "--preload", "{app}"]),
    "waitress": ("wsgi", ["waitress-serve", "--listen", "127.0.0.1:{port}", "{app}"]),
    "uwsgi": ("wsgi", [*UWSGI, "--need-app", "--die-on-term", "--module", "{app}"]),
}


@dataclass(frozen=True)
class Cell:
    """One shop under one server."""

    server: str
    shop: str

    @property
    def name(self) -> str:
        return f"{self.server} {self.shop}"

    def command(self, port: int) -> list[str]:
        kind, template = SERVERS[self.server]
        app = (ASGI_APPS if kind == "asgi" else WSGI_APPS)[self.shop]
        words = [word.format(dir=SHOPS / self.shop, port=port, app=app) for word in template]
        return [str(BIN / words[0]), *words[1:]]


CELLS = [
    Cell(server, shop) for server, (kind, _) in SERVERS.items() for shop in (ASGI_APPS if kind == "asgi" else WSGI_APPS)
]


@contextmanager
def running(cell: Cell, vendor_url: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run *cell*'s server until the block ends; yield its URL and process.

    Raises:
        RuntimeError: it did not begin to listen; the text has what it printed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        **os.environ,
        "FLAGMW_VENDORS__WT__BASE_URL": vendor_url,
        "FLAGMW_DEADLINE_MS": "2000",  # many servers start side by side on a small machine
        "PYTHONPATH": os.pathsep.join([str(SHOPS / cell.shop), str(SHOPS.parent), os.environ.get("PYTHONPATH", "")]),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        cell.command(port),
        env=environ,
        cwd=SHOPS / cell.shop,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(300):
        if process.poll() is not None:
            printed = process.communicate()[0].decode(errors="replace")
            raise RuntimeError(f"the server ended with {process.returncode}: {printed[-2000:]}")
        try:
            # Some servers listen before they have loaded the application.
            if httpx2.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.1)
    raise RuntimeError("the server did not serve within 30 s")
