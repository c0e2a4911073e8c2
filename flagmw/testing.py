"""Help for tests of applications that use flagmw; also a pytest plugin with the fixture `flagmw_sandbox`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flagmw.sandbox import SandboxServer


@pytest.fixture(scope="session")
def _flagmw_sandbox_server() -> Iterator[SandboxServer]:
    # Imported late: the plugin is loaded by every pytest run on the machine, which may not need a server.
    from flagmw.sandbox import SandboxServer

    with SandboxServer(seed=1) as server:
        yield server


@pytest.fixture
def flagmw_sandbox(_flagmw_sandbox_server: SandboxServer) -> SandboxServer:
    """Return a running sandbox of the vendors on a port of its own, as new for each test."""
    _flagmw_sandbox_server.reset()
    return _flagmw_sandbox_server
