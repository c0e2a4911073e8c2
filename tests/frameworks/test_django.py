"""Serving with Django: what is its own, under WSGI and ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import io
import pickle
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from wsgiref.util import FileWrapper

import django
import pytest
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.utils.functional import SimpleLazyObject

import flagmw.django
import flagmw.django.middleware
from flagmw import Flagmw, Flags, Identity, Static, asgi, current, wsgi
from flagmw._cookies.rule import CookieRule
from flagmw._support.tokens import Keys
from flagmw._web.overrides import Override, mint
from flagmw.codes import ErrorCode
from flagmw.django import FlagsMiddleware, flags_from
from flagmw.sandbox import SandboxServer
from flagmw.testing import FakeVendor
from flagmw.types import CookieChange, Decision, Flow, Variant, Visit, VisitorState
from tests.contracts.edges.driver import Make, Probe, asgi_call, environ, http_scope, webtrends, wsgi_call
from tests.faults.catalogue.rows import eventually
from tests.frameworks.sites import OURS, Answer, Asked, DjangoAsgi, DjangoWsgi, Sent, asynchronous

HERE = __name__
Site = DjangoWsgi | DjangoAsgi


def shown(asked: Asked) -> Answer:
    """Show the variant of `ta_A`."""
    return Answer(asked.flags["ta_A"].encode())


class Cookies(Probe):
    """A vendor that wants the given cookies to be set."""

    cookies = CookieRule(
        prefixes=("probe",),
        reads=lambda name: name.startswith("probe"),
        writes=lambda name: name.startswith("probe"),
        value_ok=lambda value: True,
        http_only=True,
    )

    def __init__(self, *changes: CookieChange) -> None:
        super().__init__()
        self._changes = changes

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        variants = {"ta_P": Variant(alias="ta_P", key="p", vendor=self.name)}
        return Decision(vendor=self.name, variants=variants, cookies=self._changes)
        yield


ODD = CookieChange(name="probe-ta_Project 1", value='{"a": "b, c"}', max_age_s=60, domain="mysite.com")
PLAIN = CookieChange(name="probe-2", value="x=y~~")
GONE = CookieChange(name="probe-3", value="", max_age_s=0, domain="mysite.com")


def test_cookies_reach_the_wire_as_they_are(django_site: Site, make: Make) -> None:
    """Names with a space, values that Django would quote, and a deletion for two domains leave unchanged."""
    lines: list[Any] = []

    def view(asked: Asked) -> Answer:
        lines.append(asked.flags.set_cookies)
        return Answer()

    page = django_site.get(
        django_site.mount(view, make(vendors=[Cookies(ODD, PLAIN, GONE)])), cookies={"probe-3": "old"}
    )
    assert page.values("set-cookie") == list(lines[0])
    assert page.values("set-cookie") == [
        'probe-ta_Project 1={"a": "b, c"}; Max-Age=60; Path=/; Domain=mysite.com; Secure; HttpOnly; SameSite=Lax',
        "probe-2=x=y~~; Path=/; Secure; HttpOnly; SameSite=Lax",
        "probe-3=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax",
        "probe-3=; Max-Age=0; Path=/; Domain=mysite.com; Secure; HttpOnly; SameSite=Lax",
    ]


def strict_cookies(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Make all cookies SameSite=None, as middleware for sites in frames does, and keep a copy of the response."""

    def serve(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        for cookie in response.cookies.values():
            cookie["samesite"] = "None"
        copy: HttpResponse = pickle.loads(pickle.dumps(response))
        return copy

    return serve


def test_cookies_can_be_changed_and_copied_by_other_middleware(make: Make) -> None:
    """Middleware around ours finds cookies as it knows them: with attributes to change, and fit for pickling."""
    with DjangoWsgi() as site:
        fm = make(vendors=[Cookies(ODD)])
        page = site.get(site.mount(lambda asked: Answer(), fm, above=[f"{HERE}.strict_cookies"]))
        (line,) = page.values("set-cookie")
    pair, *attributes = line.strip().split("; ")
    assert pair == 'probe-ta_Project 1={"a": "b, c"}'
    assert set(attributes) == {"Path=/", "Max-Age=60", "Domain=mysite.com", "Secure", "HttpOnly", "SameSite=None"}


def test_A15_listed_twice(django_site: Site, make: Make, vendor: SandboxServer) -> None:
    """The second one in the list does nothing: one decision, each cookie and header once."""
    app = django_site.mount(shown, make(vendors=[webtrends(vendor.webtrends_url)]), below=[OURS])
    page = django_site.get(app)
    names = [line.partition("=")[0] for line in page.values("set-cookie")]
    assert len(names) == len(set(names)) == 6
    assert len(page.values("cache-control")) == len(page.values("vary")) == 1
    assert [request["action"] for request in vendor.ledger()["requests"]] == ["control"]


@pytest.mark.parametrize("path", ["/page", "/health"])
def test_A15_edge_around_django(django_site: Site, make: Make, path: str) -> None:
    """Where an edge around Django has decided, its flags are on the request and its cookies are the only ones."""
    outer, inner = Probe(name="outer"), Probe(name="inner")
    handler = django_site.mount(lambda asked: Answer(asked.flags["ta_P"].encode()), make(vendors=[inner]))
    page = django_site.get(django_site.wrap(handler, make(vendors=[outer], exclude=["/health"])), path)
    assert page.body == (b"p" if path == "/page" else b"control")
    assert page.values("cache-control") == (["private"] if path == "/page" else [])
    assert (len(outer.visits), len(inner.visits)) == (int(path == "/page"), 0)


def only_sync(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware of the old kind."""

    def serve(request: HttpRequest) -> HttpResponse:
        assert current() is request.flags  # type: ignore[attr-defined]
        return get_response(request)

    return serve


@pytest.mark.parametrize("is_async", [False, True], ids=["sync view", "async view"])
@pytest.mark.parametrize("below", [[], [f"{HERE}.only_sync"]], ids=["", "sync middleware"])
def test_A16_A17_any_mixture_of_sync_and_async(
    django_site: Site, make: Make, split: Static, is_async: bool, below: list[str]
) -> None:
    """Sync and async views and middleware in one stack see the same flags, also through `current()`."""

    def view(asked: Asked) -> Answer:
        assert current() is asked.flags is asked.request.flags is flags_from(asked.request)
        asked.flags.track("nothing")
        return Answer(asked.flags["ta_A"].encode())

    fm = make(vendors=[split])
    urls_view = django_site.adapted(view, is_async=is_async)
    app = django_site.project(urls_view, MIDDLEWARE=[OURS, *below], FLAGMW=fm)
    page = django_site.get(app)
    assert page.body in (b"a", b"b")
    assert page.cookies.keys() == {"flagmw_uid"}
    assert current().error_code is ErrorCode.NO_REQUEST


def test_A17_current_lasts_through_a_stream(django_site: Site, make: Make, everyone_b: Static) -> None:
    """A stream that is made after the view has returned still finds the request's flags, and nobody else does."""

    def view(asked: Asked) -> Answer:
        return Answer(current()["ta_A"].encode() for _ in range(2))

    assert django_site.get(django_site.mount(view, make(vendors=[everyone_b]))).body == b"bb"
    assert current().error_code is ErrorCode.NO_REQUEST


def test_override_s_link_asks_before_it_is_kept(django_site: Site, make: Make, everyone_b: Static) -> None:
    """The question comes in place of the view's page; the yes of this browser sets the cookie and leads to the page."""
    key, now = "0123456789abcdef0123456789abcdef", time.time()
    token = mint(Keys([key]), Override(variants={"ta_A": "red"}, until=now + 60), "www.mysite.com", now)
    fm = make(vendors=[everyone_b], overrides=True, signing_keys=[key])
    app, browser = django_site.mount(shown, fm), [("accept", "text/html")]
    page = django_site.get(app, query=f"x=1&flagmw_override={token}", headers=browser)
    assert page.values("referrer-policy") == ["no-referrer"]
    assert page.cookies.keys() == {"flagmw_override_asked"}
    yes = urlencode(re.findall(r'name="([^"]*)" value="([^"]*)"', page.body.decode()))
    page = django_site.get(app, query=yes, headers=browser, cookies=page.cookies)
    assert (page.status, page.values("location")) == (303, ["/?x=1"])
    assert page.cookies == {"flagmw_override": token}
    assert django_site.get(app, query="x=1", headers=browser, cookies=page.cookies).body == b"red"


@pytest.mark.parametrize("path", ["/part", "/excluded"])
def test_view_that_calls_its_own_site(make: Make, path: str) -> None:
    """Afterwards the view's own flags are the current ones again."""

    class PerUser(FakeVendor):
        def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
            who = Variant(alias="ta_Who", key=visit.user_id or "nobody", vendor=self.name)
            return Decision(vendor=self.name, variants={"ta_Who": who})
            yield

    fm = make(
        vendors=[PerUser({"ta_Who": "x"})],
        identify=lambda inbound: Identity(inbound.header("x-visitor") or "nobody"),
        exclude=["/excluded"],
    )

    def view(request: Any) -> HttpResponse:
        if request.path == path:
            return HttpResponse(current()["ta_Who"])
        before = current()["ta_Who"]
        inner = Client().get(path, headers={"x-visitor": "inner"}).content.decode()
        return HttpResponse(f"{before} {inner} {current()['ta_Who']}")

    with DjangoWsgi() as site:
        site.project(view, MIDDLEWARE=[OURS], FLAGMW=fm)
        page = Client().get("/page", headers={"x-visitor": "outer"})
        assert page.content == f"outer {'control' if path == '/excluded' else 'inner'} outer".encode()
        assert current().error_code is ErrorCode.NO_REQUEST


@pytest.mark.parametrize("is_async", [False, True], ids=["sync content", "async content"])
def test_what_a_stream_reads_and_tracks_is_put_away(django_site: Site, make: Make, is_async: bool) -> None:
    """What a stream does for a piece is in the outbox before that piece leaves, and what comes after the last too."""
    vendor = FakeVendor({"ta_A": "a", "ta_B": "b", "ta_C": "c"}, exposure="read")
    fm = make(vendors=[vendor], outbox="memory://")
    accepted: list[int] = []

    def stream(flags: Flags) -> Iterator[bytes]:
        yield flags["ta_A"].encode()
        accepted.append(fm.outbox_stats().accepted)
        flags.track("opened")
        yield flags["ta_B"].encode()
        accepted.append(fm.outbox_stats().accepted)
        assert flags["ta_C"] == "c"

    def view(request: Any) -> StreamingHttpResponse:
        content = stream(request.flags)
        return StreamingHttpResponse(asynchronous(content) if is_async else content)

    with warnings.catch_warnings(action="ignore"):  # Django warns of content that is not made as the server takes it
        page = django_site.get(django_site.project(view, MIDDLEWARE=[OURS], FLAGMW=fm))
    assert page.body == b"ab"
    assert fm.flush(5)
    told = [(event.track.metric, *(variant.alias for variant in event.exposed)) for event in vendor.delivered]
    assert sorted(told) == [("exposure", "ta_A"), ("exposure", "ta_B"), ("exposure", "ta_C"), ("opened",)]
    if is_async is isinstance(django_site, DjangoAsgi):  # otherwise Django makes all of the content first
        assert accepted == [1, 3]


def test_a_stream_that_its_visitor_leaves(make: Make) -> None:
    """What was read for a piece that nobody took counts all the same: the server closes the response."""
    vendor = FakeVendor({"ta_A": "a", "ta_B": "b"}, exposure="read")
    fm = make(vendors=[vendor], outbox="memory://")

    def stream(flags: Flags) -> Iterator[bytes]:
        try:
            yield flags["ta_A"].encode()
        finally:
            flags.track("left")

    with DjangoWsgi() as site:
        app = site.project(lambda request: StreamingHttpResponse(stream(request.flags)), MIDDLEWARE=[OURS], FLAGMW=fm)
        body = app(environ(Sent()), lambda status, headers: None)
        assert next(iter(body)) == b"a"
        body.close()
    assert fm.flush(5)
    assert len(vendor.delivered) == 2


def test_A18_file_wrapper(make: Make, everyone_b: Static) -> None:
    """The server gets the very object that its own file wrapper made."""
    with DjangoWsgi() as site:
        app = site.project(
            lambda request: FileResponse(io.BytesIO(request.flags["ta_A"].encode())),
            MIDDLEWARE=[OURS],
            FLAGMW=make(vendors=[everyone_b]),
        )
        made: list[FileWrapper] = []

        def wrapper(*args: Any) -> FileWrapper:
            made.append(FileWrapper(*args))
            return made[-1]

        body = app(environ(Sent(), **{"wsgi.file_wrapper": wrapper}), lambda status, headers: None)
        assert [body] == made
        assert b"".join(body) == b"b"
        body.close()


def lazy_user(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Put a user on the request as Django's own middleware does, one that must not be asked for."""

    def touched() -> None:
        raise AssertionError("somebody touched the user")

    async def serve_async(request: HttpRequest) -> Any:
        request.user = SimpleLazyObject(touched)  # type: ignore[assignment]
        return await get_response(request)

    def serve(request: HttpRequest) -> Any:
        request.user = SimpleLazyObject(touched)  # type: ignore[assignment]
        return get_response(request)

    return serve_async if asyncio.iscoroutinefunction(get_response) else serve


lazy_user.async_capable = True  # type: ignore[attr-defined]


def test_lazy_user_is_not_touched(django_site: Site, make: Make, split: Static) -> None:
    """`request.user` is a database query that may not be made on an event loop: we never look."""
    fm = make(vendors=[split])
    page = django_site.get(django_site.mount(shown, fm, above=[f"{HERE}.lazy_user"]))
    assert page.body in (b"a", b"b")
    assert not [label for label in fm.counts() if label[0] in ("identify_failed", "internal_error")]


def test_identify_has_the_request(django_site: Site, make: Make) -> None:
    """`identify` gets what it gets in every framework, and Django's request beside it."""
    probe = Probe()

    def identify(inbound: Any) -> Identity:
        assert isinstance(inbound.request, HttpRequest)
        assert (inbound.method, inbound.path, inbound.peer) == ("GET", "/me", "198.51.100.23")
        return Identity(user_id=inbound.headers("x-user")[0] + inbound.request.headers["X-User"])

    fm = make(vendors=[probe], identify=identify)
    django_site.get(django_site.mount(shown, fm), "/me", headers=[("X-User", "u")])
    assert [visit.user_id for visit in probe.visits] == ["uu"]


def test_https_of_a_proxy_that_django_trusts(django_site: Site, make: Make, split: Static) -> None:
    """SECURE_PROXY_SSL_HEADER counts: cookies are Secure where the visitor's own connection is https."""
    django_site.configure(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"))
    app = django_site.mount(shown, make(vendors=[split]))
    for proto, secure in (("https", True), ("http", False)):
        page = django_site.get(app, scheme="http", headers=[("X-Forwarded-Proto", proto)])
        assert ("; Secure" in page.values("set-cookie")[0]) is secure


def test_several_cookie_headers(make: Make, vendor: SandboxServer) -> None:
    """HTTP/2 sends cookies one by one; under ASGI all of them are read."""
    probe = Probe()
    with DjangoAsgi() as site:
        page = site.mount(shown, make(vendors=[probe]))
        site.get(page, headers=[("cookie", "probe1=a"), ("cookie", "probe2=b")])
        assert [dict(visit.cookies) for visit in probe.visits] == [{"probe1": "a", "probe2": "b"}]


@pytest.mark.skipif(django.VERSION < (5,), reason="Django 5 was the first to cancel views whose visitor has left")
async def test_A10_A12_visitor_who_leaves_while_the_view_waits(vendor: SandboxServer) -> None:
    """Django cancels the view then: what the visitor did before that counts, and nothing is left behind."""
    fm = Flagmw(vendors=[webtrends(vendor.webtrends_url)], deadline_ms=5000, reuse_s=0)
    waiting = asyncio.Event()

    async def view(request: Any) -> HttpResponse:
        request.flags.track("opened", aliases=["ta_Project1"])
        waiting.set()
        await asyncio.Event().wait()
        raise AssertionError("not reached")

    messages: list[Any] = [{"type": "http.request"}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await waiting.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there")

    site = DjangoAsgi()
    with contextlib.ExitStack() as stack:
        stack.callback(site.__exit__, None, None, None)
        app = site.project(view, MIDDLEWARE=[OURS], FLAGMW=fm)
        async with asyncio.timeout(10):
            await app(http_scope(Sent()), receive, send)
    assert await asyncio.to_thread(fm.flush, 5)
    assert len(vendor.ledger(metric="opened")["conversions"]) == 1
    assert fm.health()["vendors"]["wt"]["in_flight"] == 0
    await fm.aclose(2.0)


# Django's own test tools.


@pytest.fixture
def project(make: Make, vendor: SandboxServer) -> Iterator[Flagmw]:
    """A project with one view that shows a variant and tracks POSTs."""

    def view(request: Any) -> HttpResponse:
        if request.method == "POST":
            request.flags.track("purchase", aliases=["ta_Project1"])
        return HttpResponse(request.flags["ta_Project1"])

    with DjangoWsgi() as site:
        fm = make(vendors=[webtrends(vendor.webtrends_url)])
        site.project(view, MIDDLEWARE=[OURS], FLAGMW=fm)
        yield fm


def test_test_client(project: Flagmw, vendor: SandboxServer) -> None:
    """Django's test client keeps our cookies like any others and sends them back."""
    browser = Client()
    pages = [browser.get("/"), browser.get("/"), browser.post("/")]
    assert len({page.content for page in pages}) == 1
    cookie = pages[0].cookies["_wt.user-2490593"]
    assert (cookie["path"], cookie["max-age"], cookie["samesite"]) == ("/", "7776000", "Lax")
    assert project.flush(5)
    requests = vendor.ledger()["requests"]
    assert [request["action"] for request in requests] == ["control", "control", "control", "track"]
    assert len({request["system_uid"] for request in requests if request.get("system_uid")}) == 1


async def test_async_test_client(project: Flagmw, vendor: SandboxServer) -> None:
    """So does the asynchronous one."""
    browser = AsyncClient()
    pages = [await browser.get("/"), await browser.post("/")]
    assert pages[0].content == pages[1].content
    assert pages[0].headers["Cache-Control"] == "private"
    assert await asyncio.to_thread(project.flush, 5)
    assert len(vendor.ledger(metric="purchase")["conversions"]) == 1
    await project.aclose(2.0)


async def test_request_factories(project: Flagmw) -> None:
    """Around a request that a factory made, the middleware works alone."""
    seen: list[Any] = []

    def view(request: Any) -> HttpResponse:
        seen.append(request.flags.error_code)
        return HttpResponse()

    async def view_async(request: Any) -> HttpResponse:
        return view(request)

    page = await asyncio.to_thread(FlagsMiddleware(view), RequestFactory().get("/"))
    page_async = await FlagsMiddleware(view_async)(AsyncRequestFactory().get("/"))
    assert page.cookies.keys() == page_async.cookies.keys() != set()
    assert seen == [None, None]
    await project.aclose(2.0)


def test_flags_without_the_middleware_name_the_cure() -> None:
    """A view that finds no flags is told what to add where."""
    with pytest.raises(RuntimeError, match=r'add "flagmw\.django\.FlagsMiddleware" to MIDDLEWARE'):
        flags_from(RequestFactory().get("/"))


def test_flags_that_a_test_puts_there() -> None:
    """In a test of a view alone, `request.flags` may be anything that the test likes."""
    request = RequestFactory().get("/")
    request.flags = Flags(defaults={"ta_A": "b"})  # type: ignore[attr-defined]
    assert flags_from(request)["ta_A"] == "b"


def test_requests_at_once_do_not_see_each_other(make: Make, vendor: SandboxServer) -> None:
    """Fifty visitors at the same time, in threads and on a loop, each get their own variant and cookies."""

    def view(asked: Asked) -> Answer:
        return Answer(asked.flags.variant("ta_Project1").ids["system_uid"].encode())

    before = set(threading.enumerate())
    fm = make(vendors=[webtrends(vendor.webtrends_url)], pool_size=50)
    for kind in (DjangoWsgi, DjangoAsgi):
        with kind() as site:
            pages = site.at_once(site.mount(view, fm), [Sent() for _ in range(50)])
            users = {value for page in pages for name, value in page.cookies.items() if name.startswith("_wt.user")}
            assert len({page.body for page in pages}) == len(users) == 50
            site.close(fm)
    assert eventually(lambda: len(set(threading.enumerate()) - before) < 10, within_s=10)


def test_missing_django_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Django the import says what to install."""
    monkeypatch.setitem(sys.modules, "django", None)
    spec = spec_from_file_location("flagmw_django_alone", Path(str(flagmw.django.middleware.__file__)))
    assert spec is not None and spec.loader is not None
    with pytest.raises(ImportError, match=r"needs Django: pip install 'flagmw\[django\]'"):
        spec.loader.exec_module(module_from_spec(spec))


def test_edges_alone_serve_django(make: Make, everyone_b: Static) -> None:
    """Django without our middleware inside may be wrapped by an edge; the flags are where the edge puts them."""
    fm = make(vendors=[everyone_b])

    def view(request: Any) -> HttpResponse:
        found = wsgi.flags_from(request.META) if not hasattr(request, "scope") else asgi.flags_from(request.scope)
        return HttpResponse(found["ta_A"])

    with DjangoWsgi() as site:
        page = wsgi_call(wsgi.FlagsMiddleware(site.project(view, MIDDLEWARE=[]), flagmw=fm), environ(Sent()))
        assert (page.body, page.values("cache-control")) == (b"b", ["private"])

    async def through_asgi() -> bytes:
        page = await asgi_call(asgi.FlagsMiddleware(site.handler(), flagmw=fm), http_scope(Sent()))
        await fm.aclose(2.0)
        return page.body

    with DjangoAsgi() as site:
        site.project(view, MIDDLEWARE=[])
        assert asyncio.run(through_asgi()) == b"b"
