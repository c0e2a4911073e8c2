"""Decisions made before: what they are bound to, their form in a cookie, and how much of them is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zlib
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._exchange.remembered import DIGEST_BYTES, Key, RememberedDecision, ReuseKey, memory, pack, unpack
from flagmw._exchange.stale import stale
from flagmw.codes import ErrorCode, Reason
from flagmw.types import CookieChange, Decision, Factor, Variant, VisitorState
from flagmw.vendors.base import VendorTraits
from flagmw.vendors.monetate import Monetate
from flagmw.vendors.webtrends import Webtrends

NOW = 1_800_000_000.0
USER = {"_wt.user-1": "WT3abc~"}


def account(**options: Any) -> Webtrends:
    given = {"domain_id": 1, "key_token": "12345678", "url": "https://www.mysite.com", "name": "v1", **options}
    return Webtrends(**given)


VENDORS = (account(), account(domain_id=2, name="v2"), account(domain_id=3, name="v3"))


def key(binder: ReuseKey, cookies: Any = USER, address: str = "/a", user: str | None = None, **data: Any) -> Key:
    return binder.key(VisitorState(cookies), address, user, data, recorded=True)[0]


# What a decision is bound to

OPTIONS: dict[str, Any] = {
    "domain_id": 2,
    "url": "https://www.mysite.com/b",
    "project": "ta_A",
    "base_url": "http://127.0.0.1:1",
    "exposure": "off",
    "prefix": "x:",
    "staging": True,
    "data": {"tier": "gold"},
    "encrypted": False,
    "session_cookies": "timeout",
    "serve_paused": True,
    "extra_params": {"x": 1},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_digest_binds_the_vendors_options(option: str) -> None:
    """What was decided under another option is not remembered under this one."""
    usual = ReuseKey(0, VendorTraits.of(account()))
    assert key(usual) == key(ReuseKey(0, VendorTraits.of(account())))
    assert key(usual) != key(ReuseKey(0, VendorTraits.of(account(**{option: OPTIONS[option]}))))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("slots", ["hero"]),
        ("action_types", ["NoAction"]),
        ("flag_map", {"1": "a"}),
        ("user_id_as", "off"),
        ("data", {"tier": "gold"}),
    ],
)
def test_digest_binds_the_options_of_monetate(option: str, value: Any) -> None:
    """As for Webtrends: its options are in objects of other kinds too."""
    made = [Monetate("acme", "a-701b337c/p/example.com", **more) for more in ({}, {}, {option: value})]
    one, same, other = (key(ReuseKey(0, VendorTraits.of(vendor)), {"mt.v": "2.1.1"}) for vendor in made)
    assert one == same
    assert one != other


def digests() -> str:
    vendors = [
        account(data={"a": "1", "b": 2}, extra_params={"x": [1, {"y": None}]}),
        Monetate("acme", "a-701b337c/p/example.com", flag_map={"1": "a", "2": "b"}),
    ]
    return " ".join(key(ReuseKey(n, VendorTraits.of(vendor)))[1].hex() for n, vendor in enumerate(vendors))


def test_digest_is_the_same_on_every_machine() -> None:
    """Nothing of the process is in it, such as an object's address or the order of a set: others have to find it."""
    code = "from tests.unit._exchange.test_remembered import digests; print(digests())"
    others = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert others == {digests()}


def test_digest_binds_the_visitor() -> None:
    """Other cookies, another page, user or attribute is another decision; the order of attributes is not."""
    binder = ReuseKey(0, VendorTraits.of(account()))
    keys = [
        key(binder),
        key(binder, {}),
        key(binder, {"_wt.user-1": "WT3other~"}),
        key(binder, {**USER, "_wt.control-1-a": "WT3x~"}),
        key(binder, address="/b"),
        key(binder, user="4711"),
        key(binder, user="/a"),
        key(binder, tier="gold"),
        key(binder, tier="silver"),
        key(binder, tier="gold", age=3),
        key(binder, tier="gold", age="3"),
        key(ReuseKey(1, VendorTraits.of(account()))),
    ]
    assert len(set(keys)) == len(keys)
    assert key(binder, tier="gold", age=3) == key(binder, age=3, tier="gold")
    assert {len(digest) for _, digest in keys} == {DIGEST_BYTES}


def test_digest_binds_whether_the_visit_counts() -> None:
    """What was decided without counting a view is not served to a visitor who has agreed to be counted."""
    binder = ReuseKey(0, VendorTraits.of(account()))
    counted, uncounted = (binder.key(VisitorState(USER), "", None, {}, recorded=told)[0] for told in (True, False))
    assert counted != uncounted


@pytest.mark.parametrize(
    ("cookies", "user", "known"),
    [(USER, None, True), ({}, "4711", True), (USER, "4711", True), ({}, None, False)],
)
def test_who_is_known(cookies: dict[str, str], user: str | None, known: bool) -> None:
    """By a vendor's cookie or by the site's own id; a visitor with neither is nobody in particular."""
    assert ReuseKey(0, VendorTraits.of(account())).key(VisitorState(cookies), "", user, {}, recorded=True)[1] is known


def test_what_the_site_says_of_its_visitors_cannot_break_it() -> None:
    """A visit made by hand may hold what no digest is made of; then nothing is remembered, and nothing raised."""
    binder = ReuseKey(0, VendorTraits.of(account()))
    for bad in ({"when": object()}, {"text": "\udc80"}, {"big": 1 << 80}):
        with pytest.raises(TypeError):
            binder.key(VisitorState(USER), "", None, bad, recorded=True)  # type: ignore[arg-type]


# In a cookie

texts = st.text(max_size=30)
some = st.none() | texts.filter(bool)
json_values = st.recursive(st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | texts, st.lists, max_leaves=5)
codes = st.sampled_from(list(ErrorCode))
factors = st.builds(Factor, texts, texts, st.none() | st.integers(0, 9))
variants = st.builds(
    Variant,
    alias=texts,
    key=texts,
    payload=json_values,
    vendor=st.none(),
    reason=st.just(Reason.CACHED),
    name=some,
    experiment_id=some,
    run_id=some,
    test_id=some,
    factors=st.lists(factors, max_size=2).map(tuple),
    ids=st.dictionaries(texts, texts, max_size=3),
)


@st.composite
def parts(draw: st.DrawFn) -> list[tuple[bytes, RememberedDecision] | None]:
    made: list[tuple[bytes, RememberedDecision] | None] = []
    for vendor in VENDORS:
        if draw(st.booleans()):
            made.append(None)
            continue
        found = draw(st.lists(variants, max_size=3))
        decision = Decision(
            vendor=vendor.name,
            variants={
                v.alias: Variant(
                    alias=v.alias, key=v.key, payload=v.payload, vendor=vendor.name, reason=v.reason, name=v.name,
                    experiment_id=v.experiment_id, run_id=v.run_id, test_id=v.test_id, factors=v.factors, ids=v.ids,
                )
                for v in found
            },
            misses=draw(st.dictionaries(texts, codes, max_size=3)),
            error=draw(st.none() | codes),
            notice=draw(st.none() | codes),
            hints=draw(st.dictionaries(texts, json_values, max_size=2)),
        )  # fmt: skip
        digest = draw(st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES))
        made.append((digest, RememberedDecision(decision, float(draw(st.integers(0, 1 << 40))))))
    return made


@given(parts())
def test_packed_decisions_come_back(made: list[tuple[bytes, RememberedDecision] | None]) -> None:
    """All that a view can see of a decision survives the way through a cookie, empty parts and odd texts too."""
    expected = {(n, part[0]): part[1] for n, part in enumerate(made) if part is not None}
    assert unpack(pack(made), VENDORS) == expected


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda b: pack([]) + b.hex())))
def test_what_cannot_be_read_is_nothing(text: str) -> None:
    """A token of another version may hold anything; that is nothing remembered, and no error."""
    assert unpack(text, VENDORS) == {}


@given(st.recursive(json_values, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(texts, inner)))
def test_other_shapes_are_nothing_or_decisions(rows: Any) -> None:
    """JSON of any other shape does not raise either."""
    for document in (rows, [rows, rows, rows], [["", 1, None, None, rows, rows, rows]] * 3):
        text = urlsafe_b64encode(zlib.compress(orjson.dumps(document))).decode()
        assert all(isinstance(part, RememberedDecision) for part in unpack(text, VENDORS).values())


def test_another_number_of_vendors_remembers_nothing() -> None:
    """With a vendor more or less nobody knows whose part is whose."""
    text = pack([(b"d" * DIGEST_BYTES, RememberedDecision(Decision(vendor="v1"), NOW))])
    assert len(unpack(text, VENDORS[:1])) == 1
    assert unpack(text, VENDORS) == {}


