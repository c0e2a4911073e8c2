"""The contract of visitor stores, and the format of their values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from flagmw._support.tokens import Keys
from flagmw.types import VisitorState
from flagmw.vendors.base import Vendor

LIFE_S = 90 * 86_400


class VisitorStore(Protocol):
    """Where visitors are kept. Both methods may be called from any thread, and raise when the store is away."""

    def load(self, key: str) -> bytes | None:
        """Return what was saved under *key* and has not run out, else None."""

    def save(self, key: str, value: bytes, ttl_s: float) -> object:
        """Keep *value* under *key* for *ttl_s* seconds."""


def key_of(user_id: str | None, visitor_id: str | None) -> str | None:
    """Return what a visitor is kept under: a hash, so that the store holds no id of the site's."""
    if user_id is None and visitor_id is None:
        return None
    who = f"user:{user_id}" if user_id is not None else f"visitor:{visitor_id}"
    return hashlib.blake2b(who.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class VisitorId(NamedTuple):
    """A visitor's id and when the visitor got it, in seconds since the epoch."""

    id: str
    issued: float


def read_id(token: str | None, keys: Keys, now: float) -> VisitorId | None:
    """Return the visitor's id in *token*; None where it is not ours, or has run out."""
    claims = None if token is None else keys.read("visitor", token, now)
    found = None if claims is None else claims.get("id")
    return VisitorId(found, float(claims["iat"])) if claims is not None and isinstance(found, str) else None


def dump(vendors: Sequence[Vendor], jars: Sequence[Mapping[str, str]]) -> bytes:
    """Return the cookies in *jars*, one per vendor, for the store."""
    return orjson.dumps({vendor.name: dict(jar) for vendor, jar in zip(vendors, jars, strict=True) if jar})


def load(vendors: Sequence[Vendor], stored: bytes | None) -> list[VisitorState]:
    """Return each vendor's cookies in what `dump` wrote; none where it cannot be read or belongs to others."""
    try:
        document = orjson.loads(stored) if stored else {}
        jars = [document.get(vendor.name, {}) for vendor in vendors]
    except (orjson.JSONDecodeError, AttributeError):
        jars = [{} for _ in vendors]
    return [
        VisitorState(
            {
                name: value
                for name, value in (jar.items() if isinstance(jar, dict) else ())
                if isinstance(value, str) and vendor.cookies.reads(name)
            }
        )
        for vendor, jar in zip(vendors, jars, strict=True)
    ]
