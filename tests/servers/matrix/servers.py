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

# The servers of another environment, for other versions of them.
BIN = Path(os.environ.get("MATRIX_BIN") or Path(sys.executable).parent)
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
    "gunicorn asgi": ("asgi", [*GUNICORN, "--worker-class", "uvicorn.workers.UvicornWorker", "{app}"]),
    "hypercorn": ("asgi", ["hypercorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "{app}"]),
    "hypercorn wsgi": ("wsgi", ["hypercorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "wsgi:{app}"]),
    "granian": ("asgi", [*GRANIAN, "{app}"]),
    "granian wsgi": ("wsgi", ["granian", "--interface", "wsgi", *GRANIAN[3:], "{app}"]),
    "gunicorn sync": ("wsgi", [*GUNICORN, "{app}"]),
    "gunicorn gthread": ("wsgi", [*GUNICORN, "--worker-class", "gthread", "--threads", "8", "{app}"]),
    "gunicorn gevent": ("wsgi", [*GUNICORN, "--worker-class", "gevent", "{app}"]),
    "gunicorn preload": ("wsgi", [*GUNICORN, "--worker-class", "gthread", "--threads", "4", "--preload", "{app}"]),
    "waitress": ("wsgi", ["waitress-serve", "--listen", "127.0.0.1:{port}", "{app}"]),
    "uwsgi": ("wsgi", [*UWSGI, "--need-app", "--die-on-term", "--module", "{app}"]),
}

MOUNTED = "mounted"
MOUNTED_APP = Path(__file__).parent / "mounted"


def mount_words(server: str) -> list[str]:
    """Return what makes *server* serve an application at /shop."""
    name = server.partition(" ")[0]
    if name in ("uvicorn", "hypercorn"):
        return ["--root-path", "/shop"]
    return {"granian": ["--url-path-prefix", "/shop"], "waitress": ["--url-prefix", "/shop"]}.get(name, [])


@dataclass(frozen=True)
class Cell:
    """One shop under one server."""

    server: str
    shop: str

    @property
    def name(self) -> str:
        return f"{self.server} {self.shop}"

    @property
    def folder(self) -> Path:
        return MOUNTED_APP if self.shop == MOUNTED else SHOPS / self.shop

    def command(self, port: int) -> list[str]:
        kind, template = SERVERS[self.server]
        if self.shop == MOUNTED:
            return self._mounted(f"app:{kind}_app", template, port)
        app = (ASGI_APPS if kind == "asgi" else WSGI_APPS)[self.shop]
        words = [word.format(dir=SHOPS / self.shop, port=port, app=app) for word in template]
        return [str(BIN / words[0]), *words[1:]]

    def _mounted(self, app: str, template: list[str], port: int) -> list[str]:
        words = [word.format(dir=self.folder, port=port, app=app) for word in template]
        if self.server == "uwsgi":
            words = [*words[: words.index("--module")], "--manage-script-name", "--mount", f"/shop={app}"]
        words = ["worker.Worker" if word == "uvicorn.workers.UvicornWorker" else word for word in words]
        return [str(BIN / words[0]), *mount_words(self.server), *words[1:]]


CELLS = [
    Cell(server, shop) for server, (kind, _) in SERVERS.items() for shop in (ASGI_APPS if kind == "asgi" else WSGI_APPS)
]

MOUNTED_CELLS = [Cell(server, MOUNTED) for server in SERVERS]
# The suite has these interfaces of a server once: their other cells are those of `make matrix`.
ONCE = ("gunicorn asgi", "hypercorn wsgi", "granian wsgi")
SUITE_CELLS = [cell for cell in CELLS if cell.server not in ONCE]
SUITE_MOUNTED = [Cell(server, MOUNTED) for server in ONCE]


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
        "PYTHONPATH": os.pathsep.join([str(cell.folder), str(SHOPS.parent), os.environ.get("PYTHONPATH", "")]),
        "PYTHONUNBUFFERED": "1",
    }
    if cell.shop == MOUNTED:
        environ["FLAGMW_VENDORS__WT__URL"] = "https://www.mysite.com{path}"
    if cell.shop == MOUNTED and cell.server.startswith("gunicorn"):
        environ["SCRIPT_NAME"] = "/shop"
    process = subprocess.Popen(
        cell.command(port),
        env=environ,
        cwd=cell.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        proxied = cell.server.startswith(("uvicorn", "gunicorn asgi"))  # it takes the mount point off
        _wait(process, port, "/shop/health" if cell.shop == MOUNTED and not proxied else "/health")
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


def _wait(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    for _ in range(300):
        if process.poll() is not None:
            printed = process.communicate()[0].decode(errors="replace")
            raise RuntimeError(f"the server ended with {process.returncode}: {printed[-2000:]}")
        try:
            # Some servers listen before they have loaded the application.
            if httpx2.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.1)
    raise RuntimeError("the server did not serve within 30 s")
