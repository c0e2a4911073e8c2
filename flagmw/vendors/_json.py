"""Parse vendors' JSON: strict, UTF-8, and bounded in depth."""

from __future__ import annotations

import re
from typing import Any

import orjson

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError

MAX_DEPTH = 32
# UTF-8, and with it JSON, has no form for half a surrogate pair.
BROKEN = re.compile(r"[\ud800-\udfff]")

# A string literal (an unterminated one swallows the rest), or a comment. Possessive, and a literal that was begun
# always matches, be its end a lone backslash: no part of the text is looked at twice.
_STRING = r'("(?:[^"\\]|\\.)*+(?:"|\\?\Z))'
_COMMENTS = re.compile(_STRING + r"|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)", re.DOTALL)
_TRAILING_COMMAS = re.compile(_STRING + r"|,(?=\s*+[}\]])", re.DOTALL)
_REPAIRABLE = re.compile(rb"/[/*]|,\s*+[}\]]")


def sound(text: str) -> str:
    """Return *text* without broken Unicode."""
    return text if text.isascii() else BROKEN.sub("", text)


def loads(body: bytes) -> Any:
    """Return the document in *body*.

    Raises:
        ProtocolError: `EMPTY` for no text at all, `NOT_JSON` otherwise.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    if not body or body.isspace():
        raise ProtocolError(ErrorCode.EMPTY)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ProtocolError(ErrorCode.NOT_JSON) from None
    # Nothing lies deeper than there are opening brackets, counted quickly; those in strings count too many.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check_depth(document)
    return document


def loads_tolerant(body: bytes) -> Any:
    """As `loads`, but forgive comments and trailing commas outside of strings, which published samples have.

    The strict parser goes first, so a valid document never meets the repair.
    """
    try:
        return loads(body)
    except ProtocolError as error:
        begin = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if error.code is not ErrorCode.NOT_JSON or begin not in (b"{", b"[", b"/") or not _REPAIRABLE.search(body):
            raise
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProtocolError(ErrorCode.NOT_JSON) from None
    text = _COMMENTS.sub(lambda found: found[1] or " ", text)
    text = _TRAILING_COMMAS.sub(lambda found: found[1] or "", text)
    return loads(text.encode())


def _check_depth(document: Any) -> None:
    level = [document] if type(document) in _CONTAINERS else []
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) in _CONTAINERS
        ]
        if not level:
            return
    raise ProtocolError(ErrorCode.SHAPE)


_CONTAINERS = frozenset({dict, list})
