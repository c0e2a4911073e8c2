"""Remembered decisions: their keys, their age, and their form in a cookie.

A decision is bound to a digest of all that it depends on: the vendor and how it is configured, the vendor's cookies of
the visitor as they are after the response, the part of the address the vendor decides by, the visitor's id and
attributes. If any of it changes, the decision is not found.
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass, replace
from typing import Any

import orjson

from flagmw._support.cache import TwoGenerationCache
from flagmw.codes import ErrorCode, Reason
from flagmw.types import EMPTY, CookieChange, Decision, Factor, Scalar, Variant, VisitorState
from flagmw.vendors.base import Vendor, VendorTraits

Key = tuple[int, bytes]
"""A vendor's place in the configuration, and a digest of all that its decision depends on."""

VERSION = 1
DIGEST_BYTES = 12
UNPACKED_BYTES = 64 * 1024


class RememberedDecision:
    """One vendor's decision, as it was *at* some moment (seconds since the epoch); `error` if it failed then.

    There is one for every visitor, so it is small. The form in which it is served again is made at first use, which for
    most of them never comes.

    Args:
        decision: the decision; its variants are served again as `CACHED`.
        cookies: the cookies that the visitor may lack; all of the decision's when left out.
    """

    __slots__ = ("_decision", "_size", "_variants", "at", "cookies", "error", "hints", "misses", "notice", "vendor")

    def __init__(self, decision: Decision, at: float, cookies: tuple[CookieChange, ...] | None = None) -> None:
        self.vendor, self.error, self.notice, self.at = decision.vendor, decision.error, decision.notice, at
        self.misses, self.hints, self._variants = decision.misses, decision.hints, decision.variants
        self.cookies = decision.cookies if cookies is None else cookies
        self._decision: Decision | None = None
        self._size = 0

    @property
    def decision(self) -> Decision:
        """The decision as it is served again."""
        if self._decision is None:
            self._variants = {
                alias: variant
                if variant.reason is Reason.CACHED
                else replace(variant, reason=Reason.CACHED, error_code=None)
                for alias, variant in self._variants.items()
            }
            self._decision = Decision(
                vendor=self.vendor,
                variants=self._variants,
                misses=self.misses,
                cookies=self.cookies,
                error=self.error,
                notice=self.notice,
                hints=self.hints,
            )
        return self._decision

    def weigh(self) -> int:
        """Return about how much memory it takes, in bytes."""
        if not self._size:
            self._size = _size(self._variants, self.cookies, len(self.misses), self.hints)
        return self._size

    def within(self, seconds: float, now: float) -> bool:
        """Say whether it is younger than *seconds*; a clock that went back a little makes nothing old."""
        return seconds > 0 and self.at - 60.0 <= now < self.at + seconds

    def without_cookies(self) -> RememberedDecision:
        """Return it for a visitor who has its cookies."""
        if not self.cookies:
            return self
        other = RememberedDecision.__new__(RememberedDecision)
        other.vendor, other.error, other.notice, other.at = self.vendor, self.error, self.notice, self.at
        other.misses, other.hints, other._variants, other.cookies = self.misses, self.hints, self._variants, ()
        other._decision, other._size = None, 0
        return other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RememberedDecision) and (self.at, self.decision) == (other.at, other.decision)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Remembered({self.decision!r}, at={self.at})"


class ReuseKey:
    """Make the keys that one vendor's decisions are remembered by.

    Args:
        place: the vendor's place in the configuration.

    Attributes:
        by: the part of the page's address that decisions depend on.
    """

    def __init__(self, place: int, traits: VendorTraits) -> None:
        self._place, self._identity, self.by = place, traits.identity, traits.decides_by
        self._seed = _fingerprint(traits.vendor)

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
        basis = orjson.dumps([address, user_id, sorted(data.items()) if data else None, identity, recorded])
        digest = hashlib.blake2b(basis, digest_size=DIGEST_BYTES, key=self._seed).digest()
        return (self._place, digest), bool(identity) or (user_id is not None and self._identity is not None)


