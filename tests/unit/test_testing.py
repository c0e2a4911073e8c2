"""What `flagmw.testing` gives to the tests of applications."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from flagmw import Flagmw, Reason, Visit, asgi, wsgi
from flagmw.codes import ErrorCode
from flagmw.testing import FakeVendor, Overrider, capture_tracks, override_flags
from flagmw.types import Retry, Track
from tests.contracts.edges.driver import Sent, environ, wsgi_call

VISIT = Visit(url="https://www.mysite.com/")


@pytest.fixture
def vendor() -> FakeVendor:
    return FakeVendor({"ta_A": "vendor's"})


@pytest.fixture
def fm(vendor: FakeVendor) -> Any:
    fm = Flagmw(vendors=[vendor], defaults={"ta_B": "default"})
    yield fm
    fm.close()


def test_override_replaces_the_vendor(fm: Flagmw, vendor: FakeVendor) -> None:
    """No vendor is asked; the aliases given are static, all others undecided."""
    with override_flags({"ta_A": "mine"}):
        flags = fm.decide(VISIT)
    assert dict(flags) == {"ta_A": "mine"}
    assert flags.variant("ta_A").reason is Reason.STATIC
    assert flags["ta_B"] == "default" and "ta_B" not in flags
    assert vendor.visits == []
    assert fm.decide(VISIT)["ta_A"] == "vendor's"


def test_overrides_add_up(fm: Flagmw) -> None:
    """The innermost override of an alias counts, and those around it stay."""
    with override_flags({"ta_A": "outer", "ta_B": "outer"}):
        with override_flags({"ta_A": "inner"}):
            assert dict(fm.decide(VISIT)) == {"ta_A": "inner", "ta_B": "outer"}
        assert dict(fm.decide(VISIT)) == {"ta_A": "outer", "ta_B": "outer"}


def test_strict_override_finds_misspelt_aliases(fm: Flagmw) -> None:
    """Reading an alias that nobody gave is an error that names it; asking whether it is there is none."""
    with override_flags({"ta_A": "mine"}, strict=True):
        flags = fm.decide(VISIT)
        assert flags["ta_A"] == "mine" and "ta_B" not in flags
        for read in (flags.get, flags.__getitem__, flags.variant, flags.is_on):
            with pytest.raises(LookupError, match="ta_Misspelt"):
                read("ta_Misspelt")


def test_override_decorates_functions_and_coroutines(fm: Flagmw) -> None:
    """A decorated test has the variants while it runs, async or not, every time it is called."""

    @override_flags({"ta_A": "mine"})
    def plain(alias: str) -> str:
        return fm.decide(VISIT)[alias]

    @override_flags({"ta_A": "mine"})
    async def coroutine(alias: str) -> str:
        await asyncio.sleep(0)
        return (await fm.adecide(VISIT))[alias]

    assert [plain("ta_A"), plain("ta_A"), asyncio.run(coroutine("ta_A"))] == ["mine"] * 3
    assert fm.decide(VISIT)["ta_A"] == "vendor's"


def test_override_holds_in_servers_threads(fm: Flagmw) -> None:
    """A request that another thread serves sees the override through either edge."""
    seen: list[str] = []

    def wsgi_view(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(wsgi.flags_from(environ)["ta_A"])
        start_response("200 OK", [])
        return []

    async def asgi_view(scope: Any, receive: Any, send: Any) -> None:
        seen.append(asgi.flags_from(scope)["ta_A"])

    def serve() -> None:
        wsgi.FlagsMiddleware(wsgi_view, flagmw=fm)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        asyncio.run(asgi.FlagsMiddleware(asgi_view, flagmw=fm)(scope, None, None))  # type: ignore[arg-type]

    with override_flags({"ta_A": "mine"}):
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join(10)
    assert seen == ["mine", "mine"]


def test_override_fixture(fm: Flagmw, override_flags: Overrider) -> None:
    """The fixture of the same name puts variants in place until the test ends."""
    override_flags({"ta_A": "mine"})
    assert fm.decide(VISIT)["ta_A"] == "mine"


def test_override_fixture_has_ended(fm: Flagmw) -> None:
    """What the fixture put in place is gone in the next test."""
    assert fm.decide(VISIT)["ta_A"] == "vendor's"


def test_capture_collects_instead_of_delivering(fm: Flagmw, vendor: FakeVendor) -> None:
    """Tracks are collected as they were checked, in a test or not, and none is delivered."""
    with override_flags({}), capture_tracks() as tracks:
        assert fm.decide(VISIT).track("purchase", data={"units": 2}, value=1) is not None
        assert fm.decide(VISIT).track("", data={}) is None
    assert [(track.metric, dict(track.data), track.value) for track in tracks] == [("purchase", {"units": 2}, 1.0)]
    assert fm.outbox_stats().accepted == 0 and vendor.delivered == []


def test_capture_fixture(fm: Flagmw, capture_tracks: list[Track]) -> None:
    """The fixture of the same name is the list of the test's tracks."""
    fm.decide(VISIT).track("purchase")
    assert [track.metric for track in capture_tracks] == ["purchase"]


def test_fake_vendor_plays_a_round_trip(fm: Flagmw, vendor: FakeVendor) -> None:
    """It decides, remembers visits, takes events, and answers deliveries as told."""
    vendor.outcomes.append(Retry(ErrorCode.HTTP_STATUS, after_s=0))
    assert fm.decide(VISIT).track("purchase") is not None
    assert fm.flush(10)
    assert vendor.visits == [VISIT]
    assert [event.track.metric for event in vendor.delivered] == ["purchase", "purchase"]
    assert fm.outbox_stats().delivered == 1


def test_fake_vendor_fails_as_told(vendor: FakeVendor, fm: Flagmw) -> None:
    """A failing vendor gives defaults with its code."""
    vendor.error = ErrorCode.CONNECT
    variant = fm.decide(VISIT).variant("ta_B")
    assert (variant.key, variant.reason, variant.error_code) == ("default", Reason.ERROR, ErrorCode.CONNECT)


@pytest.mark.parametrize("refused", [{"consent": lambda inbound: "functional"}, {"bots": lambda inbound: True}])
def test_F3_what_is_refused_is_not_captured(refused: dict[str, Any]) -> None:
    """A track that consent or the list of crawlers refuses in production is refused in a test."""
    fm = Flagmw(vendors=[FakeVendor({"ta_A": "b"})], outbox="memory://", **refused)

    def view(environ: Any, start_response: Any) -> list[bytes]:
        assert wsgi.flags_from(environ).track("purchase") is None
        start_response("200 OK", [])
        return [b""]

    with capture_tracks() as tracks:
        wsgi_call(wsgi.FlagsMiddleware(view, flagmw=fm), environ(Sent()))
    assert tracks == []
    assert sum(n for (what, *_), n in fm.counts().items() if what == "track_dropped") == 1
    fm.close()


def test_F3_without_pytest() -> None:
    """Users of unittest need not have it."""
    code = "import sys; sys.modules['pytest'] = None; import flagmw.testing as t; print(t.capture_tracks.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("capture_tracks", "")
