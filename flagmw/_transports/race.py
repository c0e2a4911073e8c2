"""The order in which a name's addresses are tried (RFC 8305)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]

DELAY_S = 0.25
_KNOWN_S = 300.0
_KNOWN_MAX = 1000


def delay_s(connect_s: float) -> float:
    """Return the seconds after which the next address is tried beside those under way.

    Deadlines of a page are short: two tries have to fit where one address is given up after *connect_s*.
    """
    return min(DELAY_S, connect_s / 2)


class Losers:
    """Remember addresses that another one of the same name has beaten, and that one, for some minutes.

    Safe from any thread without a lock: each step is one operation of a dict.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By address: whether it has won its last race, and until when that counts.
        self._known: dict[tuple[Any, ...], tuple[bool, float]] = {}

    def ordered(self, found: Iterable[Address]) -> list[Address]:
        """Return addresses of both families in turn, but first those that have won of late, and losers last."""
        rows = list(dict.fromkeys(found))
        if not self._known:
            return interleaved(rows)
        now, ranks = self._clock(), list[int]()
        for _, address in rows:
            won, until = self._known.get(address, (False, 0.0))
            ranks.append(1 if until <= now else 0 if won else 2)
        return [
            row for rank in range(3) for row in interleaved(r for r, of in zip(rows, ranks, strict=True) if of == rank)
        ]

    def note(self, tried: Sequence[Address], won: tuple[Any, ...]) -> None:
        """Remember that *won* has answered before those of *tried* that stand in front of it."""
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        until = self._clock() + _KNOWN_S
        if tried[0][1] == won:
            if self._known.get(won, (True, 0.0))[0] is False:
                self._known.pop(won, None)
            return
        self._known[won] = (True, until)
        for _, address in tried:
            if address == won:
                return
            self._known[address] = (False, until)


def interleaved(rows: Iterable[Address]) -> list[Address]:
    """Return *rows* with the families in turn, the first row's family first."""
    families: dict[socket.AddressFamily, list[Address]] = {}
    for row in rows:
        families.setdefault(row[0], []).append(row)
    return [row for turn in zip_longest(*families.values()) for row in turn if row is not None]


losers = Losers()
