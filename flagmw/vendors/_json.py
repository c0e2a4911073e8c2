"""Parse vendors' JSON: strict, UTF-8, and bounded in depth."""

from __future__ import annotations

import re
from typing import Any

import orjson

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError

MAX_DEPTH = 32

# A string literal (an unterminated one swallows the rest), or a comment. Possessive, so linear.
_COMMENTS = re.compile(r'("(?:[^"\\]|\\.)*+(?:"|$))|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/|$)', re.DOTALL)
_TRAILING_COMMAS = re.compile(r'("(?:[^"\\]|\\.)*+(?:"|$))|,(?=\s*+[}\]])', re.DOTALL)


def loads(body: bytes) -> Any:
    """Return the document in *body*.

    Raises:
        ProtocolError: `EMPTY` for no text at all, `NOT_JSON` otherwise.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    if not body.strip():
        raise ProtocolError(ErrorCode.EMPTY)
    try:
        return _shallow(orjson.loads(body))
    except orjson.JSONDecodeError:
        raise ProtocolError(ErrorCode.NOT_JSON) from None


def loads_tolerant(body: bytes) -> Any:
    """As `loads`, but forgive comments and trailing commas outside of strings, which published samples have.

    The strict parser goes first, so a valid document never meets the repair.
    """
    try:
        return loads(body)
    except ProtocolError as error:
        if error.code is not ErrorCode.NOT_JSON or body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
            raise
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProtocolError(ErrorCode.NOT_JSON) from None
    text = _COMMENTS.sub(lambda found: found[1] or " ", text)
    text = _TRAILING_COMMAS.sub(lambda found: found[1] or "", text)
    return loads(text.encode())


def _shallow(document: Any) -> Any:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [child for node in level if isinstance(node, dict | list) for child in _children(node)]
        if not level:
            return document
    raise ProtocolError(ErrorCode.SHAPE)


def _children(node: Any) -> Any:
    return node.values() if isinstance(node, dict) else node
