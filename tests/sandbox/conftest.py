"""One sandbox for the whole folder, reset before every test, and a small caller that speaks the vendor's protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import httpx2
import pytest

from flagmw.sandbox import SandboxServer, Scenario

DOMAIN = 2490593
TOKEN = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"
Element = dict[str, Any]


class Caller:
    """A visitor's requests; keeps the cookies of the answers when told to."""

    def __init__(self, server: SandboxServer, http: httpx2.Client) -> None:
        self.server, self.http = server, http
        self.cookies: dict[str, str] = {}

    def body(self, **fields: Any) -> dict[str, Any]:
        cookies = {name: {"value": value} for name, value in self.cookies.items()}
        plain = {"keyToken": TOKEN, "url": "https://www.mysite.com", "_wt.encrypted": True, "_wt.track": "false"}
        return {**plain, "cookies": cookies, **fields}

    def post(self, path: str, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
        return self.http.post(f"{self.server.webtrends_url}/{path}", json=self.body(**fields), headers=headers)

    def control(self, alias: str | None = None, **fields: Any) -> list[Element]:
        guid = DOMAIN if alias is None else f"{DOMAIN}-{alias}"
        return self._elements(self.post(f"control/{guid}", **fields))

    def track(self, aliases: Sequence[str], metric: str = "purchase", **fields: Any) -> list[Element]:
        guid = f"{DOMAIN}-{','.join(aliases)}"
        return self._elements(self.post(f"track/{guid}", conversionPoint=metric, **fields))

    def _elements(self, response: httpx2.Response) -> list[Element]:
        answer = response.json()
        elements: list[Element] = answer if isinstance(answer, list) else [answer]
        for element in elements:
            for name, cookie in element["body"]["cookies"].items():
                if "_wt.conversion" not in name:
                    self.cookies[name] = cookie["value"]
        return elements


@pytest.fixture(scope="session")
def _server() -> Iterator[SandboxServer]:
    with SandboxServer(seed=7) as server:
        yield server


@pytest.fixture
def vendor(_server: SandboxServer) -> SandboxServer:
    _server.reset()
    return _server


@pytest.fixture(scope="session")
def _http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=5, headers={"user-agent": "Mozilla/5.0"}) as http:
        yield http


@pytest.fixture
def caller(vendor: SandboxServer, _http: httpx2.Client) -> Caller:
    return Caller(vendor, _http)


@pytest.fixture
def account(vendor: SandboxServer) -> Any:
    """Give the sandbox one account with these projects and options."""

    def install(*projects: dict[str, Any], **options: Any) -> None:
        account = {"domain_id": DOMAIN, "key_token": TOKEN, "cookie_domain": ".mysite.com", "projects": list(projects)}
        vendor.replace_scenario(Scenario.from_mapping({"webtrends": [{**account, **options}]}))

    return install


@pytest.fixture
def project() -> Any:
    """Make a project with one test; what is not given has its default."""

    def make(alias: str = "ta_A", *, where: dict[str, Any] | None = None, **test: Any) -> dict[str, Any]:
        test = {"variations": [{"key": "control"}, {"key": "variation"}], **test}
        return {"alias": alias, "tests": [test], **(where or {})}

    return make
