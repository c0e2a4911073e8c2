"""Reported exposures on a Valkey server."""

from __future__ import annotations

import hashlib

from flagmw._support.forksafe import PerProcess
from flagmw._valkey.lookups import WAIT_MS, Away, Memory, Quick
from flagmw._valkey.url import Address


class ValkeySeen:
    """Remember which exposures were told to a vendor, for all machines.

    Args:
        address: as of a `ValkeyOutbox`; keys are under the same prefix and expire by themselves.
        wait_ms: how long a request may wait for the answer, in milliseconds.
        memory: how many exposures this process remembers by itself.
    """

    def __init__(self, address: str | Address, *, wait_ms: int = WAIT_MS, memory: int = 50_000) -> None:
        self._server = Quick(address, wait_ms)
        self._memory = PerProcess(lambda: Memory(memory, lambda _key, _value: 1))

    def first(self, vendor: str, visitor: str, alias: str, variant: str, ttl_s: float) -> bool:
        """Say whether this is the first time within *ttl_s* seconds, and remember that it was."""
        if ttl_s <= 0:
            return True
        key = _digest(vendor, visitor, alias, variant)
        # In memory first, which also keeps two threads of this process from being the first.
        if not self._memory.get().add(key, b"", ttl_s):
            return False
        name, ttl_ms = f"{self._server.prefix}seen:{key}", max(1, int(ttl_s * 1000))
        try:
            return bool(self._server.ask(lambda client: client.set(name, b"1", nx=True, px=ttl_ms), writes=True))
        except Away:
            return True

    def close(self) -> None:
        self._server.close()


def _digest(*parts: str) -> str:
    told = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(told, digest_size=16).hexdigest()
