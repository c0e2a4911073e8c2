"""Tokens, cookies, addresses and e-mails are where they belong, and in no log, repr, error, counter or output."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import pickle
import random
import string
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from flagmw import ConfigError, Flagmw, Flags, Identity, Static, Visit, Webtrends, cli
from flagmw._cookies.header import read
from flagmw.codes import ErrorCode
from flagmw.doctor import examine, render, to_json
from flagmw.exceptions import OutboxError, ProtocolError, TransportError
from flagmw.outbox.base import DeadLetter, Lease, Leased
from flagmw.outbox.memory import MemoryOutbox
from flagmw.sandbox import SandboxServer
from flagmw.types import (
    Call,
    CookieChange,
    Dead,
    Decision,
    Event,
    EventNote,
    Flow,
    Outcome,
    Reply,
    Track,
    Variant,
    VisitorState,
)
from flagmw.vendors.base import Participation
from tests.contracts.edges.driver import (
    DOMAIN,
    EDGES,
    TOKEN,
    Answer,
    AsgiEdge,
    Edge,
    Headers,
    Probe,
    Seen,
    Sent,
    webtrends,
)
from tests.faults.leaks.conftest import CANARIES, Watch
from tests.support.raw_vendor import Action, RawVendor, forever, free_port, hang, http, reset

ALIAS = "ta_Project1"
EMAIL, USER_ID, ORDER = CANARIES["e-mail"], CANARIES["user id"], CANARIES["order"]
COOKIES = {
    f"_wt.user-{DOMAIN}": CANARIES["user cookie"],
    f"_wt.mode-{DOMAIN}": CANARIES["mode cookie"],
    f"_wt.control-{DOMAIN}-{ALIAS}": CANARIES["control cookie"],
    f"_wt.control-{DOMAIN}-ta_Bad": CANARIES["bad cookie"],
    f"_wt.control-{DOMAIN}-ta_Long": CANARIES["long cookie"],
    "sessionid": CANARIES["site cookie"],
}
ALL = " ".join(CANARIES.values())
QUERY = CANARIES["query's secret"]
REFERER = "https://elsewhere.example/in?token=" + CANARIES["referer's secret"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    """A vendor that works."""
    with SandboxServer(seed=3) as server:
        yield server


@pytest.fixture(params=EDGES)
def edge(request: pytest.FixtureRequest) -> Iterator[Edge]:
    """Each edge in turn."""
    with EDGES[request.param]() as edge:
        yield edge


def echo(wrap: Callable[[bytes], bytes], status: int = 200, *headers: tuple[str, str]) -> Action:
    """Answer every request with what was sent, in some wrapping, and with all canaries."""

    def act(connection: Any) -> None:
        received = connection.read_request()
        connection.send(http(wrap(received.raw + ALL.encode()), status, headers))

    return forever(act)


def said(code: int) -> Callable[[bytes], bytes]:
    """Wrap as the vendor's own error."""

    def wrap(sent: bytes) -> bytes:
        message = {"errorCode": code, "errorMessage": sent.decode("latin-1")}
        return json.dumps([{"body": {"message": message}, "opcode": "process", "params": {"x": ALL}}]).encode()

    return wrap


FAILURES: dict[str, Action | None] = {
    "down": None,
    "hang": hang,
    "reset": reset,
    "html": echo(lambda sent: b"<html>" + sent, 502),
    "page instead of JSON": echo(lambda sent: b"<html>" + sent),
    "broken JSON": echo(lambda sent: b'{"a": "' + sent),
    "not HTTP": forever(lambda connection: connection.send(connection.read_request().raw * 2)),
    "bad token": echo(said(104)),
    "bad cookies": echo(said(415)),
    "no test": echo(said(303)),
    "refused": echo(lambda sent: sent, 401, ("www-authenticate", ALL)),
    "bad request": echo(lambda sent: sent, 400, ("x-echo", ALL)),
    "redirect": echo(lambda sent: sent, 302, ("location", f"https://evil.example/?{CANARIES['user cookie']}")),
    "wrong encoding": echo(lambda sent: sent, 200, ("content-encoding", "gzip"), ("set-cookie", f"a={ALL}")),
}


def identify(_: object) -> Identity:
    return Identity(user_id=USER_ID, data={"mail": EMAIL})


