"""The visitors that vendors have named, or that came back with a name that a vendor has accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from flagmw._support.cache import Generations
from flagmw.types import VisitorState
from flagmw.vendors.base import Vendor


class KnownVisitors:
    """Remember who visitors are to each vendor, in bounded memory, and say it in a token that the visitor brings back.

    Args:
        size: how many are remembered.
    """

    def __init__(self, vendors: Sequence[Vendor], size: int) -> None:
        self._names = [getattr(vendor, "names_visitor", None) for vendor in vendors]
        self._identities = [getattr(vendor, "identity", None) for vendor in vendors]
        self._seen: Generations[int, int] = Generations(size, lambda _: 1)

    def note(self, n: int, cookies: Mapping[str, str]) -> None:
        """Note that vendor *n* has answered for a visitor who has these *cookies* of it now."""
        name = self._name(n, cookies)
        if name:
            self._seen.put(hash((n, name)), 1)

    def has(self, states: Sequence[VisitorState], given: Iterable[str]) -> bool:
        """Say whether any vendor's name for the visitor is one that a vendor gave or accepted.

        Args:
            given: what `digests` returned for the visitor, out of a token that was verified.
        """
        signed = frozenset(given)
        for n, state in enumerate(states):
            name = self._name(n, state.cookies)
            if name and (self._seen.get(hash((n, name))) or (signed and _digest(n, name) in signed)):
                return True
        return False

    def digests(self, jars: Sequence[Mapping[str, str]]) -> list[str]:
        """Return what a token says of a visitor with the cookies in *jars*, one per vendor."""
        names = [self._name(n, jar) for n, jar in enumerate(jars)]
        return [_digest(n, name) for n, name in enumerate(names) if name]

    def _name(self, n: int, cookies: Mapping[str, str]) -> str:
        """Return what tells the visitor apart for vendor *n*; empty where nothing does."""
        if not cookies:
            return ""
        names_visitor, identity = self._names[n], self._identities[n]
        if names_visitor is not None:
            return "; ".join(value for name, value in sorted(cookies.items()) if names_visitor(name))
        return "" if identity is None else str(identity(VisitorState(cookies)))


def _digest(n: int, name: str) -> str:
    told = f"{n}:{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(told, digest_size=9).hexdigest()
