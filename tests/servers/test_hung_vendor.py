"""One vendor hangs, another is well: under a real threaded server the healthy one's answers are all in time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from flagmw.sandbox import SandboxServer

APP = """
from flagmw import Flagmw
from flagmw.wsgi import FlagsMiddleware

fm = Flagmw.from_mapping(file="flagmw.toml", environ={})

def view(environ, start_response):
    variant = environ["flagmw.flags"].variant("ta_Project1")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{variant.vendor} {variant.key} {variant.error_code}".encode()]

app = FlagsMiddleware(view, flagmw=fm)
"""

VENDOR = """
[[vendors]]
type = "webtrends"
name = "{name}"
domain_id = 2490593
key_token = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"
url = "https://www.mysite.com"
base_url = "{base_url}"
"""


@pytest.fixture
def silent() -> Iterator[str]:
    """A vendor that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def shop(tmp_path: Path, silent: str, flagmw_sandbox: SandboxServer) -> Iterator[str]:
    """A WSGI application with both vendors, under gunicorn with 8 request threads."""
    (tmp_path / "app.py").write_text(APP)
    vendors = VENDOR.format(name="hung", base_url=silent) + VENDOR.format(
        name="well", base_url=flagmw_sandbox.webtrends_url
    )
    # Long enough that the healthy vendor, which shares the processor with its visitors, is late only if it was held up.
    (tmp_path / "flagmw.toml").write_text("deadline_ms = 1000\n" + vendors)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).parent / "gunicorn", "--worker-class", "gthread", "--threads", "8"]
    process = subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}", "--log-level", "warning", "app:app"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        start_new_session=True,
    )
    try:
        for _ in range(150):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def test_U33_healthy_vendor_beside_a_hung_one(shop: str) -> None:
    """240 pages over 8 threads: every one has the healthy vendor's decision, none waits past the deadline."""
    with httpx2.Client(timeout=30) as client, ThreadPoolExecutor(8) as visitors:

        def visit(_: int) -> tuple[str, float]:
            started = time.perf_counter()
            page = client.get(shop).text
            return page, time.perf_counter() - started

        pages = list(visitors.map(visit, range(240)))
    late = [page for page, _ in pages if not page.startswith("well ") or not page.endswith(" None")]
    assert not late, f"{len(late)} of 240 healthy answers were late, such as {late[0]!r}"
    slowest = max(elapsed for _, elapsed in pages)
    assert slowest < 3.0, f"a page took {slowest:.3f} s at a deadline of 1 s"
    # Once its breaker is open the hung vendor costs nothing: most pages are far below the deadline.
    assert sorted(elapsed for _, elapsed in pages)[120] < 0.5
