"""One sandbox with the management side of Monetate, on a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from flagmw.admin import MonetateAdmin
from flagmw.sandbox import SandboxServer
from tests.sandbox.monetate_admin import boxed


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
def admin(box: SandboxServer, clock: boxed.Clock) -> Iterator[MonetateAdmin]:
    with boxed.admin(box, clock) as client:
        yield client


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=5) as client:
        yield client
