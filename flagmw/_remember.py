"""Decisions made before: whose they are, how long they hold, and their form in a cookie.

A decision is bound to a digest of all that it depends on: the vendor and how it is configured, the vendor's cookies of
the visitor as they are after the response, the part of the address the vendor decides by, the visitor's id and
attributes. Where any of it changes, there is simply nothing remembered.
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

import orjson
from cachetools import LRUCache

from flagmw._locks import Lock
from flagmw.codes import ErrorCode, Reason
from flagmw.types import EMPTY, Decision, Factor, Scalar, Variant, VisitorState
from flagmw.vendors.base import Vendor

Key = tuple[int, bytes]

VERSION = 1
DIGEST_BYTES = 12
UNPACKED_BYTES = 64 * 1024


class Remembered:
    """One vendor's decision, as it was *at* some moment (seconds since the epoch); `error` if it failed then.

    It is put into the form in which it is served again when that is first asked for: most decisions never are.
    """

    __slots__ = ("_bare", "_decision", "_raw", "_size", "at")

    def __init__(self, decision: Decision, at: float, *, raw: bool = False, bare: bool = False) -> None:
        self._decision, self.at, self._raw, self._bare = decision, at, raw, bare
        self._size = 0

    @property
    def decision(self) -> Decision:
        """The decision as it is served again: its variants are `CACHED`, and its cookies come along."""
        if self._raw:
            made = self._decision
            cookies = () if self._bare else made.cookies
            variants = {alias: _with_reason(each, Reason.CACHED, None) for alias, each in made.variants.items()}
            # In this order: another thread that comes in between does the same again.
            self._decision = replace(
                made, variants=variants, cookies=cookies, rejected=(), advice=None, log=None
            )
            self._raw = False
        return self._decision

    @property
    def error(self) -> ErrorCode | None:
        """Why the decision failed as a whole, None if it did not."""
        return self._decision.error

    @property
    def has_cookies(self) -> bool:
        """Whether cookies come along."""
        return not self._bare and bool(self._decision.cookies)

    @property
    def size(self) -> int:
        """About how much memory it takes, in bytes."""
        if not self._size:
            self._size = _size(self._decision, bare=self._bare)
        return self._size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remembered) and (self.at, self.decision) == (other.at, other.decision)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Remembered({self._decision!r}, at={self.at})"

    def within(self, seconds: float, now: float) -> bool:
        """Say whether it is younger than *seconds*; a clock that went back a little makes nothing old."""
        return seconds > 0 and self.at - 60.0 <= now < self.at + seconds

    def without_cookies(self) -> Remembered:
        """Return it for a visitor who has its cookies."""
        if not self.has_cookies:
            return self
        made = self._decision
        return Remembered(made if self._raw else replace(made, cookies=()), self.at, raw=self._raw, bare=True)

    def stale(self, code: ErrorCode) -> Decision:
        """Return it as what is served because the vendor failed with *code*."""
        variants = {
            alias: _with_reason(variant, Reason.STALE, code) for alias, variant in self.decision.variants.items()
        }
        return replace(self.decision, variants=variants, error=code)


def remembered(decision: Decision, at: float) -> Remembered:
    """Return *decision*, which was just made, to be served again."""
    return Remembered(decision, at, raw=True)


def _with_reason(variant: Variant, reason: Reason, code: ErrorCode | None) -> Variant:
    return replace(variant, reason=reason, error_code=code)


class Binder:
    """Say what one vendor's decisions are bound to.

    Args:
        n: the vendor's place among those configured.
    """

    def __init__(self, n: int, vendor: Vendor) -> None:
        self._n = n
        self._seed = _fingerprint(vendor)
        self._identity = getattr(vendor, "identity", None)
        self.by: Literal["site", "path", "url"] = getattr(vendor, "decides_by", "url")

    def key(
        self, state: VisitorState, address: str, user_id: str | None, data: Mapping[str, Scalar], *, recorded: bool
    ) -> tuple[Key, bool]:
        """Return the key of decisions, and whether there is anything to know this visitor by.

        Args:
            recorded: whether the vendor counts the visit: what was decided uncounted has to be asked again for a
                visitor who is to be counted.

        Raises:
            TypeError: the id or the attributes are nothing that JSON can carry.
        """
        identity: str = self._identity(state) if self._identity is not None else ""
        told = orjson.dumps([address, user_id, sorted(data.items()) if data else None, identity, recorded])
        digest = hashlib.blake2b(told, digest_size=DIGEST_BYTES, key=self._seed).digest()
        return (self._n, digest), bool(identity) or (user_id is not None and self._identity is not None)


class Memory:
    """The decisions that this process remembers, the latest used; *max_bytes* is an estimate."""

    def __init__(self, max_bytes: int) -> None:
        self._lock = Lock()
        self._kept: LRUCache[Key, tuple[Remembered, int]] = LRUCache(max_bytes, getsizeof=lambda entry: entry[1])

    def get(self, key: Key) -> Remembered | None:
        with self._lock:
            entry = self._kept.get(key)
        return None if entry is None else entry[0]

    def put(self, key: Key, what: Remembered) -> None:
        size = what.size
        with self._lock:
            if size <= self._kept.maxsize:
                self._kept[key] = (what, size)

    def __len__(self) -> int:
        return len(self._kept)


def pack(parts: Sequence[tuple[bytes, Remembered] | None]) -> str:
    """Return decisions, each with the digest it is bound to, as text for a cookie.

    Args:
        parts: one per vendor, in their order; None for a vendor with nothing to remember.
    """
    rows = [None if part is None else _row(*part) for part in parts]
    return urlsafe_b64encode(zlib.compress(orjson.dumps(rows), 9)).rstrip(b"=").decode()


def unpack(text: str, vendors: Sequence[Vendor]) -> dict[Key, Remembered]:
    """Return what `pack` wrote, for the *vendors* as they are configured now.

    The text comes out of a token that was signed here, so only its version can be foreign; what cannot be read is
    nothing.
    """
    try:
        reader = zlib.decompressobj()
        plain = reader.decompress(urlsafe_b64decode(text + "=" * (-len(text) % 4)), UNPACKED_BYTES)
        rows = orjson.loads(plain)
        found: dict[Key, Remembered] = {}
        for n, (vendor, row) in enumerate(zip(vendors, rows, strict=True)):
            if row is None:
                continue
            digest, at, error, notice, misses, variants, hints = row
            found[n, urlsafe_b64decode(digest)] = Remembered(
                Decision(
                    vendor=vendor.name,
                    variants={made.alias: made for made in (_variant(each, vendor.name) for each in variants)},
                    misses={alias: ErrorCode(code) for alias, code in misses.items()},
                    error=None if error is None else ErrorCode(error),
                    notice=None if notice is None else ErrorCode(notice),
                    hints=hints,
                ),
                float(at),
            )
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error):
        return {}
    return found


def _row(digest: bytes, part: Remembered) -> list[Any]:
    made = part.decision
    return [
        urlsafe_b64encode(digest).decode(),
        int(part.at),
        made.error,
        made.notice,
        dict(made.misses),
        [_packed(variant) for variant in made.variants.values()],
        dict(made.hints),
    ]


def _packed(variant: Variant) -> list[Any]:
    row = [
        variant.alias,
        variant.key,
        variant.payload,
        variant.experiment_id,
        variant.run_id,
        variant.test_id,
        variant.name,
        [[factor.name, factor.value, factor.operation] for factor in variant.factors],
        dict(variant.ids),
    ]
    while len(row) > 3 and not row[-1]:  # a payload may be False or empty, and still be one
        row.pop()
    return row


def _variant(row: Sequence[Any], vendor: str) -> Variant:
    padded: list[Any] = [*row, *[None] * (9 - len(row))]
    alias, key, payload, experiment, run, test, name, factors, ids = padded
    return Variant(
        alias=alias,
        key=key,
        payload=payload,
        vendor=vendor,
        reason=Reason.CACHED,
        name=name,
        experiment_id=experiment,
        run_id=run,
        test_id=test,
        factors=tuple(Factor(*each) for each in factors or ()),
        ids=ids or EMPTY,
    )


def _size(decision: Decision, *, bare: bool) -> int:
    """Estimate what a decision takes in memory, in bytes; *bare* without its cookies."""
    size = 600 + 120 * len(decision.misses)
    for variant in decision.variants.values():
        texts = sum(len(text) for text in variant.ids.values()) + sum(len(each.value) for each in variant.factors)
        size += 900 + len(variant.key) + texts + (0 if variant.payload is None else 2 * len(_json(variant.payload)))
    if not bare:
        size += sum(200 + len(change.name) + len(change.value) for change in decision.cookies)
    return size + (2 * len(_json(dict(decision.hints))) if decision.hints else 0)


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b"?" * 1024


def _fingerprint(vendor: Vendor) -> bytes:
    """Return a digest of how *vendor* is configured: what was decided under other options is not remembered."""
    told = repr((VERSION, type(vendor).__qualname__, _plain(getattr(vendor, "__dict__", {}))))
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _plain(value: Any) -> Any:
    """Return *value* as what looks the same in every process; None for what has no such looks, as functions."""
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return sorted(((str(name), _plain(each)) for name, each in value.items()), key=repr)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Set):
        return sorted(map(repr, map(_plain, value)))
    if is_dataclass(value) and not isinstance(value, type):
        return _plain({each.name: getattr(value, each.name) for each in fields(value)})
    return None
