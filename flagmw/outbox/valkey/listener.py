"""The thread that listens for other processes' events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flagmw._valkey.connection import ANSWER_S, Link, connect
from flagmw._valkey.errors import ServerTrouble
from flagmw._valkey.url import Address
from flagmw.outbox.valkey.stream import Stream

if TYPE_CHECKING:
    from valkey import Valkey

_LISTEN_MS = 1000


class Listener:
    """Call a function when a stream has grown, and once a second at least, so that nothing is missed in between."""

    def __init__(self, address: Address, stream: Stream, link: Link) -> None:
        self._address, self._stream, self._link = address, stream, link
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_work: Callable[[], None]) -> None:
        """Start listening; a second call does nothing."""
        if self._thread is not None or self._stop.is_set():
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._loop, args=(on_work,), name="flagmw-listen", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return  # the interpreter is on its way out
                self._thread = thread

    def close(self) -> None:
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LISTEN_MS / 1000 + ANSWER_S)

    def _loop(self, on_work: Callable[[], None]) -> None:
        client = connect(self._address, _LISTEN_MS / 1000 + ANSWER_S)
        while not self._stop.is_set():
            try:
                self._wait(client)
            except Exception:
                # The link tells of trouble; a thread that only listens has nothing to add.
                self._stop.wait(max(_LISTEN_MS / 1000, self._link.rest_s()))
            if not self._stop.is_set():
                on_work()
        closing: Any = client
        closing.close()

    def _wait(self, client: Valkey) -> None:
        """Wait until a stream has grown, a second at most."""
        if self._link.rest_s() > 0:
            raise ServerTrouble(self._link.trouble)  # type: ignore[arg-type]
        streams: Any = {f"{self._address.prefix}stream:{vendor}": "$" for vendor in self._stream.vendors()}
        if streams:
            client.xread(streams, count=1, block=_LISTEN_MS)
        else:
            self._stop.wait(_LISTEN_MS / 1000)
