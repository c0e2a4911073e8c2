"""No web page drives the sandbox, and no secret is in its ledger."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from flagmw.exceptions import ConfigError
from flagmw.sandbox import SandboxServer
from flagmw.sandbox.app import create_app
from flagmw.sandbox.guard import access
from tests.sandbox.conftest import DOMAIN, TOKEN

Headers = list[tuple[str, str]]
CHANGES = [
    ("POST", "reset"),
    ("POST", "rotate-keys"),
    ("PUT", "faults"),
    ("DELETE", "faults"),
    ("DELETE", "ledger"),
    ("PUT", "scenario"),
    ("POST", "redirected"),
]
CROSS = [("Sec-Fetch-Site", "cross-site")]
FOLLOWED = [*CROSS, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
DELAY = b'{"rules": [{"kind": "delay", "ms": 60000}]}'
CONTROL = f"/ots/api/rest-1.2/control/{DOMAIN}"


def raw(port: int, method: str, path: str, headers: Headers, body: bytes = b"") -> tuple[int, str]:
    """Send a request as it is, with its own Host; return status and body."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""])
    with socket.create_connection(("127.0.0.1", port), 10) as link:
        link.sendall(head.encode("latin-1") + body)
        answer = b""
        while piece := link.recv(65536):
            answer += piece
    return int(answer[9:12]), answer.partition(b"\r\n\r\n")[2].decode()


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer("single", seed=1) as made:
        yield made


def state_of(server: SandboxServer) -> Any:
    return (server.sandbox.faults.shown(), len(server.ledger()["requests"]), server.sandbox.scenario)


PAGES = {
    "another origin": [("Origin", "https://evil.example")],
    "another origin, fetch metadata": [("Origin", "https://evil.example"), *CROSS],
    "a form of an old browser": [("Referer", "https://evil.example/page")],
    "a frame without an origin": [("Origin", "null")],
    "a file": [("Origin", "file://")],
    "an origin that begins like this one": [("Origin", "http://localhost.evil.example")],
    "an origin with a user": [("Origin", "http://127.0.0.1@evil.example")],
    "two origins": [("Origin", "http://127.0.0.1"), ("Origin", "https://evil.example")],
    "no origin": CROSS,
    "a form that navigates": FOLLOWED,
}


@pytest.mark.parametrize("page", PAGES)
def test_web_page_cannot_change_the_sandbox(server: SandboxServer, page: str) -> None:
    """Whatever a page of another origin sends to this machine is refused, and changes nothing."""
    headers = [("Host", f"127.0.0.1:{server.port}"), ("Content-Type", "text/plain"), *PAGES[page]]
    server.faults([])
    before = state_of(server)
    for method, name in CHANGES:
        status, body = raw(server.port, method, f"/__sandbox__/{name}", headers, DELAY if name == "faults" else b"{}")
        assert status == 403
        assert "error" in json.loads(body)
    assert raw(server.port, "POST", CONTROL, headers, b"{}")[0] == 403
    assert state_of(server) == before


HOSTS = [
    "rebound.evil.example",
    "127.0.0.1.nip.io",
    "localhost.evil.example",
    "192.168.0.7",
    "sandbox",
    "2130706433",
    "0.0.0.0",
    "[2001:db8::1]",
    "127.0.0.1 evil",
    "evil@127.0.0.1",
]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("same_origin", [False, True])
def test_name_that_was_made_to_point_here(server: SandboxServer, host: str, same_origin: bool) -> None:
    """A page whose own name leads to this machine is of the same origin in its browser's eyes, and is refused."""
    headers = [("Host", f"{host}:{server.port}"), ("Sec-Fetch-Site", "same-origin")]
    headers += [("Origin", f"http://{host}:{server.port}")] if same_origin else []
    before = state_of(server)
    for method, path in [("GET", "/__sandbox__/ledger"), ("GET", "/__sandbox__/scenario"), ("POST", CONTROL)]:
        status, body = raw(server.port, method, path, headers)
        assert status in (400, 403)
        assert TOKEN not in body
    assert raw(server.port, "PUT", "/__sandbox__/faults", headers, DELAY)[0] in (400, 403)
    assert state_of(server) == before


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LOCALHOST", "localhost.", "[::1]", "127.7.7.7", "shop.localhost", "[::ffff:7f00:1]"],
)
def test_programs_and_the_sandbox_s_own_pages(server: SandboxServer, host: str) -> None:
    """A program, whatever port it was told, and a page that the sandbox itself has shown, do what they like."""
    for own in ([], [("Origin", f"http://{host}:{server.port}"), ("Sec-Fetch-Site", "same-origin")]):
        headers = [("Host", f"{host}:{server.port}"), *own]
        assert raw(server.port, "PUT", "/__sandbox__/faults", headers, b'{"rules": []}')[0] == 200
        assert raw(server.port, "DELETE", "/__sandbox__/ledger", headers)[0] == 204
    assert raw(server.port, "GET", "/__sandbox__/ledger", [("Host", f"{host}:9")])[0] == 200


