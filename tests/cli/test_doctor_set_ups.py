"""What `flagmw.doctor` says of set-ups that cannot work, and of those that can, at every vendor and outbox."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flagmw import AdobeTarget, Contentstack, Flagmw, Monetate, Static, Webtrends
from flagmw.doctor import Finding, examine, exit_code
from flagmw.doctor.finding import Level
from flagmw.sandbox import SandboxServer
from tests.contracts.outbox.on_valkey import shared_server
from tests.support.raw_vendor import free_port

PROJECT, CHANNEL = "64c7787b333555469a861224", "a-701b337c/p/www.mysite.com"
GOOD: dict[str, Any] = {"deadline_ms": 5000, "exclude": ["/static/*"]}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(seed=5) as running:
        yield running


@pytest.fixture
def sandbox(server: SandboxServer) -> SandboxServer:
    """The sandbox, as new."""
    server.reset()
    return server


def worst(findings: list[Finding], subject: str) -> Finding:
    return max((f for f in findings if f.subject == subject), key=lambda f: ("OK", "WARN", "FAIL").index(f.level))


def examined(*vendors: Any, recorded: bool = True, **options: Any) -> list[Finding]:
    fm = Flagmw(vendors=vendors, **{**GOOD, "outbox": "memory://", **options})
    try:
        return examine(fm, recorded=recorded)
    finally:
        fm.close(1.0)


def adobe(sandbox: SandboxServer, client: str = "demo", **options: Any) -> AdobeTarget:
    return AdobeTarget(client, ["ta_Checkout"], base_url=sandbox.adobe_url, **options)


def monetate(sandbox: SandboxServer, retailer: str = "acme", channel: str = CHANNEL) -> Monetate:
    return Monetate(retailer, channel, base_url=sandbox.monetate_url)


def contentstack(sandbox: SandboxServer, project_uid: str = PROJECT) -> Contentstack:
    return Contentstack(project_uid, base_url=sandbox.contentstack_url)


BROKEN: dict[str, tuple[Callable[[SandboxServer], Any], str, str]] = {
    "Adobe client": (lambda s: adobe(s, "demi"), "adobe_target answer", "compare client"),
    "Adobe property of another account": (
        lambda s: adobe(s, decisioning="on-device", exposure="read", artifact_url=s.adobe_artifact_url("demi")),
        "adobe_target rules",
        "check artifact_url",
    ),
    "Adobe rules of a server that is away": (
        lambda s: adobe(s, decisioning="on-device", exposure="read", artifact_url=f"http://127.0.0.1:{free_port()}/r"),
        "adobe_target rules",
        "check host and port",
    ),
    "Monetate retailer": (lambda s: monetate(s, "acne"), "monetate answer", "retailer"),
    "Monetate channel": (lambda s: monetate(s, channel="a-0/p/www.mysite.com"), "monetate answer", "channel"),
    "Contentstack project": (lambda s: contentstack(s, "0" * 24), "contentstack answer", "project_uid"),
    "Contentstack address": (
        lambda s: Contentstack(PROJECT, base_url=f"http://127.0.0.1:{free_port()}"),
        "contentstack connection",
        "check host and port",
    ),
    "address that answers in another's place": (
        lambda s: Contentstack(PROJECT, base_url=f"{s.url}/nothing"),
        "contentstack answer",
        "base_url",
    ),
    "Webtrends account": (
        lambda s: Webtrends(
            1111111, "0123456789abcdef" * 3, "https://www.mysite.com", name="wt", base_url=s.webtrends_url
        ),
        "wt answer",
        "domain_id",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_account_that_cannot_work(sandbox: SandboxServer, name: str) -> None:
    """A wrong account is a failure with its cure, though the server is reached."""
    make, subject, cure = BROKEN[name]
    findings = examined(make(sandbox), debug=True)
    found = worst(findings, subject)
    assert found.level == "FAIL", found
    assert found.cure is not None and cure in found.cure, found
    assert exit_code(findings) == 1


def directory_below_a_file(folder: Path) -> str:
    (folder / "file").touch()
    return f"sqlite://{folder}/file/outbox"


OUTBOXES: dict[str, tuple[Callable[[Path], str], str, str]] = {
    "directory below a file": (directory_below_a_file, "no event can be stored in", "read and write this directory"),
    "password that the server refuses": (
        lambda folder: f"valkey://nobody:s3cret@127.0.0.1:{shared_server().port}/0?dir={folder}",
        "no event can be stored on valkey://",
        "user and password",
    ),
    "Valkey server that is away": (
        lambda folder: f"valkey://127.0.0.1:{free_port()}/0?dir={folder}",
        "no event can be stored on valkey://127.0.0.1",
        "check the server's address",
    ),
}


@pytest.mark.parametrize("name", OUTBOXES)
def test_outbox_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    """An outbox that takes no events is a failure with its cure."""
    make, text, cure = OUTBOXES[name]
    findings = examined(Static(flags={"a": "b"}), outbox=make(tmp_path))
    found = worst(findings, "outbox")
    assert found.level == "FAIL"
    assert text in found.text
    assert found.cure is not None and cure in found.cure
    assert exit_code(findings) == 1


def test_good_accounts(sandbox: SandboxServer) -> None:
    """Each vendor is asked once; only Monetate, which cannot do otherwise, has counted something."""
    findings = examined(adobe(sandbox), monetate(sandbox), contentstack(sandbox))
    assert {finding.subject: finding.level for finding in findings if finding.level == "FAIL"} == {}
    assert "a new visitor is in ta_Checkout" in worst(findings, "adobe_target answer").text
    assert "it has counted a page view" in worst(findings, "monetate answer").text
    assert worst(findings, "contentstack answer").text.startswith("a new visitor is in exp:")
    assert sandbox.ledger()["views"] == []


def test_monetate_is_not_asked_on_request(sandbox: SandboxServer) -> None:
    """Without leave to record, Monetate gets no request, and the others are asked all the same."""
    findings = examined(monetate(sandbox), contentstack(sandbox), recorded=False)
    assert worst(findings, "monetate answer").text == "not asked for, since it would be recorded"
    assert worst(findings, "contentstack answer").text.startswith("a new visitor is in exp:")
    assert [request["vendor"] for request in sandbox.ledger()["requests"]] == ["contentstack"]


def test_rules_that_decide_on_this_machine(sandbox: SandboxServer) -> None:
    """An account that decides by its rules is asked for them, and decides by them."""
    vendor = adobe(sandbox, decisioning="on-device", exposure="read", artifact_url=sandbox.adobe_artifact_url())
    findings = examined(vendor, debug=True)
    assert worst(findings, "adobe_target answer").level == "OK"
    assert not any(finding.subject == "adobe_target rules" for finding in findings)


def test_outbox_on_disk(tmp_path: Path) -> None:
    """An event is written, read and removed; nothing of the probe is left, and nothing of the site's is touched."""
    site = Flagmw(vendors=[Static(flags={"a": "b"})], outbox=f"sqlite://{tmp_path}/outbox")
    site.start()
    before = sorted(path.name for path in (tmp_path / "outbox").iterdir())
    found = worst(examined(Static(flags={"a": "b"}), outbox=f"sqlite://{tmp_path}/outbox"), "outbox")
    assert (found.level, found.text) == (
        "OK",
        f"events wait on disk in {tmp_path}/outbox; one was written, read and removed",
    )
    after = {path.name for path in (tmp_path / "outbox").iterdir()}
    assert after - {"slot-0.reserve"} == set(before) - {"slot-0.reserve"}, "the site's store makes its reserve later"
    site.close()


