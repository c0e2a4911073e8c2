"""Variants from a table."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.codes import ErrorCode, Reason
from flagmw.exceptions import ConfigError
from flagmw.types import CookieChange, Decision, Dropped, Track, Visit, VisitorState
from flagmw.vendors.static import Static, bucket
from tests.unit.vendors.webtrends.codec import event, run

HALF = {"ta": {"split": {"control": 50, "variation": 50}}}
ID = "0123456789abcdef0123456789abcdef"


def decide(vendor: Static, cookies: dict[str, str] | None = None, **visit: Any) -> Decision:
    made = Visit(**{"url": "https://www.mysite.com/", "fresh_id": ID, **visit})
    decision, calls = run(vendor.decide(made, VisitorState(cookies or {})))
    assert calls == []
    return decision


def test_fixed_variants() -> None:
    """A fixed variant is everybody's, and needs no cookie."""
    decision = decide(Static(flags={"a": "on", "b": {"variant": "blue", "payload": {"x": 1}}}))
    assert {alias: variant.key for alias, variant in decision.variants.items()} == {"a": "on", "b": "blue"}
    assert decision.variants["b"].payload == {"x": 1}
    assert decision.variants["a"].reason is Reason.STATIC
    assert decision.cookies == ()


def test_a_split_names_the_visitor() -> None:
    """A visitor without an id gets one in a cookie that scripts cannot read, and is dealt to by it."""
    vendor = Static(flags=HALF)
    decision = decide(vendor)
    assert decision.cookies == (CookieChange(name="flagmw_uid", value=ID, max_age_s=400 * 86400),)
    assert vendor.cookies.http_only
    again = decide(vendor, {"flagmw_uid": ID}, fresh_id="f" * 32)
    assert again.cookies == ()
    assert again.variants == decision.variants
    assert decision.variants["ta"].reason is Reason.SPLIT


def test_a_quoted_cookie_is_the_same_visitor() -> None:
    """Quotes that a client adds make no other visitor."""
    vendor = Static(flags={f"t{n}": HALF["ta"] for n in range(32)})
    assert decide(vendor, {"flagmw_uid": f'"{ID}"'}).variants == decide(vendor, {"flagmw_uid": ID}).variants


def test_a_known_user_goes_before_the_cookie() -> None:
    """A visitor with an identity is dealt to by that, on every device, without a cookie."""
    vendor = Static(flags={f"t{n}": HALF["ta"] for n in range(32)})
    one = decide(vendor, {"flagmw_uid": ID}, user_id="u-1")
    two = decide(vendor, user_id="u-1", fresh_id="f" * 32)
    assert one.variants == two.variants
    assert one.cookies == two.cookies == ()
    assert one.variants != decide(vendor, {"flagmw_uid": ID}).variants


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("flagmw_uid", ID, True),
        ("flagmw_uid", ID.upper(), False),
        ("flagmw_uid", "x", False),
        ("flagmw_uid2", ID, False),
    ],
)
def test_its_cookie(name: str, value: str, takes: bool) -> None:
    """Only its own cookie, with an id of its own making, is its."""
    rule = Static(flags=HALF).cookies
    assert (rule.reads(name) and rule.writes(name) and rule.value_ok(value)) is takes


def test_payloads_by_variant() -> None:
    """Content belongs to the variant that was dealt."""
    vendor = Static(flags={"t": {"split": {"a": 1, "b": 1}, "payloads": {"a": [1]}}})
    found = {v.key: v.payload for n in range(50) if (v := decide(vendor, user_id=f"u{n}").variants["t"])}
    assert found == {"a": [1], "b": None}


def test_nobody_is_told() -> None:
    """It takes part in no track, and drops events that were meant for another vendor of its name."""
    vendor = Static(flags=HALF)
    assert vendor.participation(Track(id="t", metric="purchase"), VisitorState({"flagmw_uid": ID})).aliases == ()
    outcomes, calls = run(vendor.deliver([event(), event()]))
    assert outcomes == [Dropped(ErrorCode.NO_VENDOR)] * 2 and calls == []


# Buckets


@pytest.mark.parametrize(
    ("salt", "who", "key"),
    [("ta", "u-1", "c"), ("ta", "u-2", "b"), ("ta", "u-3", "b"), ("tb", "u-1", "a"), ("ta", "", "b"), ("ta", "ü", "b")],
)
def test_buckets_never_change(salt: str, who: str, key: str) -> None:
    """Who falls where is fixed for good: another release or machine must not deal anew."""
    assert bucket(salt, who, [("a", 20.0), ("b", 50.0), ("c", 30.0)]) == key


@pytest.mark.parametrize(
    "shares", [{"a": 50, "b": 50}, {"a": 90, "b": 10}, {"a": 1, "b": 1, "c": 1}, {"a": 0.5, "b": 1.5}]
)
def test_distribution(shares: dict[str, float]) -> None:
    """Visitors are dealt in proportion to the weights (chi-square at 99.9 %, fixed ids)."""
    n = 10_000
    found = Counter(bucket("salt", f"visitor-{i}", list(shares.items())) for i in range(n))
    total = sum(shares.values())
    expected = {key: n * weight / total for key, weight in shares.items()}
    assert sum((found[key] - e) ** 2 / e for key, e in expected.items()) < {2: 10.83, 3: 13.82}[len(shares)]


