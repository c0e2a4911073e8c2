"""Rules of audiences: built, printed, read back; no invalid tree can be made."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.admin import InvalidError
from flagmw.admin.adobe.rules import (
    AudienceRule,
    TargetRule,
    attribute,
    audience,
    audience_rule,
    geo,
    mbox,
    page,
    profile,
    target_rule,
)
from tests.support.http_vendor import HttpVendor, answer
from tests.unit.admin.adobe import answer_of, call_of, client


def test_printed_rules() -> None:
    """The printed audiences come out of the builders as printed, and are read back to the same rules."""
    gold = profile("memberLevel").equals("gold") & geo("region").matches("california")
    home = page("url").equals("http://www.myhomepage.com/") & geo("region").matches("california")
    for rule, printed in (
        (gold, answer_of("audiences.get")["targetRule"]),
        (home, call_of("audiences.create")["body"]["targetRule"]),
    ):
        assert rule.json() == printed
        assert target_rule(printed) == rule


def test_a_rule_is_sent_as_json() -> None:
    """A rule stands in the body of an audience as it is."""
    rule = profile("memberLevel").equals("gold") & ~geo("country").equals("us", "ca")
    with HttpVendor(lambda request: answer({**request.json(), "id": 1}, 201)) as vendor, client(vendor.url) as admin:
        made = admin.audiences.create({"name": "Gold abroad", "targetRule": rule})
        both = admin.audiences.create({"name": "Two", "audienceRule": audience(1) | audience(2)})
    assert made["targetRule"] == {
        "and": [
            {"profile": "memberLevel", "equals": ["gold"]},
            {"not": [{"geo": "country", "equals": ["us", "ca"]}]},
        ]
    }
    assert both["audienceRule"] == {"or": [{"audienceId": 1}, {"audienceId": 2}]}


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
CONDITIONS = st.builds(
    lambda kind, name, operator, values: attribute(kind, name).compare(operator, *values),
    st.sampled_from(["profile", "geo", "page", "mbox", "browser"]),
    TEXTS,
    st.sampled_from(["equals", "matches", "contains", "greaterThan"]),
    st.lists(TEXTS, min_size=1, max_size=3),
)
RULES: st.SearchStrategy[TargetRule] = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds(lambda left, right: left & right, inner, inner),
        st.builds(lambda left, right: left | right, inner, inner),
        st.builds(lambda rule: ~rule, inner),
    ),
    max_leaves=12,
)


@given(RULES)
def test_rules_survive_the_round_trip(rule: TargetRule) -> None:
    """Any rule printed and read back is the same rule, and prints the same."""
    assert target_rule(rule.json()) == rule
    assert target_rule(rule.json()).json() == rule.json()


def test_rules_of_the_two_kinds_do_not_mix() -> None:
    """A rule on visitors cannot be joined with one on audiences."""
    visitors: Any = profile("memberLevel").equals("gold")
    audiences: Any = audience(5)
    for left, right in ((visitors, audiences), (audiences, visitors), (visitors, {"and": []}), (audiences, True)):
        with pytest.raises(TypeError):
            left & right
        with pytest.raises(TypeError):
            left | right
    assert isinstance(audience_rule((audience(1) & ~audience(2)).json()), AudienceRule)


@pytest.mark.parametrize(
    "make",
    [
        lambda: profile(""),
        lambda: profile("a\n"),
        lambda: attribute("and", "x"),
        lambda: attribute("two words", "x"),
        lambda: geo("country").equals(),
        lambda: geo("country").compare("or", "us"),
        lambda: mbox("a").compare("no operator", "us"),
        lambda: geo("country").equals(None),  # type: ignore[arg-type]
        lambda: audience(-1),
        lambda: audience("5"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_built(make: Any) -> None:
    """A condition that means nothing is refused when it is made."""
    with pytest.raises(InvalidError):
        make()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"and": []},
        {"and": {}},
        {"and": [{"geo": "a", "equals": ["b"]}], "or": []},
        {"not": [{"geo": "a", "equals": ["b"]}, {"geo": "a", "equals": ["b"]}]},
        {"geo": "a"},
        {"geo": "a", "equals": "b"},
        {"geo": "a", "equals": []},
        {"geo": "a", "equals": ["b"], "matches": ["c"]},
        {"audienceId": 1},
    ],
)
def test_documents_that_are_no_rules(document: Any) -> None:
    """What these rules cannot express is refused, with its place."""
    with pytest.raises(InvalidError):
        target_rule(document)
    deep: Any = {"geo": "a", "equals": ["b"]}
    for _ in range(30):
        deep = {"and": [deep, deep]}
    with pytest.raises(InvalidError, match="nested deeper"):
        target_rule(deep)
