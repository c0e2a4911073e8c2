"""A shared cache that does what RFC 9111 lets it do, as greedily as it may: it keeps Set-Cookie too."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes]
Fetch = Callable[[str, Mapping[str, str]], Answer]


@dataclass
class SharedCache:
    """Stand between visitors and *fetch*, and answer from memory wherever that is allowed.

    Attributes:
        hits: how many requests were answered from memory.
    """

    fetch: Fetch
    hits: int = 0
    _kept: dict[str, list[tuple[dict[str, str], Answer]]] = field(default_factory=dict)

    def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        for selecting, answer in self._kept.get(path, ()):
            if all(headers.get(name, "") == value for name, value in selecting.items()):
                self.hits += 1
                return answer
        answer = self.fetch(path, headers)
        vary = [name.strip().lower() for name in _value(answer[1], "vary").split(",") if name.strip()]
        if answer[0] == 200 and "*" not in vary and _storable(answer[1]):
            selecting = {name: headers.get(name, "") for name in vary}
            self._kept.setdefault(path, []).append((selecting, answer))
        return answer


def _storable(headers: Headers) -> bool:
    control = _value(headers, "cache-control").lower()
    if re.search(r"\b(private|no-store|no-cache)\b", control):
        return False
    fresh = re.search(r"\bs-maxage=([1-9]\d*)|\bmax-age=([1-9]\d*)", control)
    return bool(fresh) or "public" in control or bool(_value(headers, "expires"))


def _value(headers: Headers, wanted: str) -> str:
    return ", ".join(value for name, value in headers if name.lower() == wanted)
