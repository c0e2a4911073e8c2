"""Strict JSON, and the two things that are forgiven."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError
from flagmw.vendors._json import MAX_DEPTH, loads, loads_tolerant

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
