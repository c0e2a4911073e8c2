"""Detection of a server's shutdown."""

from __future__ import annotations

import signal


def ends_by_signal() -> bool:
    """Say whether a server that handles signals has been told to end, as far as that can be seen.

    Uvicorn ends its process by the signal itself once the lifespan is over, and no exit hook runs: its last moment is
    the end of the lifespan. Its handler is a method of the server, which knows whether it is to exit. Other servers run
    the exit hooks.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        server = getattr(signal.getsignal(number), "__self__", None)
        if getattr(server, "should_exit", False) is True:
            return True
    return False
