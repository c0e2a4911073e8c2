"""The order in which a name's addresses are tried."""

from __future__ import annotations

import socket
from typing import Any

from flagmw._transports.race import Losers, delay_s


def v4(last: int) -> Any:
    return (socket.AF_INET, (f"192.0.2.{last}", 443))


def v6(last: int) -> Any:
    return (socket.AF_INET6, (f"2001:db8::{last}", 443, 0, 0))


def test_families_in_turn() -> None:
    """The first one's family comes first; an address that is named twice is tried once."""
    assert Losers().ordered([v6(1), v6(2), v6(2), v6(3), v4(1)]) == [v6(1), v4(1), v6(2), v6(3)]
    assert Losers().ordered([v4(1), v4(2), v6(1)]) == [v4(1), v6(1), v4(2)]


def test_winner_comes_first() -> None:
    """Where a family is dead its other addresses are not tried before the one that has answered."""
    losers, rows = Losers(), [v6(1), v6(2), v6(3), v6(4), v4(1)]
    losers.note(losers.ordered(rows), v4(1)[1])
    assert losers.ordered(rows) == [v4(1), v6(2), v6(3), v6(4), v6(1)]


def test_losers_come_last_for_some_minutes() -> None:
    """What another address has beaten waits behind the others, until it wins or five minutes have passed."""
    now = [0.0]
    losers = Losers(clock=lambda: now[0])
    rows = [v6(1), v4(1), v4(2)]
    losers.note([v6(1), v4(1)], v4(1)[1])
    assert losers.ordered(rows) == [v4(1), v4(2), v6(1)]
    now[0] = 299
    assert losers.ordered(rows) == [v4(1), v4(2), v6(1)]
    now[0] = 301
    assert losers.ordered(rows) == rows
    losers.note([v6(1), v4(1)], v4(1)[1])
    now[0] = 700
    assert losers.ordered(rows) == rows


def test_delay() -> None:
    """A quarter of a second, or less where a connection attempt may take less than half a second."""
    assert [delay_s(limit) for limit in (0.1, 0.5, 5)] == [0.05, 0.25, 0.25]
