"""One sandbox with the management side of Adobe Target, on a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from flagmw.admin import AdobeAdmin
from flagmw.sandbox import SandboxServer
from tests.sandbox.adobe_admin import boxed


@pytest.fixture(scope="session")
def _started() -> Iterator[tuple[SandboxServer, boxed.Clock]]:
    clock = boxed.Clock()
    with SandboxServer(boxed.scenario(), seed=7, clock=clock) as server:
        yield server, clock


@pytest.fixture
def clock(_started: tuple[SandboxServer, boxed.Clock]) -> boxed.Clock:
    return _started[1]


@pytest.fixture
def box(_started: tuple[SandboxServer, boxed.Clock]) -> SandboxServer:
    _started[1].now = boxed.NEW_YEAR
    _started[0].reset()
    return _started[0]


@pytest.fixture
def admin(box: SandboxServer, clock: boxed.Clock) -> Iterator[AdobeAdmin]:
    with boxed.admin(box, clock) as client:
        yield client


class Raw:
    """Requests by hand, with a good token unless told otherwise."""

    def __init__(self, box: SandboxServer, http: httpx2.Client) -> None:
        self.box, self.http = box, http
        form = {"grant_type": "client_credentials", "client_id": "sandbox-client", "client_secret": "sandbox-secret"}
        answer = http.post(f"{box.url}/ims/token/v3", data={**form, "scope": "openid,target_sdk"})
        self.token = answer.json()["access_token"]

    def __call__(self, method: str, path: str, version: int | None = None, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.token}", "X-Api-Key": "sandbox-client", **more.pop("headers", {})}
        if version is not None:
            name = "Content-Type" if method in ("POST", "PUT", "PATCH") else "Accept"
            headers[name] = f"application/vnd.adobe.target.v{version}+json"
        return self.http.request(method, f"{self.box.url}/{boxed.TENANT}/target{path}", headers=headers, **more)


@pytest.fixture
def raw(box: SandboxServer) -> Iterator[Raw]:
    with httpx2.Client(timeout=5) as http:
        yield Raw(box, http)
