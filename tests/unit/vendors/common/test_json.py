"""Strict JSON, and the two things that are forgiven."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError
from flagmw.vendors.common.json import MAX_DEPTH, loads, loads_tolerant
from tests.support.busy import best

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def code(body: bytes) -> ErrorCode:
    with pytest.raises(ProtocolError) as caught:
        loads_tolerant(body)
    return caught.value.code


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t ", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_U14_empty(body: bytes) -> None:
    """No text at all is its own case."""
    assert code(body) is ErrorCode.EMPTY


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[" + b"1" * 5000 + b"]",
        b"{'a': 1}",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b'["\xff"]',
        b'["a\nb"]',
        b'["\x00"]',
        b"{a: 1}",
        b'{"a" 1}',
        b"[1 2]",
        b"[1,,2]",
        b"[1",
        b'{"a": "b',
        b"[1]]",
        b"[1] x",
        b"<html></html>",
        b"undefined",
        b'\xff\xfe[\x00"\x00',
        b"[]\x00",
        b"# x\n[]",
        b"[1, # x\n]",
        b"[1]; // x",
        b"[1 /",
        b"//",
        b"/*",
        b"/**/",
        b"/",
    ],
)
def test_U19_U20_U21_not_json(body: bytes) -> None:
    """What no strict parser takes is refused, whatever else might be made of it."""
    assert code(body) in (ErrorCode.NOT_JSON, ErrorCode.EMPTY)


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'{"a":1,}', {"a": 1}),
        (b"[1,]", [1]),
        (b"[1 , \r\n\t]", [1]),
        (b'{"a":[{},],"b":{"c":[],},}', {"a": [{}], "b": {"c": []}}),
        (b'["a,]",]', ["a,]"]),
        (b'["\\",]",]', ['",]']),
        (b'["\\\\",]', ["\\"]),
        (b"[1] // end", [1]),
        (b"// begin\n[1]", [1]),
        (b"/* begin */ [1]", [1]),
        (b"[1, // one\n2 // two\n]", [1, 2]),
        (b"[1, /* two, */]", [1]),
        (b"[1, // two,\n]", [1]),
        (b"[/**/1/***/,/* * / */2]", [1, 2]),
        (b'["http://a.b//c", /* "x" */ "/* no */"]', ["http://a.b//c", "/* no */"]),
        (b'["\\"// no", // "yes\n 1]', ['"// no', 1]),
        (b"[1]/* not ended", [1]),
        (b'\xef\xbb\xbf{"a": 1,}', {"a": 1}),
        ('["ü",]'.encode(), ["ü"]),
    ],
)
def test_U18_repair(body: bytes, document: Any) -> None:
    """Comments and trailing commas are forgiven outside of strings, and nothing in a string is touched."""
    assert loads_tolerant(body) == document
    if not body.startswith(b"\xef\xbb\xbf"):
        with pytest.raises(ProtocolError):
            loads(body)


def test_U20_bom() -> None:
    """A byte order mark before UTF-8 is passed over."""
    assert loads(b"\xef\xbb\xbf[1]") == [1]


def test_U22_duplicate_keys() -> None:
    """Of a key that stands twice the last counts."""
    assert loads(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize("leaf", [b"", b"1", b'"x"', b"null"])
@pytest.mark.parametrize(("depth", "good"), [(MAX_DEPTH - 1, True), (MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_U23_depth_limit(depth: int, good: bool, leaf: bytes) -> None:
    """32 levels are taken and 33 are not, whatever is in the innermost."""
    for body in (b"[" * depth + leaf + b"]" * depth, b'{"a":' * (depth - 1) + b"[" + leaf + b"]" + b"}" * (depth - 1)):
        if good:
            loads_tolerant(body)
        else:
            assert code(body) is ErrorCode.SHAPE


HUGE: dict[str, bytes] = {
    "arrays": b"[" * 100_000,
    "closed arrays": b"[" * 100_000 + b"]" * 100_000,
    "objects": b'{"a":' * 100_000,
    "digits": b"[" + b"1" * 500_000 + b"]",
    "escaped quotes without an end": b'["' + b'\\"' * 250_000,
    "escaped quotes and half an escape": b'["' + b'\\"' * 250_000 + b"\\",
    "escaped quotes before a comment": b'["' + b'\\"' * 250_000 + b"//\\",
    "quotes": b'["' + b'"' * 500_000,
    "slashes": b"[" + b"/" * 500_000,
    "comments": b"[" + b"/**/" * 125_000,
    "comments without an end": b"[" + b"/*" * 250_000,
    "stars": b"[/" + b"*" * 500_000,
    "commas": b"[" + b"," * 500_000,
    "commas and spaces": b"[" + b",  " * 170_000,
    "a comma and spaces": b"[1," + b" " * 500_000,
    "spaces": b" " * 500_000 + b"x",
}


@pytest.mark.parametrize("name", HUGE)
def test_U23_no_body_takes_long(name: str) -> None:
    """The largest body that a driver lets through is refused in an instant, whatever it is made of."""
    start = time.thread_time()
    code(HUGE[name])
    assert time.thread_time() - start < 0.25, name


def test_U23_depth_of_100_000() -> None:
    """A depth of 100,000 costs less than 20 ms."""
    start = time.thread_time()
    assert code(b"[" * 100_000) is ErrorCode.NOT_JSON
    assert time.thread_time() - start < 0.02


@given(DOCUMENTS)
def test_sound_documents_pass_unchanged(document: Any) -> None:
    """The repair never touches a document that is sound, and loses nothing of one that it repairs."""
    body = orjson.dumps(document)
    assert loads_tolerant(body) == loads(body) == document
    if isinstance(document, list | dict):
        commented = b"/* , */ " + body + b" // ]"
        assert loads_tolerant(commented) == document


@given(st.dictionaries(st.text(max_size=6), st.text(alphabet='/*,"\\]}{[ \nab', max_size=12), min_size=1, max_size=5))
def test_strings_survive_the_repair(document: dict[str, str]) -> None:
    """No string that looks like a comment, a comma or a bracket is changed."""
    body = json.dumps(document)[:-1].encode() + b",/* , */}"
    assert loads_tolerant(body) == document


@given(st.binary(max_size=60) | st.text(alphabet='/*,"\\]}{[1 \n', max_size=40).map(str.encode))
def test_nothing_but_protocol_errors(body: bytes) -> None:
    """Any bytes are a document or a ProtocolError."""
    try:
        loads_tolerant(body)
    except ProtocolError as error:
        assert error.code in (ErrorCode.EMPTY, ErrorCode.NOT_JSON, ErrorCode.SHAPE)


# Characters that were cut in half


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'["\\ud83d"]', ["\ufffd"]),
        (b'["\\ude00"]', ["\ufffd"]),
        (b'["buy \\uD83D", 1]', ["buy \ufffd", 1]),
        (b'["\\ude00 now", {"a": "\\ud83d\\ude00"}]', ["\ufffd now", {"a": "\U0001f600"}]),
        (b'["\\ud83d\\ud83d\\ude00\\ude00"]', ["\ufffd\U0001f600\ufffd"]),
        (b'["\\ud83dx\\ude00"]', ["\ufffdx\ufffd"]),
        (b'["\\ud83d\\u0041"]', ["\ufffdA"]),
        (b'{"\\ud83d": "\\udbff"}', {"\ufffd": "\ufffd"}),
        # The letters after an escaped backslash are letters.
        (b'["\\\\ud83d", "\\ud83d"]', ["\\ud83d", "\ufffd"]),
        (b'["\\\\\\ud83d\\\\\\\\ude00"]', ["\\\ufffd\\\\ude00"]),
        (b'["\\"\\ud83d\\""]', ['"\ufffd"']),
        # The same, as bytes.
        (b'["buy \xf0\x9f\x98", 1]', ["buy \ufffd", 1]),
        (b'["buy \xf0\x9f"]', ["buy \ufffd"]),
        (b'["buy \xf0"]', ["buy \ufffd"]),
        (b'["\x98\x80 now"]', ["\ufffd now"]),
        (b'["\xe2\x82"]', ["\ufffd"]),
        (b'["\xed\xa0\xbd\xed\xb8\x80"]', ["\ufffd\ufffd"]),
        ('["ü😀", "'.encode() + b'\xf0\x9f"]', ["ü😀", "\ufffd"]),
    ],
)
def test_U21_a_cut_character_costs_only_itself(body: bytes, document: Any) -> None:
    """Half a surrogate pair, or what is left of a character's bytes, becomes U+FFFD; all else stays as it is."""
    assert loads(body) == document == loads_tolerant(body)
    if body.startswith(b"["):
        assert loads_tolerant(body[:-1] + b",/* x */]") == document