def go_through(edge: Edge, watch: Watch, *vendors: Any, **options: Any) -> None:
    """Serve requests with canaries, convert in and out of them, deliver, and look at everything there is to see."""
    outbox = options.pop("outbox", None) or MemoryOutbox()
    options = {"identify": identify, "client_ip": "full", "deadline_ms": 250, **options}
    fm = Flagmw(vendors=vendors, outbox=outbox, on_decision=watch.saw, on_event=watch.saw, **options)

    def view(seen: Seen) -> Answer:
        flags = seen.flags
        flags.track("purchase", data={"mail": EMAIL}, key=ORDER, value=1.5)
        flags.track("purchase", data={"mail": EMAIL * 20})
        flags.track("bad\nmetric", data={"mail": EMAIL})
        if isinstance(vendors[0], Webtrends):  # which takes no such metric, and must not say what it was
            flags.track(EMAIL, data={"mail": EMAIL})
        fm.track("signup", visitor=flags.save(), data={"mail": EMAIL})
        look(watch, flags)
        return Answer(flags[ALIAS].encode())

    app = edge.mount(view, fm)
    sent = Sent(
        "/basket",
        query=f"secret={QUERY}",
        cookies=COOKIES,
        peer=CANARIES["address"],
        headers=[("referer", REFERER), ("authorization", f"Bearer {CANARIES['authorization']}")],
    )
    try:
        for _ in range(2):
            page = edge.call(app, sent)
            assert page.status == 200
            plain = [(name, value) for name, value in page.headers if name.lower() != "set-cookie"]
            watch.saw(plain, page.body)
        fm.flush(0.4)
        for broken in (b"", b"{" + ALL.encode(), json.dumps({"v": 1, "cookies": COOKIES, "url": ALL}).encode()):
            with pytest.raises(ValueError) as refused:
                fm.track("purchase", visitor=broken)
            watch.caught(refused.value, given=frozenset({"visitor", "saved", "document"}))
        look(watch, fm.decide(Visit(url="https://www.mysite.com/", cookies=COOKIES, user_id=USER_ID)))
        watch.saw(fm, fm.config, fm.health(), fm.counts(), fm.outbox_stats(), *vendors)
        watch.saw(*outbox.dead(), outbox)
    finally:
        edge.close(fm)


def look(watch: Watch, flags: Flags) -> None:
    watch.saw(flags, flags.error_code, flags.missed, flags.exposed, dict(flags))
    watch.saw(flags.variant(ALIAS), flags.variant("ta_Unknown"))


# The watch itself.


def test_the_watch_sees(watch: Watch) -> None:
    """A canary is found in a log line, in the locals of a logged error, in a repr, an output and a warning."""
    logger = logging.getLogger("httpcore.http11")

    def failing() -> None:
        held = CANARIES["user cookie"]
        raise ValueError(len(held))

    logger.debug("receive_response_headers %r", [(b"set-cookie", CANARIES["mode cookie"])])
    try:
        failing()
    except ValueError:
        logger.exception("it failed")
    watch.saw({"key": TOKEN}, ValueError(EMAIL))
    assert {hit.partition(" in ")[0] for hit in watch.hits()} == {"user cookie", "mode cookie", "key token", "e-mail"}
    logging.getLogger("flagmw").error("two\nlines")
    assert len(watch.broken_lines()) == 1
    watch.seen.clear()
    watch.lines.clear()


def test_I22_what_the_http_library_logs_is_watched(edge: Edge, watch: Watch) -> None:
    """Calls go out with the token, the cookies and the address in them while everybody's DEBUG lines are watched."""
    with RawVendor(FAILURES["page instead of JSON"] or hang) as vendor:
        go_through(edge, watch, webtrends(f"{vendor.url}/api"))
        sent = "".join(request.raw.decode("latin-1") for request in vendor.requests)
    wanted = ("key token", "user cookie", "mode cookie", "control cookie", "address", "e-mail")
    assert [kind for kind in wanted if CANARIES[kind] not in sent] == []
    assert "flagmw" in watch.loggers
    assert logging.getLogger("httpcore2").isEnabledFor(logging.DEBUG)


# What goes through the edges.


def test_I22_nothing_leaks_when_the_vendor_works(edge: Edge, watch: Watch, sandbox: SandboxServer) -> None:
    """A page that decides and converts tells the vendor and nobody else."""
    sandbox.reset()
    go_through(edge, watch, webtrends(sandbox.webtrends_url), deadline_ms=5000)
    told = json.dumps(sandbox.ledger())
    assert EMAIL in told and CANARIES["address"] in told  # it is where they belong


