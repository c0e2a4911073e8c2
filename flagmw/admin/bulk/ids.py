"""Sets of ids in little memory."""

from __future__ import annotations

from array import array

FIRST_SLOTS = 1 << 16


class SeenIds:
    """Remember up to *most* ids as hashes, with the part that each is in.

    Ten bytes a slot and at most two thirds of the slots used: half a million ids take ten megabytes, where a set would
    take forty. Two ids of one hash would be taken for the same; of a million ids that happens once in 37 million runs.
    """

    def __init__(self, most: int = 4_000_000) -> None:
        self._most = most
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._slots = array("Q", bytes(8 * FIRST_SLOTS))
        self._parts = array("H", bytes(2 * FIRST_SLOTS))
        self._mask = FIRST_SLOTS - 1
        self._used = 0

    @property
    def full(self) -> bool:
        """True when no more ids are to be added."""
        return self._used >= self._most

    def add(self, identity: str, part: int, *, move: bool = False) -> int:
        """Remember *identity* as being in *part*; return the part that it was in before, 0 for a new one.

        Args:
            move: whether an id that is known is in *part* from now on.
        """
        value = (hash(identity) & 0xFFFFFFFFFFFFFFFF) or 1
        slots, mask = self._slots, self._mask
        at = value & mask
        while (there := slots[at]) != 0:
            if there == value:
                before = self._parts[at]
                if move:
                    self._parts[at] = part
                return before
            at = (at + 1) & mask
        slots[at] = value
        self._parts[at] = part
        self._used += 1
        if self._used * 3 > mask * 2:
            self._grow()
        return 0

    def _grow(self) -> None:
        slots, parts = self._slots, self._parts
        size = 2 * len(slots)
        new_slots, new_parts, mask = array("Q", bytes(8 * size)), array("H", bytes(2 * size)), size - 1
        for value, part in zip(slots, parts, strict=True):
            if value:
                at = value & mask
                while new_slots[at]:
                    at = (at + 1) & mask
                new_slots[at] = value
                new_parts[at] = part
        self._slots, self._parts, self._mask = new_slots, new_parts, mask
