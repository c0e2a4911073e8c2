"""Audience rules of Contentstack: builders, JSON, and what cannot be built."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.admin import InvalidError
from flagmw.admin.contentstack.rules import (
    Combination,
    Country,
    Custom,
    DateAndTime,
    DeviceType,
    LyticsAudience,
    LyticsFlow,
    QueryParameter,
    Referrer,
    Rule,
    all_of,
    any_of,
    rules_from_json,
)
from flagmw.admin.contentstack.rules.match import Match

SAMPLES = Path(__file__).parents[2] / "samples" / "contentstack_admin"
UID = "66702e03d84509d0106bec05"
CAMPAIGN = QueryParameter("utm_campaign").equals("BLACK_FRIDAY")


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("audience_custom", Country.equals("US") & Custom(UID).greater_than(1000)),
        ("audience_query", CAMPAIGN),
        (
            "audience_time",
            CAMPAIGN
            & DateAndTime.between(
                "2024-11-29T00:00:00", datetime.fromisoformat("2024-11-29T23:59:59"), visitor_zone=True
            ),
        ),
    ],
)
def test_printed_audiences_are_built(name: str, rules: Any) -> None:
    printed = orjson.loads((SAMPLES / f"{name}.json").read_bytes())["definition"]
    assert rules.to_json() == printed
    assert rules_from_json(printed).to_json() == printed


TEXTS = st.text(min_size=1, max_size=8)
NUMBERS = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds"))
CUSTOM = st.text("0123456789abcdef", min_size=24, max_size=24).map(Custom)
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        lambda attribute, text: attribute.contains(text), st.sampled_from([Country, DeviceType, Referrer]), TEXTS
    ),
    st.builds(lambda attribute, text: attribute.equals(text), CUSTOM, TEXTS),
    st.builds(lambda attribute, number: attribute.less_than(number), CUSTOM, NUMBERS),
    CUSTOM.map(lambda attribute: attribute.is_true()),
    st.builds(lambda name, text: QueryParameter(name).contains(text), TEXTS, TEXTS),
    st.builds(lambda name, number: QueryParameter(name).number_equals(number), TEXTS, NUMBERS),
    st.builds(
        lambda pair, zone: DateAndTime.between(*sorted(pair), visitor_zone=zone), st.tuples(TIMES, TIMES), st.booleans()
    ),
    TIMES.map(DateAndTime.after),
    TEXTS.map(LyticsAudience.contains),
    st.builds(LyticsFlow.is_in, TEXTS, TEXTS),
)
TREES = st.recursive(
    st.builds(lambda rule, invert: ~rule if invert else rule, LEAVES, st.booleans()),
    lambda inner: st.builds(
        lambda kind, rules: Combination(kind, tuple(rules)),
        st.sampled_from(["AND", "OR"]),
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=20,
)


@given(TREES)
def test_trees_print_and_read_back_equal(tree: Any) -> None:
    printed = json.loads(json.dumps(tree.to_json()))
    back = rules_from_json(printed)
    assert back.to_json() == printed
    assert back == (tree if isinstance(tree, Combination) else all_of(tree))
    assert ~~back == back


def test_operators_nest() -> None:
    one, two, three = Country.equals("US"), Referrer.contains("a"), DeviceType.equals("MOBILE")
    assert one & two & three == all_of(one, two, three)
    assert (one | two) & three == all_of(any_of(one, two), three)
    assert ~(one & two) == any_of(~one, ~two)
    with pytest.raises(TypeError, match="&"):
        assert one and two


@pytest.mark.parametrize(
    "build",
    [
        lambda: Country.equals("USA"),
        lambda: Country.equals(""),
        lambda: Custom("age"),
        lambda: Custom(UID).greater_than(float("nan")),
        lambda: Custom(UID).greater_than(True),
        lambda: Custom(UID).greater_than("1000"),  # type: ignore[arg-type]
        lambda: DateAndTime.between("2024-11-30T00:00:00", "2024-11-29T00:00:00"),
        lambda: DateAndTime.before("2024-11-30"),
        lambda: DateAndTime.before("2024-11-30T00:00:00Z"),
        lambda: all_of(),
        lambda: any_of(Country.equals("US"), "FR"),  # type: ignore[arg-type]
        lambda: Country.equals("US") & None,  # type: ignore[operator]
        lambda: Combination("XOR", (Country.equals("US"),)),  # type: ignore[arg-type]
        lambda: all_of(*[Country.equals("US")] * 101),
        lambda: Rule("PresetAttributeReference", "PLANET", Match(condition="HAS_ANY_VALUE")),
        lambda: Rule("PresetAttributeReference", "COUNTRY", Match(condition="IS_TRUE")),
        lambda: Match(condition="SOUNDS_LIKE", value="x"),
        lambda: Match(condition="HAS_ANY_VALUE", value="x"),
        lambda: Match(condition="STRING_EQUALS"),
        lambda: Match(condition="JSON_MATCH", pointer="utm", inner=Match(condition="HAS_ANY_VALUE")),
    ],
)
def test_invalid_trees_cannot_be_built(build: Any) -> None:
    with pytest.raises(InvalidError):
        built = build()
        # A custom attribute is checked with its first rule.
        built.has_any_value()


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ((), {"__type": "RuleCombination", "combinationType": "AND", "rules": []}, "definition"),
        (("combinationType",), "XOR", "definition"),
        (("rules",), {}, "definition.rules"),
        (("rules", 1), {"__type": "Regel"}, "definition.rules[1]"),
        (("rules", 1), 7, "definition.rules[1]"),
        (("rules", 1, "invertCondition"), "no", "definition.rules[1]"),
        (("rules", 1, "attribute"), None, "definition.rules[1].attribute"),
        (("rules", 1, "attribute", "ref"), ["x"], "definition.rules[1]"),
        (("rules", 0, "attributeMatchCondition"), "NUMBER_GREATER_THAN", "definition.rules[0].attributeMatchOptions"),
        (("rules", 0, "attributeMatchOptions", "valeu"), "US", "definition.rules[0].attributeMatchOptions"),
        (("rules", 1, "attributeMatchOptions", "value"), "many", "definition.rules[1]"),
    ],
)
def test_wrong_json_is_refused_with_its_place(path: tuple[Any, ...], value: Any, field: str) -> None:
    document = orjson.loads((SAMPLES / "audience_custom.json").read_bytes())["definition"]
    at = document
    for key in path[:-1]:
        at = at[key]
    if path:
        at[path[-1]] = value
    with pytest.raises(InvalidError) as error:
        rules_from_json(document if path else value)
    assert error.value.field == field


def test_deep_json_is_refused() -> None:
    node: dict[str, Any] = Country.equals("US").to_json()
    for _ in range(5000):
        node = {"__type": "RuleCombination", "combinationType": "OR", "rules": [node]}
    with pytest.raises(InvalidError, match="deeper"):
        rules_from_json(node)
