"""A bare Django, a sandbox for the folder, each framework in turn, and a maker of `Flagmw` objects that are checked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import django
import pytest
from django.conf import settings

if not settings.configured:
    # Once per process; tests put theirs over it.
    settings.configure(SECRET_KEY="for tests", ALLOWED_HOSTS=["*"], TIME_ZONE="UTC", LOGGING_CONFIG=None)
    django.setup()

from flagmw import Flagmw, Static
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Make
from tests.frameworks.sites import DJANGO, SITES, Site


@pytest.fixture(scope="session")
def _server() -> Iterator[SandboxServer]:
    with SandboxServer(seed=7) as server:
        yield server


@pytest.fixture
def vendor(_server: SandboxServer) -> SandboxServer:
    """The sandbox, as new."""
    _server.reset()
    return _server


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each framework in turn."""
    with SITES[request.param]() as site:
        yield site


@pytest.fixture(params=DJANGO)
def django_site(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Django in turn under WSGI and ASGI."""
    with SITES[request.param]() as site:
        yield site


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return a maker of `Flagmw(**options)`; at the end all counts must add up."""
    names = [name for name in ("site", "django_site") if name in request.fixturenames]
    site: Site | None = request.getfixturevalue(names[0]) if names else None
    made: list[Flagmw] = []

    def make(**options: Any) -> Flagmw:
        options.setdefault("deadline_ms", 5000)
        # Most of these tests count what every page asks; reuse has tests of its own.
        options.setdefault("reuse_s", 0)
        # Most views of these tests are coroutines or read nothing; `mode="auto"` has tests of its own.
        options.setdefault("mode", "eager")
        made.append(Flagmw(**options))
        return made[-1]

    yield make
    for fm in made:
        assert fm.outbox_stats().balanced()
        if site is not None:
            site.close(fm)
        else:
            asyncio.run(fm.aclose(2.0))


@pytest.fixture
def split() -> Static:
    """A vendor that deals two variants and knows its visitors by a cookie."""
    return Static(flags={"ta_A": {"split": {"a": 1, "b": 1}}})


@pytest.fixture
def everyone_b() -> Static:
    """A vendor that gives everyone the same variant and sets no cookie."""
    return Static(flags={"ta_A": "b"})
