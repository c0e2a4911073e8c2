"""Two hundred visitors at once: everybody gets their own, and only their own."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2
import pytest

from flagmw.sandbox import SandboxServer
from tests.servers.shops import Shop, kill, start_shop

VISITORS = 200
PAGE = re.compile(r'data-code="(?P<code>.*?)" data-visitor="(?P<visitor>.*?)">(?P<variant>.*?)</p>')
USER = "_wt.user-2490593"
OPTIONS = {
    # The machine may be small, and everything here runs on it. What is looked for is a mix-up, not the time. Nor is it
    # the moment at which a server hangs up on a connection that rests.
    "fastapi_shop": (("--timeout-keep-alive", "60"), {"deadline_ms": 5000, "max_in_flight": 256}),
    "plain_wsgi": (("--threads", "32", "--keep-alive", "60"), {"deadline_ms": 5000, "pool_size": 32}),
}


@pytest.fixture(params=OPTIONS)
def crowded(
    request: pytest.FixtureRequest, vendor: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """A shop with room for everybody."""
    arguments, options = OPTIONS[request.param]
    vendor.reset()
    shop = start_shop(request.param, vendor, tmp_path_factory.mktemp("shop") / "output", *arguments, **options)
    try:
        yield shop
    finally:
        kill(shop)


@dataclass
class Browser:
    """One of the visitors, known by a user agent of their own."""

    n: int
    http: httpx2.AsyncClient
    url: str
    cookies: dict[str, str] = field(default_factory=dict)
    pages: list[dict[str, str]] = field(default_factory=list)
    again: int = 0

    @property
    def user_agent(self) -> str:
        return f"Mozilla/5.0 (visitor {self.n:03})"

    async def open(self, method: str, path: str) -> httpx2.Response:
        headers = {"host": "www.mysite.com", "user-agent": self.user_agent}
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        response = await self.http.request(method, self.url + path, headers=headers)
        assert response.status_code == 200, response.text
        for line in response.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response

    async def checkout(self) -> None:
        """Open the checkout; once more where the machine was too busy for a decision."""
        while True:
            found = PAGE.search((await self.open("GET", "/checkout")).text)
            assert found is not None
            if not found["code"]:
                self.pages.append(found.groupdict())
                return
            self.again += 1
            assert self.again < 40, found["code"]
            await asyncio.sleep(0.25)

    async def visit(self) -> None:
        """Come twice; every tenth visitor buys."""
        await self.checkout()
        await self.checkout()
        if self.n % 10 == 0:
            await self.open("POST", "/buy")


async def test_everybody_gets_their_own(crowded: Shop, vendor: SandboxServer) -> None:
    """Each page shows that visitor's own id and variant, as the vendor's ledger has them, on both visits."""
    started = time.monotonic()
    limits = httpx2.Limits(max_connections=VISITORS, max_keepalive_connections=VISITORS)
    async with httpx2.AsyncClient(limits=limits, timeout=60) as http:
        browsers = [Browser(n, http, crowded.url) for n in range(VISITORS)]
        await asyncio.gather(*(browser.visit() for browser in browsers))
    elapsed, again = time.monotonic() - started, sum(browser.again for browser in browsers)
    print(f"{crowded.name}: {VISITORS} visitors with two pages each took {elapsed:.1f} s, {again} pages came again")

    told: dict[str, set[tuple[str, str]]] = {}
    for request in vendor.ledger()["requests"]:
        if request["action"] == "control" and request["answer"]["status"] == 200:
            variants = {result["alias"]: result.get("variation") for result in request["answer"]["results"]}
            own = told.setdefault(request["headers"]["user-agent"], set())
            own.add((request["system_uid"], variants["ta_Project1"]))
    for browser in browsers:
        first, second = ((page["visitor"], page["variant"]) for page in browser.pages)
        assert first == second
        assert first in told[browser.user_agent]
        if not browser.again:
            assert told[browser.user_agent] == {first}
    assert len({browser.pages[0]["visitor"] for browser in browsers}) == VISITORS
    assert len({browser.cookies[USER] for browser in browsers}) == VISITORS
    assert {browser.pages[0]["variant"] for browser in browsers} == {"control", "variation"}

    # Who bought, bought once, as themselves.
    end = time.monotonic() + 30
    while len(vendor.ledger()["conversions"]) < VISITORS // 10 and time.monotonic() < end:
        await asyncio.sleep(0.05)
    assert sorted(entry["system_uid"] for entry in vendor.ledger()["conversions"]) == sorted(
        browser.pages[0]["visitor"] for browser in browsers if browser.n % 10 == 0
    )
    assert [request["lint"] for request in vendor.ledger()["requests"] if request["lint"]] == []
