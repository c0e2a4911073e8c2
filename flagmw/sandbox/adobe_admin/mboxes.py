"""Mboxes that visitors requested, with the parameters that came with them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flagmw.sandbox.adobe_admin.dates import stamp

LIMIT = 10_000


@dataclass(slots=True)
class SeenMbox:
    """One mbox."""

    last: float
    parameters: dict[str, None] = field(default_factory=dict)


class MboxNames:
    """The mboxes of all accounts; the least recently requested ones are forgotten."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._seen: OrderedDict[tuple[str, str], SeenMbox] = OrderedDict()

    def note(self, client: str, name: str, parameters: Iterable[str], now: float) -> None:
        """Note a request of an mbox."""
        mbox = self._seen.setdefault((client, name), SeenMbox(now))
        mbox.last = now
        self._seen.move_to_end((client, name))
        mbox.parameters.update((parameter, None) for parameter in list(parameters)[: LIMIT - len(mbox.parameters)])
        if len(self._seen) > LIMIT:
            self._seen.popitem(last=False)

    def rows(self, client: str) -> list[Mapping[str, Any]]:
        """Return the mboxes of an account as a list has them, by name."""
        return [
            {"name": name, "status": "active", "lastRequestedAt": stamp(mbox.last, milliseconds=True)}
            for (owner, name), mbox in sorted(self._seen.items())
            if owner == client
        ]

    def parameters(self, client: str, name: str) -> list[str] | None:
        """Return the names of an mbox's parameters; None for an mbox that was never requested."""
        mbox = self._seen.get((client, name))
        return None if mbox is None else sorted(mbox.parameters)
