"""The machine's own store, where events wait to be forwarded."""

from __future__ import annotations

from flagmw._support.encryption import Cipher
from flagmw._valkey.url import Address
from flagmw.exceptions import ConfigError
from flagmw.outbox.base import Outbox
from flagmw.outbox.policy import Disposition, Policy, Requeue


class LocalPolicy(Policy):
    """The rules of the store that only passes events on: nothing ages, ends or is remembered there."""

    def __init__(self) -> None:
        super().__init__(max_age_s=float("inf"), recent_max_rows=0)

    def doubt(self, row: object, now: float, due_at: float) -> Disposition:
        # In doubt is only whether the server has it, and the server knows an id that it has.
        return Requeue(due_at=due_at)

    def too_old(self, created: float, now: float) -> bool:
        return False


def local_store(address: Address, seal: Cipher) -> Outbox:
    if address.directory is None:
        raise ConfigError("the Valkey URL needs dir=, a directory on this machine where events wait to be forwarded")
    from flagmw.outbox.sqlite.outbox import SqliteOutbox

    return SqliteOutbox(address.directory, LocalPolicy(), seal=seal)