def test_page_of_this_machine(server: SandboxServer) -> None:
    """A site under development calls the vendors and may look, but does not change the sandbox."""
    for origin in ("http://localhost:3000", "https://127.0.0.1:8443", "http://[::1]:5173"):
        headers = [("Host", f"127.0.0.1:{server.port}"), ("Origin", origin)]
        assert raw(server.port, "POST", CONTROL, headers, b"{}")[0] == 200
        assert raw(server.port, "GET", "/__sandbox__/ledger", headers)[0] == 200
        assert raw(server.port, "POST", "/__sandbox__/reset", headers)[0] == 403


def test_link_to_the_ledger_may_be_followed(server: SandboxServer) -> None:
    """From a page of documentation, say; an image's address there may not, nor what a look would change."""
    host = [("Host", f"127.0.0.1:{server.port}")]
    assert raw(server.port, "GET", "/__sandbox__/ledger", [*host, *FOLLOWED])[0] == 200
    assert raw(server.port, "GET", "/__sandbox__/ledger", [*host, *CROSS, ("Sec-Fetch-Dest", "image")])[0] == 403
    assert raw(server.port, "GET", "/__sandbox__/redirected", [*host, *FOLLOWED])[0] == 403


def test_control_token() -> None:
    """With one, programs need it too; a page of this machine that has it counts as they do."""
    with SandboxServer("single", control_token="s3cret") as server:
        host = [("Host", f"127.0.0.1:{server.port}")]
        assert raw(server.port, "POST", "/__sandbox__/reset", host)[0] == 403
        assert raw(server.port, "POST", "/__sandbox__/reset", [*host, ("Sandbox-Token", "s3cre")])[0] == 403
        page = [("Origin", "http://localhost:3000")]
        for more in ([], page):
            assert raw(server.port, "POST", "/__sandbox__/reset", [*host, *more, ("Sandbox-Token", "s3cret")])[0] == 204
        elsewhere = [("Origin", "https://evil.example"), ("Sandbox-Token", "s3cret")]
        assert raw(server.port, "POST", "/__sandbox__/reset", [*host, *elsewhere])[0] == 403
        assert raw(server.port, "GET", "/__sandbox__/ledger", host)[0] == 200


def test_further_hosts() -> None:
    """A name that was allowed is one of the sandbox's, for requests and for pages."""
    with SandboxServer("single", allow_hosts=["Vendors.test"]) as server:
        headers = [("Host", f"vendors.test:{server.port}"), ("Origin", f"http://vendors.test:{server.port}")]
        assert raw(server.port, "POST", "/__sandbox__/reset", headers)[0] == 204
        assert raw(server.port, "POST", CONTROL, [headers[0], ("Origin", "https://vendors.test")], b"{}")[0] == 200
        assert raw(server.port, "GET", "/__sandbox__/ledger", [("Host", "x.vendors.test")])[0] == 403


@pytest.mark.parametrize(
    "given", [{"hosts": ["http://x"]}, {"hosts": [""]}, {"token": ""}, {"token": "a\nb"}], ids=repr
)
def test_options_that_cannot_be(given: dict[str, Any]) -> None:
    """They are refused at the start."""
    with pytest.raises(ConfigError):
        access(**given)


