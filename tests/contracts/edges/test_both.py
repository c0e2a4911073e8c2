"""What both edges promise alike, through views that are written once."""

from __future__ import annotations

import asyncio
import contextvars
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flagmw import ConfigError, Flagmw, Identity, Static, Webtrends, current
from flagmw.codes import ErrorCode
from flagmw.outbox.memory import MemoryOutbox
from flagmw.sandbox import SandboxServer
from tests.contracts.edges.driver import (
    DOMAIN,
    EDGES,
    Answer,
    App,
    ClientGone,
    Edge,
    HastyProbe,
    Make,
    Page,
    Probe,
    Seen,
    Sent,
    View,
    Visitor,
    environ,
    http_scope,
    leaving_after,
    webtrends,
)
from tests.support.busy import HELD_UP_S, best
from tests.support.raw_vendor import RawVendor, always

SAMPLES = Path(__file__).parents[2] / "samples" / "webtrends"


def plain(seen: Seen) -> Answer:
    """Never look at a flag."""
    return Answer()


def reading(alias: str) -> View:
    """Make a view that shows the variant of *alias*."""
    return lambda seen: Answer(seen.flags[alias].encode())


def total(fm: Flagmw, what: str, code: str | None = None) -> int:
    return sum(n for (name, _, found), n in fm.counts().items() if name == what and code in (None, found))


