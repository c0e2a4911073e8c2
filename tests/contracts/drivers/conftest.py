"""Let one synchronous test run against both drivers and all kinds of transport."""

from __future__ import annotations

import asyncio
import importlib
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from flagmw._drivers.aio import AsyncDriver
from flagmw._drivers.blocking import BlockingDriver
from flagmw._support.deadline import Deadline
from flagmw.exceptions import TransportError
from flagmw.types import Call, Flow, Reply, T
from tests.support.authority import Authority

COLOURS = ("blocking", "async")
DEFAULT = [(colour, library) for colour in COLOURS for library in ("httpcore2", "httpcore")]
NAMED = [("blocking", "httptools"), ("async", "httptools"), ("async", "aiohttp")]
OWN = DEFAULT + NAMED
FOREIGN = [(colour, library) for colour in COLOURS for library in ("httpx2", "httpx")]


@dataclass
class Answer:
    """What one call brought: a reply or an error, and the seconds until the driver returned."""

    reply: Reply | None
    error: TransportError | None
    elapsed_s: float

    @property
    def code(self) -> str | None:
        return None if self.error is None else self.error.code.value

    @property
    def body(self) -> bytes:
        assert self.reply is not None, self.error
        return self.reply.body


@cache
def _context(ca_file: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def one_call(call: Call) -> Flow[Reply | TransportError]:
    try:
        return (yield call)
    except TransportError as error:
        return error


@dataclass
class Drive:
    """A driver of either colour behind one synchronous face; async ones keep one event loop alive."""

    colour: str
    library: str
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    made: list[Any] = field(default_factory=list)
    ca_file: str | None = None

    @property
    def own(self) -> bool:
        """Whether the sockets are the driver's."""
        return not self.library.startswith("httpx")

    def make(self, **options: Any) -> Any:
        """Return a driver for the library: the default, one chosen by name, or a caller's own transport."""
        if (self.colour, self.library) in NAMED:
            options.setdefault("transport", self.library)
        if self.ca_file is not None and self.own:
            options.setdefault("ca_file", self.ca_file)
        if not self.own:
            lib = importlib.import_module(self.library)
            kind = lib.HTTPTransport if self.colour == "blocking" else lib.AsyncHTTPTransport
            options.setdefault("transport", kind(verify=_context(self.ca_file)))
        driver = BlockingDriver(**options) if self.colour == "blocking" else AsyncDriver(**options)
        self.made.append((driver, options.get("transport")))
        return driver

    @property
    def driver(self) -> Any:
        return self.made[0][0] if self.made else self.make()

    def run(self, flow: Flow[T], deadline_s: float = 2.0, driver: Any = None) -> T:
        driver = driver or self.driver
        deadline = Deadline.after(deadline_s, time.monotonic())
        result: T
        if self.colour == "blocking":
            result = driver.run(flow, deadline)
        else:
            result = self.runner.run(driver.run(flow, deadline))
        return result

    def ask(
        self,
        url: str,
        *,
        deadline_s: float = 2.0,
        driver: Any = None,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        **call: Any,
    ) -> Answer:
        """Make one call and return what came of it."""
        started = time.monotonic()
        result = self.run(
            one_call(Call(method=method, url=url, headers=headers or {}, **call)), deadline_s, driver=driver
        )
        elapsed_s = time.monotonic() - started
        if isinstance(result, TransportError):
            return Answer(None, result, elapsed_s)
        return Answer(result, None, elapsed_s)

    def go_on(self) -> None:
        """Let the event loop run on for a moment, as a server's does after each call."""
        if self.colour == "async":
            self.runner.run(asyncio.sleep(0.01))

    def close_driver(self, driver: Any) -> None:
        if self.colour == "blocking":
            driver.close()
        else:
            self.runner.run(driver.aclose())

    def close(self) -> None:
        for driver, transport in self.made:
            self.close_driver(driver)
            if transport is None or isinstance(transport, str):
                continue
            if self.colour == "blocking":
                transport.close()
            else:
                self.runner.run(transport.aclose())
        self.runner.close()


def _drive(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    colour, library = request.param
    if library == "httpcore":
        # As if only httpx and httpcore were installed.
        monkeypatch.setitem(sys.modules, "httpcore2", None)
    drive = Drive(colour, library)
    yield drive
    drive.close()


@pytest.fixture(params=OWN + FOREIGN, ids=lambda param: f"{param[0]}-{param[1]}")
def drive(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    """Both drivers over every library: the default transports and callers' own."""
    yield from _drive(request, monkeypatch)


@pytest.fixture(params=OWN, ids=lambda param: f"{param[0]}-{param[1]}")
def own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    """Both drivers over all transports whose sockets are ours."""
    yield from _drive(request, monkeypatch)


@pytest.fixture(params=DEFAULT[::2], ids=lambda param: param[0])
def plain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    """Both drivers over httpcore2 alone, for what does not depend on the library."""
    yield from _drive(request, monkeypatch)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
