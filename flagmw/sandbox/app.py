"""The sandbox as a Starlette application."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from flagmw.sandbox import control as console
from flagmw.sandbox.adobe import routes as adobe
from flagmw.sandbox.contentstack import routes as contentstack
from flagmw.sandbox.contentstack_admin import routes as contentstack_admin
from flagmw.sandbox.fault_middleware import ConnectionCut, FaultWrapper
from flagmw.sandbox.guard import PROGRAMS_AND_OWN_PAGES, Access, Guard
from flagmw.sandbox.monetate import routes as monetate
from flagmw.sandbox.scenario import DEFAULT, Scenario, load_scenario
from flagmw.sandbox.state import Sandbox
from flagmw.sandbox.webtrends import routes as webtrends

logger = logging.getLogger("flagmw.sandbox")


class SandboxVendor(Protocol):
    """One vendor of the sandbox: a module or an object."""

    @property
    def NAME(self) -> str:
        """The vendor's name, in the ledger and in fault rules."""

    def routes(self, sandbox: Sandbox) -> Sequence[BaseRoute]:
        """Return the vendor's routes."""

    def route_of(self, path: str) -> str | None:
        """Return the name of the route that *path* belongs to, for fault rules; None for another vendor's path."""


VENDORS: tuple[SandboxVendor, ...] = (webtrends, adobe, monetate, contentstack, contentstack_admin)


def create_app(
    scenario: Scenario | str | Path | None = None,
    *,
    seed: int | None = None,
    clock: Callable[[], float] = time.time,
    access: Access = PROGRAMS_AND_OWN_PAGES,
    vendors: Sequence[SandboxVendor] = (),
) -> Starlette:
    """Build the sandbox application; its state is `app.state.sandbox`.

    Args:
        scenario: a scenario, or the name or path of one; the shipped shop where omitted.
        seed: makes assignment and faults reproducible, for requests that come in the same order.
        clock: seconds since the epoch.
        access: who may talk to it, beside programs and pages of this machine.
        vendors: emulators of more vendors, beside those that ship with flagmw.

    Raises:
        ConfigError: the scenario cannot be loaded.
    """
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(DEFAULT if scenario is None else scenario)
    sandbox = Sandbox(scenario, seed=seed, clock=clock)
    served = (*VENDORS, *vendors)

    def route_of(path: str) -> tuple[str, str] | None:
        for vendor in served:
            route = vendor.route_of(path)
            if route is not None:
                return vendor.NAME, route
        return None

    app = Starlette(
        routes=[*console.routes(sandbox), *(route for vendor in served for route in vendor.routes(sandbox))],
        exception_handlers={Exception: _broken},
        middleware=[
            Middleware(Guard, access=access, for_pages=_for_pages),
            Middleware(FaultWrapper, sandbox=sandbox, route_of=route_of),
        ],
    )
    app.state.sandbox = sandbox
    return app


def _for_pages(path: str) -> bool:
    # Contentstack's edge allows every origin: the vendor's client asks it from the page.
    return contentstack.route_of(path) is not None


def _broken(request: Request, error: Exception) -> Response:
    """Answer 500 for a mistake of the sandbox itself, and say so: the server's own log is silent."""
    if not isinstance(error, (ConnectionCut, ClientDisconnect)):
        logger.error("the sandbox failed on %s", request.url.path, exc_info=error)
    return PlainTextResponse("the sandbox failed; see its log\n", 500)
