"""A list as one text."""

from __future__ import annotations

from collections.abc import Iterable


class ListText(str):
    """The entries of a list with commas between, for places that take a text; `parts` are the entries themselves."""

    __slots__ = ("parts",)

    parts: tuple[str, ...]

    def __new__(cls, parts: Iterable[str]) -> ListText:
        entries = tuple(parts)
        text = super().__new__(cls, ",".join(entries))
        text.parts = entries
        return text

    def __reduce__(self) -> tuple[type[ListText], tuple[tuple[str, ...]]]:
        return ListText, (self.parts,)
