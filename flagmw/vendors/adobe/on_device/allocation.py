"""Allocation of visitors to percentages, as in Target's on-device decisioning.

The hash is MurmurHash3 x86 32-bit with seed 0 over UTF-16 code units, as the vendor's own clients compute it (Node:
`hashUnencodedChars`), so that all of them give a visitor the same experience.
"""

from __future__ import annotations

from mmh3 import hash as murmur3

SALT = "0"
_BUCKETS = 10_000


def allocation(client: str, activity: str, visitor: str) -> float:
    """Return the visitor's place in an activity: a percentage with two decimals, from 0 up to and without 100."""
    text = f"{client}.{activity}.{visitor}.{SALT}"
    return abs(murmur3(text.encode("utf-16-le", "surrogatepass"))) % _BUCKETS / 100
