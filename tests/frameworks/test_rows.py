"""What holds in every framework alike, through views that are written once."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from flagmw import Flagmw, Static, current
from flagmw.codes import ErrorCode
from flagmw.sandbox import SandboxServer
from flagmw.testing import FakeVendor
from tests.contracts.edges.driver import AsgiEdge, ClientGone, Make, Probe, Visitor, leaving_after, webtrends
from tests.frameworks.sites import Answer, Asked, Sent, Site, pieces


def plain(asked: Asked) -> Answer:
    """Never look at a flag."""
    return Answer()


def total(fm: Flagmw, what: str) -> int:
    return sum(n for (name, _, _), n in fm.counts().items() if name == what)


UNTOUCHED = {
    "plain": Answer(),
    "cacheable": Answer(headers=[("Cache-Control", "public, max-age=60"), ("ETag", '"x"')]),
    "vary": Answer(headers=[("Vary", "Accept"), ("X-A", "1")]),
    "cookie": Answer(headers=[("Set-Cookie", "a=1; Path=/")]),
    "not modified": Answer(b"", 304, [("ETag", '"x"')]),
    "error": Answer(b"no", 404),
}


@pytest.mark.parametrize("kind", UNTOUCHED)
def test_untouched_response_is_byte_identical(site: Site, make: Make, everyone_b: Static, kind: str) -> None:
    """Where nobody looks at a flag and no cookie is due, the response is what the framework alone would give."""
    fm = make(vendors=[everyone_b])
    with_us = site.get(site.mount(lambda asked: UNTOUCHED[kind], fm))
    assert with_us == site.get(site.app(lambda asked: UNTOUCHED[kind]))


def test_touched_response_is_private(site: Site, make: Make, everyone_b: Static) -> None:
    """A page that looked at a flag is this visitor's alone, also for a CDN that has a header of its own."""
    headers = [("Cache-Control", "public, max-age=60"), ("Vary", "Accept"), ("Surrogate-Control", "max-age=60")]
    fm = make(vendors=[everyone_b])
    page = site.get(site.mount(lambda asked: Answer(asked.flags["ta_A"].encode(), headers=headers), fm))
    assert page.body == b"b"
    assert page.values("cache-control") == ["private, max-age=60"]
    assert page.values("vary") == ["Accept, Cookie"]
    assert page.values("surrogate-control") == []
    assert page.values("set-cookie") == []


def test_shadow_vendors_are_asked_when_the_page_has_gone(site: Site, make: Make, everyone_b: Static) -> None:
    """In every framework: the page does not have them, and the report does, once for each page."""
    other = Static(flags={"ta_A": "c"}, name="later", shadow=True)
    fm = make(vendors=[everyone_b, other])
    app = site.mount(lambda asked: Answer(asked.flags["ta_A"].encode()), fm)
    for n in (1, 2):
        assert site.get(app).body == b"b"
        end = time.monotonic() + 15
        while fm.shadow_report()["vendors"]["later"]["asked"] < n and time.monotonic() < end:
            # What waits on an event loop has its turn only while that runs.
            site.run(asyncio.sleep(0.01)) if isinstance(site, AsgiEdge) else time.sleep(0.01)
    row = fm.shadow_report()["vendors"]["later"]["aliases"]["ta_A"]
    assert (row["differs"], row["pairs"]) == (2, [{"served": "b", "shadow": "c", "count": 2}])


def test_excluded_paths_are_left_alone(site: Site, make: Make, split: Static) -> None:
    """An excluded path gets no header and no cookie; its view sees undecided flags."""
    seen: list[Any] = []

    def view(asked: Asked) -> Answer:
        seen.append((asked.flags["ta_A"], asked.flags.error_code, current().error_code))
        return Answer()

    page = site.get(site.mount(view, make(vendors=[split], exclude=["/health"])), "/health")
    assert page.values("cache-control") == page.values("set-cookie") == page.values("vary") == []
    assert seen == [("control", ErrorCode.EXCLUDED, ErrorCode.NO_REQUEST)]


def test_cookies_go_both_ways_and_conversions_arrive(site: Site, make: Make, vendor: SandboxServer) -> None:
    """The second page has the first one's variant, and a conversion counts for that visitor."""

    def view(asked: Asked) -> Answer:
        variant = asked.flags.variant("ta_Project1")
        if asked.path == "/buy":
            asked.flags.track("purchase", aliases=["ta_Project1"], data={"revenue": 49.9})
        return Answer(f"{variant.key} {variant.ids['system_uid']}".encode())

    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    visitor = Visitor(site, site.mount(view, fm))
    first, second, third = visitor.get("/"), visitor.get("/"), visitor.get("/buy", method="POST")
    assert first.body == second.body == third.body
    assert len(first.values("set-cookie")) == 6
    assert fm.flush(5)
    (conversion,) = vendor.ledger(metric="purchase")["conversions"]
    assert conversion["system_uid"] == first.body.split()[1].decode()
    assert [request["lint"] for request in vendor.ledger()["requests"]] == [[]] * 4


