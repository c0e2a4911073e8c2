"""Shares of `memory_mb` for each kind of memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from sys import getsizeof

MIB = 1024 * 1024
# What an entry of a table of numbers takes, in bytes: its place, its key and its value.
_NUMBER_BYTES = 140
_PAIR_BYTES = 220


@dataclass(frozen=True, slots=True)
class MemoryShares:
    """How much each kind of memory may hold.

    Attributes:
        headers: bytes for parsed Cookie headers, with their caches.
        decisions: bytes for remembered decisions.
        shadows: bytes for the cookies that shadow vendors have set.
        refreshed, seen, tracks, known: entries for cookies sent, exposures reported, visitors who track, and visitors
            whom vendors know.
    """

    headers: int
    decisions: int
    shadows: int
    refreshed: int
    seen: int
    tracks: int
    known: int

    @classmethod
    def of(cls, memory_mb: int, *, seen: bool, known: bool) -> MemoryShares:
        """Return the shares of *memory_mb* MiB.

        Args:
            seen: whether exposures are reported and have to be remembered.
            known: whether new visitors are limited, so that known ones have to be remembered.
        """
        room = memory_mb * MIB
        large = room * (13 - 4 * seen) // 32
        return cls(
            headers=large,
            decisions=large,
            shadows=room // 16,
            refreshed=room // 16 // _NUMBER_BYTES,
            seen=room // 4 // _NUMBER_BYTES if seen else 0,
            tracks=room // 32 // _PAIR_BYTES,
            known=room // 16 // _NUMBER_BYTES if known else 0,
        )


def weight_of(texts: Mapping[str, str]) -> int:
    """Estimate the memory of a dictionary of texts, in bytes."""
    return 300 + sum([100 + getsizeof(name) + getsizeof(value) for name, value in texts.items()])
