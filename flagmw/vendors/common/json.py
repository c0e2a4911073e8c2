"""Strict JSON parser with bounds on depth, size and time."""

from __future__ import annotations

import codecs
import re
from typing import Any

import orjson

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError

MAX_DEPTH = 32
# Objects and lists take most of the time. The longest answers of the vendors have some thousands of them.
MAX_CONTAINERS = 16_384
# Longer answers are not repaired: published samples are short, with a few comments.
MAX_COMMENTS = 1_000
MAX_CUTS = 1_000
MAX_HALVES = 16_384
MAX_PARTS = 16_384
# UTF-8, and so JSON, cannot represent half a surrogate pair.
BROKEN = re.compile(r"[\ud800-\udfff]")

# The escape of half a surrogate pair, in a text where every backslash begins an escape. A pattern that begins with a
# literal is ten times faster than one with several beginnings.
_HALF_ESCAPE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
# The rest of a character's bytes after a cut, and half a surrogate pair that was encoded alone. A single byte is most
# likely Latin-1, which is not repaired.
_HALF_BYTES = re.compile(
    rb"[\xf0-\xf4][\x80-\xbf]{0,2}(?![\x80-\xbf])|[\xe0-\xef][\x80-\xbf](?![\x80-\xbf])"
    rb'|\xed[\xa0-\xbf][\x80-\xbf]|(?<=")[\x80-\xbf]{1,3}'
)
# Text up to the next comment, matched without backtracking.
_CODE = re.compile(rb'[^"/]*+(?:(?:"[^"]*+"|/(?![/*]))[^"/]*+)*+')
_TRAILING_COMMAS = re.compile(rb",(?=\s*+[}\]])")
# Escapes are replaced by bytes that no JSON text has, while the text outside of strings is repaired.
_BACKSLASH, _QUOTE = b"\x01", b"\x02"


def blank(text: str) -> bool:
    """Say whether *text* holds nothing but the marks of broken characters."""
    return not text.strip("\ufffd")


def sound(text: str) -> str:
    """Return *text* without halves of surrogate pairs."""
    return text if text.isascii() else BROKEN.sub("", text)