@pytest.mark.parametrize("failure", FAILURES)
def test_I22_nothing_leaks_when_the_vendor_fails(edge: Edge, watch: Watch, failure: str) -> None:
    """However the vendor fails, and whatever it sends back of what it was sent, none of it is shown."""
    action = FAILURES[failure]
    if action is None:
        go_through(edge, watch, webtrends(f"http://127.0.0.1:{free_port()}/api"))
        return
    with RawVendor(action) as vendor:
        go_through(edge, watch, webtrends(f"{vendor.url}/api", at_most_once=failure == "html"))


class Exploding(Probe):
    """A vendor object whose every method fails with the canaries in its error, after a call or before."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__(base_url="http://127.0.0.1:9")
        self._error = error

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        raise self._error(ALL)

    def participation(self, track: Track, state: VisitorState) -> Participation:
        if track.metric == "purchase":
            return Participation(("ta_P",), dict(state.cookies))
        raise self._error(ALL)

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        raise self._error(ALL)


@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyError, UnicodeError])
def test_nothing_leaks_from_an_exploding_vendor(edge: Edge, watch: Watch, error: type[Exception]) -> None:
    """A vendor object of somebody else's may fail with anything in its error's text."""
    go_through(edge, watch, Exploding(error))


def test_nothing_leaks_from_dead_letters(edge: Edge, watch: Watch) -> None:
    """An event that was laid aside shows what it was, not what is in it."""

    class Burying(Probe):
        def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
            return [Dead(ErrorCode.BAD_METRIC) for _ in batch]
            yield

    outbox = MemoryOutbox()
    go_through(edge, watch, Burying(), outbox=outbox)
    assert outbox.dead()


@pytest.mark.parametrize("failure", ["refused", "redirect", "wrong encoding", "bad token"])
@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_nothing_leaks_through_transports_of_others(edge: Edge, watch: Watch, library: Any, failure: str) -> None:
    """A transport that the application hands in is as quiet as our own connections."""
    with RawVendor(FAILURES[failure] or hang) as vendor:
        transports = (library.HTTPTransport(), library.AsyncHTTPTransport())
        try:
            go_through(edge, watch, webtrends(f"{vendor.url}/api"), transport=transports)
        finally:
            transports[0].close()
            if isinstance(edge, AsgiEdge):
                edge._runner.run(transports[1].aclose())
        assert vendor.requests


@pytest.mark.parametrize("error", [ValueError, RuntimeError, TransportError])
def test_nothing_leaks_from_a_failing_identify(edge: Edge, watch: Watch, error: type[Exception]) -> None:
    """The log has the text of the site's own error, as its developers need, and nothing of the visitor's beside it."""

    def identify(_: object) -> Identity:
        raise error("the shop's own") if error is not TransportError else RuntimeError("the shop's own")

    go_through(edge, watch, webtrends(f"http://127.0.0.1:{free_port()}/api"), identify=identify)


def test_nothing_leaks_from_a_failing_outbox(edge: Edge, watch: Watch) -> None:
    """The error of somebody else's outbox is named by its type alone."""

    class Full(MemoryOutbox):
        def put_many(self, events: Sequence[Event], now: float) -> Sequence[str]:
            raise RuntimeError(ALL)

    go_through(edge, watch, webtrends(f"http://127.0.0.1:{free_port()}/api"), outbox=Full())


class Lazy(dict[str, str]):
    """Track data that fails when it is read."""

    def items(self) -> Any:
        raise ValueError(ALL)


class Unprintable:
    def __str__(self) -> str:
        raise ValueError(ALL)


@pytest.mark.parametrize(
    "bad",
    [
        {"data": {"mail": EMAIL * 20}},
        {"data": {"mail": [EMAIL]}},
        {"data": {"mail": EMAIL + "\n"}},
        {"data": {f"k{n}": EMAIL * 8 for n in range(45)}},
        {"data": EMAIL},
        {"data": Lazy(a="b")},
        {"key": EMAIL * 12},
        {"key": Unprintable()},
        {"currency": EMAIL},
        {"value": EMAIL},
        {"aliases": EMAIL},
        {"aliases": [EMAIL * 20]},
        {"items": [{"mail": EMAIL * 20}]},
    ],
    ids=lambda bad: next(iter(bad)),
)
@pytest.mark.parametrize("debug", [False, True])
def test_bad_track_data_is_not_quoted(watch: Watch, bad: dict[str, Any], debug: bool) -> None:
    """A detail that `track()` changes or refuses is named in the log and in the error, and never quoted."""
    fm = Flagmw(vendors=[Probe()], debug=debug)
    flags = fm.decide(Visit(url="https://www.mysite.com/"))
    try:
        flags.track("purchase", **bad)
        assert sum(count for (what, _, _), count in fm.counts().items() if what in ("track_fitted", "track_dropped"))
    except ValueError as error:
        assert debug
        # While debugging an error of the application's own comes through as it is.
        if not isinstance(bad.get("data"), Lazy) and "key" not in bad:
            watch.saw(error)
    finally:
        fm.close(1.0)