def test_tests_are_dealt_independently() -> None:
    """Who gets what in one test says nothing about another; the same salt deals alike."""
    shares = [("a", 1.0), ("b", 1.0)]
    pairs = Counter((bucket("one", f"u{n}", shares), bucket("two", f"u{n}", shares)) for n in range(8000))
    assert all(abs(count - 2000) < 150 for count in pairs.values())
    vendor = Static(flags={alias: {"split": {"a": 1, "b": 1}, "salt": "s"} for alias in ("x", "y")})
    for n in range(50):
        variants = decide(vendor, user_id=f"u{n}").variants
        assert variants["x"].key == variants["y"].key


def test_no_weight_no_visitors() -> None:
    """A variant of weight zero is given to nobody, wherever it stands."""
    for shares in ([("z", 0.0), ("a", 1.0)], [("a", 1.0), ("z", 0.0)]):
        assert {bucket("s", f"u{n}", shares) for n in range(500)} == {"a"}


@given(st.text(), st.text(), st.lists(st.floats(0, 1e12), min_size=1, max_size=5).filter(lambda w: sum(w) > 0))
def test_every_visitor_has_a_place(salt: str, who: str, weights: list[float]) -> None:
    """Any id and any weights give one of the shares that has weight, always the same."""
    shares = [(str(n), weight) for n, weight in enumerate(weights)]
    key = bucket(salt, who, shares)
    assert dict(shares)[key] > 0
    assert bucket(salt, who, shares) == key


def test_broken_unicode_in_an_id() -> None:
    """An id that is no proper text is an id all the same."""
    assert bucket("s", "\ud800", [("a", 1.0)]) == "a"


# Tables and files


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_files(tmp_path: Path) -> None:
    """TOML and JSON files say the same; paths may be texts."""
    toml = write(tmp_path / "f.toml", '[flags.a]\nvariant = "x"\n[flags.b]\nsplit = { c = 1, d = 1 }\n')
    js = write(tmp_path / "f.json", '{"flags": {"a": {"variant": "x"}, "b": {"split": {"c": 1, "d": 1}}}}')
    assert decide(Static(toml)).variants == decide(Static(str(js))).variants


@pytest.mark.parametrize(
    ("name", "content", "cure"),
    [
        ("f.toml", b"flags = ", "not valid toml"),
        ("f.json", b"{", "not valid json"),
        ("f.json", b"[" * 100_000, "not valid json"),
        ("f.toml", b"\xff", "not valid toml"),
        ("f", b"{", "not valid TOML"),
        ("f.json", b"[]", 'needs a table "flags"'),
        ("f.json", b"null", 'needs a table "flags"'),
        ("f.toml", b"flags = 5", 'needs a table "flags"'),
        ("f.toml", b"[other]", 'needs a table "flags"'),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes, cure: str) -> None:
    """A file that holds no table is a ConfigError that names it."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Static(tmp_path / name)
    assert cure in str(caught.value) and name in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    """A file that cannot be read is a ConfigError that names it."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot read path"):
            Static(path)


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        ({}, "either path or flags"),
        ({"path": "x", "flags": {}}, "either path or flags"),
        ({"path": 5}, "path must name"),
        ({"flags": ["a"]}, "flags must be a table"),
        ({"flags": {}, "cookie": "a b"}, "cookie must be"),
        ({"flags": {}, "cookie": 5}, "cookie must be"),
        ({"flags": {}, "prefix": 5}, "prefix must be"),
        ({"flags": {"": "a"}}, "alias must be"),
        ({"flags": {"a\n": "a"}}, "alias must be"),
        ({"flags": {"a" * 251: "a"}}, "alias must be"),
        ({"flags": {5: "a"}}, "alias must be"),
        ({"flags": {"a": ""}}, "flags.a.variant"),
        ({"flags": {"a": 5}}, "flags.a must be a table"),
        ({"flags": {"a": {}}}, 'either "variant" or "split"'),
        ({"flags": {"a": {"variant": "x", "split": {"x": 1}}}}, 'either "variant" or "split"'),
        ({"flags": {"a": {"variant": 5}}}, "flags.a.variant"),
        ({"flags": {"a": {"variant": "x", "wait": 1, 5: 1}}}, "unknown keys: 5, wait"),
        ({"flags": {"a": {"split": {}}}}, "weights"),
        ({"flags": {"a": {"split": ["x"]}}}, "weights"),
        ({"flags": {"a": {"split": {"x": 0}}}}, "weights"),
        ({"flags": {"a": {"split": {"x": -1, "y": 2}}}}, "weights"),
        ({"flags": {"a": {"split": {"x": "1"}}}}, "weights"),
        ({"flags": {"a": {"split": {"x": True}}}}, "weights"),
        ({"flags": {"a": {"split": {"x": math.nan}}}}, "weights"),
        ({"flags": {"a": {"split": {"x": math.inf}}}}, "weights"),
        ({"flags": {"a": {"split": {"x": 1 << 1100}}}}, "weights"),
        ({"flags": {"a": {"split": {"": 1}}}}, "weights"),
        ({"flags": {"a": {"split": {"x": 1}, "payloads": 5}}}, "payloads"),
        ({"flags": {"a": {"split": {"x": 1}, "payload": 5}}}, "payloads"),
    ],
)
def test_wrong_tables(options: dict[str, Any], cure: str) -> None:
    """A table that cannot be dealt from is a ConfigError that names the alias and the cure."""
    with pytest.raises(ConfigError, match="vendor 'static'") as caught:
        Static(**options)
    assert cure in str(caught.value)
