"""Read manifests of the Personalize Edge API: which variant of each experience is active for the visitor.

`experiences` is in order of priority; `activeVariants` is an older map of the same, in no order. Short uids are opaque
texts ("0", "9", "a", "c"), and null means that the experience is paused or that no variant fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError
from flagmw.vendors.common.json import loads

MAX_EXPERIENCES = 500
# A longer answer fits no cookie, however little of it is white space.
TEXT_BYTES = 64 * 1024
ALIAS_PREFIX = "cs_personalize"

# No underscore and no comma: both join short uids to aliases and aliases to the variant parameter.
SHORT_UID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Experience:
    """One experience of a manifest; *variant* is None when none is active."""

    short_uid: str
    variant: str | None

    @property
    def compact(self) -> str:
        """The active variant as the variant parameter has it, such as `b_0`."""
        return f"{self.short_uid}_{self.variant}"

    @property
    def alias(self) -> str:
        """The active variant as the CMS calls it, such as `cs_personalize_b_0`."""
        return f"{ALIAS_PREFIX}_{self.compact}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one answer decides.

    Attributes:
        experiences: in order of priority, the highest first.
        rejected: why others were left out.
        text: the document as the official client writes it into its cookie; empty where it is too long for one.
    """

    experiences: tuple[Experience, ...]
    rejected: tuple[ErrorCode, ...]
    text: str


def read(body: bytes) -> Manifest:
    """Return the manifest in *body*.

    Raises:
        ProtocolError: `EMPTY` for nothing and for null, `NOT_JSON`, `SHAPE` for what is no manifest.
    """
    document = loads(body)
    if document is None:
        raise ProtocolError(ErrorCode.EMPTY)
    pairs = _pairs(document)
    found: dict[str, Experience] = {}
    rejected: list[ErrorCode] = []
    if len(pairs) > MAX_EXPERIENCES:
        rejected.append(ErrorCode.TOO_MANY)
    for short_uid, variant in pairs[:MAX_EXPERIENCES]:
        try:
            experience = _experience(short_uid, variant)
        except ProtocolError as error:
            rejected.append(error.code)
            continue
        # The official client takes the first of a name, which is that of the higher priority.
        found.setdefault(experience.short_uid, experience)
    text = orjson.dumps(_in_client_order(document)).decode() if len(body) <= TEXT_BYTES else ""
    return Manifest(tuple(found.values()), tuple(rejected), text)


def _pairs(document: Any) -> list[tuple[Any, Any]]:
    """Return (short uid, active variant's short uid) as they stand in *document*, one more than are taken."""
    if not isinstance(document, dict):
        raise ProtocolError(ErrorCode.SHAPE)
    listed, older = document.get("experiences"), document.get("activeVariants")
    if isinstance(listed, list):
        return [
            (entry.get("shortUid"), entry.get("activeVariantShortUid")) if isinstance(entry, dict) else (None, None)
            for entry in listed[: MAX_EXPERIENCES + 1]
        ]
    if isinstance(older, dict):
        return list(islice(older.items(), MAX_EXPERIENCES + 1))
    raise ProtocolError(ErrorCode.SHAPE)


def _experience(short_uid: Any, variant: Any) -> Experience:
    own = _short_uid(short_uid, ErrorCode.BAD_ALIAS)
    return Experience(own, None if variant is None else _short_uid(variant, ErrorCode.BAD_VARIANT))


def _short_uid(value: Any, code: ErrorCode) -> str:
    if type(value) is int:  # the official client, too, takes a number for its digits
        value = str(value)
    # The text "null" is what is left of a null that somebody made a text of.
    if not isinstance(value, str) or not SHORT_UID.fullmatch(value) or value == "null":
        raise ProtocolError(code)
    return value


def _in_client_order(value: Any) -> Any:
    """Return *value* with the keys of objects in the order of JavaScript: whole numbers first, ascending."""
    if isinstance(value, list):
        return [_in_client_order(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _in_client_order(value[key]) for key in _client_keys(value)}


def _client_keys(keys: Iterable[str]) -> Iterator[str]:
    indexes = [key for key in keys if _INDEX.fullmatch(key) and int(key) < 2**32 - 1]
    yield from sorted(indexes, key=int)
    taken = set(indexes)
    yield from (key for key in keys if key not in taken)
