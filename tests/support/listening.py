"""A listening socket whose connections are each served in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable


class Listening:
    """Listens on a free port of loopback, and has each connection served.

    Args:
        serve: called with each connection, in a thread of its own.
    """

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()
