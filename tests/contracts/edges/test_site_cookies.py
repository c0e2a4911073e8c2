"""The site's own cookies, as an application with the standard library's parser sees them."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.http.cookie import parse_cookie as parsed_by_django
from starlette.requests import cookie_parser as parsed_by_starlette

from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Answer, Edge, Make, Seen, webtrends
from tests.contracts.edges.test_many_vendors import MAKERS

MANIFEST = 'cs-personalize-manifest={"experiences":[{"shortUid":"0","activeVariantShortUid":null}],"activeVariants":{}}'
SPACED = "_wt.control-2490593-ta_Project 1=WT3abc~"
FOREIGN = "_wt.conversion-999-ta_Project 1=WT3abc~"
SITE = ["sessionid=5f2a", "cart=12", 'quoted="a b"']


def echo(seen: Seen) -> Answer:
    """Show the Cookie header that the application has."""
    if seen.edge == "wsgi":
        return Answer(seen.holder.get("HTTP_COOKIE", "").encode("latin-1"))
    return Answer(b"; ".join(value for name, value in seen.holder["headers"] if name == b"cookie"))


def names(body: bytes) -> set[str]:
    return set(SimpleCookie(body.decode("latin-1")))


@pytest.mark.parametrize("theirs", [[MANIFEST], [SPACED], [FOREIGN], [SPACED, MANIFEST], [MANIFEST, SPACED]])
@pytest.mark.parametrize("path", ["/", "/static/a.css"])
@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_the_session_is_found(
    edge: Edge, make: Make, vendor: SandboxServer, mode: str, path: str, theirs: list[str]
) -> None:
    """Wherever vendors' cookies stand, the application finds its own, and all others where its parser can."""
    options: dict[str, Any] = {"mode": mode, "exclude": ["/static/*"]}
    fm = make(vendors=[webtrends(vendor.webtrends_url), MAKERS["cs"](vendor)], **options)
    app = edge.mount(echo, fm)
    for place in range(len(SITE) + 1):
        pairs = [*SITE[:place], *theirs, *SITE[place:]]
        body = edge.get(app, path, headers=[("cookie", "; ".join(pairs))]).body
        assert names(body) >= {"sessionid", "cart", "quoted"}, body
        for parser in (parsed_by_django, parsed_by_starlette):
            assert set(parser(body.decode())) == {pair.partition("=")[0] for pair in pairs}


def test_nothing_else_is_moved(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A header that the parser reads arrives as it was sent, and so does one whose odd cookie is the site's own."""
    app = edge.mount(echo, make(vendors=[webtrends(vendor.webtrends_url)]))
    for header in ("_wt.user-2490593=WT3a~; a=1;b=2 ; c", 'site={"a":1}; _wt.user-2490593=WT3a~', "my cookie=1; a=2"):
        assert edge.get(app, headers=[("cookie", header)]).body.decode() == header