@pytest.mark.parametrize(
    "body", [b'[\\ud83d"a"]', b"[\xf0\x9f]", b'["\\ud83d]', b'["\\ud83d" 1]', b'["vari\xe4tion"]', b'["\\ud8"]']
)
def test_U21_nothing_else_is_mended(body: bytes) -> None:
    """What is broken besides, or may be of another encoding, is no JSON."""
    assert code(body) is ErrorCode.NOT_JSON


@given(st.text(max_size=30), st.integers(0, 60))
def test_U21_a_text_cut_anywhere_leaves_the_others_whole(text: str, place: int) -> None:
    escaped = json.dumps([text])[2:-2]
    units = re.findall(r"\\u[0-9a-f]{4}|\\.|.", escaped)
    cut = "".join(units[: place % (len(units) + 1)])
    document = loads(f'{{"cut": "{cut}", "whole": "{escaped}"}}'.encode())
    assert document["whole"] == text
    assert "\ufffd" in document["cut"] or text.startswith(document["cut"])


# Time

SIZE = 512 * 1024


def filled(begin: bytes, part: bytes, end: bytes) -> bytes:
    return begin + part * ((SIZE - len(begin) - len(end)) // len(part)) + end


SHAPES: dict[str, bytes] = {
    "lists": filled(b"[", b"[],", b"0]"),
    "objects": filled(b"[", b"{},", b"0]"),
    "small objects": filled(b"[", b'{"a":1},', b"0]"),
    "elements": filled(b"[", b'{"body":{"factors":[{"name":"n","value":"v"}]},"opcode":"process"},', b"0]"),
    "numbers": filled(b"[", b"1,", b"0]"),
    "numbers and lists": filled(b"[" + b"[]," * 40, b"1,", b"0]"),
    "texts": filled(b"[", b'"",', b"0]"),
    "one text": filled(b'["', b"a", b'"]'),
    "one text of brackets": filled(b'["', b"[{", b'"]'),
    "quotes": filled(b'["', b'\\"', b'"]'),
    "backslashes": filled(b'["', b"\\\\", b'"]'),
    "escapes": filled(b'["', b"\\u00e4", b'"]'),
    "emoji": filled(b'["', b"\\ud83d\\ude00", b'"]'),
    "halves": filled(b'["', b"\\ud83d", b'"]'),
    "half bytes": filled(b'["', b"\xf0\x9f ", b'"]'),
    "keys": b"{" + b",".join(b'"%d":1' % n for n in range(50_000)) + b"}",
    "deep": filled(b"[", b"[" * 31 + b"]" * 31 + b",", b"0]"),
    "addresses": filled(b"[", b'"http://a.b/*c*/",', b"0]"),
}
ENDS = {"as it is": b"", "half": b',"\\ud83d"', "comma": b",", "comment": b"/* x */", "both": b",/*,*/"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_U24_half_a_megabyte_takes_no_time(shape: str, end: str) -> None:
    """The longest answer, of whatever shape, sound or to be mended, costs no more than one pass over it.

    That is below 10 ms on a machine that does nothing else; three times as much leaves room for one that does.
    """
    body = SHAPES[shape]
    name = b'"x":' if shape == "keys" else b""
    body = body[:-1] + ENDS[end].replace(b',"', b"," + name + b'"') + body[-1:]

    def took() -> float:
        begun = time.thread_time()
        with contextlib.suppress(ProtocolError):
            loads_tolerant(body)
        return time.thread_time() - begun

    assert best(took, 0.03) < 0.03


def test_U18_a_long_answer_is_mended_all_the_same() -> None:
    """Thousands of elements with a comment and trailing commas are no less of an answer."""
    elements = [{"alias": f"a{n}", "value": "x" * 20, "more": ["/*", 'a"b\\']} for n in range(2_000)]
    body = json.dumps(elements).encode()
    assert loads_tolerant(b"// sample\n" + body[:-1] + b",]") == elements
