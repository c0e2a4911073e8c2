"""Reuse, consent, bots and overrides are the same in every framework."""

from __future__ import annotations

from typing import Any

from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import Make, Visitor, webtrends
from tests.contracts.edges.test_qa_overrides import keep, token
from tests.contracts.edges.test_reuse import ALIAS, K1, asked
from tests.frameworks.sites import Answer, Asked, Site


def show(request: Asked) -> Answer:
    if request.path == "/shared":
        return Answer(b"for all", headers=[("Cache-Control", "public, max-age=60")])
    variant = request.flags.variant(ALIAS)
    return Answer(f"{variant.key} {variant.reason} {variant.error_code}".encode())


def options(vendor: SandboxServer, **more: Any) -> dict[str, Any]:
    return {"vendors": [webtrends(vendor.webtrends_url)], "signing_keys": [K1], "reuse_s": 300, **more}


def test_reuse_by_cookie(site: Site, make: Make, vendor: SandboxServer) -> None:
    """Three pages, the last of them in another process with the same keys: one call, and nothing is set again."""
    visitor = Visitor(site, site.mount(show, make(**options(vendor))))
    key = visitor.get("/a").body.split()[0]
    again = [visitor.get("/b"), Visitor(site, site.mount(show, make(**options(vendor))), visitor.cookies).get("/c")]
    assert [page.body for page in again] == [key + b" CACHED None"] * 2
    assert [page.values("set-cookie") for page in again] == [[], []]
    assert asked(vendor) == 1


def test_override(site: Site, make: Make, vendor: SandboxServer) -> None:
    """A link is kept after a yes, on any page, until it is taken away, and no cache may keep those responses."""
    visitor = Visitor(site, site.mount(show, make(**options(vendor, overrides=True))))
    page = keep(visitor, token(), "/shared")
    assert page.values("cache-control") == ["private, no-store"]
    assert visitor.get().body == b"red STATIC OVERRIDDEN"
    page = visitor.get("/shared", query="flagmw_override=off")
    assert page.values("cache-control") == ["private, no-store"]
    assert "flagmw_override" not in visitor.cookies
    assert visitor.get("/shared").values("cache-control") == ["public, max-age=60"]
    assert visitor.get().body.split()[1] != b"STATIC"


def test_consent(site: Site, make: Make, vendor: SandboxServer) -> None:
    """Nothing happens before consent, and everything with the very next request after it."""

    def by_cookie(inbound: Any) -> bool:
        return "banner=all" in "".join(inbound.headers("cookie"))

    visitor = Visitor(site, site.mount(show, make(**options(vendor, consent=by_cookie))))
    page = visitor.get()
    assert (page.body, page.values("set-cookie"), asked(vendor)) == (b"control ERROR NO_CONSENT", [], 0)
    visitor.cookies["banner"] = "all"
    assert visitor.get().body.split()[1] == b"SPLIT"


def test_prefetch(site: Site, make: Make, vendor: SandboxServer) -> None:
    """A page fetched ahead for a newcomer costs nothing and sets nothing."""
    page = site.get(site.mount(show, make(**options(vendor))), headers=[("sec-purpose", "prefetch")])
    assert (page.body, page.values("set-cookie"), asked(vendor)) == (b"control ERROR PREFETCH", [], 0)
