"""The sandbox as a Starlette application: the vendors' routes, the control routes, the faults around them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from flagmw.sandbox import adobe, console, contentstack, monetate, webtrends
from flagmw.sandbox.guard import PROGRAMS_AND_OWN_PAGES, Access, Guard
from flagmw.sandbox.scenario import DEFAULT, Scenario, load_scenario
from flagmw.sandbox.state import Sandbox
from flagmw.sandbox.wire_faults import ConnectionCut, FaultWrapper

logger = logging.getLogger("flagmw.sandbox")

# A vendor is a module with NAME, routes(sandbox) and route_of(path).
VENDORS = (webtrends, adobe, monetate, contentstack)


def create_app(
    scenario: Scenario | str | Path | None = None,
    *,
    seed: int | None = None,
    clock: Callable[[], float] = time.time,
    access: Access = PROGRAMS_AND_OWN_PAGES,
) -> Starlette:
    """Build the sandbox application; its state is `app.state.sandbox`.

    Args:
        scenario: a scenario, or the name or path of one; the shipped shop where omitted.
        seed: makes assignment and faults reproducible, for requests that come in the same order.
        clock: seconds since the epoch.
        access: who may talk to it, beside programs and pages of this machine.

    Raises:
        ConfigError: the scenario cannot be loaded.
    """
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(DEFAULT if scenario is None else scenario)
    sandbox = Sandbox(scenario, seed=seed, clock=clock)
    app = Starlette(
        routes=[*console.routes(sandbox), *(route for vendor in VENDORS for route in vendor.routes(sandbox))],
        exception_handlers={Exception: _broken},
        middleware=[
            Middleware(Guard, access=access, for_pages=_for_pages),
            Middleware(FaultWrapper, sandbox=sandbox, route_of=_route_of),
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


def _route_of(path: str) -> tuple[str, str] | None:
    for vendor in VENDORS:
        route = vendor.route_of(path)
        if route is not None:
            return vendor.NAME, route
    return None
