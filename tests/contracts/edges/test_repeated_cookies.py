"""The same cookie name twice in a browser: another form of it in front of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flagmw import Static
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Answer, Edge, Make, Page, Seen
from tests.contracts.edges.test_many_vendors import ALIASES, KEY, MAKERS
from tests.support.browser import Browser, Kept

# The cookie by which each vendor knows the visitor, a value in its form, and one that it cannot use.
NAMED = {
    "wt": ("_wt.user-2490593", None, "%7Bother%7D"),
    "adobe": ("mbox", "session#0a1b#1000000000|PC#0c2d.35_0#1000001000", "true"),
    "monetate": ("mt.v", "2.12345.1500000000000", "1"),
    "cs": ("cs-personalize-user-uid", None, "undefined"),
}
# Where another integration may have put it: domain and path.
FORMS = [(None, "/"), (None, "/shop"), ("mysite.com", "/"), ("mysite.com", "/shop"), ("www.mysite.com", "/")]


def shown(seen: Seen) -> Answer:
    return Answer("|".join(seen.flags[alias] for alias in ALIASES.values()).encode())


def visit(edge: Edge, app: Any, browser: Browser, path: str = "/shop/cart") -> Page:
    header = browser.sends(path)
    page = edge.get(app, path, headers=[("cookie", header)] if header else [])
    browser.take(page.values("set-cookie"))
    return page


def another(domain: str | None, path: str, value: str, *cookies: Kept) -> Browser:
    """Return a browser with *cookies*, whose header is no other's."""
    browser = Browser(cookies=[*cookies])
    browser.put("site", f"{domain}{path}{len(value)}")
    return browser


def identity(name: str, value: str) -> str:
    """Return the part of a cookie's value that names the visitor; Webtrends encrypts it anew with every answer."""
    return {"mbox": lambda: value.split("#")[1], "_wt.user-2490593": lambda: ""}.get(name, lambda: value)()


@pytest.mark.parametrize("which", list(NAMED))
def test_one_form_is_left_within_two_pages(edge: Edge, make: Make, vendor: SandboxServer, which: str) -> None:
    """The visitor stays who they are from the second page on, and the browser sends each name once."""
    name, usable, unusable = NAMED[which]
    app = edge.mount(shown, make(vendors=[MAKERS[which](vendor)], reuse_s=300, signing_keys=[KEY]))
    first = Browser()
    visit(edge, app, first)
    [ours] = first.cookies_called(name)
    # Both edges share the mechanism; one of them goes through all forms.
    for domain, path in FORMS if edge.name == "asgi" else FORMS[:1]:
        for value in filter(None, (usable, unusable)):
            browser = another(domain, path, value)
            browser.put(name, value, domain, path)
            visit(edge, app, browser)
            visit(edge, app, browser)
            kept = browser.values(name)
            assert len(kept) == 1 and kept != [unusable], (domain, path, value, kept)
            for _ in range(2):
                visit(edge, app, browser)
                assert [identity(name, v) for v in browser.values(name)] == [identity(name, kept[0])]
            # The other way round: ours is there first, and the other one comes in front of it.
            browser = another(domain, path, value, *first.cookies)
            browser.put(name, value, domain, path)
            overwritten = ours not in browser.cookies
            browser.cookies[-1].created = -1
            visit(edge, app, browser)
            visit(edge, app, browser)
            assert len(browser.values(name)) == 1, (domain, path, value)
            if not overwritten:
                assert identity(name, browser.values(name)[0]) == identity(name, ours.value)


def test_a_cookie_domain_that_is_set_later(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Cookies of the host alone that were ours give way to those with a Domain, and the visitor stays."""
    before = edge.mount(shown, make(vendors=[MAKERS["cs"](vendor)]))
    after = edge.mount(shown, make(vendors=[MAKERS["cs"](vendor)], cookie_domain="mysite.com"))
    browser = Browser()
    visit(edge, before, browser)
    uid = browser.values(NAMED["cs"][0])
    for _ in range(3):
        visit(edge, after, browser)
        assert set(browser.values(NAMED["cs"][0])) == set(uid)
    assert len(browser.values(NAMED["cs"][0])) == 1


@pytest.mark.parametrize("which", ["flagmw", "flagmw_visitor"])
def test_own_cookies_too(edge: Edge, make: Make, vendor: SandboxServer, which: str, tmp_path: Path) -> None:
    """A forged decision or visitor id in front of the signed one does not take its place, and is deleted."""
    store = {"visitor_store": f"sqlite://{tmp_path}/visitors"} if which == "flagmw_visitor" else {}
    app = edge.mount(shown, make(vendors=[MAKERS["wt"](vendor)], reuse_s=300, signing_keys=[KEY], **store))
    browser = Browser()
    visit(edge, app, browser)
    signed = browser.values(which)
    asked = len(vendor.ledger()["requests"])
    for form in FORMS[1:]:
        browser.put(which, "forged", *form)
        browser.cookies[-1].created = -1
        visit(edge, app, browser)
        assert browser.values(which) == signed, form
    assert len(vendor.ledger()["requests"]) == asked


def test_nothing_is_deleted_where_a_name_comes_once(edge: Edge, make: Make) -> None:
    """An ordinary page has no line that deletes."""
    app = edge.mount(shown, make(vendors=[Static(flags={"ta_Project1": "b"})]))
    assert not [line for line in edge.get(app).values("set-cookie") if "Max-Age=0" in line]