def memory(max_bytes: int) -> TwoGenerationCache[Key, RememberedDecision]:
    """Return a memory of the decisions used last; *max_bytes* is an estimate."""
    return TwoGenerationCache(max_bytes, RememberedDecision.weigh)


def pack(parts: Sequence[tuple[bytes, RememberedDecision] | None]) -> str:
    """Return decisions, each with the digest it is bound to, as text for a cookie.

    Args:
        parts: one per vendor, in their order; None for a vendor with nothing to remember.
    """
    rows = [None if part is None else _row(*part) for part in parts]
    return urlsafe_b64encode(zlib.compress(orjson.dumps(rows), 9)).rstrip(b"=").decode()


def unpack(text: str, vendors: Sequence[Vendor]) -> dict[Key, RememberedDecision]:
    """Return the decisions that `pack` wrote, for the *vendors* as they are configured now.

    The text comes out of a token that was signed here, so only its version can be foreign; what cannot be read is
    nothing.
    """
    try:
        reader = zlib.decompressobj()
        plain = reader.decompress(urlsafe_b64decode(text + "=" * (-len(text) % 4)), UNPACKED_BYTES)
        rows = orjson.loads(plain)
        decisions: dict[Key, RememberedDecision] = {}
        for place, (vendor, row) in enumerate(zip(vendors, rows, strict=True)):
            if row is None:
                continue
            digest, at, error, notice, misses, variants, hints = row
            decisions[place, urlsafe_b64decode(digest)] = RememberedDecision(
                Decision(
                    vendor=vendor.name,
                    variants={
                        variant.alias: variant for variant in (_variant(packed, vendor.name) for packed in variants)
                    },
                    misses={alias: ErrorCode(code) for alias, code in misses.items()},
                    error=None if error is None else ErrorCode(error),
                    notice=None if notice is None else ErrorCode(notice),
                    hints=hints,
                ),
                float(at),
            )
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error):
        return {}
    return decisions


def _row(digest: bytes, part: RememberedDecision) -> list[Any]:
    decision = part.decision
    return [
        urlsafe_b64encode(digest).decode(),
        int(part.at),
        decision.error,
        decision.notice,
        dict(decision.misses),
        [_packed(variant) for variant in decision.variants.values()],
        dict(decision.hints),
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
        factors=tuple(Factor(*factor) for factor in factors or ()),
        ids=ids or EMPTY,
    )


def _size(
    variants: Mapping[str, Variant], cookies: Sequence[CookieChange], misses: int, hints: Mapping[str, Any]
) -> int:
    """Estimate the memory of a decision's parts, in bytes."""
    size = 600 + 120 * misses
    for variant in variants.values():
        size += 900 + len(variant.key)
        for text in variant.ids.values():
            size += len(text)
        for factor in variant.factors:
            size += len(factor.value)
        size += 100 * max(0, len(variant.ids) - 3) + 250 * max(0, len(variant.factors) - 1)
        if variant.payload is not None:
            size += _tree_size(variant.payload)
    for change in cookies:
        size += 200 + len(change.name) + len(change.value)
    return size + (_tree_size(dict(hints)) if hints else 0)


def _tree_size(value: Any) -> int:
    """Estimate the memory of a JSON value by its text: many small parts take far more than one long one."""
    text = _json(value)
    return 200 + 2 * len(text) + 250 * text.count(b"{") + 100 * (text.count(b"[") + text.count(b","))


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b"?" * 1024


def _fingerprint(vendor: Vendor) -> bytes:
    """Return a digest of the options of *vendor*: decisions under other options are not remembered."""
    described = getattr(vendor, "__fingerprint__", None)
    options = getattr(vendor, "__dict__", {}) if described is None else described()
    text = repr((VERSION, type(vendor).__qualname__, _plain(options)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _plain(value: Any) -> Any:
    """Return *value* in a form that is equal in every process; None if there is none, as for functions."""
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return sorted(((str(name), _plain(item)) for name, item in value.items()), key=repr)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Set):
        return sorted(map(repr, map(_plain, value)))
    if is_dataclass(value) and not isinstance(value, type):
        decisive = [field.name for field in fields(value) if field.metadata.get("decisive", True)]
        return _plain({name: getattr(value, name) for name in decisive})
    return None