def test_A1_streaming(site: Site, make: Make, split: Static) -> None:
    """Each piece of a stream leaves before the next is made, and headers are added once at its start."""
    log: list[str] = []

    def view(asked: Asked) -> Answer:
        return Answer(pieces(log, asked.flags["ta_A"]))

    app = site.mount(view, make(vendors=[split]))
    page = site.call(app, Sent(), lambda chunk: log.append(f"left {chunk[:1].decode()}"))
    assert log == [f"{step} {n}" for n in range(3) for step in ("made", "left")]
    assert len(page.values("set-cookie")) == len(page.values("cache-control")) == 1


def test_A2_tracks_of_an_endless_stream_are_delivered_while_it_runs(
    site: Site, make: Make, vendor: SandboxServer
) -> None:
    """What happens in a stream without an end is at the vendor while the stream runs."""
    fm, arrived = make(vendors=[webtrends(vendor.webtrends_url)]), list[bool]()

    def view(asked: Asked) -> Answer:
        def events() -> Iterator[bytes]:
            for n in range(1000):
                yield b"data: tick\n\n"
                asked.flags.track(f"tick {n}", aliases=["ta_Project1"])

        return Answer(events(), headers=[("Content-Type", "text/event-stream")])

    def on_piece(_: bytes) -> None:
        if arrived:
            raise ClientGone
        if vendor.ledger(metric="tick 0")["conversions"]:
            arrived.append(True)
        time.sleep(0.01)

    with pytest.raises((ClientGone, ClientDisconnect)):
        site.call(site.mount(view, fm), Sent(), on_piece)


def test_A5_head_is_not_decided_for(site: Site, make: Make, vendor: SandboxServer) -> None:
    """HEAD calls nobody and mints no visitor; the rule about caches is that of GET."""
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    page = site.get(
        site.mount(lambda asked: Answer(b"", headers=[("X-Variant", asked.flags["ta_Project1"])]), fm), method="HEAD"
    )
    assert page.values("x-variant") == ["control"]
    assert (page.values("cache-control"), page.values("vary")) == (["private"], ["Cookie"])
    assert page.values("set-cookie") == vendor.ledger()["requests"] == []


def test_A6_preflight_is_untouched(site: Site, make: Make, vendor: SandboxServer) -> None:
    """A preflight passes as if nothing were mounted."""
    sent = Sent(method="OPTIONS", headers=[("origin", "https://a.test"), ("access-control-request-method", "PUT")])
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    assert site.call(site.mount(plain, fm), sent) == site.call(site.app(plain), sent)
    assert vendor.ledger()["requests"] == []


def test_A7_statuses_without_a_body(site: Site, make: Make, split: Static) -> None:
    """A 204 gets its cookie and no body; a 304 gets nothing, even where a flag was read."""

    def view(asked: Asked) -> Answer:
        assert asked.flags["ta_A"] in "ab"
        return Answer(b"", int(asked.path[1:]), [("ETag", '"x"')])

    app = site.mount(view, make(vendors=[split]))
    page = site.get(app, "/204")
    assert (page.body, page.cookies.keys()) == (b"", {"flagmw_uid"})
    page = site.get(app, "/304")
    assert page.values("set-cookie") == page.values("cache-control") == page.values("vary") == []


def calmly(call: Callable[[], Any]) -> Any:
    """Return what *call* returns; None where the framework lets the application's exception through to the server."""
    try:
        return call()
    except ZeroDivisionError:
        return None


@pytest.mark.filterwarnings("ignore:.*was never awaited")
def test_A8_exception_before_the_response(site: Site, make: Make, vendor: SandboxServer) -> None:
    """The framework's own error page is served, the view ran once, and what the visitor did before counts."""
    runs: list[str] = []

    def view(asked: Asked) -> Answer:
        runs.append(asked.path)
        asked.flags.track("tried", aliases=["ta_Project1"])
        raise ZeroDivisionError("the application's own")

    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    page = calmly(lambda: site.get(site.mount(view, fm), "/x"))
    assert page is None or page.status == 500
    assert runs == ["/x"]
    assert total(fm, "internal_error") == 0
    assert fm.flush(5)
    assert len(vendor.ledger(metric="tried")["conversions"]) == 1


def test_A9_exception_in_the_middle_of_a_stream(site: Site, make: Make, vendor: SandboxServer) -> None:
    """It passes on, no second response starts, and what the visitor did until then counts."""

    def view(asked: Asked) -> Answer:
        def body() -> Iterator[bytes]:
            yield b"one"
            asked.flags.track("seen", aliases=["ta_Project1"])
            raise ZeroDivisionError("the application's own")

        return Answer(body())

    fm, arrived = make(vendors=[webtrends(vendor.webtrends_url)]), list[bytes]()
    with pytest.raises(ZeroDivisionError):
        site.call(site.mount(view, fm), Sent(), arrived.append)
    assert arrived == [b"one"]
    assert fm.flush(5)
    assert len(vendor.ledger(metric="seen")["conversions"]) == 1


