"""Server of the sandbox, in a background thread or in the foreground."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette

from flagmw._support.addresses import is_loopback
from flagmw.exceptions import ConfigError
from flagmw.sandbox.adobe.routes import ASSETS
from flagmw.sandbox.app import SandboxVendor, create_app
from flagmw.sandbox.contentstack import routes as contentstack
from flagmw.sandbox.contentstack_admin import routes as contentstack_admin
from flagmw.sandbox.faults import Rule
from flagmw.sandbox.guard import access
from flagmw.sandbox.monetate import routes as monetate
from flagmw.sandbox.scenario import Scenario, load_scenario
from flagmw.sandbox.state import Sandbox
from flagmw.sandbox.webtrends.request import BASE

_START_S = 10.0


class SandboxServer:
    """A sandbox on loopback, in a thread of this process, for `with` or `start()` and `stop()`.

    Args:
        scenario: a scenario, or the name or path of one; the shipped shop where omitted.
        seed: makes assignment and faults reproducible.
        port: 0 takes a free one; it stays the same over `stop()` and `start()`.
        clock: seconds since the epoch.
        vendors: emulators of more vendors, beside those that ship with flagmw.
        allow_hosts: further names that its Host header, and the pages that use it, may have.
        control_token: what control calls that change something must then bring in the header `Sandbox-Token`.
    """

    def __init__(
        self,
        scenario: Scenario | str | Path | None = None,
        *,
        seed: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        allow_hosts: Iterable[str] = (),
        control_token: str | None = None,
        vendors: Sequence[SandboxVendor] = (),
    ) -> None:
        _check_host(host, allow_remote=False)
        _check_port(port)
        allowed = access(allow_hosts, token=control_token)
        self._app = create_app(scenario, seed=seed, clock=clock, access=allowed, vendors=vendors)
        self._host, self._port = host, port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def sandbox(self) -> Sandbox:
        """The state behind the server."""
        sandbox: Sandbox = self._app.state.sandbox
        return sandbox

    @property
    def port(self) -> int:
        """The TCP port; 0 before the first start when none was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """The server's address without a trailing slash."""
        return f"http://{_bracketed(self._host)}:{self._port}"

    @property
    def webtrends_url(self) -> str:
        """What stands in for https://ots.webtrends-optimize.com/ots/api/rest-1.2."""
        return self.url + BASE

    @property
    def adobe_url(self) -> str:
        """What stands in for https://<client>.tt.omtrdc.net."""
        return self.url

    def adobe_artifact_url(self, client: str = "demo", property_token: str | None = None) -> str:
        """Return the sandbox's address of an account's rules, in place of https://assets.adobetarget.com."""
        place = "" if property_token is None else f"{property_token}/"
        return f"{self.url}{ASSETS}/{client}/production/v1/{place}rules.json"

    @property
    def monetate_url(self) -> str:
        """What stands in for https://engine.monetate.net/api/engine/v1."""
        return self.url + monetate.BASE

    @property
    def contentstack_url(self) -> str:
        """What stands in for https://personalize-edge.contentstack.com."""
        return self.url + contentstack.BASE

    @property
    def contentstack_admin_url(self) -> str:
        """What stands in for https://personalize-api.contentstack.com."""
        return self.url + contentstack_admin.BASE

    @property
    def running(self) -> bool:
        """Whether the server accepts connections."""
        return self._server is not None

    def start(self) -> None:
        """Listen and serve; returns when connections are accepted. No-op while running.

        Raises:
            OSError: the port is taken.
        """
        if self._server is not None:
            return
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        server = _Server(_config(self._app))
        thread = threading.Thread(
            target=_run, args=(server, listener), name=f"flagmw-sandbox-{self._port}", daemon=True
        )
        thread.start()
        until = time.monotonic() + _START_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > until:
                raise RuntimeError("the sandbox did not start")
            time.sleep(0.002)
        self._server, self._thread = server, thread

    def stop(self) -> None:
        """Stop listening and cut every connection; the state stays for the next start. No-op while stopped."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        server.should_exit = True
        server.force_exit = True  # a dead vendor does not finish what it was doing
        thread.join(_START_S)
        self._server = self._thread = None

    def ledger(
        self, *, alias: str | None = None, metric: str | None = None, system_uid: str | None = None
    ) -> dict[str, Any]:
        """Return the ledger of received requests, as `GET /__sandbox__/ledger` does."""
        return self.sandbox.ledger.read(alias=alias, metric=metric, system_uid=system_uid)

    def clear_ledger(self) -> None:
        """Forget what was received."""
        self.sandbox.ledger.clear()

    def faults(self, rules: list[Rule | Mapping[str, Any]] | list[dict[str, Any]]) -> None:
        """Set the fault rules.

        Raises:
            ConfigError: a rule has an unknown field or kind, or a value that cannot be.
        """
        self.sandbox.faults.replace(rules)

    def clear_faults(self) -> None:
        """Remove all fault rules."""
        self.sandbox.faults.replace(())

    def replace_scenario(self, scenario: Scenario | str | Path) -> None:
        """Answer by another scenario from now on."""
        self.sandbox.replace(scenario if isinstance(scenario, Scenario) else load_scenario(scenario))

    def rotate_keys(self, domain_id: int | None = None, *, forget: bool = False) -> None:
        """Change cookie keys; see `Sandbox.rotate_keys`."""
        self.sandbox.rotate_keys(domain_id, forget=forget)

    def reset(self) -> None:
        """Return to the state at the start."""
        self.sandbox.reset()


class _Server(uvicorn.Server):
    """A server that dies like a killed process: no answer, not even a 500, to what is under way."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        await super().shutdown(sockets)


def serve(
    host: str = "127.0.0.1",
    port: int = 8765,
    scenario: Scenario | str | Path | None = None,
    *,
    seed: int | None = None,
    allow_remote: bool = False,
    allow_hosts: Iterable[str] = (),
    control_token: str | None = None,
    ready: Callable[[str], object] | None = None,
) -> None:
    """Serve the sandbox until interrupted.

    Args:
        ready: called with the sandbox's address when it listens.

    Raises:
        ConfigError: *host* is not loopback and *allow_remote* is not set, or the port or the scenario is wrong.
        OSError: the port is taken.
    """
    _check_host(host, allow_remote=allow_remote)
    _check_port(port)
    app = create_app(scenario, seed=seed, access=access(allow_hosts, remote=allow_remote, token=control_token))
    listener = _listen(host, port)
    if ready is not None:
        ready(f"http://{_bracketed(host)}:{listener.getsockname()[1]}")
    uvicorn.Server(_config(app)).run(sockets=[listener])


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()


def _config(app: Starlette) -> uvicorn.Config:
    # proxy_headers off: X-Forwarded-For is data of the protocol here, not a statement about the caller.
    return uvicorn.Config(
        app, log_config=None, log_level="critical", access_log=False, lifespan="off", ws="none",
        proxy_headers=False, server_header=False, timeout_keep_alive=60, timeout_graceful_shutdown=1,
    )  # fmt: skip


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Event loops switch Nagle's algorithm off only where the protocol is named. With it, a small answer on a kept
    # connection waits some 40 ms for the client's acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def _check_host(host: str, *, allow_remote: bool) -> None:
    if not is_loopback(host) and not allow_remote:
        raise ConfigError(f"host: {host!r} is not loopback; the sandbox has no access control (allow_remote=True)")


def _check_port(port: int) -> None:
    if not 0 <= port <= 65535:
        raise ConfigError(f"port: {port} is no port: use 1 to 65535, or 0 for a free one")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