def loads(body: bytes, most: int | None = MAX_CONTAINERS) -> Any:
    """Return the document in *body*. Characters that were cut in half are replaced by U+FFFD.

    Args:
        most: the largest number of objects and lists; None for no limit, if no visitor waits.

    Raises:
        ProtocolError: `EMPTY` for an empty body, `SHAPE` for too deep nesting, `NOT_JSON` for other texts.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    if not body or body.isspace():
        raise ProtocolError(ErrorCode.EMPTY)
    # The number of opening brackets bounds the number of containers and the depth. It is quick to count, and too high
    # if strings hold brackets.
    brackets = _brackets(body)
    if most is not None and brackets > most and _too_many(body, most):
        raise ProtocolError(ErrorCode.NOT_JSON)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _with_whole_characters(body)
    if brackets > MAX_DEPTH:
        if body.count(b'"') <= MAX_PARTS:
            _check_nesting(body)
        else:
            _check_depth(document)
    return document


def loads_tolerant(body: bytes) -> Any:
    """As `loads`, but accept comments and trailing commas outside of strings, which published samples have.

    The strict parser runs first, so a valid document is never repaired.
    """
    try:
        return loads(body)
    except ProtocolError as error:
        begin = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if error.code is not ErrorCode.NOT_JSON or begin not in (b"{", b"[", b"/") or not _repairable(body):
            raise
    return loads(_repaired(body.removeprefix(b"\xef\xbb\xbf")))


def _too_many(body: bytes, most: int) -> bool:
    return _brackets(b"".join(_hidden(body).split(b'"')[::2])) > most


def _repairable(body: bytes) -> bool:
    """Say whether *body* may need a repair, and is small enough for a quick one."""
    if body.count(b",") > MAX_PARTS or _brackets(body) > MAX_CONTAINERS:
        return False
    if body.count(b'"') > 4 * MAX_PARTS or body.count(b"\\") > 4 * MAX_PARTS:
        return False
    return b"//" in body or b"/*" in body or _TRAILING_COMMAS.search(body) is not None


def _brackets(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[")


def _hidden(text: bytes) -> bytes:
    """Return *text* without escaped backslashes and quotes: every remaining quote begins or ends a string."""
    return text.replace(b"\\\\", _BACKSLASH).replace(b'\\"', _QUOTE) if b"\\" in text else text


def _with_whole_characters(body: bytes) -> Any:
    """Return the document in *body* with its cut characters replaced, if it has no other fault."""
    mended, halves = 0, body.count(b"\\ud") + body.count(b"\\uD")
    try:
        if not body.isascii() and body.decode("utf-8", "replace").count("\ufffd") <= MAX_CUTS:
            whole = body.decode("utf-8", _CUT).encode()
            mended, body = len(whole) != len(body) or whole != body, whole
        if 0 < halves <= MAX_HALVES:
            body, halves_replaced = _HALF_ESCAPE.subn(rb"\\ufffd", body.replace(b"\\\\", rb"\u005c"))
            mended += halves_replaced
        if mended:
            return orjson.loads(body)
    except ValueError:  # also of JSON, and of bytes that are no text
        pass
    raise ProtocolError(ErrorCode.NOT_JSON)


def _mend_cut(error: UnicodeError) -> tuple[str, int]:
    """Replace the rest of a cut character by U+FFFD; an error handler of codecs."""
    assert isinstance(error, UnicodeDecodeError)
    half = _HALF_BYTES.match(error.object, error.start)
    if half is None:
        raise error
    return "\ufffd", half.end()


_CUT = "flagmw.cut"
codecs.register_error(_CUT, _mend_cut)


def _repaired(body: bytes) -> bytes:
    """Return *body* without comments and trailing commas.

    Raises:
        ProtocolError: `NOT_JSON`, if no repair helps or the body is too long for one.
    """
    if _BACKSLASH in body or _QUOTE in body:  # in JSON these two are escaped
        raise ProtocolError(ErrorCode.NOT_JSON)
    text = _hidden(body)
    if text.count(b'"') > 2 * MAX_PARTS:
        raise ProtocolError(ErrorCode.NOT_JSON)
    parts = text.split(b'"')
    outside = b'"'.join(parts[::2])
    if b"//" in outside or b"/*" in outside:
        parts = _without_comments(text).split(b'"')
        outside = b'"'.join(parts[::2])
    if len(parts) % 2 == 0:
        raise ProtocolError(ErrorCode.NOT_JSON)
    parts[::2] = _TRAILING_COMMAS.sub(b"", outside).split(b'"')
    return b'"'.join(parts).replace(_QUOTE, b'\\"').replace(_BACKSLASH, b"\\\\")


def _without_comments(text: bytes) -> bytes:
    """Return *text*, whose escapes are hidden, with a space in place of each comment."""
    pieces: list[bytes] = []
    at = 0
    for _ in range(MAX_COMMENTS):
        code = _CODE.match(text, at)
        end = at if code is None else code.end()
        pieces.append(text[at:end])
        begin = text[end : end + 2]
        if begin not in (b"//", b"/*"):
            return b" ".join([*pieces, text[end:]])
        # A comment without an end reaches to the end of the text.
        stop, length = (text.find(b"\n", end), 0) if begin == b"//" else (text.find(b"*/", end + 2), 2)
        at = len(text) if stop < 0 else stop + length
    raise ProtocolError(ErrorCode.NOT_JSON)


def _check_nesting(body: bytes) -> None:
    """As `_check_depth`, from the text of a valid document; quicker for many numbers in few lists."""
    nested = b"".join(_hidden(body).split(b'"')[::2]).translate(_SQUARE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        nested = nested.replace(b"[]", b"")
        if not nested:
            return
    raise ProtocolError(ErrorCode.SHAPE)


_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


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
