"""Tokens by which testers choose variants: where they come from, and which of them count."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._support.tokens import MAX_CHARS, Keys
from flagmw._web.overrides import MAX_LIFE_S, OFF, Override, mint, read, sent
from flagmw.codes import ErrorCode

NOW = 1_800_000_000.0
HOST = "www.mysite.com"
KEYS = Keys(["k1-3f9a0c7be24d581690abcdef1234567890"])
OTHER = Keys(["k2-90fe1d2c3b4a596877a8b9c0d1e2f3a4b5"])
CHOICE = Override({"ta_A": "red", "exp b": "x:y"}, True, {"v1": {"token": "t", "n": 1}}, NOW + 3600)


def signed(claims: dict[str, Any], keys: Keys = KEYS) -> str:
    return keys.sign("override", {"host": HOST, **claims}, NOW, 3600)


def test_what_is_minted_is_read() -> None:
    """All that a tester has chosen comes back, and until when."""
    token = mint(KEYS, CHOICE, HOST, NOW)
    assert len(token) < MAX_CHARS
    assert read(token, KEYS, HOST, NOW, unsigned=False) == CHOICE


@pytest.mark.parametrize(
    ("keys", "host", "now"),
    [
        (KEYS, "staging.mysite.com", NOW),
        (KEYS, HOST, NOW + 3600 + 61),
        (KEYS, HOST, NOW - 3600),
        (OTHER, HOST, NOW),
        (Keys([]), HOST, NOW),
    ],
    ids=["another host", "expired", "from the future", "another environment's key", "no keys at all"],
)
def test_I9_tokens_that_do_not_count(keys: Keys, host: str, now: float) -> None:
    """A good token in the wrong place or time is a bad one."""
    assert read(mint(KEYS, CHOICE, HOST, NOW), keys, host, now, unsigned=False) is ErrorCode.BAD_TOKEN


def test_I9_length_is_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten kilobytes cost no signature."""
    import hmac

    def fail(*args: object) -> Any:
        raise AssertionError("computed something")

    monkeypatch.setattr(hmac, "new", fail)
    monkeypatch.setattr(hmac, "compare_digest", fail)
    assert read("A" * 10_240, KEYS, HOST, NOW, unsigned=True) is ErrorCode.TOKEN_SIZE
    assert KEYS.read("override", "A.A." + "A" * 10_240, NOW) is None


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("latin-1")))
def test_I9_no_text_raises(text: str) -> None:
    """Whatever a query holds is nothing, signed or not."""
    assert read(text, KEYS, HOST, NOW, unsigned=False) in (ErrorCode.BAD_TOKEN, ErrorCode.TOKEN_SIZE)
    assert isinstance(read(text, KEYS, HOST, NOW, unsigned=True), ErrorCode | Override)


@pytest.mark.parametrize(
    "claims",
    [
        {"flags": ["ta_A"]},
        {"flags": {"ta_A": 1}},
        {"flags": {"ta_A": ""}},
        {"flags": {"": "x"}},
        {"flags": {"ta_A": "x\ny"}},
        {"flags": {f"a{n}": "x" for n in range(51)}},
        {"flags": {"ta_A": "x"}, "preview": ["v1"]},
        {"flags": {"ta_A": "x"}, "preview": {"v1": "on"}},
        {"flags": {"ta_A": "x"}, "host": None},
        {"flags": {"ta_A": "x"}, "host": [HOST]},
    ],
)
def test_other_shapes_do_not_count(claims: dict[str, Any]) -> None:
    """Signed, but by something else than `mint`."""
    assert read(signed(claims), KEYS, HOST, NOW, unsigned=False) is ErrorCode.BAD_TOKEN


def test_decision_token_is_no_override() -> None:
    """What the visitor was given for something else chooses nothing."""
    token = KEYS.sign("decision", {"host": HOST, "flags": {"ta_A": "x"}}, NOW, 3600)
    assert read(token, KEYS, HOST, NOW, unsigned=False) is ErrorCode.BAD_TOKEN


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("ta_A:red", {"ta_A": "red"}),
        ("ta_A:red,ta_B:blue", {"ta_A": "red", "ta_B": "blue"}),
        (" ta_A : red ", {"ta_A": "red"}),
        ("exp:b:red", {"exp": "b:red"}),
        ("ta_A", None),
        ("ta_A:", None),
        (":red", None),
        ("ta_A:red,", None),
        ("ta_A:red,ta_A", None),
        ("ta_A:\x00", None),
        ("", None),
    ],
)
def test_unsigned(text: str, chosen: dict[str, str] | None) -> None:
    """While debugging a pair of alias and variant does; elsewhere never."""
    found = read(text, KEYS, HOST, NOW, unsigned=True)
    assert (found.variants if isinstance(found, Override) else None) == chosen
    assert read(text, KEYS, HOST, NOW, unsigned=False) is ErrorCode.BAD_TOKEN


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (Override(until=NOW + 60), "needs a variant"),
        (Override({"a": "b"}, until=NOW), "lives between"),
        (Override({"a": "b"}, until=NOW + MAX_LIFE_S + 1), "lives between"),
        (Override({"a": "x\n"}, until=NOW + 60), "printable"),
        (Override({f"a{n}": "b" for n in range(51)}, until=NOW + 60), "at most 50"),
        (Override({"a": "b"}, preview={"v": {"t": "x" * 3000}}, until=NOW + 60), "too large"),
    ],
)
def test_what_cannot_be_minted(override: Override, text: str) -> None:
    """The text says why, for the command line."""
    with pytest.raises(ValueError, match=text):
        mint(KEYS, override, HOST, NOW)


def test_staging_or_a_preview_is_enough() -> None:
    """A tester may choose no variant and only look at what is in staging."""
    for override in (Override(staging=True, until=NOW + 60), Override(preview={"v": {"t": 1}}, until=NOW + 60)):
        found = read(mint(KEYS, override, HOST, NOW), KEYS, HOST, NOW, unsigned=False)
        assert found == override
        assert isinstance(found, Override)
        assert found.asks_otherwise


@pytest.mark.parametrize(
    ("query", "header", "cookie", "found"),
    [
        ("", None, None, (None, False)),
        ("", "h", None, ("h", False)),
        ("", None, "c", ("c", False)),
        ("", "h", "c", ("h", False)),
        ("flagmw_override=q", "h", "c", ("q", True)),
        ("a=1&flagmw_override=q&b=2", None, None, ("q", True)),
        ("flagmw_override=q&flagmw_override=r", None, None, ("q", True)),
        (f"flagmw_override={quote('ta A:red,b:c')}", None, None, ("ta A:red,b:c", True)),
        ("flagmw_override=off", None, "c", (OFF, True)),
        ("flagmw_override=", None, "c", ("c", False)),
        ("flagmw_override", None, "c", ("c", False)),
        ("xflagmw_override=q", None, "c", ("c", False)),
        ("q=flagmw_override", None, None, (None, False)),
        ("flag=B&utm_source=flagmw_override", None, None, (None, False)),
    ],
)
def test_where_a_token_comes_from(query: str, header: str | None, cookie: str | None, found: Any) -> None:
    """Query before header before cookie; only what came by the query is kept."""
    assert sent(query, header, cookie) == found


@given(st.text(st.characters(max_codepoint=255), max_size=400))
def test_no_query_raises(text: str) -> None:
    """A query is the visitor's, and may be anything."""
    token, keep = sent("flagmw_override" + text, None, None)
    assert token is None or keep
