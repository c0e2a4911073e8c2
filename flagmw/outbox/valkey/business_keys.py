"""Business keys on a Valkey server, reserved atomically for a short time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from flagmw._support.encryption import Cipher
from flagmw._valkey.connection import script
from flagmw._valkey.lookups import Away, Quick
from flagmw._valkey.url import Address
from flagmw.outbox.sqlite.rows import key_of
from flagmw.types import Event

# A key is rare, an order: some more milliseconds than for what is asked on every page.
_WAIT_MS = 20
# From the reservation until the event is forwarded: some hundredths of a second where all is well.
_RESERVED_MS = 10_000


class ServerKeys:
    """Keep business keys for events, over all machines that share the server."""

    def __init__(self, address: Address, seal: Cipher) -> None:
        self._server, self._seal = Quick(address, _WAIT_MS), seal
        self._script = script("reserve")

    def connect(self) -> None:
        """Have a connection before it is needed, if the server answers."""
        with contextlib.suppress(Away):
            self._server.ask(lambda client: client.ping())

    def taken(self, events: Sequence[Event]) -> set[str]:
        """Return the ids of *events* whose key another event holds, as far as the server says so in time."""
        keyed = [(key, event.id) for event in events if (key := key_of(event, self._seal)) is not None]
        if not keyed:
            return set()
        words = [word for key, id in keyed for word in (key.hex(), id)]

        def ask(client: Any) -> Any:
            return client.register_script(self._script)(keys=[self._server.prefix], args=[_RESERVED_MS, *words])

        try:
            free = self._server.ask(ask)
        except Away:
            return set()
        return {id for (_, id), reserved in zip(keyed, free, strict=True) if not reserved}

    def close(self) -> None:
        self._server.close()
