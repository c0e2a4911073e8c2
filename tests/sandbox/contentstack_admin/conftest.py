"""One sandbox with the management side of Contentstack, on a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from flagmw.admin import Authtoken, ContentstackAdmin
from flagmw.sandbox import SandboxServer

PROJECT = "64c7787b333555469a861224"
SAMPLES = Path(__file__).parents[2] / "samples" / "contentstack_admin"


class Clock:
    """The time of sandbox and clients; it passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_767_225_600.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.now += seconds


class Box:
    """The sandbox, its clock, and requests by hand."""

    def __init__(self, server: SandboxServer, clock: Clock, http: httpx2.Client) -> None:
        self.server, self.clock, self.http = server, clock, http
        self.url = server.contentstack_admin_url

    def raw(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        given = {"authtoken": "sandbox-authtoken", "x-project-uid": PROJECT, **headers}
        sent = {name.replace("_", "-"): value for name, value in given.items() if value}
        more: dict[str, Any] = {} if body is None else {"json": body}
        return self.http.request(method, self.url + path, headers=sent, **more)

    def manifest(self, uid: str, **headers: str) -> dict[str, str | None]:
        """Return the active variants of a visitor, by experience."""
        given = {"x-project-uid": PROJECT, "x-cs-personalize-user-uid": uid, **headers}
        answer = self.http.get(f"{self.server.contentstack_url}/manifest", headers=given)
        return {one["shortUid"]: one["activeVariantShortUid"] for one in answer.json()["experiences"]}

    def did(self, uid: str, *items: dict[str, str]) -> None:
        """Report what a visitor saw and did."""
        headers = {"x-project-uid": PROJECT, "x-cs-personalize-user-uid": uid}
        assert self.http.post(f"{self.server.contentstack_url}/events", headers=headers, json=items).status_code == 202

    def options(self, **more: Any) -> dict[str, Any]:
        return {"base_url": self.url, "clock": self.clock, "auth": Authtoken("sandbox-authtoken"), **more}


@pytest.fixture(scope="session")
def _started() -> Iterator[Box]:
    clock = Clock()
    with SandboxServer(seed=7, clock=clock) as server, httpx2.Client(timeout=5) as http:
        yield Box(server, clock, http)


@pytest.fixture
def box(_started: Box) -> Box:
    _started.clock.now = Clock().now
    _started.server.reset()
    _started.server.sandbox.personalize.calls_per_second = 0
    _started.server.sandbox.personalize.strict_lock = False
    _started.server.sandbox.personalize.pause_drafts = False
    return _started


@pytest.fixture
def admin(box: Box) -> Iterator[ContentstackAdmin]:
    with ContentstackAdmin(PROJECT, **box.options(), sleep=box.clock.sleep) as client:
        yield client


@pytest.fixture
def sample() -> Any:
    return lambda name: orjson.loads((SAMPLES / f"{name}.json").read_bytes())