def test_A11_visitor_who_leaves_during_the_body(site: Site, make: Make, vendor: SandboxServer) -> None:
    """Tracks stay when the visitor goes away: what they did has happened."""

    def view(asked: Asked) -> Answer:
        asked.flags.track("before", aliases=["ta_Project1"])

        def body() -> Iterator[bytes]:
            for n in range(10):
                asked.flags.track(f"piece {n}", aliases=["ta_Project1"])
                yield b"x"

        return Answer(body())

    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    with contextlib.suppress(ClientDisconnect), leaving_after(2) as arrived:
        site.call(site.mount(view, fm), Sent(), arrived)
    assert fm.flush(5)
    metrics = [request["metric"] for request in vendor.ledger()["requests"] if request["action"] == "track"]
    assert metrics == ["before", "piece 0", "piece 1"]


def test_A13_track_after_the_response(site: Site, make: Make, vendor: SandboxServer) -> None:
    """Work that goes on after the response may still track, with the cookies of its request."""
    later: list[Any] = []

    def view(asked: Asked) -> Answer:
        later.append(contextvars.copy_context())
        return Answer()

    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    site.get(site.mount(view, fm))
    assert current().error_code is ErrorCode.NO_REQUEST
    done = threading.Thread(target=later[0].run, args=(lambda: current().track("mail sent", aliases=["ta_Project1"]),))
    done.start()
    done.join()
    assert fm.flush(5)
    assert len(vendor.ledger(metric="mail sent")["conversions"]) == 1


def test_A14_path_with_the_mount_point(site: Site, make: Make) -> None:
    """An application below a mount point is decided for once, with the whole path, also one that is not ASCII."""
    probe = Probe()
    app = site.mount(lambda asked: Answer(asked.flags["ta_P"].encode()), make(vendors=[probe], exclude=["/caf\xe9/*"]))
    assert site.get(app, "/products/a", root="/shop").body == b"p"
    assert [visit.url for visit in probe.visits] == ["https://www.mysite.com/shop/products/a"]
    assert site.get(app, "/caf\xe9/a").body == b"control"
    assert len(probe.visits) == 1


def test_A26_cookie_that_the_application_sets_itself(site: Site, make: Make, split: Static) -> None:
    """The application's own cookie of the same name is the one that is sent."""
    fm = make(vendors=[split])
    page = site.get(site.mount(lambda asked: Answer(headers=[("Set-Cookie", "flagmw_uid=mine")]), fm))
    assert [line.strip() for line in page.values("set-cookie")] == ["flagmw_uid=mine"]


class Defective(FakeVendor):
    """A vendor whose defect surfaces in one step that the adapters take."""

    def __init__(self, step: str) -> None:
        super().__init__({"ta_A": "b"}, prefix="p:", exposure="read")
        self.step = step
        if step == "begin":
            self.cookies = replace(self.cookies, reads=self._fail)

    def _fail(self, *_: Any) -> bool:
        raise ZeroDivisionError("a defect")

    def decide(self, visit: Any, state: Any) -> Any:
        decision = yield from super().decide(visit, state)
        return replace(decision, variants=None) if self.step == "settle" else decision  # type: ignore[arg-type]

    def exposes(self, variants: Any, state: Any) -> Any:
        return self._fail() if self.step == "commit" else super().exposes(variants, state)


@pytest.mark.parametrize("step", ["begin", "settle", "commit"])
def test_A30_defect_of_ours(site: Site, step: str) -> None:
    """The view runs, once, with the configured default, the page is whole, and the defect is counted."""
    runs: list[str] = []

    def view(asked: Asked) -> Answer:
        runs.append(asked.path)
        if step == "commit":
            assert asked.flags["p:ta_A"] == "b"
        return Answer(asked.flags["ta_Z"].encode())

    fm = Flagmw(vendors=[Defective(step)], defaults={"ta_Z": "calm"})
    page = site.get(site.mount(view, fm), f"/{step}", headers=[("Cookie", "fake_a=1")])
    assert (page.status, page.body, runs) == (200, b"calm", [f"/{step}"])
    assert total(fm, "internal_error") >= 1
    site.close(fm)


def test_A32_no_threads_are_left(site: Site, make: Make, vendor: SandboxServer) -> None:
    """Nothing runs before the first request, and after `close` all threads of ours are gone."""
    before = {thread.name for thread in threading.enumerate()}
    fm = make(vendors=[webtrends(vendor.webtrends_url)])
    app = site.mount(lambda asked: Answer(str(asked.flags.track("a")).encode()), fm)
    assert not [thread for thread in threading.enumerate() if thread.name not in before]
    site.get(app)
    site.close(fm)
    end = time.monotonic() + 15
    while {thread.name for thread in threading.enumerate() if thread.name.startswith("flagmw")} - before:
        assert time.monotonic() < end
        time.sleep(0.01)