def wait_for(found: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Poll until *found* returns something; fail when it does not."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return result


# Responses that stay as they are.

UNTOUCHED = {
    "plain": Answer(),
    "cacheable": Answer(headers=[("Cache-Control", "public, max-age=60"), ("ETag", '"x"')]),
    "vary": Answer(headers=[("vary", "Accept"), ("X-A", "1"), ("Vary", "Origin"), ("x-a", "2")]),
    "cookies": Answer(headers=[("Set-Cookie", "a=1"), ("X-Between", "y"), ("Set-Cookie", "b=2; Path=/")]),
    "no headers": Answer(b"", 204, ()),
    "not modified": Answer(b"", 304, [("ETag", '"x"')]),
    "odd octets": Answer(headers=[("X-Odd", "caf\xe9"), ("X-Empty", "")]),
    "error": Answer(b"no", 500, [("Content-Length", "2")]),
    "streamed": Answer([b"one", b"two"]),
}


@pytest.mark.parametrize("kind", UNTOUCHED)
def test_untouched_response_is_byte_identical(edge: Edge, make: Make, everyone_b: Static, kind: str) -> None:
    """Where nobody looks at a flag and no cookie is due, status, headers, their order and the body stay the same."""
    answer = UNTOUCHED[kind]
    fm = make(vendors=[everyone_b])
    assert edge.get(edge.mount(lambda seen: answer, fm)) == edge.get(edge.app(lambda seen: answer))


@pytest.mark.parametrize("kind", ["cacheable", "not modified"])
def test_untouched_response_that_others_may_keep_gets_no_cookie(
    edge: Edge, make: Make, split: Static, kind: str
) -> None:
    """A response for shared caches and a 304 stay byte-identical even when a cookie is due."""
    answer = UNTOUCHED[kind]
    fm = make(vendors=[split])
    assert edge.get(edge.mount(lambda seen: answer, fm)) == edge.get(edge.app(lambda seen: answer))
    # The cookie comes with the next page that is not for everyone.
    page = edge.get(edge.mount(plain, fm))
    assert [line.partition("=")[0] for line in page.values("set-cookie")] == ["flagmw_uid"]
    assert page.values("cache-control") == ["private"]


def test_touched_response_is_private(edge: Edge, make: Make, everyone_b: Static) -> None:
    """A page that looked at a flag is this visitor's alone; what is stricter, and what browsers may use, stays."""
    headers = [("Cache-Control", "public, max-age=60, s-maxage=600"), ("Vary", "Accept"), ("X-A", "1")]
    fm = make(vendors=[everyone_b])
    page = edge.get(edge.mount(lambda seen: Answer(seen.flags["ta_A"].encode(), headers=headers), fm))
    assert page.body == b"b"
    assert page.values("cache-control") == ["private, max-age=60"]
    assert page.values("vary") == ["Accept, Cookie"]
    assert page.values("x-a") == ["1"]
    assert page.values("set-cookie") == []


def test_excluded_paths_are_left_alone(edge: Edge, make: Make, split: Static) -> None:
    """An excluded path gets no cookie, no header and no decision; its view sees undecided flags."""
    seen_codes: list[Any] = []

    def view(seen: Seen) -> Answer:
        seen_codes.append((seen.flags["ta_A"], seen.flags.error_code, current().error_code))
        return Answer()

    fm = make(vendors=[split], exclude=["/health", "/static/*"])
    app = edge.mount(view, fm)
    for path in ("/health", "/static/a/b.css"):
        assert edge.get(app, path) == edge.get(edge.app(plain), path)
    assert seen_codes == [("control", ErrorCode.EXCLUDED, ErrorCode.NO_REQUEST)] * 2
    assert fm.counts() == {}
    assert edge.get(app, "/healthy").cookies.keys() == {"flagmw_uid"}


def test_paths_limit_where_decisions_are_made(edge: Edge, make: Make, split: Static) -> None:
    """With `paths` only those are decided for; elsewhere the flags are undecided but tracks still count."""
    codes: list[Any] = []

    def view(seen: Seen) -> Answer:
        codes.append(seen.flags.error_code)
        return Answer()

    app = edge.mount(view, make(vendors=[split], paths=["/shop/*"]))
    assert edge.get(app, "/shop/cart").cookies.keys() == {"flagmw_uid"}
    assert edge.get(app, "/about").cookies == {}
    assert codes == [None, ErrorCode.EXCLUDED]


def test_conversion_of_a_path_without_decision_counts(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A POST to a path that is not decided for converts with the cookies of the page before it."""

    def view(seen: Seen) -> Answer:
        if seen.path == "/buy":
            return Answer(str(seen.flags.track("purchase", aliases=["ta_Project1"])).encode())
        return Answer(seen.flags["ta_Project1"].encode())

    fm = make(vendors=[webtrends(vendor.webtrends_url)], paths=["/"])
    visitor = Visitor(edge, edge.mount(view, fm))
    visitor.get("/")
    assert visitor.get("/buy", method="POST").body != b"None"
    assert fm.flush(5)
    ledger = vendor.ledger()
    assert [request["action"] for request in ledger["requests"]] == ["control", "track"]
    assert [entry["alias"] for entry in ledger["conversions"]] == ["ta_Project1"]
    assert [request["lint"] for request in ledger["requests"]] == [[], []]


# Streams, methods, statuses.


def test_A1_streaming_response(edge: Edge, make: Make, split: Static) -> None:
    """Each piece of a stream leaves before the next is made, and headers are added once at its start."""
    log: list[str] = []

    def view(seen: Seen) -> Answer:
        variant = seen.flags["ta_A"]

        def pieces() -> Iterator[bytes]:
            for n in range(3):
                log.append(f"made {n}")
                yield f"{n}{variant}".encode()

        return Answer(pieces())

    page = edge.call(edge.mount(view, make(vendors=[split])), Sent(), lambda chunk: log.append(f"left {chunk[:1]!r}"))
    assert [line.replace("b'", "").rstrip("'") for line in log] == [
        f"{step} {n}" for n in range(3) for step in ("made", "left")
    ]
    assert len(page.values("set-cookie")) == len(page.values("cache-control")) == 1


def test_A2_tracks_of_an_endless_stream_are_committed_while_it_runs(
    edge: Edge, make: Make, vendor: SandboxServer
) -> None:
    """What happens inside a stream without an end is delivered while the stream runs, not when it is over."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    arrived: list[bool] = []

    def view(seen: Seen) -> Answer:
        def events() -> Iterator[bytes]:
            n = 0
            while True:
                n += 1
                yield b"data: tick\n\n"
                seen.flags.track(f"tick {n}", aliases=["ta_Project1"])

        return Answer(events(), headers=[("Content-Type", "text/event-stream")])

    def on_piece(_: bytes) -> None:
        if len(arrived) == 2:
            raise ClientGone
        if vendor.ledger(metric="tick 1")["conversions"]:
            arrived.append(True)
        time.sleep(0.01)

    with pytest.raises(ClientGone):
        edge.call(edge.mount(view, fm), Sent(), on_piece)
    assert len(arrived) == 2


def test_A5_head_is_not_decided_for(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """HEAD mints no visitor and calls nobody; the rule about caches is the same as for GET."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    app = edge.mount(lambda seen: Answer(b"", headers=[("X-Variant", seen.flags["ta_Project1"])]), fm)
    page = edge.get(app, method="HEAD")
    assert page.values("x-variant") == ["control"]
    assert page.values("cache-control") == ["private"]
    assert page.values("vary") == ["Cookie"]
    assert page.values("set-cookie") == []
    assert vendor.ledger()["requests"] == []


def test_A6_preflight_is_untouched(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A preflight passes as if nothing were mounted, and no vendor is asked."""
    answer = Answer(b"", 204, [("Access-Control-Allow-Origin", "*"), ("Access-Control-Max-Age", "600")])
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    preflight = Sent(method="OPTIONS", headers=[("origin", "https://a.test"), ("access-control-request-method", "PUT")])
    assert edge.call(edge.mount(lambda seen: answer, fm), preflight) == edge.call(
        edge.app(lambda seen: answer), preflight
    )
    assert vendor.ledger()["requests"] == []


def test_A7_statuses_without_a_body(edge: Edge, make: Make, split: Static) -> None:
    """A 204 gets its cookie and no body; a 304 gets nothing at all, even where a flag was read."""

    def view(seen: Seen) -> Answer:
        assert seen.flags["ta_A"] in "ab"
        return Answer(b"", int(seen.path[1:]), [("ETag", '"x"')])

    app = edge.mount(view, make(vendors=[split]))
    page = edge.get(app, "/204")
    assert page.body == b""
    assert page.cookies.keys() == {"flagmw_uid"}
    assert edge.get(app, "/304").headers[1:] == []


# Exceptions.


class Broken(Exception):
    """The application's own trouble."""


@pytest.mark.parametrize("path", ["/page", "/health"])
def test_A8_exception_before_the_response(edge: Edge, make: Make, split: Static, path: str) -> None:
    """The application's exception passes as it is, and the application ran once, on excluded paths too."""
    error, runs = Broken("mine"), []

    def view(seen: Seen) -> Answer:
        runs.append(seen.path)
        raise error

    fm = make(vendors=[split], exclude=["/health"])
    with pytest.raises(Broken) as caught:
        edge.get(edge.mount(view, fm), path)
    assert caught.value is error
    assert runs == [path]
    assert total(fm, "internal_error") == 0
    assert current().error_code is ErrorCode.NO_REQUEST


def test_A9_exception_in_the_middle_of_a_stream(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """It passes unchanged, no second response starts, and what the visitor did until then counts."""
    error = Broken("mine")

    def view(seen: Seen) -> Answer:
        def pieces() -> Iterator[bytes]:
            yield b"one"
            seen.flags.track("seen", aliases=["ta_Project1"])
            raise error

        return Answer(pieces())

    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    arrived: list[bytes] = []
    with pytest.raises(Broken) as caught:
        edge.call(edge.mount(view, fm), Sent(), arrived.append)
    assert caught.value is error
    assert arrived == [b"one"]
    assert fm.flush(5)
    assert len(vendor.ledger(metric="seen")["conversions"]) == 1


def test_A11_visitor_who_leaves_during_the_body(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Tracks stay when the visitor goes away: what they did has happened."""
    ended: list[str] = []

    def view(seen: Seen) -> Answer:
        seen.flags.track("before", aliases=["ta_Project1"])

        def pieces() -> Iterator[bytes]:
            try:
                for n in range(10):
                    seen.flags.track(f"piece {n}", aliases=["ta_Project1"])
                    yield b"x"
            finally:
                ended.append("ended")

        return Answer(pieces())

    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    with leaving_after(2) as arrived:
        edge.call(edge.mount(view, fm), Sent(), arrived)
    assert fm.flush(5)
    metrics = [request["metric"] for request in vendor.ledger()["requests"] if request["action"] == "track"]
    assert metrics == ["before", "piece 0", "piece 1"]


def test_A13_track_after_the_response(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Work that goes on after the response may still track, with the cookies of its request."""
    later: list[Any] = []

    def view(seen: Seen) -> Answer:
        later.append((contextvars.copy_context(), seen.flags))
        return Answer()

    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    page = edge.get(edge.mount(view, fm))
    context, flags = later[0]
    assert page.status == 200
    assert context.run(current) is flags
    done = threading.Thread(target=context.run, args=(lambda: current().track("mail sent", aliases=["ta_Project1"]),))
    done.start()
    done.join()
    assert fm.flush(5)
    (conversion,) = vendor.ledger(metric="mail sent")["conversions"]
    assert conversion["system_uid"] == flags.variant("ta_Project1").ids["system_uid"]


# Mounting.


@pytest.mark.parametrize("root", ["", "/shop"])
def test_A14_path_with_the_mount_point(edge: Edge, make: Make, root: str) -> None:
    """An application below a mount point is decided for once, with the whole path."""
    probe = Probe()
    fm = make(vendors=[probe], exclude=["/products/*"])
    page = edge.get(edge.mount(reading("ta_P"), fm), "/products/a%20b" if not root else "/products/a", root=root)
    if root:
        assert page.body == b"p"
        assert [(visit.path, visit.url) for visit in probe.visits] == [
            ("/shop/products/a", "https://www.mysite.com/shop/products/a")
        ]
    else:
        assert page.values("cache-control") == []
        assert probe.visits == []


def test_A15_mounted_twice(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """The second one does nothing: one decision, each cookie and header once, one conversion."""

    def view(seen: Seen) -> Answer:
        seen.flags.track("purchase", aliases=["ta_Project1"])
        return Answer(seen.flags["ta_Project1"].encode())

    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    page = edge.get(edge.wrap(edge.wrap(edge.app(view), fm), fm))
    names = [line.partition("=")[0] for line in page.values("set-cookie")]
    assert len(names) == len(set(names)) == 6
    assert len(page.values("cache-control")) == len(page.values("vary")) == 1
    assert fm.flush(5)
    assert [request["action"] for request in vendor.ledger()["requests"]] == ["control", "track"]


def test_two_runtimes_mounted_do_not_mix(edge: Edge, make: Make) -> None:
    """Of two different runtimes around one application the outer one decides, alone."""
    outer, inner = Probe(name="outer"), Probe(name="inner")
    app = edge.wrap(edge.wrap(edge.app(reading("ta_P")), make(vendors=[inner])), make(vendors=[outer]))
    assert edge.get(app).body == b"p"
    assert (len(outer.visits), len(inner.visits)) == (1, 0)


@pytest.mark.parametrize("wrong", [object(), {}, None])
def test_A31_middleware_takes_a_runtime_only(edge: Edge, wrong: Any) -> None:
    """Something else than a `Flagmw` is refused when the application is put together, not at the first page."""
    with pytest.raises(TypeError, match=r"flagmw=Flagmw\(\.\.\.\)"):
        edge.wrap(edge.app(plain), wrong)


def test_A31_bad_configuration_names_the_field_and_hides_the_value() -> None:
    """A wrong option fails at the start, by name, without what was given."""
    with pytest.raises(ConfigError, match="deadline_ms must be a whole number") as caught:
        Flagmw(deadline_ms="s3cret")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ConfigError, match="key_token must be") as caught:
        Webtrends(DOMAIN, "a s3cret", "https://www.mysite.com")
    assert "s3cret" not in str(caught.value)


def test_flags_without_the_middleware_name_the_cure(edge: Edge) -> None:
    """Asking for flags where nothing is mounted says what to mount."""
    with pytest.raises(RuntimeError, match=rf"mount flagmw\.{edge.name}\.FlagsMiddleware"):
        edge.get(edge.app(reading("ta_A")))


# The current flags.


def test_A17_current_is_set_and_cleared(edge: Edge, make: Make, everyone_b: Static) -> None:
    """Code far below the view finds the request's flags, and nothing once the request is over."""
    found: list[Any] = []

    def view(seen: Seen) -> Answer:
        found.append(current() is seen.flags)
        # A thread has the context that is given to it; a bare one has none.
        for run in (contextvars.copy_context().run, lambda call: call()):
            thread = threading.Thread(target=run, args=(lambda: found.append(current() is seen.flags),))
            thread.start()
            thread.join()

        def pieces() -> Iterator[bytes]:
            yield b"one"
            found.append(current() is seen.flags)

        return Answer(pieces() if seen.path == "/stream" else b"ok")

    app = edge.mount(view, make(vendors=[everyone_b]))
    edge.get(app)
    assert found == [True, True, False]
    assert current().error_code is ErrorCode.NO_REQUEST
    found.clear()
    edge.get(app, "/stream")
    assert found == [True, True, False, True]
    assert current().error_code is ErrorCode.NO_REQUEST


def test_A17_current_is_cleared_in_the_context_of_the_request(edge: Edge, make: Make, split: Static) -> None:
    """A server that serves all requests in one context does not carry one visitor's flags past their request."""
    left: list[Any] = []
    fm = make(vendors=[split], exclude=["/health"])
    inner = edge.mount(lambda seen: Answer(iter([b"one"]) if seen.path == "/stream" else b"one"), fm)

    if edge.name == "asgi":

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await inner(scope, receive, send)
            left.append(current().error_code)
    else:

        def app(environ: Any, start_response: Any) -> Any:  # type: ignore[misc]
            body = inner(environ, start_response)
            pieces = list(body)
            getattr(body, "close", list)()
            left.append(current().error_code)
            return pieces

    for path in ("/", "/stream", "/health"):
        edge.get(app, path)
    assert left == [ErrorCode.NO_REQUEST] * 3


def test_current_is_the_request_s_own_flags_when_nothing_was_decided(edge: Edge, make: Make) -> None:
    """With no vendor that answers, `current()` still has the configured defaults, the reason and the recorder."""
    found: list[Any] = []

    def view(seen: Seen) -> Answer:
        found.append((current() is seen.flags, current()["ta_A"], current().error_code))
        return Answer()

    with RawVendor() as nobody:
        url = nobody.url
    fm = make(vendors=[webtrends(url)], defaults={"ta_A": "calm"})
    edge.get(edge.mount(view, fm))
    assert found == [(True, "calm", ErrorCode.CONNECT)]


def test_asking_for_current_is_not_looking_at_flags(edge: Edge, make: Make, everyone_b: Static) -> None:
    """Whoever only fetches the map has not read from it: the response stays as it is."""

    def view(seen: Seen) -> Answer:
        assert repr(current())
        return Answer()

    assert edge.get(edge.mount(view, make(vendors=[everyone_b]))) == edge.get(edge.app(plain))


def test_requests_at_once_do_not_see_each_other(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Forty visitors at the same time: each page shows its own visitor at every step, and sets only its cookies."""

    def view(seen: Seen) -> Answer:
        if not seen.flags:
            return Answer(b"", 503)  # a machine so busy that a connection took too long

        def pieces() -> Iterator[bytes]:
            for _ in range(5):
                uid = seen.flags.variant("ta_Project1").ids["system_uid"]
                assert current().variant("ta_Project1").ids["system_uid"] == uid
                time.sleep(0.001)
                yield f"{uid} ".encode()

        seen.flags.track("seen", aliases=["ta_Project1"], data={"who": seen.path[1:]})
        return Answer(pieces())

    fm = make(vendors=[webtrends(vendor.webtrends_url)], pool_size=40, max_rate=1000)
    app, pages = edge.mount(view, fm), dict[int, Page]()

    def everybody() -> bool:
        missing = [n for n in range(40) if n not in pages]
        for n, page in zip(missing, edge.at_once(app, [Sent(f"/{n}") for n in missing]), strict=True):
            if page.status == 200:
                pages[n] = page
        return len(pages) == 40

    wait_for(everybody, 15)
    uids = {n: set(page.body.decode().split()) for n, page in pages.items()}
    assert all(len(own) == 1 for own in uids.values())
    assert len(set[str]().union(*uids.values())) == 40
    assert len({page.cookies[f"_wt.user-{DOMAIN}"] for page in pages.values()}) == 40
    assert fm.flush(10)
    tracks = [entry for entry in vendor.ledger()["requests"] if entry["action"] == "track"]
    assert {int(entry["data"]["who"]): {entry["system_uid"]} for entry in tracks} == uids
    stats = fm.outbox_stats()
    assert (stats.accepted, stats.delivered) == (40, 40)
    assert stats.balanced()


# Cookies.


def test_A26_cookie_that_the_application_sets_itself(edge: Edge, make: Make, split: Static) -> None:
    """The application wins: its cookie of a name is the only one."""
    answer = Answer(headers=[("Set-Cookie", "flagmw_uid=mine; Path=/")])
    page = edge.get(edge.mount(lambda seen: answer, make(vendors=[split])))
    assert page.values("set-cookie") == ["flagmw_uid=mine; Path=/"]


def test_second_visit_keeps_variant_and_sends_the_cookies(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A visitor who comes back with the cookies gets the same variant and is the same visitor at the vendor."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    visitor = Visitor(edge, edge.mount(reading("ta_Project1"), fm))
    first, second = visitor.get(), visitor.get()
    assert first.body == second.body in (b"control", b"variation")
    requests = vendor.ledger()["requests"]
    assert len({request["system_uid"] for request in requests}) == 1
    assert [sorted(request["cookies"]) for request in requests] == [[], sorted(first.cookies)]


# Seeds: the vendor's published answers, from a server that says exactly those bytes.


def seed(name: str) -> bytes:
    return (SAMPLES / name / "body").read_bytes()


def test_seed_single(edge: Edge, make: Make) -> None:
    """The published single answer: one flag, three cookies for the site's own domain."""
    seen_flags: list[Any] = []
    with RawVendor(always(seed("single"))) as vendor:
        app = edge.mount(
            lambda seen: (seen_flags.append(seen.flags), Answer())[1], make(vendors=[webtrends(vendor.url)])
        )
        page = edge.get(app, host="www.mysite.com")
        assert dict(seen_flags[0]) == {"ta_Project1": "control"}
        assert seen_flags[0].variant("ta_Project1").experiment_id == "2490702"
        lines = {line.partition("=")[0]: line for line in page.values("set-cookie")}
        cookies = json.loads(seed("single"))["body"]["cookies"]
        assert list(lines) == list(cookies)
        for name, cookie in cookies.items():
            age = "" if cookie["type"] == "session" else "; Max-Age=7776000"
            assert lines[name] == f"{name}={cookie['value']}{age}; Path=/; Domain=mysite.com; Secure; SameSite=Lax"
        # The call is the documented one.
        call = json.loads((SAMPLES / "single" / "call.json").read_text())
        (sent,) = vendor.requests
        assert sent.head.split("\r\n")[0] == f"POST /control/{DOMAIN} HTTP/1.1"
        assert json.loads(sent.body) == call["body"]


def test_seed_array(edge: Edge, make: Make) -> None:
    """The published array: two flags, accumulated cookies, and no Domain, for theirs is foreign to this host."""
    seen_flags: list[Any] = []
    with RawVendor(always(seed("array"))) as vendor:
        app = edge.mount(
            lambda seen: (seen_flags.append(seen.flags), Answer())[1], make(vendors=[webtrends(vendor.url)])
        )
        page = edge.get(app, host="www.mysite.com")
    assert dict(seen_flags[0]) == {"ta_Project1": "variation", "ta_Project2": "control"}
    assert page.cookies.keys() == {
        f"_wt.user-{DOMAIN}",
        f"_wt.mode-{DOMAIN}",
        f"_wt.control-{DOMAIN}-ta_Project1",
        f"_wt.control-{DOMAIN}-ta_Project2",
    }
    # Both elements bring a user cookie: the last one counts.
    users = re.findall(rb'_wt.user-2490593": {[^}]*"value": "([^"]+)"', seed("array"))
    assert len(set(users)) == 2
    assert page.cookies[f"_wt.user-{DOMAIN}"] == users[-1].decode()
    assert len(page.values("set-cookie")) == 4
    assert not any("Domain=" in line for line in page.values("set-cookie"))


def test_seed_no_test(edge: Edge, make: Make) -> None:
    """The published "no test" answer: the default with its reason, and the visitor's cookies all the same."""
    variants: list[Any] = []

    def view(seen: Seen) -> Answer:
        variants.append((seen.flags["ta_Project1"], seen.flags.variant("ta_Project1"), seen.flags.variant("ta_Other")))
        return Answer()

    with RawVendor(always(seed("no_test"))) as vendor:
        fm = make(vendors=[webtrends(vendor.url)], defaults={"ta_Project1": "calm"})
        page = edge.get(edge.mount(view, fm))
    key, variant, other = variants[0]
    assert key == variant.key == "calm"
    assert (variant.reason, variant.error_code) == ("DEFAULT", "VENDOR_303")
    assert (other.key, other.reason) == ("control", "DEFAULT")
    assert page.cookies.keys() == {f"_wt.user-{DOMAIN}", f"_wt.mode-{DOMAIN}"}
    assert fm.health()["vendors"]["wt"]["breaker"] == "closed"


# Our own defects.


def broken(error: Exception) -> Callable[[Any], Any]:
    def act(_: Any) -> Any:
        raise error

    return act


def counted(view: View, runs: list[str]) -> View:
    def run(seen: Seen) -> Answer:
        runs.append(seen.path)
        return view(seen)

    return run


@pytest.mark.parametrize("base_url", [None, "https://vendor.test"], ids=["local", "remote"])
@pytest.mark.parametrize("kind", [Probe, HastyProbe])
def test_A30_vendor_with_a_bug(edge: Edge, make: Make, kind: Any, base_url: str | None, everyone_b: Static) -> None:
    """A defect in one vendor costs its flags alone: the application runs once and the page is whole."""
    bad = kind(broken(ZeroDivisionError("a slip")), base_url=base_url)
    fm = make(vendors=[bad, everyone_b], defaults={"ta_P": "calm"})
    runs: list[str] = []

    def view(seen: Seen) -> Answer:
        return Answer(f"{seen.flags['ta_P']} {seen.flags['ta_A']} {seen.flags.error_code}".encode())

    page = edge.get(edge.mount(counted(view, runs), fm))
    assert (page.status, page.body, runs) == (200, b"calm b INTERNAL", ["/"])
    assert total(fm, "internal_error") == 1
    assert fm.health()["vendors"]["probe"]["in_flight"] == 0


@pytest.mark.parametrize("base_url", [None, "https://vendor.test"], ids=["local", "remote"])
def test_A30_vendor_that_returns_nonsense(edge: Edge, make: Make, everyone_b: Static, base_url: str | None) -> None:
    """What is no decision at all costs that vendor's flags alone, too."""

    class Nonsense(Probe):
        def decide(self, visit: Any, state: Any) -> Any:
            return None
            yield

    runs: list[str] = []
    fm = make(vendors=[Nonsense(base_url=base_url), everyone_b], defaults={"ta_P": "calm"})
    view = counted(lambda seen: Answer(f"{seen.flags['ta_P']} {seen.flags['ta_A']}".encode()), runs)
    page = edge.get(edge.mount(view, fm))
    assert (page.status, page.body, runs) == (200, b"calm b", ["/"])
    assert total(fm, "internal_error") == 1


def test_A30_bug_before_anything_is_decided(edge: Edge, make: Make, split: Static) -> None:
    """The page is then served with the configured defaults, and with nothing of the request before it."""

    class Misreads(Probe):
        cookies = replace(Probe.cookies, reads=broken(ZeroDivisionError("a slip")))

    found: list[Any] = []

    def view(seen: Seen) -> Answer:
        found.append((seen.flags["ta_P"], len(seen.flags), list(current()), seen.flags.track("x")))
        return Answer(iter([b"one"]), headers=[("X-A", "1")])

    fm = make(vendors=[split, Misreads()], defaults={"ta_P": "calm"})
    app = edge.mount(view, fm)
    if edge.name == "wsgi":
        # A server that forgets to close what it was given, so that the first request never ends.
        assert app(environ(Sent()), lambda status, headers: None)
    else:
        edge.get(app)
    page = edge.get(app, cookies={"probe1": "a"})
    assert (page.status, page.body, page.headers) == (200, b"one", [("X-A", "1")])
    assert found[1] == ("calm", 0, [], None)
    assert len(found) == 2
    assert total(fm, "internal_error") == 1


def test_A30_identify_that_raises(edge: Edge, make: Make, everyone_b: Static) -> None:
    """The visitor has no identity then, and everything else goes on."""
    runs: list[str] = []
    fm = make(vendors=[everyone_b], identify=broken(KeyError("session")))
    page = edge.get(edge.mount(counted(reading("ta_A"), runs), fm))
    assert (page.status, page.body, runs) == (200, b"b", ["/"])
    assert total(fm, "identify_failed") == 1


def test_identify_reads_the_request(edge: Edge, make: Make) -> None:
    """`identify` sees headers, path and peer, and what it returns reaches the vendors."""
    probe = Probe()

    def identify(inbound: Any) -> Identity:
        assert (inbound.method, inbound.path, inbound.peer) == ("GET", "/me", "198.51.100.23")
        return Identity(user_id=inbound.headers("x-user")[0], data={"plan": "pro"})

    fm = make(vendors=[probe], identify=identify)
    edge.get(edge.mount(plain, fm), "/me", headers=[("X-User", "u-1")])
    assert [(visit.user_id, visit.data) for visit in probe.visits] == [("u-1", {"plan": "pro"})]
    assert total(fm, "identify_failed") == 0


def test_A30_hooks_that_raise(edge: Edge, make: Make, everyone_b: Static) -> None:
    """A hook of the application that raises does not change the page."""
    fm = make(vendors=[everyone_b], on_decision=broken(RuntimeError("hook")))
    assert edge.get(edge.mount(reading("ta_A"), fm)).body == b"b"


def test_A30_outbox_with_a_bug(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """An outbox that fails in a way of its own costs the event, which is counted, and not the page."""

    class Full(MemoryOutbox):
        def put_many(self, events: Any, now: float) -> Any:
            raise OSError(28, "No space left on device")

    fm = make(vendors=[webtrends(vendor.webtrends_url)], outbox=Full())
    app = edge.mount(lambda seen: Answer(str(seen.flags.track("x")).encode()), fm)
    page = edge.get(app)
    assert page.status == 200
    assert total(fm, "event_dropped", ErrorCode.OUTBOX_FAILED) == 1
    assert total(fm, "internal_error") == 0


def test_A27_request_body_is_not_touched(edge: Edge, make: Make, everyone_b: Static) -> None:
    """The very object that the server gives for reading the body reaches the application."""
    got: list[Any] = []
    fm = make(vendors=[everyone_b])
    if edge.name == "asgi":

        async def receive() -> Any:
            raise AssertionError("the body was read")

        async def asgi(scope: Any, receive: Any, send: Any) -> None:
            got.append(receive)

        asyncio.run(edge.wrap(asgi, fm)(http_scope(Sent()), receive, None))
        assert got == [receive]
    else:

        class Unread:
            def __getattr__(self, name: str) -> Any:
                raise AssertionError("the body was read")

        def wsgi(environ: Any, start_response: Any) -> Any:
            got.append(environ["wsgi.input"])
            return []

        unread = Unread()
        edge.wrap(wsgi, fm)(environ(Sent(), **{"wsgi.input": unread}), None)
        assert got[0] is unread


# Life.


def new_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("flagmw")]


def test_A32_starts_lazily_and_again_after_close(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Without a lifespan everything starts at the first use, ends with `close`, and starts again when used again."""
    before = set(threading.enumerate())
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    app = edge.mount(lambda seen: Answer(str(seen.flags.track("x", aliases=["ta_Project1"])).encode()), fm)
    assert set(threading.enumerate()) == before
    for n in range(1, 3):
        edge.get(app)
        assert fm.flush(5)
        assert len(vendor.ledger(metric="x")["conversions"]) == n
        edge.close(fm)
        wait_for(lambda: not new_threads(before))


# The outbox.


class Slow(MemoryOutbox):
    """A store on a disk that takes half a second for everything it writes, or much longer, unless `go` is set."""

    submit = None  # it can only be waited for

    def __init__(self, takes_s: float = 0.5) -> None:
        super().__init__()
        self.takes_s, self.go = takes_s, threading.Event()

    def put_many(self, events: Any, now: float) -> Any:
        self.go.wait(self.takes_s)
        return super().put_many(events, now)


@pytest.fixture
def slow(edge: Edge, make: Make, vendor: SandboxServer) -> tuple[Flagmw, App, Slow]:
    outbox = Slow()
    fm = make(vendors=[webtrends(vendor.webtrends_url)], outbox=outbox)

    def view(seen: Seen) -> Answer:
        if seen.path == "/buy":
            seen.flags.track("purchase", aliases=["ta_Project1"])
        return Answer(seen.flags["ta_Project1"].encode())

    app = edge.mount(view, fm)
    edge.get(app)
    return fm, app, outbox


def test_slow_outbox_delays_a_response_by_50_ms(
    edge: Edge, vendor: SandboxServer, slow: tuple[Flagmw, App, Slow]
) -> None:
    """A response waits 50 ms for the store at most; the event goes on in the background and arrives."""
    fm, app, outbox = slow
    outbox.takes_s = 3 * HELD_UP_S
    bought = 0

    def buy() -> float:
        nonlocal bought
        bought += 1
        started = time.monotonic()
        assert edge.get(app, "/buy").status == 200
        return time.monotonic() - started

    elapsed = best(buy, 0.35)
    print(f"{edge.name}: a page with a store that takes for ever took {elapsed * 1000:.0f} ms")
    assert elapsed < 0.35
    assert total(fm, "commit_late", ErrorCode.COMMIT_LATE) == bought
    outbox.go.set()
    # Waiting for the delivery includes what is still on its way to the store.
    assert fm.flush(5)
    assert len(vendor.ledger(metric="purchase")["conversions"]) == bought


def test_slow_outbox_loses_nothing_at_close(edge: Edge, slow: tuple[Flagmw, App, Slow]) -> None:
    """`close` waits for what is still on its way to the store."""
    fm, app, outbox = slow
    edge.get(app, "/buy")
    edge.get(app, "/buy")
    edge.close(fm)
    assert outbox.stats(time.time()).accepted == 2


def test_slow_outbox_holds_up_nobody_else(edge: Edge, slow: tuple[Flagmw, App, Slow]) -> None:
    """While one visitor's event is being stored the pages of the others come as fast as ever."""
    _, app, outbox = slow
    outbox.takes_s = 3 * HELD_UP_S
    edge.get(app, "/buy")
    started = time.monotonic()
    pages = edge.at_once(app, [Sent("/") for _ in range(4)])
    assert time.monotonic() - started < HELD_UP_S
    assert [page.status for page in pages] == [200] * 4
    assert outbox.stats(time.time()).accepted == 0, "the event is still being stored"
    outbox.go.set()


def test_track_outside_of_requests_is_flushed(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """A saved visitor's conversion from a job reaches a slow store, and `flush` waits for it."""
    saved: list[bytes] = []
    outbox = Slow(3 * HELD_UP_S)
    fm = make(vendors=[webtrends(vendor.webtrends_url)], outbox=outbox)
    edge.get(edge.mount(lambda seen: (saved.append(seen.flags.save()), Answer())[1], fm))
    started = time.monotonic()
    assert fm.track("refund", visitor=saved[0], aliases=["ta_Project1"]) is not None
    assert time.monotonic() - started < HELD_UP_S
    outbox.go.set()
    assert fm.flush(5)
    assert len(vendor.ledger(metric="refund")["conversions"]) == 1


def test_counts_add_up_when_the_outbox_is_full(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Events that do not fit are counted as dropped, those that fit are delivered, and the books balance."""

    vendor.faults([{"kind": "delay", "ms": 300, "route": "track"}])
    fm = make(vendors=[webtrends(vendor.webtrends_url)], outbox=MemoryOutbox(max_rows=3))
    app = edge.mount(lambda seen: ([seen.flags.track("x", aliases=["ta_Project1"]) for _ in range(5)], Answer())[1], fm)
    edge.get(app)
    wait_for(lambda: total(fm, "event_dropped", ErrorCode.QUEUE_FULL) == 2)
    stats = fm.outbox_stats()
    assert stats.accepted == 3
    assert sum(stats.refused.values()) == 2
    assert stats.balanced()


# One request, one visit, at both edges.

REQUESTS = {
    "plain": Sent("/a/b"),
    "query": Sent("/a", query="token=s3cret&gclid=x"),
    "encoded": Sent("/a%20b%2Fc"),
    "unencoded": Sent("/a b"),
    "port": Sent(host="WWW.MySite.com:8443"),
    "evil host": Sent(host="evil.test/?x="),
    "http": Sent(scheme="http"),
    "forwarded": Sent(headers=[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "http")]),
    "trusted": Sent(
        peer="10.0.0.1", scheme="http", headers=[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")]
    ),
    "forwarded twice": Sent(
        peer="10.0.0.1", headers=[("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-For", "203.0.113.9, 10.0.0.7")]
    ),
    "malformed hops": Sent(peer="10.0.0.1", headers=[("X-Forwarded-For", ", ,unknown")]),
    "no peer": Sent(peer=None),
    "ipv6": Sent(peer="2001:db8:1:2:3::4"),
    "cookies": Sent(cookies={"sid": "s3cret", "probe1": "a", "probe2": "b"}),
    "two of a name": Sent(headers=[("Cookie", "probe1=first; x=1"), ("Cookie", "probe1=second; probe3=c")]),
    "large cookies": Sent(headers=[("Cookie", f"probe1=a; big={'x' * 17000}; probe2=b")]),
    "referer": Sent(headers=[("Referer", "https://shop.test/secret?token=1")]),
    "language": Sent(headers=[("Accept-Language", "de-DE,de;q=0.9")]),
    "odd agent": Sent(headers=[("X-Nothing", "1")]),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_both_edges_see_the_same_visit(kind: str) -> None:
    """A request makes the same visit at either edge, and nothing of the site's own in it."""
    visits = []
    for make_edge in EDGES.values():
        with make_edge() as edge:
            probe = Probe()
            fm = Flagmw(vendors=[probe], trusted_proxies=["10.0.0.0/8"], mode="eager")
            edge.call(edge.wrap(edge.app(plain), fm), REQUESTS[kind])
            edge.close(fm)
        (visit,) = probe.visits
        # The size of the site's own cookies counts the separator that a server joined two headers with.
        left_out = ("now", "fresh_id", "site_cookie_bytes")
        shown = {name: getattr(visit, name) for name in visit.__slots__ if name not in left_out}
        assert "s3cret" not in str(shown)
        visits.append(shown)
    assert visits[0] == visits[1]


EXPECTED: dict[str, dict[str, Any]] = {
    "plain": {"url": "https://www.mysite.com/a/b", "client_ip": "198.51.100.0", "secure": True},
    "query": {"url": "https://www.mysite.com/a"},
    "encoded": {"path": "/a%20b%2Fc"},
    "port": {"host": "www.mysite.com", "url": "https://www.mysite.com/"},
    "evil host": {"host": "localhost", "url": "https://localhost/"},
    "http": {"secure": False, "url": "http://www.mysite.com/"},
    "forwarded": {"client_ip": "198.51.100.0", "secure": True},
    "trusted": {"client_ip": "203.0.113.0", "secure": True},
    "forwarded twice": {"client_ip": "203.0.113.0"},
    "malformed hops": {"client_ip": "10.0.0.0"},
    "no peer": {"client_ip": None},
    "ipv6": {"client_ip": "2001:db8:1::"},
    "cookies": {"cookies": {"probe1": "a", "probe2": "b"}},
    "two of a name": {"cookies": {"probe1": "first", "probe3": "c"}},
    "large cookies": {"cookies": {"probe1": "a"}},
    "referer": {"referer": "https://shop.test/"},
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_visit_tells_what_may_be_told(edge: Edge, make: Make, kind: str) -> None:
    """What vendors learn of a request is what the options allow, whatever its headers claim."""
    probe = Probe()
    fm = make(vendors=[probe], trusted_proxies=["10.0.0.0/8"])
    edge.call(edge.wrap(edge.app(plain), fm), REQUESTS[kind])
    (visit,) = probe.visits
    assert {name: getattr(visit, name) for name in EXPECTED[kind]} == EXPECTED[kind]


def test_I8_switches_of_the_vendor_never_come_from_the_visitor(edge: Edge, make: Make, vendor: SandboxServer) -> None:
    """Query parameters, headers and cookies of a visitor switch on neither a variant nor debug nor staging."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    edge.get(
        edge.mount(reading("ta_Project1"), fm),
        query="ta_Project1=variation&_wt.debug=true&s_mode=staging&debug=true&wt_debug=1",
        headers=[("X-Wt-Debug", "1"), ("cookie", "s_mode=staging; _wt.debug=true; _wm_debug=1")],
    )
    (request,) = vendor.ledger()["requests"]
    assert (request["s_mode"], request["debug"], request["cookies"], request["url"]) == (
        None,
        False,
        {},
        "https://www.mysite.com",
    )
    assert request["lint"] == []
