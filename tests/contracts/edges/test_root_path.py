"""The mount point, as servers leave it in the path or take it out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flagmw import Flagmw, asgi, wsgi
from tests.contracts.edges.driver import Answer, Probe, Seen, Sent, asgi_app, asgi_call, environ, http_scope, wsgi_app
from tests.contracts.edges.driver import wsgi_call as call_wsgi

ROOT, PATH = "/shop/ü", "/items/a b"
QUOTED_ROOT, QUOTED_PATH = "/shop/%C3%BC", "/items/a%20b"


def _latin(text: str) -> str:
    return text.encode().decode("latin-1")


SCOPES: dict[str, dict[str, Any]] = {
    "in both": {"path": ROOT + PATH, "raw_path": (QUOTED_ROOT + QUOTED_PATH).encode()},
    "in neither": {"path": PATH, "raw_path": QUOTED_PATH.encode()},
    "in the raw path": {"path": PATH, "raw_path": (QUOTED_ROOT + QUOTED_PATH).encode()},
    "no raw path": {"path": ROOT + PATH, "raw_path": None},
    "no raw path, taken out": {"path": PATH, "raw_path": None},
}
ENVIRONS: dict[str, dict[str, Any]] = {
    "as PEP 3333": {"PATH_INFO": _latin(PATH), "RAW_URI": QUOTED_ROOT + QUOTED_PATH},
    "proxy has taken it out": {"PATH_INFO": _latin(PATH), "RAW_URI": QUOTED_PATH},
    "server leaves it in": {"PATH_INFO": _latin(ROOT + PATH), "RAW_URI": QUOTED_ROOT + QUOTED_PATH},
    "no raw path": {"PATH_INFO": _latin(PATH), "RAW_URI": None},
}


def view(seen: Seen) -> Answer:
    return Answer(seen.flags["ta_P"].encode())


@pytest.mark.parametrize("form", [*SCOPES, *ENVIRONS])
@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ({"exclude": ["/shop/ü/*"]}, False),
        ({"exclude": ["/items/*"]}, True),
        ({"paths": ["/shop/ü/items/*"]}, True),
        ({"paths": ["/items/*"]}, False),
    ],
)
def test_C1_the_same_on_all_servers(form: str, options: dict[str, Any], asks: bool) -> None:
    """Patterns and the vendors' address have the whole path, wherever the server puts the mount point."""
    probe = Probe(base_url=None)
    fm = Flagmw(vendors=[probe], reuse_s=0, outbox="memory://", **options)
    if form in SCOPES:
        scope = http_scope(Sent(), **SCOPES[form], root_path=ROOT)
        asyncio.run(asgi_call(asgi.FlagsMiddleware(asgi_app(view), flagmw=fm), scope))
    else:
        made = environ(Sent(), **ENVIRONS[form], SCRIPT_NAME=_latin(ROOT))
        call_wsgi(wsgi.FlagsMiddleware(wsgi_app(view), flagmw=fm), made)
    fm.close()
    told = "https://www.mysite.com" + QUOTED_ROOT + QUOTED_PATH
    assert [visit.url for visit in probe.visits] == ([told] if asks else [])


@pytest.mark.parametrize(("root", "path"), [("/", "/a"), ("/shop/", "/shop/a"), ("shop", "/a"), ("/shop", "/shops/a")])
def test_C1_odd_mount_points(root: str, path: str) -> None:
    """A slash too many or too few makes no other path; a name that only begins alike is none of the mount point."""
    probe = Probe()
    fm = Flagmw(vendors=[probe], reuse_s=0, outbox="memory://")
    scope = http_scope(Sent(), path=path, raw_path=path.encode(), root_path=root)
    asyncio.run(asgi_call(asgi.FlagsMiddleware(asgi_app(view), flagmw=fm), scope))
    fm.close()
    expected = {"/": "/a", "/shop/": "/shop/a", "shop": "/shop/a", "/shop": "/shop/shops/a"}
    assert probe.visits[0].path == expected[root]
