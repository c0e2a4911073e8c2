"""Adobe's own clients, each in a process of its own that takes commands as lines of JSON, and the sandbox."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flagmw.sandbox import SandboxServer, Scenario, load_scenario

HERE = Path(__file__).parent
PLACE = Path(os.environ.get("FLAGMW_OFFICIAL", "."))


class Process:
    """One of the drivers."""

    def __init__(self, *command: str) -> None:
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self._child.stdin.flush()
        answer: dict[str, Any] = json.loads(self._child.stdout.readline())
        assert "failed" not in answer, answer["failed"]
        return answer

    def close(self) -> None:
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            pipe.close()
        self._child.wait(10)


class Official:
    """One client of Adobe's, wired to a sandbox."""

    def __init__(self, process: Process, id: str, sandbox: SandboxServer, wiring: str) -> None:
        self._process, self._id, self.sandbox, self.wiring = process, id, sandbox, wiring

    def offers(self, request: dict[str, Any], now: int | None = None, **options: Any) -> dict[str, Any]:
        more = {} if now is None else {"now": now}
        return self._process.call("offers", id=self._id, options={"request": request, **options}, **more)

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        return self._process.call(op, id=self._id, **fields)

    def clone(self, **config: Any) -> Official:
        """Return another client in the same process."""
        made = Official(self._process, f"{self._id}-{next(_NUMBERS)}", self.sandbox, self.wiring)
        made.call("create", port=self.sandbox.port, wiring=self.wiring, config=config)
        return made


_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def node() -> Iterator[Process]:
    process = Process(shutil.which("node") or str(PLACE / "venv/bin/node"), str(HERE / "node_client.js"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def python() -> Iterator[Process]:
    process = Process(str(PLACE / "venv/bin/python"), str(HERE / "python_client.py"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def _server() -> Iterator[SandboxServer]:
    with SandboxServer("adobe", seed=3) as server:
        yield server


@pytest.fixture
def sandbox(_server: SandboxServer) -> SandboxServer:
    _server.reset()
    return _server


def install(sandbox: SandboxServer, **options: Any) -> None:
    """Change the sandbox's account."""
    scenario = sandbox.sandbox.scenario.to_mapping()
    scenario["adobe"][0] |= options
    sandbox.replace_scenario(Scenario.from_mapping(scenario))


@pytest.fixture(params=["node fetchApi", "node serverDomain", "python"])
def official(request: pytest.FixtureRequest, sandbox: SandboxServer) -> Official:
    """One client in one wiring. Those that know only the sandbox's address must not be sent to an edge cluster."""
    language, _, wiring = request.param.partition(" ")
    sandbox.replace_scenario(load_scenario("adobe"))
    if wiring != "fetchApi":
        install(sandbox, edge_hints=False)
    made = Official(request.getfixturevalue(language), f"c{next(_NUMBERS)}", sandbox, wiring)
    made.call("create", port=sandbox.port, wiring=wiring, config={})
    return made
