"""Variants from a table, for offline work, tests and fixed roll-outs.

The table (a TOML or JSON file, or a mapping) has one entry per alias:

    [flags.ta_Checkout]
    variant = "variation"                               # everyone gets it

    [flags.ta_Hero]
    split = { control = 50, variation = 50 }            # weights; the same visitor always gets the same one
    salt = "hero-2"                                     # another salt deals anew (default: the alias)
    payloads = { variation = { title = "Hello" } }      # optional content by variant
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagmw._cookies.rule import CookieRule
from flagmw.codes import ErrorCode, Reason
from flagmw.exceptions import ConfigError
from flagmw.types import CookieChange, Decision, Dropped, Event, Flow, Outcome, Track, Variant, Visit, VisitorState
from flagmw.vendors.base import Participation
from flagmw.vendors.common.options import checked_flag, checked_prefix

_ID = re.compile(r"[0-9a-f]{32}")
_ID_LIFE_S = 400 * 86400


@dataclass(frozen=True, slots=True)
class _Flag:
    salt: str
    shares: tuple[tuple[str, float], ...]
    payloads: Mapping[str, Any]


class Static:
    """Flags from a file or a mapping, with deterministic weighted buckets.

    The visitor's id is the `user_id`, otherwise a random id in a cookie of this vendor.

    Args:
        path: A TOML or JSON file, read once when the vendor is made.
        flags: The table itself, instead of a file.
        name: The vendor's name in flags, counters and logs. Two accounts of one vendor need two names.
        prefix: Text that is put before every alias of this vendor.
        cookie: The name of the cookie with the visitor's id.
        shadow: Only compare: its decisions are never served.

    Raises:
        ConfigError: The file cannot be read, or an entry is wrong. The text names the alias.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        flags: Mapping[str, Any] | None = None,
        name: str = "static",
        prefix: str = "",
        cookie: str = "flagmw_uid",
        shadow: bool = False,
    ) -> None:
        owner = f"vendor {name!r}"
        self.name, self.prefix, self.at_most_once = name, checked_prefix(owner, prefix), False
        self.exposure, self.shadow = "off", checked_flag(owner, "shadow", shadow)
        if (path is None) == (flags is None):
            raise ConfigError(f"{owner}: give either path or flags")
        if not isinstance(path, str | Path | None):
            raise ConfigError(f"{owner}: path must name a TOML or JSON file")
        if not isinstance(flags, Mapping | None):
            raise ConfigError(f"{owner}: flags must be a table with one entry per alias")
        if not isinstance(cookie, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", cookie):
            raise ConfigError(f"{owner}: cookie must be 1 to 64 letters, digits, dots, dashes or underscores")
        table = flags if flags is not None else _read(owner, Path(path or ""))
        self._flags = {alias: _flag(owner, alias, entry) for alias, entry in table.items()}
        self._split = any(len(flag.shares) > 1 for flag in self._flags.values())
        self._cookie = cookie
        self.cookies = CookieRule(
            prefixes=(cookie,),
            reads=lambda name: name == cookie,
            writes=lambda name: name == cookie,
            value_ok=lambda value: _ID.fullmatch(value) is not None,
            max_bytes=64,
            http_only=True,
        )

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Assign a variant for every alias of the table, without a call."""
        # Some clients add quotes.
        known = visit.user_id or state.cookies.get(self._cookie, "").strip('"')
        who = known or visit.fresh_id
        mint = not known and self._split
        life = CookieChange(name=self._cookie, value=who, max_age_s=_ID_LIFE_S)
        return Decision(
            vendor=self.name,
            variants={alias: self._deal(alias, flag, who) for alias, flag in self._flags.items()},
            cookies=(life,) if mint else (),
        )
        yield  # makes this a generator, as every vendor's `decide` is

    def identity(self, state: VisitorState) -> str:
        """Return the visitor's id."""
        return state.cookies.get(self._cookie, "").strip('"')

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Return nothing: there is no service to report to."""
        return Participation()

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Return nothing: there is no service to report to."""
        return Participation()

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Drop events that were stored when this name belonged to another vendor."""
        return [Dropped(ErrorCode.NO_VENDOR) for _ in batch]
        yield

    def _deal(self, alias: str, flag: _Flag, who: str) -> Variant:
        key = flag.shares[0][0] if len(flag.shares) == 1 else bucket(flag.salt, who, flag.shares)
        return Variant(
            alias=alias,
            key=key,
            payload=flag.payloads.get(key),
            vendor=self.name,
            reason=Reason.STATIC if len(flag.shares) == 1 else Reason.SPLIT,
        )


def bucket(salt: str, who: str, shares: Sequence[tuple[str, float]]) -> str:
    """Return the variant of *who* by weight; equal input gives equal output on every machine."""
    digest = hashlib.blake2b(f"{salt}\0{who}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64 * sum(weight for _, weight in shares)
    for key, weight in shares:
        point -= weight
        if point < 0:
            return key
    return next(key for key, weight in reversed(shares) if weight > 0)  # a rounding error at the end of the range


def _read(owner: str, path: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        text = path.read_text("utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{owner}: cannot read path {str(path)!r}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{owner}: {str(path)!r} is not valid {path.suffix.lstrip('.') or 'TOML'}: {error}") from None
    table = document.get("flags") if isinstance(document, dict) else None
    if not isinstance(table, dict):
        raise ConfigError(f'{owner}: {str(path)!r} needs a table "flags" with one entry per alias')
    return table


def _flag(owner: str, alias: str, entry: Any) -> _Flag:
    where = f"{owner}: flags.{alias}"
    if not isinstance(alias, str) or not 1 <= len(alias) <= 250 or not alias.isprintable():
        raise ConfigError(f"{owner}: an alias must be 1 to 250 printable characters")
    if isinstance(entry, str):
        entry = {"variant": entry}
    if not isinstance(entry, Mapping):
        raise ConfigError(f'{where} must be a table with "variant" or "split"')
    unknown = entry.keys() - {"variant", "split", "salt", "payload", "payloads"}
    if unknown:
        raise ConfigError(f"{where} has unknown keys: {', '.join(sorted(map(str, unknown)))}")
    if ("variant" in entry) == ("split" in entry):
        raise ConfigError(f'{where} needs either "variant" or "split"')
    payloads = entry.get("payloads", {})
    if not isinstance(payloads, Mapping):
        raise ConfigError(f"{where}.payloads must map variants to their content")
    payloads = dict(payloads)
    if "variant" in entry:
        if not isinstance(entry["variant"], str) or not entry["variant"]:
            raise ConfigError(f"{where}.variant must be a text that is not empty")
        if "payload" in entry:
            payloads[entry["variant"]] = entry["payload"]
        return _Flag(alias, ((entry["variant"], 1.0),), payloads)
    if "payload" in entry:
        raise ConfigError(f'{where}.payload needs "variant"; with "split" use "payloads", by variant')
    split = entry["split"]
    good = isinstance(split, Mapping) and all(
        isinstance(key, str) and key and isinstance(w, int | float) and not isinstance(w, bool) and 0 <= w <= 1e12
        for key, w in split.items()
    )
    if not good or not sum(split.values()) > 0:
        raise ConfigError(f"{where}.split must map variants to weights of which at least one is above zero")
    return _Flag(str(entry.get("salt", alias)), tuple((key, float(w)) for key, w in split.items()), payloads)
