"""A sandbox for the folder, both edges, and a maker of `Flagmw` objects that are checked and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flagmw import Flagmw, Static
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import EDGES, Edge, Make


@pytest.fixture(scope="session")
def _server() -> Iterator[SandboxServer]:
    with SandboxServer(seed=11) as server:
        yield server


@pytest.fixture
def vendor(_server: SandboxServer) -> SandboxServer:
    """The sandbox, as new."""
    _server.reset()
    return _server


@pytest.fixture(params=EDGES)
def edge(request: pytest.FixtureRequest) -> Iterator[Edge]:
    """Each edge in turn."""
    with EDGES[request.param]() as edge:
        yield edge


def _made(options: dict[str, Any]) -> Flagmw:
    # The defaults are right for production; a busy machine gets more time unless the deadline is the matter.
    options.setdefault("deadline_ms", 5000)
    # Most of these tests count what every page asks; reuse has tests of its own.
    options.setdefault("reuse_s", 0)
    # Most views of these tests are coroutines or read nothing; `mode="auto"` has tests of its own.
    options.setdefault("mode", "eager")
    return Flagmw(**options)


@pytest.fixture
def make(edge: Edge) -> Iterator[Make]:
    """Return a maker of `Flagmw(**options)` for the edge; at the end all counts must add up."""
    made: list[Flagmw] = []

    def make(**options: Any) -> Flagmw:
        made.append(_made(options))
        return made[-1]

    yield make
    for fm in made:
        assert fm.outbox_stats().balanced()
        edge.close(fm)


@pytest.fixture
async def amake() -> AsyncIterator[Make]:
    """As `make`, for tests that are coroutines."""
    made: list[Flagmw] = []

    def make(**options: Any) -> Flagmw:
        made.append(_made(options))
        return made[-1]

    yield make
    for fm in made:
        assert fm.outbox_stats().balanced()
        await fm.aclose(2.0)


@pytest.fixture
def wmake() -> Iterator[Make]:
    """As `make`, for tests of the WSGI edge alone."""
    made: list[Flagmw] = []

    def make(**options: Any) -> Flagmw:
        made.append(_made(options))
        return made[-1]

    yield make
    for fm in made:
        assert fm.outbox_stats().balanced()
        fm.close(2.0)


@pytest.fixture
def everyone_b() -> Static:
    """A vendor that gives everyone the same variant and sets no cookie."""
    return Static(flags={"ta_A": "b"})


@pytest.fixture
def split() -> Static:
    """A vendor that deals two variants and knows its visitors by a cookie."""
    return Static(flags={"ta_A": {"split": {"a": 1, "b": 1}}})
