"""Rulings and counts as the server's scripts write them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from flagmw.codes import ErrorCode
from flagmw.outbox.base import LaneStats, Leased
from flagmw.outbox.policy import Bury, Discard, Disposition, Requeue, Settle


def ruling_words(row: Leased, ruling: Disposition) -> tuple[str | bytes, ...]:
    """Return a ruling as `settle.lua` takes it."""
    id = row.event.id
    match ruling:
        case Settle():
            return id, "settle", str(int(ruling.duplicate)), "", "", ""
        case Discard():
            return id, "discard", ruling.code.value, "", "", ""
        case Bury():
            return id, "bury", ruling.code.value, "", "", ""
        case Requeue():
            aliases = b"" if ruling.aliases is None else orjson.dumps(ruling.aliases)
            return id, "requeue", repr(ruling.due_at), str(int(ruling.counted)), str(int(ruling.refused)), aliases


def lane_stats(counts: Mapping[str, Any]) -> LaneStats:
    def number(name: str) -> int:
        return int(counts.get(name, 0))

    dropped = {name.partition(":")[2]: count for name, count in counts.items() if name.startswith("dropped:")}
    return LaneStats(
        accepted=number("accepted"),
        delivered=number("delivered"),
        duplicates=number("duplicates"),
        queued=number("queued"),
        leased=number("leased"),
        dead=number("dead"),
        dropped=code_counts(dropped),
        oldest_s=float(counts.get("oldest", 0)),
    )


def code_counts(counts: Mapping[str, Any]) -> Mapping[ErrorCode, int]:
    by_code: dict[ErrorCode, int] = {}
    for name, count in counts.items():
        by_code[code_of(name)] = by_code.get(code_of(name), 0) + int(count)
    return MappingProxyType(by_code)


def code_of(name: str) -> ErrorCode:
    """Return a code that another version of flagmw may have written."""
    try:
        return ErrorCode(name)
    except ValueError:
        return ErrorCode.VENDOR_OTHER if name.startswith("VENDOR_") else ErrorCode.INTERNAL
