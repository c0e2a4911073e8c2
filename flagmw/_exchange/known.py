"""Visitors known to vendors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from flagmw._support.cache import TwoGenerationCache
from flagmw.types import VisitorState
from flagmw.vendors.base import VendorTraits


class KnownVisitors:
    """Remember each vendor's names for visitors, in bounded memory and in the visitor's decision token.

    Args:
        size: how many are remembered.
    """

    def __init__(self, traits: Sequence[VendorTraits], size: int) -> None:
        self._traits = traits
        self._seen: TwoGenerationCache[int, int] = TwoGenerationCache(size, lambda _: 1)

    def note(self, place: int, cookies: Mapping[str, str]) -> None:
        """Remember a visitor with these *cookies*, for whom the vendor has answered."""
        name = self._name(place, cookies)
        if name:
            self._seen.put(hash((place, name)), 1)

    def has(self, states: Sequence[VisitorState], given: Iterable[str]) -> bool:
        """Say whether a vendor has given or accepted the id of the visitor.

        Args:
            given: the visitor's `digests` out of a verified token.
        """
        signed = frozenset(given)
        for place, state in enumerate(states):
            name = self._name(place, state.cookies)
            if name and (self._seen.get(hash((place, name))) or (signed and _digest(place, name) in signed)):
                return True
        return False

    def digests(self, jars: Sequence[Mapping[str, str]]) -> list[str]:
        """Return a digest of each vendor's name for the visitor, for the decision token; *jars* holds the cookies."""
        names = [self._name(place, jar) for place, jar in enumerate(jars)]
        return [_digest(place, name) for place, name in enumerate(names) if name]

    def _name(self, place: int, cookies: Mapping[str, str]) -> str:
        """Return the vendor's name for the visitor; empty if there is none."""
        if not cookies:
            return ""
        traits = self._traits[place]
        if traits.names_visitor is not None:
            return "; ".join(value for name, value in sorted(cookies.items()) if traits.names_visitor(name))
        return str(traits.identity_of(VisitorState(cookies)))


def _digest(place: int, name: str) -> str:
    text = f"{place}:{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=9).hexdigest()