def test_I23_an_error_of_the_application_shows_nothing_of_ours(edge: Edge, watch: Watch) -> None:
    """In the traceback of a view's error our own frames hold no cookie, address or token to print."""
    fm = Flagmw(vendors=[webtrends(f"http://127.0.0.1:{free_port()}/api")], identify=identify, client_ip="full")

    def view(seen: Seen) -> Answer:
        seen.flags.track("purchase", data={"mail": EMAIL})
        raise LookupError("the shop's own")

    try:
        with pytest.raises(LookupError) as failed:
            edge.call(edge.mount(view, fm), Sent(cookies=COOKIES, peer=CANARIES["address"]))
        watch.caught(failed.value)
    finally:
        edge.close(fm)


# Objects.


def test_I23_reprs_show_no_content(watch: Watch) -> None:
    """The values that flagmw's parts hand each other show who and what, never what a visitor brought along."""
    address, body = CANARIES["address"], ALL.encode()
    visit = Visit(
        url="https://www.mysite.com/", client_ip=address, cookies=COOKIES, user_id=USER_ID, data={"m": EMAIL},
        referer=REFERER,
    )  # fmt: skip
    track = Track(id="t", metric="purchase", data={"mail": EMAIL}, key=ORDER, items=({"mail": EMAIL},))
    event = Event(id="e", vendor="wt", kind="track", track=track, aliases=(ALIAS,), visit=visit, visitor_key="0f0f")
    change = CookieChange(name=f"_wt.user-{DOMAIN}", value=CANARIES["user cookie"])
    watch.saw(visit, VisitorState(COOKIES), track, event, change, Participation((ALIAS,), COOKIES))
    watch.saw(Decision(vendor="wt", cookies=(change,), log=ALL), Variant(alias=ALIAS, key="b", ids={"guid": ALL}))
    watch.saw(Call(method="POST", url="https://a.example/", headers={"user-agent": ALL}, body=body))
    watch.saw(Reply(status=200, headers={"set-cookie": ALL}, body=body), identify(None))
    watch.saw(
        read(
            ["; ".join(f"{name}={value}" for name, value in COOKIES.items())], [webtrends("http://127.0.0.1:1").cookies]
        )
    )
    leased = Leased(event=event)
    watch.saw(leased, Lease("1", "wt", (leased,)), DeadLetter(event=event, code=ErrorCode.REFUSED, attempts=1, at=0.0))
    watch.saw(EventNote(id="e", vendor="wt", kind="track", metric="purchase", outcome=Dead(ErrorCode.REFUSED)))
    watch.saw(TransportError(ErrorCode.TLS), ProtocolError(), OutboxError("full"), webtrends("http://127.0.0.1:1"))


@pytest.mark.parametrize("copy", [pickle.dumps, copy.copy, copy.deepcopy, vars, str], ids=lambda copy: copy.__name__)
def test_I23_a_token_leaves_in_no_copy(watch: Watch, copy: Callable[[Any], Any]) -> None:
    """What error reports and caches make of a vendor shows no token, and it is not pickled at all."""
    vendor = webtrends("http://127.0.0.1:1")
    try:
        made = copy(vendor)
    except TypeError as error:
        watch.saw(error)
        made = None
    assert not isinstance(made, bytes)
    watch.saw(made, *(vars(made).values() if hasattr(made, "__dict__") else ()))


def test_I22_flow_that_fails_midway(edge: Edge, watch: Watch) -> None:
    """Our own code failing with a call under way, its token and cookies in every frame, is told by type alone."""

    class Cracked(Webtrends):
        def _body(self, visit: Visit, cookies: Any, data: Any, *, counted: bool) -> Any:
            body = super()._body(visit, cookies, data, counted=counted)
            raise RuntimeError(f"{body}")

    vendor = Cracked(DOMAIN, TOKEN, "https://www.mysite.com", name="wt", base_url="http://127.0.0.1:9")
    go_through(edge, watch, vendor)


# Configuration, the command and the doctor.

