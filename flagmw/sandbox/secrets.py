"""Removal of tokens, keys and passwords from shown requests."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

HIDDEN = "***"

_NAMES = (
    r"(?:key|access|refresh|auth|authori[sz]ation|api|client|delivery|management|session|bearer|id)[_.-]?token"
    r"|(?:api|access|private|secret|subscription)[_.-]?key|(?:client|shared)?[_.-]?secret|passw(?:or)?d"
    r"|(?:proxy[_.-]?)?authori[sz]ation|set[_.-]?cookie|credentials?"
)
_FIELD = re.compile(rf"(?:x[_.-])?(?:{_NAMES})", re.I)
_VALUE = r"(?:(?:bearer|basic|token)\s+)?)[^\s&;,\"'\\%]+(?:%(?!(?:25)*26)[^\s&;,\"'\\%]*)*"
# A name and its value inside of a text: in a query, also one that is encoded in another; in JSON, in a header.
_PAIR = re.compile(rf"(?P<name>(?:{_NAMES})(?:=|%(?:25)*3d){_VALUE}", re.I)
_COLON = re.compile(rf"(?P<name>(?:{_NAMES})(?:\\?[\"'])?\s*(?::|%(?:25)*3a)\s*(?:\\?[\"'])?{_VALUE}", re.I)
_SCHEME = re.compile(r"\b(?P<name>(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.I)
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*")


def hidden(value: Any, known: Collection[str], *, colons: bool = True) -> Any:
    """Return *value*, of JSON's types, with secrets replaced: those that are *known*, and what is named like one.

    Args:
        colons: take what follows a secret's name and a colon for one; notes of the sandbox's own name fields so.
    """
    if isinstance(value, str):
        return _text(value, known, colons)
    if isinstance(value, dict):
        return {
            _text(name, known, colons) if isinstance(name, str) else name: (
                HIDDEN
                if part and isinstance(name, str) and _FIELD.fullmatch(name)
                else hidden(part, known, colons=colons and name != "lint")
            )
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [hidden(part, known, colons=colons) for part in value]
    return value


def _text(text: str, known: Collection[str], colons: bool) -> str:
    for secret in known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    if len(text) > 12:
        if "eyJ" in text:
            text = _JWT.sub(HIDDEN, text)
        text = _PAIR.sub(rf"\g<name>{HIDDEN}", text)
        if colons:
            text = _COLON.sub(rf"\g<name>{HIDDEN}", text)
        text = _SCHEME.sub(rf"\g<name>{HIDDEN}", text)
    return text
