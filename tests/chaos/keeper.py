"""A pair of Valkey servers behind one address: the second takes over when the first is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from tests.contracts.outbox.on_valkey import started
from tests.support.listening import Listening

SETTINGS = {"appendonly": "yes", "appendfsync": "always", "save": "", "repl-diskless-sync-delay": "0"}
WAIT_S = 15.0


class Keeper:
    """A server, its replica, and a proxy whose address stays."""

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._main = started(config=dict(SETTINGS))
        self._replica = self._follower()
        self._links: list[socket.socket] = []
        self._listening = Listening(self._pass_on)
        self.port = self._listening.port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        self._cut()
        for server in (self._main, self._replica):
            server.terminate()

    def fail_over(self, *, in_step: bool) -> None:
        """Kill the server, and have its replica take over; a new replica follows that.

        Args:
            in_step: wait until the replica has everything; else it is left as far behind as it happens to be.
        """
        with self._lock:
            if in_step:
                with self._main.client() as client:
                    client.wait(1, 2000)
            os.kill(self._pid(self._main), signal.SIGKILL)
            gone, self._main = self._main, self._replica
            with self._main.client() as client:
                client.replicaof("NO", "ONE")
            self._cut()
            with contextlib.suppress(Exception):
                gone.terminate()
            self._replica = self._follower()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server for as long as the block lasts."""
        with self._lock:
            pid = self._pid(self._main)
            os.kill(pid, signal.SIGSTOP)
            try:
                yield
            finally:
                os.kill(pid, signal.SIGCONT)

    def _follower(self) -> Any:
        server = started(config=dict(SETTINGS))
        with server.client() as client:
            client.replicaof("127.0.0.1", self._main.port)
            end = time.monotonic() + WAIT_S
            while client.info("replication").get("master_link_status") != "up" and time.monotonic() < end:
                time.sleep(0.02)
        return server

    @staticmethod
    def _pid(server: Any) -> int:
        pid: int = server._process.pid
        return pid

    # The proxy

    def _pass_on(self, link: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._main.port), 2)
        except OSError:
            link.close()
            return
        far.settimeout(None)
        self._links += [link, far]
        for one, other in ((link, far), (far, link)):
            threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for link in (one, other):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
                link.close()

    def _cut(self) -> None:
        links, self._links = self._links, []
        for link in links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
                link.close()
