"""What `flagmw.doctor` finds in good and in bad set-ups, and that no secret is ever in it."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import pytest

from flagmw import Flagmw, Static, Visit, Webtrends
from flagmw.doctor import SAMPLE_TOKEN, Finding, examine, exit_code, render, to_json
from flagmw.outbox.memory import MemoryOutbox
from flagmw.sandbox import SandboxServer, Scenario
from flagmw.types import Decision, Flow, VisitorState
from tests.support.authority import Authority
from tests.support.busy import HELD_UP_S
from tests.support.raw_vendor import Action, RawVendor, always, answer, forever, free_port, hang

ACCOUNT = 2490593
OTHER_TOKEN = "0123456789abcdef0123456789abcdef0123456789ab"
SITE = "https://www.mysite.com/checkout"
ANSWER = (Path(__file__).parents[1] / "samples/webtrends/single/body").read_bytes()
PATH = "/ots/api/rest-1.2"
# What a careful owner sets; a busy machine gets more time than the default deadline.
GOOD: dict[str, Any] = {"deadline_ms": 1000, "exclude": ["/static/*"], "trusted_proxies": ["10.0.0.0/8"]}

Doctor: TypeAlias = "Callable[..., Found]"


class Found:
    """The findings of one examination, by subject."""

    def __init__(self, findings: list[Finding], elapsed_s: float) -> None:
        self.all, self.elapsed_s = findings, elapsed_s

    def __getitem__(self, subject: str) -> Finding:
        """Return the worst finding on *subject*."""
        return max((f for f in self.all if f.subject == subject), key=lambda f: ("OK", "WARN", "FAIL").index(f.level))

    def __contains__(self, subject: str) -> bool:
        return any(finding.subject == subject for finding in self.all)

    @property
    def bad(self) -> dict[str, str]:
        return {finding.subject: finding.level for finding in self.all if finding.level != "OK"}


def webtrends(base_url: str, token: str = SAMPLE_TOKEN, account: int = ACCOUNT, **options: Any) -> Webtrends:
    options = {"url": "https://www.mysite.com", "name": "wt", **options}
    return Webtrends(account, token, base_url=base_url, **options)


@pytest.fixture(scope="session")
def _server() -> Iterator[SandboxServer]:
    with SandboxServer(seed=5) as server:
        yield server


@pytest.fixture
def sandbox(_server: SandboxServer) -> SandboxServer:
    """The sandbox, as new."""
    _server.reset()
    return _server


@pytest.fixture
def doctor(caplog: pytest.LogCaptureFixture) -> Iterator[Doctor]:
    """Examine `Flagmw(vendors=[...], **options)`; whatever it finds, no secret is in any form of it, or in the log."""
    caplog.set_level(0)
    made: list[Flagmw] = []

    def run(*vendors: Any, site: str | None = None, fm: Flagmw | None = None, **options: Any) -> Found:
        fm = fm or Flagmw(vendors=vendors, **{**GOOD, **options})
        made.append(fm)
        started = time.monotonic()
        findings = examine(fm, site=site)
        found = Found(findings, time.monotonic() - started)
        shown = "\n".join((render(findings), json.dumps(to_json(findings)), repr(findings), repr(fm), caplog.text))
        secrets = [vendor.key_token.reveal() for vendor in fm.config.vendors if isinstance(vendor, Webtrends)]
        assert not [secret for secret in (*secrets, "WT3", "s3cret") if secret in shown]
        return found

    yield run
    for fm in made:
        fm.close(1.0)


# Good ones.


def test_good_set_up_is_all_ok(doctor: Doctor, sandbox: SandboxServer) -> None:
    """A good set-up has no bad finding, names every test, and is asked about without a view being counted."""
    found = doctor(webtrends(sandbox.webtrends_url), site=SITE)
    assert found.bad == {}
    assert exit_code(found.all) == 0
    for alias in ("ta_Project1", "ta_Project2", "ta_Hero", "ta_Layout"):
        assert alias in found["wt answer"].text
    assert found["wt cookie domain"].text == "www.mysite.com may set cookies for mysite.com"
    assert found["wt gzip"].text == "answers are compressed; compressed requests are taken"
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+: name in \d+ ms, connected in \d+ ms, not encrypted", found["wt connection"].text
    )
    ledger = sandbox.ledger()
    assert [request["track"] for request in ledger["requests"]] == [False, False]
    assert ledger["views"] == [] == [note for request in ledger["requests"] for note in request["lint"]]


def test_no_view_is_counted(doctor: Doctor, sandbox: SandboxServer) -> None:
    """A vendor that counts views with its decisions is asked without counting one."""
    doctor(webtrends(sandbox.webtrends_url))
    assert sandbox.ledger()["requests"] and sandbox.ledger()["views"] == []


def test_nothing_is_started_or_changed(doctor: Doctor, sandbox: SandboxServer) -> None:
    """Examining starts no delivery, counts nothing, and leaves the vendor as it was."""
    vendor = webtrends(sandbox.webtrends_url)
    fm = Flagmw(vendors=[vendor], **GOOD)
    before = dict(vars(vendor))
    found = doctor(fm=fm)
    assert vars(vendor) == before
    assert fm.health()["delivery"] is None
    assert fm.counts() == {}
    assert "running" not in found and "delivery" not in found


def test_encrypted_connection(doctor: Doctor, tmp_path: Path) -> None:
    """A connection by https is told with its version of TLS and the time it took."""
    authority = Authority(tmp_path)
    with RawVendor(always(ANSWER), tls=authority.context()) as raw:
        found = doctor(webtrends(raw.url + PATH), ca_file=authority.ca_file)
    assert re.search(r"TLSv1\.[23] in \d+ ms", found["wt connection"].text)
    assert found["wt answer"].level == "OK"


def test_transport_of_ones_own(doctor: Doctor, sandbox: SandboxServer) -> None:
    """With a transport of the application's own the call goes through it, and nothing is dialled beside it."""
    with httpx2.HTTPTransport() as transport:
        found = doctor(webtrends(sandbox.webtrends_url), transport=transport)
    assert "transport=" in found["wt connection"].text
    assert found.bad == {}


