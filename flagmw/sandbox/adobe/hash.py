"""Buckets of Adobe Target's visitors, computed independently of the vendor codec.

MurmurHash3 x86 32-bit, seed 0, over UTF-16 code units; two units make one block of the algorithm.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF


def allocation(client: str, activity: int, visitor: str, salt: str = "0") -> float:
    """Return a visitor's place in an activity, in percent with two decimals."""
    return abs(murmur3(f"{client}.{activity}.{visitor}.{salt}")) % 10_000 / 100


def murmur3(text: str) -> int:
    """Return the signed hash of *text*."""
    raw = text.encode("utf-16-le", "surrogatepass")
    state = 0
    whole = len(raw) // 4 * 4
    for at in range(0, whole, 4):
        state ^= _mixed(int.from_bytes(raw[at : at + 4], "little"))
        state = (_rotated(state, 13) * 5 + 0xE6546B64) & _MASK
    if whole < len(raw):
        state ^= _mixed(int.from_bytes(raw[whole:], "little"))
    state ^= len(raw)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = ((state ^ (state >> shift)) * factor) & _MASK
    state ^= state >> 16
    return state - (1 << 32) if state >> 31 else state


def _mixed(block: int) -> int:
    return _rotated((block * 0xCC9E2D51) & _MASK, 15) * 0x1B873593 & _MASK


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK
