"""The map on the request."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.codes import ErrorCode, Reason
from flagmw.flags import Flags
from flagmw.types import Variant


class Notes:
    """A recorder that keeps what it is told."""

    set_cookies = ("a=1; Path=/; SameSite=Lax",)

    def __init__(self) -> None:
        self.mismatched: list[str] = []
        self.tracked: list[tuple[str, dict[str, Any]]] = []

    def mismatch(self, alias: str) -> None:
        self.mismatched.append(alias)

    def track(self, metric: str, **more: Any) -> str:
        self.tracked.append((metric, more))
        return "track-1"

    def save(self) -> bytes:
        return b"saved"


def variant(alias: str, key: str, **more: Any) -> Variant:
    return Variant(alias=alias, key=key, vendor="wt", reason=Reason.SPLIT, **more)


def flags(**keys: str) -> Flags:
    """Return flags in which each alias has its key."""
    return Flags({alias: variant(alias, key) for alias, key in keys.items()}, defaults={"ta_Known": "fallback"})


def exposed(one: Flags) -> list[str]:
    return [variant.alias for variant in one.exposed]


# Touched and exposed


@pytest.mark.parametrize(
    ("read", "touched", "seen"),
    [
        (lambda f: f["a"], True, ["a"]),
        (lambda f: f.get("a"), True, ["a"]),
        (lambda f: f.variant("a"), True, ["a"]),
        (lambda f: f.payload("a"), True, ["a"]),
        (lambda f: f.is_on("a"), True, ["a"]),
        (lambda f: f.number("a", 1), True, ["a"]),
        (lambda f: (f["b"], f["a"], f["b"]), True, ["b", "a"]),
        (lambda f: f["missing"], True, []),
        (lambda f: f.get("missing"), True, []),
        (lambda f: f.variant("missing"), True, []),
        (lambda f: f.payload("missing"), True, []),
        (lambda f: f.is_on("missing"), True, []),
        (lambda f: f.number("missing", 1), True, []),
        (lambda f: "a" in f, True, []),
        (lambda f: "missing" in f, True, []),
        (lambda f: dict(f), True, []),
        (lambda f: {**f}, True, []),
        (lambda f: list(f), True, []),
        (lambda f: dict(f.items()), True, []),
        (lambda f: list(f.values()), True, []),
        (lambda f: list(f.keys()), True, []),
        (lambda f: len(f), True, []),
        (lambda f: bool(f), True, []),
        (lambda f: f == {"a": "1"}, True, []),
        (lambda f: json.dumps(dict(f)), True, []),
        (lambda f: f.track("x"), True, []),
        (lambda f: f.save(), True, []),
        (lambda f: repr(f), False, []),
        (lambda f: f"{f}", False, []),
        (lambda f: (f.touched, f.exposed, f.missed, f.error_code, f.set_cookies), False, []),
    ],
)
def test_notes(read: Any, touched: bool, seen: list[str]) -> None:
    """Any access but repr touches; only the reading of a decided variant for use exposes it, once, in order."""
    one = flags(a="1", b="variation")
    assert (one.touched, one.exposed) == (False, ())
    read(one)
    assert one.touched is touched
    assert exposed(one) == seen


def test_a_read_after_a_broken_off_iteration_exposes() -> None:
    """Iteration that was broken off does not keep later reads from counting."""
    one = flags(a="1", b="2")
    next(iter(one.keys()))
    assert one["a"] == "1"
    assert exposed(one) == ["a"]


def test_reads_within_iteration_expose() -> None:
    """Going through the aliases and reading each is use, unlike copying."""
    one = flags(a="1", b="2")
    assert [one[alias] for alias in one] == ["1", "2"]
    assert exposed(one) == ["a", "b"]
    one = flags(a="1", b="2")
    keys = one.keys()
    assert [one.get(alias) for alias in keys] == ["1", "2"]
    assert exposed(one) == ["a", "b"]


def test_a_read_after_listing_exposes() -> None:
    """Listing the aliases is no promise that the next read is a copy's."""
    one = flags(ta_a="1", ta_b="2")
    assert list(one.keys()) == ["ta_a", "ta_b"]
    assert one["ta_a"] == "1"
    assert exposed(one) == ["ta_a"]
    assert dict(one) == {"ta_a": "1", "ta_b": "2"}
    assert exposed(one) == ["ta_a"]


def test_mapping() -> None:
    """It is a read-only mapping of what was decided."""
    one = flags(a="1", b="2")
    assert dict(one) == {"a": "1", "b": "2"} == {**one} == dict(one.items())
    assert list(one) == list(one.keys()) == ["a", "b"]
    assert list(one.values()) == ["1", "2"]
    assert len(one) == 2
    assert one == {"a": "1", "b": "2"}
    assert "a" in one and "ta_Known" not in one
    with pytest.raises(TypeError):
        one["a"] = "2"  # type: ignore[index]


def test_empty() -> None:
    """Without decisions it is empty, false, and still never raises."""
    one = Flags()
    assert not one
    assert dict(one) == {}
    assert one["x"] == "control"
    assert one.track("purchase") is None
    assert one.save() == b""
    assert one.set_cookies == ()
    assert one.touched


# Undecided aliases


def test_undecided_keys() -> None:
    """`[]` of an undecided alias is its default, else "control"; `get` is None or what was asked for."""
    one = flags()
    assert (one["ta_Known"], one["ta_Other"]) == ("fallback", "control")
    assert (one.get("ta_Known"), one.get("ta_Known", "x")) == (None, "x")


@pytest.mark.parametrize(
    ("more", "code", "reason"),
    [
        ({}, ErrorCode.FLAG_NOT_FOUND, Reason.DEFAULT),
        ({"misses": {"ta": ErrorCode.VENDOR_303}}, ErrorCode.VENDOR_303, Reason.DEFAULT),
        ({"misses": {"ta": ErrorCode.COOKIE_BUDGET}}, ErrorCode.COOKIE_BUDGET, Reason.DEFAULT),
        ({"notice": ErrorCode.VENDOR_302}, ErrorCode.VENDOR_302, Reason.DEFAULT),
        ({"notice": ErrorCode.EMPTY}, ErrorCode.EMPTY, Reason.DEFAULT),
        ({"error_code": ErrorCode.DEADLINE}, ErrorCode.DEADLINE, Reason.ERROR),
        ({"error_code": ErrorCode.VENDOR_105}, ErrorCode.VENDOR_105, Reason.ERROR),
        ({"error_code": ErrorCode.EMPTY}, ErrorCode.EMPTY, Reason.ERROR),
        ({"error_code": ErrorCode.NO_REQUEST}, ErrorCode.NO_REQUEST, Reason.ERROR),
        ({"error_code": ErrorCode.SHED, "notice": ErrorCode.VENDOR_303}, ErrorCode.SHED, Reason.ERROR),
        (
            {"error_code": ErrorCode.VENDOR_105, "misses": {"ta": ErrorCode.VENDOR_105}},
            ErrorCode.VENDOR_105,
            Reason.ERROR,
        ),
        (
            {"error_code": ErrorCode.SHED, "misses": {"ta": ErrorCode.VENDOR_303}},
            ErrorCode.VENDOR_303,
            Reason.DEFAULT,
        ),
    ],
)
def test_why_an_alias_is_undecided(more: dict[str, Any], code: ErrorCode, reason: Reason) -> None:
    """An undecided variant says why: a failure is an error, a vendor's "no test here" is not."""
    one = Flags(defaults={"ta": "b"}, **more)
    assert one.variant("ta") == Variant(alias="ta", key="b", reason=reason, error_code=code)


def test_flags_level_code() -> None:
    """The flags' own code is the failure, else the notice, else none."""
    assert Flags(error_code=ErrorCode.SHED, notice=ErrorCode.EMPTY).error_code is ErrorCode.SHED
    assert Flags(notice=ErrorCode.EMPTY).error_code is ErrorCode.EMPTY
    assert flags(a="1").error_code is None
    assert "SHED" in repr(Flags(error_code=ErrorCode.SHED))


def test_missed() -> None:
    """What a vendor said no to is listed, unless another one decided it."""
    one = Flags({"a": variant("a", "1")}, misses={"a": ErrorCode.VENDOR_303, "b": ErrorCode.VENDOR_417})
    assert one.missed == ("b",)


def test_variant_is_the_whole_variant() -> None:
    """A decided alias gives the vendor's variant as it is."""
    whole = variant("a", "variation", experiment_id="7", run_id="8")
    assert Flags({"a": whole}).variant("a") is whole


# A template engine


def look_up(context: Any, path: str) -> Any:
    """Resolve *path* as Django's template engine does: key, then attribute, then index; call what is callable."""
    found = context
    for bit in path.split("."):
        try:
            found = found[bit]
        except (TypeError, AttributeError, KeyError, ValueError, IndexError):
            try:
                found = getattr(found, bit)
            except AttributeError:
                found = found[int(bit)]
        if callable(found):
            found = found()
    return found


PUBLIC = [name for name in dir(Flags) if not name.startswith("_")]


@pytest.mark.parametrize("name", PUBLIC)
def test_own_names_are_no_keys(name: str) -> None:
    """`[]` of a public attribute's name raises KeyError, decided or not."""
    for one in (flags(), flags(**{name: "variation"})):
        with pytest.raises(KeyError):
            one[name]
        assert one.touched
        assert exposed(one) == []


def test_templates_reach_methods_and_flags() -> None:
    """`{{ flags.items }}` gives the items and `{{ flags.ta_Hero }}` the flag."""
    one = flags(ta_Hero="variation")
    assert list(look_up(one, "items")) == [("ta_Hero", "variation")]
    assert list(look_up(one, "keys")) == ["ta_Hero"]
    assert look_up({"flags": one}, "flags.ta_Hero") == "variation"
    assert look_up(one, "ta_Other") == "control"
    assert look_up(one, "exposed")[0].alias == "ta_Hero"
    assert look_up(one, "0") == "control"


def test_a_vendors_alias_cannot_take_a_methods_place() -> None:
    """An alias called "items" breaks neither a template's loop nor a copy; it can be read by `get`."""
    one = flags(items="variation", get="x")
    assert list(look_up(one, "items")) == [("items", "variation"), ("get", "x")]
    assert dict(one) == {**one} == {"items": "variation", "get": "x"}
    assert one.get("items") == "variation"
    assert one.variant("get").key == "x"


# Typed reads


@pytest.mark.parametrize("key", ["true", "1", "on", "yes", "enabled", "variation", "treatment", "TRUE", "Variation"])
def test_is_on(key: str) -> None:
    """These keys mean "on", in any case."""
    assert flags(a=key).is_on("a") is True


@pytest.mark.parametrize("key", ["control", "0", "off", "false", "no", "variation2", "", " true", "2", "{}"])
def test_is_off(key: str) -> None:
    """Every other key means "off"."""
    assert flags(a=key).is_on("a") is False


def test_is_on_of_an_undecided_alias() -> None:
    """An undecided alias is as on as its default."""
    assert Flags().is_on("a") is False
    assert Flags(defaults={"a": "on"}).is_on("a") is True


def test_on_option() -> None:
    """`on=` says for an alias which keys mean "on", exactly; defaults count by it too."""
    on = {"a": frozenset({"blue", "Control"})}
    decided = {alias: variant(alias, key) for alias, key in (("a", "blue"), ("b", "blue"))}
    one = Flags(decided, on=on)
    assert (one.is_on("a"), one.is_on("b")) == (True, False)
    assert Flags({"a": variant("a", "variation")}, on=on).is_on("a") is False
    assert Flags({"a": variant("a", "control")}, on=on).is_on("a") is False
    assert Flags(defaults={"a": "Control"}, on=on).is_on("a") is True


@pytest.mark.parametrize(
    ("key", "number"),
    [
        ("20", 20),
        ("+20", 20),
        ("-3", -3),
        (" 7 ", 7),
        ("0", 0),
        ("007", 7),
        ("2.50", 2.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("9007199254740993", 9007199254740993),
        ("1" * 64, int("1" * 64)),
    ],
)
def test_number(key: str, number: float) -> None:
    """A number is read as such; a whole one is an int, to the last digit."""
    found = flags(a=key).number("a", 1)
    assert found == number
    assert type(found) is type(number)


@pytest.mark.parametrize(
    "key", ["control", "", "NaN", "inf", "-Infinity", "1_000", "0x10", "1,5", "1e999", "1" * 65, "٣_", "+-5", "- 5"]
)
def test_no_number(key: str) -> None:
    """What is no finite number gives the default, and the failure is noted."""
    notes = Notes()
    one = Flags({"a": variant("a", key)}, recorder=notes)
    assert one.number("a", 20) == 20
    assert notes.mismatched == ["a"]
    assert exposed(one) == ["a"]


def test_number_of_an_undecided_alias() -> None:
    """An undecided alias gives the default of the call, without a failure."""
    notes = Notes()
    assert Flags(defaults={"a": "5"}, recorder=notes).number("a", 20) == 20
    assert notes.mismatched == []


@given(st.text(max_size=80) | st.floats().map(str) | st.integers().map(str))
def test_number_never_raises(key: str) -> None:
    """Whatever the key is, a finite number comes back."""
    assert math.isfinite(flags(a=key).number("a", 0))


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ('{"title": "Hello"}', {"title": "Hello"}),
        ("[1, 2]", [1, 2]),
        ('\n{"a": 1}\n', {"a": 1}),
        ("5", 5),
        ("true", True),
        ('"text"', "text"),
    ],
)
def test_payload_of_json_text(key: str, content: Any) -> None:
    """A key that is JSON text is the payload."""
    assert flags(a=key).payload("a", {}) == content


def test_payload_of_the_vendor() -> None:
    """Content that the vendor sent goes before the key."""
    one = Flags({"a": variant("a", "[1]", payload={"x": 1})})
    assert one.payload("a") == {"x": 1}


@pytest.mark.parametrize(
    ("key", "mismatched"), [("control", []), ("", []), ("{broken", ["a"]), (" [1,]", ["a"]), ("[" * 5000, ["a"])]
)
def test_no_payload(key: str, mismatched: list[str]) -> None:
    """A plain key has no payload; broken JSON has none either, and that is noted."""
    notes = Notes()
    one = Flags({"a": variant("a", key)}, recorder=notes)
    assert one.payload("a", {"d": 1}) == {"d": 1}
    assert notes.mismatched == mismatched


@given(st.text(max_size=50))
def test_reads_never_raise(text: str) -> None:
    """No alias and no key makes a read raise, but the names of attributes in `[]`."""
    for one in (flags(**{text: text}), flags(a=text)):
        for alias in (text, "a"):
            one.get(alias)
            one.variant(alias)
            one.payload(alias)
            one.is_on(alias)
            if alias not in PUBLIC:
                assert isinstance(one[alias], str)
            repr(one)


# What the visitor did


def test_track_passes_everything_on() -> None:
    """What `track` is told reaches the recorder as it is."""
    notes = Notes()
    one = Flags(recorder=notes)
    more = {"data": {"a": 1}, "aliases": ["x"], "vendors": ["wt"], "key": "k", "value": 1.5, "currency": "EUR"}
    assert one.track("purchase", items=[{"sku": "1"}], **more) == "track-1"  # type: ignore[arg-type]
    assert notes.tracked == [("purchase", {**more, "items": [{"sku": "1"}]})]


def test_save_and_cookies_come_from_the_recorder() -> None:
    """The saved visitor and the due cookies are the recorder's."""
    one = Flags(recorder=Notes())
    assert one.save() == b"saved"
    assert one.set_cookies == Notes.set_cookies
