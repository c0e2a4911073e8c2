"""What a decision leaves for the CMS and for the vendors' own code in the page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw.flags import Flags

CONTENTSTACK = {"variant_param": "b_0,c_1", "variant_aliases": ["cs_personalize_b_0", "cs_personalize_c_1"]}


def flags(**hints: Any) -> Flags:
    return Flags(hints=hints)


def test_contentstack() -> None:
    """The first vendor that has them gives the parameters for the CMS, and looking at them makes a page private."""
    one = flags(wt={"bootstrap": {}}, eu=CONTENTSTACK, us={"variant_param": "x_1", "variant_aliases": []})
    assert not one.touched
    told = one.contentstack
    assert (told.variant_param, told.variant_aliases) == ("b_0,c_1", tuple(CONTENTSTACK["variant_aliases"]))
    assert one.touched and told and one.read_count == 0


@pytest.mark.parametrize("hints", [{}, {"wt": {"bootstrap": {"a": 1}}}])
def test_no_contentstack(hints: Any) -> None:
    """Where no such vendor decided, both are empty, and false in a template's `if`."""
    told = flags(**hints).contentstack
    assert (told.variant_param, told.variant_aliases, bool(told)) == ("", (), False)


def test_bootstrap() -> None:
    """One vendor's by its name, all of them by name, nothing for one without; looking makes the page private."""
    one = flags(cs={"bootstrap": {"uid": "u"}, "variant_param": "b_0"}, wt={"other": 1}, at={"bootstrap": [1]})
    assert json.loads(one.bootstrap("cs")) == {"uid": "u"}
    assert one.touched
    assert json.loads(one.bootstrap()) == {"cs": {"uid": "u"}, "at": [1]}
    assert (one.bootstrap("wt"), one.bootstrap("foreign"), flags().bootstrap()) == ("null", "null", "{}")


def test_bootstrap_of_what_is_no_json() -> None:
    """A vendor written elsewhere that hints at an object breaks no page."""
    one = flags(odd={"bootstrap": object()})
    assert (one.bootstrap("odd"), one.bootstrap()) == ("null", "{}")


class _Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(("tag", tag))

    def handle_data(self, data: str) -> None:
        self.seen.append(("data", data))


@given(
    st.text(st.sampled_from("<>&!-/scriptSCRIPT\"'\\ \u2028\u2029a")) | st.sampled_from(["</script>", "<!--", "]]>"])
)
def test_bootstrap_stays_within_its_element(text: str) -> None:
    """Whatever a vendor says, the text ends no element and begins none, ends no line, and is the same when read."""
    one = flags(cs={"bootstrap": {text: text}}).bootstrap("cs")
    assert not set(one) & set("<>&\u2028\u2029\n\r")
    page = _Scripts()
    page.feed(f'<script type="application/json">{one}</script>')
    page.close()
    assert [what for what, _ in page.seen] == ["tag", "data"]
    assert json.loads(page.seen[1][1]) == {text: text}