BAD_OPTIONS: dict[str, dict[str, Any]] = {
    "token with a space": {"key_token": f"{TOKEN} {TOKEN}"},
    "token of bytes": {"key_token": TOKEN.encode()},
    "account": {"domain_id": "x"},
    "password": {"base_url": f"https://user:{TOKEN}@vendor.example/"},
    "query": {"base_url": f"https://vendor.example/?token={TOKEN}"},
    "unencrypted": {"base_url": "http://vendor.example/"},
    "data": {"data": {"mail": {EMAIL}}},
    "exposure": {"exposure": "sometimes"},
    "unknown": {"tokn": TOKEN},
    "pattern": {"metric_pattern": f"({EMAIL}"},
}


@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_configuration_errors_quote_no_secret(watch: Watch, bad: str) -> None:
    """A wrong option is named; its value and those of the others are not in the error."""
    table = {"type": "webtrends", "domain_id": DOMAIN, "key_token": TOKEN, "url": "https://www.mysite.com"}
    with pytest.raises(ConfigError) as refused:
        Flagmw.from_mapping({"vendors": [{**table, **BAD_OPTIONS[bad]}]}, environ={})
    watch.saw(refused.value)
    with pytest.raises((ConfigError, TypeError)) as refused_in_code:
        options = {name: value for name, value in {**table, **BAD_OPTIONS[bad]}.items() if name != "type"}
        Flagmw(vendors=[Webtrends(**options)])
    watch.saw(refused_in_code.value)


@pytest.mark.parametrize(
    "variable",
    ["FLAGMW_VENDORS__WT__TOKEN", "FLAGMW_VENDORS__OTHER__KEY_TOKEN", "FLAGMW_DEADLINE_MS", "FLAGMW_VENDORS__WT__DATA"],
)
def test_environment_errors_quote_no_secret(watch: Watch, variable: str) -> None:
    """A variable that cannot be used is named without its text."""
    table = {"type": "webtrends", "name": "wt", "domain_id": DOMAIN, "key_token": TOKEN, "url": "https://a.example"}
    with pytest.raises(ConfigError) as refused:
        Flagmw.from_mapping({"vendors": [table]}, environ={variable: TOKEN})
    watch.saw(refused.value)


def test_broken_file_is_not_quoted(watch: Watch, tmp_path: Path) -> None:
    """What is wrong with a file is told by line, not by showing it."""
    path = tmp_path / "flagmw.toml"
    for text in (f'key_token = "{TOKEN}\n', f"key_token = {TOKEN}z\n", f'[[vendors]]\nkey_token = "{TOKEN}"\n'):
        path.write_text(text)
        with pytest.raises(ConfigError) as refused:
            Flagmw.from_mapping(file=path, environ={})
        watch.saw(refused.value)


