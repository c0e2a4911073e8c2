"""Emulator of the vendors' HTTP APIs, for development and tests.

In a test, `with SandboxServer("shop", seed=1) as vendor:` runs it on a free port of loopback. Point the client's
`base_url` at `vendor.webtrends_url`; `vendor.ledger()` is everything that arrived there.
"""

from __future__ import annotations

try:
    import cryptography
    import starlette
    import uvicorn
except ImportError as missing:
    raise ImportError(
        "flagmw.sandbox needs Starlette, uvicorn and cryptography: pip install 'flagmw[sandbox]'"
    ) from missing

from flagmw.sandbox.app import create_app
from flagmw.sandbox.scenario import Scenario, load_scenario
from flagmw.sandbox.server import SandboxServer, serve

del cryptography, starlette, uvicorn

__all__ = ["SandboxServer", "Scenario", "create_app", "load_scenario", "serve"]
