"""What visitors' cookies may cost: our time for a hostile header, and a browser's way to its pages."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from flagmw import Flagmw
from tests.contracts.edges.driver import EDGES, Answer, Edge, Sent, webtrends
from tests.faults.catalogue.rows import MODE, USER, control, decided, persisted
from tests.faults.catalogue.shops import Got, exchange, serving
from tests.support.raw_vendor import Connection, RawVendor, http

JUNK = '"' + '\\"' * 16_000 + '"'
HEADER_BYTES = 8190  # gunicorn's limit for one header field
PROJECTS, PAGES = 60, 30


def junk_ms() -> dict[str, float]:
    """Return by edge how much processor time 32 KB of escaped quotes in a vendor's cookie cost, in milliseconds."""
    found = {}
    for name, make_edge in EDGES.items():
        with make_edge() as edge:
            # Nothing is decided for the page, so what remains is the reading of the request.
            fm = Flagmw(vendors=[webtrends("http://127.0.0.1:9")], paths=["/decided"])
            found[name] = extra_ms(edge, edge.mount(lambda seen: Answer(), fm))
            edge.close(fm)
    return found


def extra_ms(edge: Edge, app: Any) -> float:
    """Return how much longer *app* takes for a request with the junk than for one without, the best of 20 each."""

    def cpu_ms(cookie: str) -> float:
        started = time.thread_time()
        page = edge.call(app, Sent(headers=[("cookie", cookie)]))
        took = time.thread_time() - started
        if page.status != 200:
            raise RuntimeError(f"the page came with {page.status}")
        return took * 1000

    junk, bare = (min(cpu_ms(cookie) for _ in range(20)) for cookie in (f"{USER}={JUNK}", f"{USER}=WT3u~"))
    return max(0.0, junk - bare)


def longest_cookie_header() -> int:
    """Open pages of a shop under gunicorn whose vendor overfills the jar; return the longest Cookie header in bytes.

    Raises:
        RuntimeError: a page was refused.
    """
    said = [b""]

    def act(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.send(said[0])

    with (
        TemporaryDirectory() as folder,
        RawVendor(act) as vendor,
        serving("gunicorn", Path(folder), vendor.url, deadline_ms=5000) as port,
    ):

        def get(header: str, answer: bytes) -> Got:
            said[0] = answer
            return exchange(port, "GET / HTTP/1.1", {"Cookie": header})

        return overfill(get)[1]


def overfill(get: Callable[[str, bytes], Got]) -> tuple[Mapping[str, str], int]:
    """Be a browser whose vendor sets cookies for 60 projects, new ones on each of 30 pages.

    Args:
        get: opens a page with a Cookie header, the vendor's next answer being the second argument.

    Returns:
        the browser's jar at the end, and the length of the longest header.

    Raises:
        RuntimeError: a page was refused.
    """
    jar, numbers, longest = {"sid": "x" * 1500}, itertools.count(), 0
    for _ in range(PAGES):
        wanted = {control(f"ta_{n:02}"): persisted(f"{next(numbers):06}" + "c" * 300) for n in range(PROJECTS)}
        wanted |= {USER: persisted("WT3" + "u" * 300), MODE: persisted("WT3m~")}
        aliases = [decided(f"ta_{n:02}") for n in range(PROJECTS)]
        header = "; ".join(f"{name}={value}" for name, value in jar.items())
        longest = max(longest, len(header))
        got = get(header, http(orjson.dumps([*aliases, decided(cookies=wanted)])))
        if got.status != 200:
            raise RuntimeError(f"{got.status} for a Cookie header of {len(header)} bytes")
        for line in got.values("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                jar.pop(name, None)
            else:
                jar[name] = value
    return jar, longest
