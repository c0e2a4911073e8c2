"""Visitors' cookies on a Valkey server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flagmw._support.encryption import Cipher, PlainText, Unreadable
from flagmw._support.forksafe import PerProcess
from flagmw._valkey.lookups import WAIT_MS, Away, Memory, Quick
from flagmw._valkey.url import Address

if TYPE_CHECKING:
    from valkey import Valkey


class ValkeyVisitors:
    """Keep what is known of visitors on the server, for all machines.

    Args:
        seal: encrypts what is kept.
        memory_bytes: how much of what was loaded or saved lately this process keeps for when the server is away.
    """

    def __init__(
        self,
        address: str | Address,
        *,
        wait_ms: int = WAIT_MS,
        seal: Cipher | None = None,
        memory_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._server, self._seal = Quick(address, wait_ms), seal or PlainText()
        self._memory = PerProcess(lambda: Memory(memory_bytes, lambda key, value: 300 + len(key) + len(value)))

    def load(self, key: str) -> bytes | None:
        """Return what was saved last under *key*, None when there is nothing or it has expired.

        Raises:
            Away: the server does not answer, and this process does not know.
        """
        name = self._name(key)
        try:
            stored, left_ms = self._server.ask(lambda client: _get(client, name))
        except Away:
            kept = self._memory.get().get(name)
            if kept is None:
                raise  # nobody knows: that is not the same as a visitor who is new
            return kept
        try:
            value = None if stored is None else self._seal.decrypt(stored)
        except Unreadable:
            value = None
        if value is None:
            self._memory.get().drop(name)
        else:
            self._memory.get().put(name, value, left_ms / 1000)
        return value

    def save(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Keep *value* for *ttl_s* seconds; return whether the server surely has it."""
        name, stored = self._name(key), self._seal.encrypt(value)
        self._memory.get().put(name, value, ttl_s)
        ttl_ms = max(1, int(ttl_s * 1000))
        try:
            return bool(self._server.ask(lambda client: client.set(name, stored, px=ttl_ms), writes=True))
        except Away:
            return False

    def forget(self, key: str) -> bool:
        """Remove what is known under *key*; return whether the server surely has nothing."""
        name = self._name(key)
        self._memory.get().drop(name)
        try:
            self._server.ask(lambda client: client.delete(name), writes=True)
        except Away:
            return False
        return True

    def close(self) -> None:
        self._server.close()

    def _name(self, key: str) -> str:
        return f"{self._server.prefix}visitor:{self._seal.digest(key).hex()}"


def _get(client: Valkey, name: str) -> tuple[bytes | None, float]:
    pipeline: Any = client.pipeline(transaction=False)
    value, left_ms = pipeline.get(name).pttl(name).execute()
    return value, max(0.0, float(left_ms))