async def test_beyond_this_machine() -> None:
    """With allow_remote, addresses and names of a local network are its own; a name on the internet is not."""
    app = create_app("single", access=access(remote=True))
    for host, status in [("192.168.0.7", 200), ("sandbox", 200), ("[fd00::1]", 200), ("rebound.evil.example", 403)]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.1:8765") as client:
            assert (await client.get("/__sandbox__/health", headers={"host": host})).status_code == status


# Secrets


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJmbGFncyI6e319.c2lnbmF0dXJlLXBhcnQ"
SECRETS: dict[str, dict[str, Any]] = {
    "token in the data": {"data": {"keyToken": "0123secret"}},
    "the account's token as something else": {"data": {"note": f"x {TOKEN} y"}},
    "token in the page's address": {"url": "https://www.mysite.com/?keyToken=0123secret&b=2"},
    "encoded": {"url": "https://www.mysite.com/?next=%2F%3Fapi_key%3D0123secret%26x=1"},
    "encoded twice": {"url": "https://www.mysite.com/?next=%252F%253Fapi_key%253D0123secret%2526x=1"},
    "API key": {"data": {"apiKey": "0123secret", "x-api-key": "0123secret", "Api_Token": "0123secret"}},
    "Authorization": {"data": {"Authorization": "Bearer 0123secret", "header": "Authorization: Bearer 0123secret"}},
    "bearer": {"data": {"x": "Bearer 0123secret0123"}},
    "basic": {"data": {"x": "Basic MDEyM3NlY3JldA=="}},
    "client secret": {"data": {"client_secret": "0123secret", "j": '{"client_secret": "0123secret"}'}},
    "password": {"data": {"password": "0123secret"}},
    "signed token": {"url": f"https://www.mysite.com/?t={JWT}"},
    "metric": {"conversionPoint": "access_token=0123secret"},
}


@pytest.mark.parametrize("where", SECRETS)
def test_no_secret_is_in_the_ledger(server: SandboxServer, where: str) -> None:
    """Wherever in a request it stands; what is no secret stays."""
    server.clear_ledger()
    host = [("Host", f"127.0.0.1:{server.port}"), ("Content-Type", "application/json")]
    headers = [*host, ("Authorization", "Bearer 0123secret0123"), ("User-Agent", "x api_key=0123secret")]
    kind = "track" if where == "metric" else "control"
    body = {"keyToken": TOKEN, "url": "https://www.mysite.com", **SECRETS[where]}
    path = f"/ots/api/rest-1.2/{kind}/{DOMAIN}-ta_Project1"
    raw(server.port, "POST", f"{path}?keyToken={TOKEN}", headers, json.dumps(body).encode())
    raw(server.port, "POST", f"{path},{TOKEN}", headers, json.dumps(body).encode())
    status, text = raw(server.port, "GET", "/__sandbox__/ledger", host)
    assert status == 200
    for secret in (TOKEN, "0123secret", "MDEyM3NlY3JldA", JWT, JWT.rpartition(".")[2]):
        assert secret not in text
    assert "https://www.mysite.com" in text and f"{DOMAIN}-ta_Project1" in text


def test_no_secret_of_other_vendors(server: SandboxServer) -> None:
    """Adobe's and Contentstack's requests carry tokens in bodies and headers; none is kept."""
    server.clear_ledger()
    server.replace_scenario("shop")
    host = [("Host", f"127.0.0.1:{server.port}"), ("Content-Type", "application/json")]
    more = [("X-Api-Key", "0123secret"), ("Authorization", "0123secret"), ("Access_token", "0123secret")]
    context = {
        "channel": "web",
        "address": {"url": "https://x.example/?client_token=0123secret"},
        "authToken": "0123secret",
    }
    body = {"context": context, "trace": {"authorizationToken": "0123secret"}, "execute": {"mboxes": []}}
    raw(server.port, "POST", "/rest/v1/delivery?client=demo&sessionId=1", [*host, *more], json.dumps(body).encode())
    raw(server.port, "GET", "/personalize/x", [*host, *more])
    _, text = raw(server.port, "GET", "/__sandbox__/ledger", host)
    assert "delivery" in text
    assert "0123secret" not in text
