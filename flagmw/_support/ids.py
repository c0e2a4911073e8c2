"""Event ids (UUIDv7) and visitor hashes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping


def uuid7(now: float | None = None) -> str:
    """Return a version 7 UUID (RFC 9562 section 5.7) for *now*, seconds since the epoch."""
    ms = int((time.time() if now is None else now) * 1000)
    raw = bytearray(ms.to_bytes(6, "big") + os.urandom(10))
    raw[6] = 0x70 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def visitor_key(vendor: str, user_id: str | None, cookies: Mapping[str, str]) -> str:
    """Return a short hash that is equal for the events of one visitor and says nothing about them.

    The vendor's cookies may change their values from answer to answer, so the key serves ordering
    within a few moments, not recognition over time.
    """
    who = user_id if user_id is not None else "\0".join(f"{n}={v}" for n, v in sorted(cookies.items()))
    return hashlib.blake2b(f"{vendor}\0{who}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