def test_outbox_that_nobody_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The directory that flagmw chooses is named; it is not called memory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    local = worst(examined(Static(flags={"a": "b"}), outbox=None), "outbox")
    assert (
        local.level,
        re.sub(r"-[0-9a-f]{8};", ";", local.text).startswith(f"events wait on disk in {tmp_path}"),
    ) == (
        "OK",
        True,
    )
    remote = Webtrends(2490593, "0123456789abcdef" * 3, "https://www.mysite.com", name="wt")
    with no_network(monkeypatch):
        found = worst(examined(remote, outbox=None), "outbox")
    assert found.level == "WARN" and "which flagmw has chosen" in found.text


@contextlib.contextmanager
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let names resolve to nothing, so that a vendor's real host is not called."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("socket.getaddrinfo", refused)
    yield


def refused(*_: object, **__: object) -> Any:
    raise OSError("no network in tests")


def test_outbox_on_valkey(tmp_path: Path) -> None:
    """The server is tried under keys that are gone afterwards."""
    server = shared_server()
    with server.client() as client:
        url = f"valkey://127.0.0.1:{server.port}/0?dir={tmp_path}&prefix=doctor"
        found = [f for f in examined(Static(flags={"a": "b"}), outbox=url) if f.subject == "outbox"]
        levels: list[Level] = [finding.level for finding in found]
        assert levels == ["OK", "OK"]
        assert "events of all machines wait on" in found[1].text
        assert list(client.scan_iter(match="doctor*")) == []


def test_outbox_object() -> None:
    """An outbox that was made in code is named, and not tried."""
    from flagmw.outbox.memory import MemoryOutbox

    found = worst(examined(Static(flags={"a": "b"}), outbox=MemoryOutbox()), "outbox")
    assert (found.level, found.text) == ("OK", "events wait in MemoryOutbox; an object from code is not tried")
