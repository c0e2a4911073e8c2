"""A shared cache in front of either edge: nobody gets another's page or cookie, and the rest stays cacheable."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from flagmw import Flagmw, Webtrends, asgi, wsgi
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.caching_proxy import Answer, Fetch, SharedCache

VISITORS = 1000
PAGES: Mapping[str, tuple[list[tuple[str, str]], bool]] = {
    # path -> what the application says about caching, and whether its view reads a flag
    "/public": ([("Cache-Control", "public, max-age=60")], False),
    "/public-personal": ([("Cache-Control", "public, s-maxage=60"), ("Vary", "Accept-Language")], True),
    "/expires-personal": ([("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")], True),
    "/silent": ([], False),
    "/silent-personal": ([], True),
}


def view(path: str, flags: Any) -> bytes:
    """Return a page: one that reads a flag names the visitor it was made for."""
    if not PAGES[path][1]:
        return b"the same for everybody"
    return f"{flags['ta_Project1']} {flags.variant('ta_Project1').ids['system_uid']}".encode()


def asgi_fetch(fm: Flagmw) -> Iterator[Fetch]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = view(scope["path"], asgi.flags_from(scope))
        headers = [(name.encode(), value.encode()) for name, value in PAGES[scope["path"]][0]]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    middleware = asgi.FlagsMiddleware(app, flagmw=fm)
    with asyncio.Runner() as runner:

        def fetch(path: str, headers: Mapping[str, str]) -> Answer:
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            raw = [(b"host", b"www.mysite.com"), *((n.encode(), v.encode()) for n, v in headers.items())]
            scope = {"type": "http", "method": "GET", "scheme": "https", "path": path, "headers": raw}
            runner.run(middleware(scope, None, send))  # type: ignore[arg-type]
            start = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
            return sent[0]["status"], start, sent[1]["body"]

        yield fetch
        runner.run(fm.aclose())


def wsgi_fetch(fm: Flagmw) -> Iterator[Fetch]:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        body = view(environ["PATH_INFO"], wsgi.flags_from(environ))
        start_response("200 OK", list(PAGES[environ["PATH_INFO"]][0]))
        return [body]

    middleware = wsgi.FlagsMiddleware(app, flagmw=fm)

    def fetch(path: str, headers: Mapping[str, str]) -> Answer:
        started: list[Any] = []
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "HTTP_HOST": "www.mysite.com"}
        environ["wsgi.url_scheme"] = "https"
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            started.append((int(status[:3]), headers))

        body = b"".join(middleware(environ, start_response))  # type: ignore[arg-type]
        return started[0][0], started[0][1], body

    yield fetch
    fm.close()


@pytest.fixture(params=[asgi_fetch, wsgi_fetch], ids=["asgi", "wsgi"])
def cache(request: pytest.FixtureRequest, flagmw_sandbox: SandboxServer) -> Iterator[SharedCache]:
    """A shared cache in front of one of the edges."""
    vendor = Webtrends(
        2490593,
        "7a32f9364bd1ea68668a0e50bd815e79109a03720951",
        "https://www.mysite.com",
        base_url=flagmw_sandbox.webtrends_url,
    )
    make: Callable[[Flagmw], Iterator[Fetch]] = request.param
    for fetch in make(Flagmw(vendors=[vendor], deadline_ms=5000)):
        yield SharedCache(fetch)


def test_I17_no_page_or_cookie_of_another_visitor(cache: SharedCache) -> None:
    """Visitors in any order get pages made for themselves, and only cookies that nobody else was given."""
    dice = random.Random(17)
    jars: list[dict[str, str]] = [{} for _ in range(VISITORS)]
    uids: list[str | None] = [None] * VISITORS
    owner: dict[str, int] = {}
    for n in [dice.randrange(VISITORS) for _ in range(VISITORS * 2)]:
        path = dice.choice(list(PAGES))
        header = "; ".join(f"{name}={value}" for name, value in jars[n].items())
        _, headers, body = cache.get(path, {"cookie": header} if header else {})
        for name, value in headers:
            if name.lower() != "set-cookie":
                continue
            cookie, _, rest = value.partition("=")
            content = rest.partition(";")[0]
            jars[n][cookie] = content
            if not cookie.startswith("_wt.mode-"):  # this one is the same for all visitors of an account
                assert owner.setdefault(content, n) == n, f"{cookie} was given to two visitors"
        if PAGES[path][1]:
            uid = body.decode().split()[1]
            uids[n] = uids[n] or uid
            assert uids[n] == uid, f"{path} was made for somebody else"
    known = [uid for uid in uids if uid]
    assert len(set(known)) == len(known), "two visitors were told apart nowhere"


def test_I18_pages_without_flags_stay_cacheable(cache: SharedCache) -> None:
    """A page that reads no flag and is public is served from the shared cache, without any cookie in it."""
    answers = [cache.get("/public", {"cookie": f"site={n}"}) for n in range(10)]
    assert cache.hits == 9
    assert all(name.lower() not in ("set-cookie", "vary") for _, headers, _ in answers for name, _ in headers)