def test_a_token_that_explodes_is_nothing() -> None:
    """What 2 KB unpack to is bounded, and cut JSON is none."""
    text = urlsafe_b64encode(zlib.compress(b"[" + b"1," * 1_000_000 + b"1]", 9)).decode()
    started = time.thread_time()
    assert unpack(text, VENDORS) == {}
    assert time.thread_time() - started < 1.0


def variant(n: int) -> Variant:
    return Variant(
        alias=f"ta_Project{n}",
        key="variation",
        vendor="v1",
        reason=Reason.SPLIT,
        experiment_id=str(2490702 + n),
        run_id=str(2490701 + n),
        test_id=str(2490694 + n),
        factors=(Factor("#grid", "variation", 1),),
        ids={"guid": f"2490593-ta_Project{n}", "system_uid": "a" * 32, "type": "AB"},
    )


@pytest.mark.parametrize(("tests", "most"), [(1, 300), (10, 700), (25, 1200)])
def test_size_in_a_cookie(tests: int, most: int) -> None:
    """Twenty-five tests with all their identifiers fit into a cookie of 2,048 characters."""
    decision = Decision(vendor="v1", variants={f"ta_Project{n}": variant(n) for n in range(tests)})
    size = len(pack([(b"d" * DIGEST_BYTES, RememberedDecision(decision, NOW))]))
    print(f"{tests} tests: {size} characters")
    assert size < most


# In memory


def test_remembered_as_it_is_served_again() -> None:
    """Variants are cached ones; what was said of the call is not said again, and cookies come along."""
    change = CookieChange(name="_wt.user-1", value="x")
    made = Decision(
        vendor="v1",
        variants={"a": variant(1)},
        cookies=(change,),
        rejected=(ErrorCode.BAD_ALIAS,),
        advice="do",
        log="l",
    )
    kept = RememberedDecision(made, NOW)
    assert (kept.decision.variants["a"].reason, kept.decision.cookies) == (Reason.CACHED, (change,))
    assert (kept.decision.rejected, kept.decision.advice, kept.decision.log) == ((), None, None)
    late = stale(kept.decision, ErrorCode.DEADLINE)
    assert (late.error, late.variants["a"].reason) == (ErrorCode.DEADLINE, Reason.STALE)
    assert late.variants["a"].error_code is ErrorCode.DEADLINE


@pytest.mark.parametrize(("age", "holds"), [(0, True), (299.9, True), (300, False), (-60, True), (-61, False)])
def test_how_long_it_holds(age: float, holds: bool) -> None:
    """As long as it says; a clock that went back by no more than a minute makes nothing old."""
    assert RememberedDecision(Decision(vendor="v1"), NOW).within(300, NOW + age) is holds


def test_memory_is_bounded() -> None:
    """Ten thousand visitors in a memory for a thousand: the latest are known, and it is never over its size."""
    decision = Decision(vendor="v1", variants={f"ta_Project{n}": variant(n) for n in range(4)})
    kept = memory(5_000_000)
    for n in range(10_000):
        kept.put((0, n.to_bytes(DIGEST_BYTES, "big")), RememberedDecision(decision, NOW))
    assert 800 < len(kept) < 2_000
    assert kept.get((0, (9_999).to_bytes(DIGEST_BYTES, "big"))) is not None
    assert kept.get((0, bytes(DIGEST_BYTES))) is None


def test_one_that_is_larger_than_all_memory_is_not_kept() -> None:
    """It would push out everybody else's and then not fit."""
    kept = memory(4_000)
    kept.put((0, b"small"), RememberedDecision(Decision(vendor="v1"), NOW))
    kept.put((0, b"large"), RememberedDecision(Decision(vendor="v1", hints={"text": "x" * 10_000}), NOW))
    assert kept.get((0, b"large")) is None
    assert kept.get((0, b"small")) is not None


def test_estimate_is_near_what_is_used() -> None:
    """The estimate of a remembered decision is within a factor of two of what Python says it takes."""
    import tracemalloc

    kept = memory(1 << 30)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(500):
        text = pack([(n.to_bytes(DIGEST_BYTES, "big"), RememberedDecision(_own(n), NOW))])
        ((found, part),) = unpack(text, VENDORS[:1]).items()
        kept.put(found, part)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    estimate = kept._weight
    print(f"500 visitors with four tests: {used} bytes, estimated {estimate:.0f}")
    assert 0.5 < estimate / used < 2


def _own(n: int) -> Decision:
    return Decision(vendor="v1", variants={f"ta_{n}_{m}": variant(m) for m in range(4)})