@pytest.mark.parametrize("failure", ["down", "hang", "html", "bad token", "bad cookies", "not HTTP"])
def test_command_and_doctor_show_no_secret(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: str
) -> None:
    """The command and the doctor print what is wrong with a set-up and nothing that is secret in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    action = FAILURES[failure]
    with RawVendor(action or hang) as vendor:
        base_url = f"{vendor.url}/api" if action else f"http://127.0.0.1:{free_port()}/api"
        Path("flagmw.toml").write_text(
            f'[[vendors]]\ntype = "webtrends"\nname = "wt"\ndomain_id = {DOMAIN}\nkey_token = "{TOKEN}"\n'
            f'url = "https://www.mysite.com"\nbase_url = "{base_url}"\n'
        )
        jar = "; ".join(f"{name}={value}" for name, value in COOKIES.items())
        who = ["https://www.mysite.com/", "-b", jar, "--client-ip", CANARIES["address"], "--user-id", USER_ID]
        for order in (
            ["decide", *who, "-d", f"mail={EMAIL}", "--save", "visitor"],
            ["decide", *who, "--json"],
            ["track", "purchase", "-b", jar, "-d", f"mail={EMAIL}", "--key", ORDER, "--timeout", "0.3"],
            ["track", "purchase", "--visitor", "flagmw.toml", "--timeout", "0.1"],
        ):
            monkeypatch.setattr(sys, "argv", ["flagmw", *order])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            watch.saw(ended.value)
        if failure != "hang":  # that one takes the doctor's whole five seconds
            fm = Flagmw.from_mapping(file="flagmw.toml", environ={})
            findings = examine(fm, site="https://www.mysite.com/")
            fm.close(1.0)
            watch.saw(*findings, render(findings), to_json(findings))


# Log lines and labels.

NASTY = {
    "line": "a\r\nERROR forged",
    "escape": "\x1b[2J\x1b[31mred",
    "separators": "a\u2028b\u2029c\x85d",
    "megabyte": "m" * (1 << 20),
}


@pytest.mark.parametrize("nasty", NASTY)
def test_I21_a_record_is_one_line(edge: Edge, watch: Watch, nasty: str) -> None:
    """Whatever stands in a user agent, an alias, a metric or the vendor's message, a log record is one line."""
    huge = NASTY[nasty]
    text = huge[:50_000]  # an answer that is too large is not read at all
    element = {
        "body": {"message": {"errorCode": 104, "errorMessage": f"guid: {DOMAIN}-{text}"}, "log": text},
        "params": {"testAlias": text, "cookieDomain": text},
    }
    bad = {
        "opcode": "process",
        "params": {"testAlias": "ta_A", "cookieDomain": text},
        "body": {
            "cookies": {f"_wt.user-{DOMAIN}": {"value": "x", "type": "session"}, text: {"value": text}},
            "factors": [{"name": text, "value": text}],
        },
        "log": text,
    }
    with RawVendor(forever(lambda c: (c.read_request(), c.send(http(json.dumps([bad, element]).encode()))))) as vendor:
        fm = Flagmw(vendors=[webtrends(f"{vendor.url}/api", debug=True)], debug=True, identify=identify)
        quiet = Flagmw(vendors=[webtrends(f"{vendor.url}/api")], deadline_ms=2000)

        def view(seen: Seen) -> Answer:
            repr(seen.flags[text])
            for told in ({"metric": huge}, {"metric": "a", "aliases": [huge]}, {"metric": "a", "data": {huge: huge}}):
                with contextlib.suppress(ValueError):
                    seen.flags.track(**told)
            return Answer()

        latin = huge.encode("latin-1", "replace").decode("latin-1")
        names = ("user-agent", "referer", "accept-language", "x-forwarded-for")
        headers = [(name, latin) for name in names] + [("cookie", f"_wt.user-{DOMAIN}={latin}")]
        sent = Bare(f"/{text[:2000]}", headers=headers)
        try:
            for one in (fm, quiet):
                edge.call(edge.mount(view, one), sent)
                one.decide(Visit(url="https://www.mysite.com/", cookies={f"_wt.user-{DOMAIN}": "x"}))
        finally:
            edge.close(fm)
            edge.close(quiet)


@dataclass(frozen=True)
class Bare(Sent):
    """A request with only the headers that it is given."""

    def all_headers(self) -> Headers:
        return [("host", self.host), *self.headers]


class Chaos(Probe):
    """A vendor that makes up aliases, cookies and misses anew for every visitor."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice

    def name_of(self) -> str:
        return "".join(self._dice.choices(string.printable, k=12))

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        names = [self.name_of() for _ in range(40)]
        return Decision(
            vendor=self.name,
            variants={name: Variant(alias=name, key=name) for name in names[:20]},
            misses=dict.fromkeys(names[20:], ErrorCode.VENDOR_303),
            cookies=tuple(CookieChange(name=f"probe{name}", value=name, domain=name) for name in names),
        )
        yield

    def participation(self, track: Track, state: VisitorState) -> Participation:
        if track.metric[0] in string.digits:
            raise ValueError("no such metric")
        return Participation(track.aliases or (), {})


def test_I24_labels_of_counters_are_bounded(watch: Watch) -> None:
    """100,000 made-up aliases, as many cookie names, and thousands of paths and metrics make at most 200 counters."""
    dice = random.Random(24)
    chaos = Chaos(dice)
    fm = Flagmw(vendors=[chaos, Static(flags={"ta_A": "b"})], max_rate=100_000)
    with EDGES["wsgi"]() as edge:

        def view(seen: Seen) -> Answer:
            for _ in range(4):
                seen.flags.track(chaos.name_of(), aliases=[chaos.name_of()], data={chaos.name_of(): chaos.name_of()})
            seen.flags.number(chaos.name_of(), default=1)
            return Answer()

        app = edge.mount(view, fm)
        for _ in range(2500):
            word = f"{dice.getrandbits(64):x}"
            cookies = {f"probe{word}{n}": f"{chaos.name_of()}" for n in range(3)}
            edge.call(app, Sent(f"/{word}", cookies=cookies, query=word, host=f"{word}.example"))
        chaos.visits.clear()
        assert len(fm.counts()) <= 200
        assert len(fm.outbox_stats().dropped) + len(fm.outbox_stats().refused) <= 200
        fm.close(1.0)