def test_proxy_of_the_environment(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """With trust_env the call goes through the proxy, whose password is told to nobody."""
    with RawVendor(always(ANSWER)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:s3cret@127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        found = doctor(webtrends(f"http://127.0.0.1:{free_port()}{PATH}"), trust_env=True)
    assert "environment's proxy" in found["wt connection"].text
    assert found["wt answer"].level == "OK"
    assert proxy.requests


# Credentials and answers.


def test_wrong_token(doctor: Doctor, sandbox: SandboxServer) -> None:
    """A token of another account fails with the vendor's code and the advice to copy it again."""
    found = doctor(webtrends(sandbox.webtrends_url, OTHER_TOKEN), site=SITE)
    assert found["wt credentials"].level == "OK"
    assert found["wt answer"].level == "FAIL"
    assert "VENDOR_105" in found["wt answer"].text and "key_token" in (found["wt answer"].cure or "")
    assert found["wt gzip"].text.endswith("compressed requests are taken")
    assert exit_code(found.all) == 1


def test_unknown_domain_id(doctor: Doctor, sandbox: SandboxServer) -> None:
    """An account that the vendor does not know fails with its code and the advice to compare it."""
    answer = doctor(webtrends(sandbox.webtrends_url, account=1234567))["wt answer"]
    assert (answer.level, answer.text) == ("FAIL", "no decision: VENDOR_101")
    assert "domain_id" in (answer.cure or "")


def test_url_without_location(doctor: Doctor, sandbox: SandboxServer) -> None:
    """A url that no location matches fails, shown without what may be private in it."""
    url = "https://me:s3cret@www.elsewhere.com/shop?key=s3cret#s3cret"
    answer = doctor(webtrends(sandbox.webtrends_url, url=url))["wt answer"]
    assert (answer.level, answer.text) == (
        "FAIL",
        "url https://www.elsewhere.com/shop matches no location: VENDOR_501",
    )
    assert "locations" in (answer.cure or "")


def test_url_with_the_path_in_it(doctor: Doctor, sandbox: SandboxServer) -> None:
    """A url with the page's path in it that matches nothing is a warning: other pages may match."""
    found = doctor(webtrends(sandbox.webtrends_url, url="flags.com/{path}"), site=SITE)
    assert found["wt answer"].level == "WARN"
    assert sandbox.ledger()["requests"][0]["url"] == "flags.com/checkout"


def test_no_live_test(doctor: Doctor, sandbox: SandboxServer) -> None:
    """An account where nothing is live is a warning, not a failure."""
    sandbox.replace_scenario("no_test")
    found = doctor(webtrends(sandbox.webtrends_url))
    assert found.bad == {"wt answer": "WARN"}
    assert "VENDOR_303" in found["wt answer"].text


def test_visitor_out_of_every_test(doctor: Doctor, sandbox: SandboxServer) -> None:
    """Tests that take no visitor at the moment are in order."""
    test = {"throttle": 0.0, "variations": [{"key": "a"}, {"key": "b"}]}
    account = {"domain_id": ACCOUNT, "key_token": SAMPLE_TOKEN, "cookie_domain": ".mysite.com"}
    scenario = {"webtrends": [{**account, "projects": [{"alias": "ta_A", "tests": [test]}]}]}
    sandbox.replace_scenario(Scenario.from_mapping(scenario))
    found = doctor(webtrends(sandbox.webtrends_url))
    assert found.bad == {}
    assert "VENDOR_417" in found["wt answer"].text


@pytest.mark.parametrize(
    ("token", "account", "words"),
    [
        (SAMPLE_TOKEN, 1234567, "key_token is the sample"),
        (OTHER_TOKEN, ACCOUNT, "domain_id is the sample"),
        ("put-your-token-here", 1234567, "key_token does not look like one"),
        (OTHER_TOKEN, 12, "domain_id does not look like one"),
    ],
)
def test_shape_of_credentials(doctor: Doctor, token: str, account: int, words: str) -> None:
    """What cannot be a real account's id or token is a warning, and so is the guide's sample away from a sandbox."""
    found = doctor(webtrends("https://vendor.invalid", token, account))
    assert found["wt credentials"].level == "WARN"
    assert found["wt credentials"].text.startswith(words)


def test_unencrypted_vendor(doctor: Doctor) -> None:
    """Plain http beyond this machine, as debug=True allows, is a warning."""
    found = doctor(webtrends("http://vendor.invalid", OTHER_TOKEN, 1234567), debug=True)
    assert found["wt credentials"].level == "WARN"
    assert "unencrypted" in found["wt credentials"].text


# Connections.


def test_name_that_does_not_resolve(doctor: Doctor) -> None:
    """A host without an address fails, and the vendor is not asked; away from the machine memory:// is a warning."""
    found = doctor(webtrends("https://vendor.invalid", OTHER_TOKEN, 1234567))
    assert found.bad == {"wt connection": "FAIL", "outbox": "WARN"}
    assert found["wt connection"].text == "vendor.invalid cannot be reached: DNS"
    assert "wt answer" not in found


def test_unreachable_port(doctor: Doctor) -> None:
    """A port where nobody listens fails, and the vendor is not asked."""
    port = free_port()
    found = doctor(webtrends(f"http://127.0.0.1:{port}{PATH}"), site=SITE)
    assert found.bad == {"wt connection": "FAIL"}
    assert found["wt connection"].text == f"127.0.0.1:{port} cannot be reached: CONNECT"
    assert "wt answer" not in found


@pytest.mark.parametrize(
    ("kind", "words"), [("self_signed", "self-signed certificate"), ("expired", "certificate has expired")]
)
def test_certificate_that_is_not_trusted(doctor: Doctor, tmp_path: Path, kind: str, words: str) -> None:
    """A certificate that cannot be trusted fails, and why is said."""
    authority = Authority(tmp_path)
    with RawVendor(always(ANSWER), tls=authority.context(kind)) as raw:
        connection = doctor(webtrends(raw.url + PATH), ca_file=authority.ca_file)["wt connection"]
    assert connection.level == "FAIL"
    assert "TLS" in connection.text and words in connection.text


def test_address_that_does_not_connect(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of which only the second address connects is a warning: every new connection tries the first one."""

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        addresses = ("127.0.0.2", "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with RawVendor(always(ANSWER)) as raw:
        found = doctor(webtrends(f"http://vendor.test:{raw.port}{PATH}"), debug=True)
    assert found["wt connection"].level == "WARN"
    assert found["wt connection"].text.endswith("; 1 of 2 addresses did not connect")
    assert found["wt answer"].level == "OK"


def test_hanging_vendor_takes_no_time_from_another(doctor: Doctor, sandbox: SandboxServer) -> None:
    """A vendor that never answers fails within seconds, and the other vendor is examined all the same."""
    with RawVendor(hang) as raw:
        found = doctor(webtrends(raw.url + PATH, name="slow"), webtrends(sandbox.webtrends_url), site=SITE)
    assert found.bad == {"slow answer": "FAIL"}
    assert found["slow answer"].text == "no decision: DEADLINE after 2 s"
    assert found["wt answer"].level == "OK"
    assert found.elapsed_s < HELD_UP_S


def test_tls_that_hangs(doctor: Doctor) -> None:
    """A server that never answers the TLS handshake fails within seconds."""
    with RawVendor(hang) as raw:
        found = doctor(webtrends(raw.url.replace("http:", "https:") + PATH))
    assert "DEADLINE" in found["wt connection"].text
    assert found.elapsed_s < HELD_UP_S


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "html"}, "HTTP_STATUS"),
        ({"kind": "html", "status": 200}, "NOT_JSON"),
        ({"kind": "redirect"}, "REDIRECT"),
        ({"kind": "status", "status": 401}, "UNAUTHORIZED"),
        ({"kind": "reset"}, "RESET"),
        ({"kind": "empty"}, "EMPTY"),
    ],
)
def test_something_else_answers(doctor: Doctor, sandbox: SandboxServer, fault: dict[str, Any], code: str) -> None:
    """Whatever is no answer of the API is named by its code, with a cure, and never shown."""
    sandbox.faults([fault])
    answer = doctor(webtrends(sandbox.webtrends_url))["wt answer"]
    assert answer.level == ("WARN" if code == "EMPTY" else "FAIL")
    assert code in answer.text and answer.cure


@pytest.mark.parametrize(("deadline_ms", "level"), [(200, "FAIL"), (350, "WARN"), (1000, "OK")])
def test_answer_against_the_deadline(doctor: Doctor, sandbox: SandboxServer, deadline_ms: int, level: str) -> None:
    """An answer past the deadline fails, and one that leaves less than half of it is a warning."""
    sandbox.faults([{"kind": "delay", "ms": 220}])
    found = doctor(webtrends(sandbox.webtrends_url), deadline_ms=deadline_ms)
    assert found["wt speed"].level == level


# Gzip and clock.


@pytest.mark.parametrize(("wanted", "level"), [(False, "OK"), (True, "WARN")])
@pytest.mark.parametrize("refusal", [answer(b"", 415), answer(b'{"body": {"message": {"errorCode": 200}}}')])
def test_vendor_without_gzip(doctor: Doctor, refusal: Action, wanted: bool, level: str) -> None:
    """A vendor that refuses compressed requests, by status or code, matters only where they are switched on."""
    with RawVendor(forever(answer(ANSWER), refusal)) as raw:
        found = doctor(webtrends(raw.url + PATH, gzip_request=wanted))
    assert found["wt gzip"].level == level
    assert found["wt gzip"].text == "answers are not compressed; compressed requests are not taken"
    assert [request.headers.get("content-encoding") for request in raw.requests] == [None, "gzip"]


@pytest.mark.parametrize(
    ("off_s", "level", "words"),
    [
        (-3600, "FAIL", "ahead of"),
        (-60, "WARN", "ahead of"),
        (0, "OK", "agrees"),
        (60, "WARN", "behind"),
        (86400 * 30, "FAIL", "30 days behind"),
    ],
)
def test_clock(doctor: Doctor, off_s: int, level: str, words: str) -> None:
    """A clock that is seconds off is a warning, minutes off a failure, in both directions."""
    date = formatdate(time.time() + off_s, usegmt=True)
    with RawVendor(always(ANSWER, headers=[("date", date)])) as raw:
        clock = doctor(webtrends(raw.url + PATH))["wt clock"]
    assert clock.level == level
    assert words in clock.text


@pytest.mark.parametrize("headers", [[], [("date", "yesterday")], [("date", "Mon, 01 Jan 99999 00:00:00 GMT")]])
def test_clock_without_a_date(doctor: Doctor, headers: list[tuple[str, str]]) -> None:
    """An answer without a date that makes sense says nothing about the clock."""
    with RawVendor(always(ANSWER, headers=headers)) as raw:
        assert doctor(webtrends(raw.url + PATH))["wt clock"].text.startswith("not compared")


# Cookies and proxies.


@pytest.mark.parametrize(
    ("site", "level", "words"),
    [
        ("https://www.elsewhere.com/", "WARN", "www.elsewhere.com may not set cookies for mysite.com"),
        ("https://mysite.com", "OK", "mysite.com may set cookies for mysite.com"),
        ("http://localhost:8000", "OK", "itself only"),
        ("http://[::1]:8000", "OK", "itself only"),
        ("https://www.bücher.example/", "WARN", "www.xn--bcher-kva.example may not"),
    ],
)
def test_cookie_domain_of_the_vendor(doctor: Doctor, sandbox: SandboxServer, site: str, level: str, words: str) -> None:
    """The domain that the vendor names must be one that the site's host may set cookies for."""
    found = doctor(webtrends(sandbox.webtrends_url), site=site)
    assert found["wt cookie domain"].level == level
    assert words in found["wt cookie domain"].text
    assert exit_code(found.all) == 0


@pytest.mark.parametrize(("domain", "words"), [(".co.uk", "public suffix"), ("a b\x1b[2J", "no domain name")])
def test_cookie_domain_that_cannot_be(doctor: Doctor, domain: str, words: str) -> None:
    """A vendor's cookie domain that no browser takes is named as such, and odd characters are not repeated."""
    body = ANSWER.replace(b".mysite.com", json.dumps(domain)[1:-1].encode())
    with RawVendor(always(body)) as raw:
        found = doctor(webtrends(raw.url + PATH), site="https://www.mysite.co.uk")
    assert words in found["wt cookie domain"].text
    assert "\x1b" not in render(found.all)


def test_cookie_domain_of_the_configuration(doctor: Doctor, sandbox: SandboxServer) -> None:
    """A configured domain that is foreign to the site fails; one that fits makes the vendor's irrelevant."""
    vendor = webtrends(sandbox.webtrends_url)
    assert doctor(vendor, site=SITE, cookie_domain="elsewhere.com")["cookies"].level == "FAIL"
    found = doctor(vendor, site="https://www.elsewhere.com", cookie_domain="elsewhere.com")
    assert found.bad == {}
    assert "wt cookie domain" not in found


@pytest.mark.parametrize(
    ("site", "secure", "level"),
    [
        ("http://www.mysite.com", True, "FAIL"),
        ("http://localhost", True, "OK"),
        ("https://www.mysite.com", False, "WARN"),
        ("https://www.mysite.com", "auto", "OK"),
    ],
)
def test_secure(doctor: Doctor, site: str, secure: bool | str, level: str) -> None:
    """Secure cookies need a site on https, and a site on https needs them."""
    assert doctor(Static(flags={"a": "b"}), site=site, cookie_secure=secure)["cookies"].level == level


@pytest.mark.parametrize(
    ("site", "options", "level"),
    [
        (SITE, {"trusted_proxies": []}, "WARN"),
        (SITE, {"trusted_proxies": [], "cookie_secure": True, "client_ip": "off"}, "OK"),
        ("http://www.mysite.com", {"trusted_proxies": []}, "OK"),
        (None, {"trusted_proxies": []}, "OK"),
        (None, {"trusted_proxies": ["10.0.0.0/8", "0.0.0.0/0"]}, "FAIL"),
        (None, {"trusted_proxies": ["::/0"]}, "FAIL"),
        (None, {"trusted_proxies": ["0.0.0.0/1", "128.0.0.0/1"]}, "FAIL"),
        (SITE, {"trusted_proxies": ["10.0.0.0/8"]}, "OK"),
    ],
)
def test_forwarded_headers(doctor: Doctor, site: str | None, options: dict[str, Any], level: str) -> None:
    """An https site that trusts no proxy is a warning, and one that trusts everybody fails."""
    assert doctor(Static(flags={"a": "b"}), site=site, **options)["proxies"].level == level


# Options.


@pytest.mark.parametrize(
    ("options", "bad"),
    [
        ({"vendors": []}, {"vendors": "FAIL"}),
        ({"deadline_ms": 20}, {"deadline": "WARN"}),
        ({"deadline_ms": 5000}, {"deadline": "WARN"}),
        ({"exclude": []}, {"paths": "WARN"}),
        ({"exclude": [], "paths": ["/checkout"]}, {}),
        ({"exclude": ["/*"]}, {"paths": "FAIL"}),
        ({"exclude": ["/check*"]}, {"paths": "WARN"}),
        ({"paths": ["/shop/*"]}, {"paths": "WARN"}),
        ({"outbox": MemoryOutbox()}, {}),
    ],
)
def test_options(doctor: Doctor, options: dict[str, Any], bad: dict[str, str]) -> None:
    """Options that are allowed but hardly meant are found."""
    fm = Flagmw(**{"vendors": [Static(flags={"a": "b"})], **GOOD, **options})
    assert doctor(fm=fm, site=SITE).bad == bad


def test_switches_that_are_not_for_visitors(doctor: Doctor) -> None:
    """A vendor's staging and debug switches are warnings away from this machine."""
    vendor = webtrends("https://vendor.invalid", OTHER_TOKEN, 1234567, staging=True, debug=True)
    found = doctor(vendor, debug=True)
    assert [f.level for f in found.all if f.subject == "vendors"] == ["OK", "WARN", "WARN"]


def test_defaults_against_the_vendors(doctor: Doctor, sandbox: SandboxServer) -> None:
    """A default with a misspelt alias is a warning; one that no vendor decides now is only named."""
    defaults = {"ta_Project1": "control", "ta_Heroo": "summer", "ta_Project3": "classic"}
    found = doctor(webtrends(sandbox.webtrends_url), defaults=defaults)
    assert found["defaults"].level == "WARN"
    assert found["defaults"].text == "no vendor knows ta_Heroo, but ta_Hero"
    last = [finding for finding in found.all if finding.subject == "defaults"][-1]
    assert last.text == '"control" is the default of ta_Hero, ta_Layout, ta_Project2; no vendor decides ta_Project3 now'


@pytest.mark.parametrize("site", ["www.mysite.com", "ftp://www.mysite.com", "https://", "https://a:b", "", "https://["])
def test_site_that_is_no_url(doctor: Doctor, site: str) -> None:
    """A site that is no URL fails, and all else is examined without it."""
    found = doctor(Static(flags={"a": "b"}), site=site)
    assert found.bad == {"site": "FAIL"}


# Vendors of other kinds.


def test_static(doctor: Doctor) -> None:
    """A table's flags are listed under their prefix; an empty one is a warning."""
    found = doctor(Static(flags={"b": "x", "a": "y"}, prefix="shop:"), Static(flags={}, name="empty"))
    assert found["static"].text == "flags: shop:a, shop:b"
    assert found.bad == {"empty": "WARN"}


def test_static_file(doctor: Doctor, tmp_path: Path) -> None:
    """A vendor that knows its table's file is told with the file's age."""

    class FromFile(Static):
        path = tmp_path / "flags.toml"

    FromFile.path.write_text('[flags]\na = "b"\n')
    os.utime(FromFile.path, (time.time() - 3 * 86400,) * 2)
    assert doctor(FromFile(FromFile.path))["static"].text == "flags: a; its file is 3 days old"


def test_vendor_of_another_kind(doctor: Doctor, sandbox: SandboxServer) -> None:
    """Of a vendor from elsewhere only the connection is tried: a call might count something."""

    class Other:
        def __init__(self, base_url: str | None) -> None:
            self.name, self.prefix, self.at_most_once = "other", "", False
            self.cookies = Static(flags={}).cookies
            if base_url is not None:
                self.base_url = base_url

        decide = deliver = participation = lambda *_: None

    assert doctor(Other(None))["other"].text == "Other calls no service"
    assert doctor(Other(sandbox.url))["other connection"].level == "OK"
    assert sandbox.ledger()["requests"] == []


def test_check_that_breaks(doctor: Doctor) -> None:
    """A check that breaks is a finding with the type of the exception alone, and the others go on."""

    class Broken(Webtrends):
        def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
            raise RuntimeError(f"s3cret {self.key_token.reveal()}")

    class Hollow(Static):
        def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
            raise LookupError("s3cret")

    with RawVendor(always(ANSWER)) as raw:
        broken = Broken(ACCOUNT, OTHER_TOKEN, "https://www.mysite.com", base_url=raw.url, name="wt")
        found = doctor(broken, Hollow(flags={"a": "b"}))
    assert found.bad == {"wt answer": "FAIL", "static": "FAIL"}
    assert found["wt answer"].text == "this could not be checked: RuntimeError"
    assert found["static"].text == "this could not be checked: LookupError"


def test_server_that_repeats_the_token(doctor: Doctor) -> None:
    """A server that sends the token back as an alias, a domain or a message does not get it shown."""
    body = ANSWER.replace(b"ta_Project1", SAMPLE_TOKEN.encode()).replace(
        b".mysite.com", f".{SAMPLE_TOKEN}.com".encode()
    )
    with RawVendor(always(body)) as raw:
        found = doctor(webtrends(raw.url + PATH), site=SITE, defaults={"ta_Project1": "control"})
    assert "a new visitor is in ***" in found["wt answer"].text


# A process at work.


def test_process_at_work(doctor: Doctor, sandbox: SandboxServer) -> None:
    """In a process that has decided and delivered, its vendors and its outbox are told too."""
    fm = Flagmw(vendors=[webtrends(sandbox.webtrends_url)], **GOOD)
    fm.decide(Visit(url=SITE)).track("purchase")
    assert fm.flush()
    found = doctor(fm=fm)
    assert found.bad == {}
    assert found["running"].text == "wt is asked; 0 calls are under way"
    assert found["delivery"].text == "1 events delivered, 0 waiting, 0 laid aside"


def test_process_in_trouble(doctor: Doctor, sandbox: SandboxServer) -> None:
    """A vendor that is left alone after failures fails, and events that wait for it are a warning."""
    fm = Flagmw(vendors=[webtrends(sandbox.webtrends_url)], **GOOD)
    saved = fm.decide(Visit(url=SITE)).save()
    sandbox.faults([{"kind": "status", "status": 401}])
    for _ in range(5):
        fm.decide(Visit(url=SITE))
    fm.track("purchase", visitor=saved)
    fm.flush(0.5)
    found = doctor(fm=fm)
    assert found["delivery"].level == "WARN"
    assert found["delivery"].text == "0 events delivered, 1 waiting, 0 laid aside; held up: wt"
    sandbox.faults([{"kind": "status", "status": 503}])
    until = time.monotonic() + 10
    while fm.health()["vendors"]["wt"]["breaker"] != "open" and time.monotonic() < until:
        fm.decide(Visit(url=SITE))
    assert doctor(fm=fm)["running"].level == "FAIL"


# Forms.


def test_forms() -> None:
    """Findings are a line each with the cure below, plain objects for JSON, and an exit code."""
    ok, warn = Finding("OK", "a", "good"), Finding("WARN", "b", "so so", "do this")
    fail = Finding("FAIL", "c", "bad")
    assert render([ok, warn, fail]) == "OK    a: good\nWARN  b: so so\n      do this\nFAIL  c: bad"
    assert to_json([warn, ok])[0] == {"level": "WARN", "subject": "b", "text": "so so", "cure": "do this"}
    assert to_json([ok])[0]["cure"] is None
    assert [exit_code(some) for some in ([], [ok, warn], [ok, fail])] == [0, 0, 1]
