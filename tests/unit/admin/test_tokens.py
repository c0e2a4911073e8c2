"""Tokens: when they are renewed, that one request serves all who wait, and how they are obtained."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from flagmw.admin import (
    AnswerError,
    AuthError,
    CallNote,
    GivenToken,
    LegacyJWT,
    OAuthServerToServer,
    ProfileToken,
    ServerError,
    ThrottledError,
    TokenCache,
)
from flagmw.admin.adobe.auth.ims import life_s
from flagmw.admin.auth.token import Token
from flagmw.exceptions import ConfigError
from tests.support.http_vendor import Answer, HttpVendor, Request, answer
from tests.unit.admin.adobe import Clock, answer_of, async_client, call_of, client

SECRET = "secret-that-must-not-show"


class Ims:
    """A token service and an API on one server; tokens are numbered, and some can be refused."""

    def __init__(self, life: float = 86399, bad: tuple[str, ...] = (), delay: float = 0.0) -> None:
        self.life, self.bad, self.delay = life, set(bad), delay
        self.made = 0
        self.lock = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        if request.path.startswith("/ims"):
            with self.lock:
                self.made += 1
                number = self.made
            if self.delay:
                threading.Event().wait(self.delay)
            return answer({"token_type": "bearer", "access_token": f"token-{number}", "expires_in": self.life})
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return answer({"error_code": "401013", "message": "no"}, 401) if token in self.bad else answer({"id": 1})


def oauth(url: str, clock: Clock, **options: Any) -> OAuthServerToServer:
    return OAuthServerToServer("client-1", SECRET, token_url=f"{url}/ims/token/v3", clock=clock, **options)


@pytest.mark.parametrize(
    ("life", "after"),
    [(86_400, 86_100), (3_600, 3_300), (3_000, 2_700), (1_000, 900), (600, 540), (300, 240), (100, 50), (10, 5)],
)
def test_renewal(life: float, after: float) -> None:
    """At 90 % or five minutes before the end, whichever is later, but a minute before it; half of a very short life."""
    token = Token("a", 1000.0, 1000.0 + life)
    assert token.renew_at == pytest.approx(1000.0 + after)
    assert not token.due(1000.0 + after - 0.001)
    assert token.due(1000.0 + after)


def test_a_token_is_used_until_it_is_due() -> None:
    """One token serves all calls of its life, then the next one is obtained before the end."""
    ims, clock = Ims(life=1000), Clock()
    with HttpVendor(ims) as vendor, client(vendor.url, auth=oauth(vendor.url, clock), api_key=None) as admin:
        for _ in range(3):
            admin.offers.content.get(1)
        clock.now += 899
        admin.offers.content.get(1)
        assert ims.made == 1
        clock.now += 1
        admin.offers.content.get(1)
        assert ims.made == 2
    first = next(request for request in vendor.requests if request.path == "/ims/token/v3")
    assert first.form == {
        "grant_type": "client_credentials",
        "client_id": "client-1",
        "client_secret": SECRET,
        "scope": "openid,AdobeID,target_sdk,additional_info.projectedProductContext,read_organizations,"
        "additional_info.roles",
    }
    assert vendor.requests[-1].headers["x-api-key"] == "client-1"
    assert vendor.requests[-1].headers["authorization"] == "Bearer token-2"


def test_twenty_threads_with_an_expired_token_make_one_request() -> None:
    """While one thread obtains the token, nineteen wait for it."""
    ims, clock = Ims(delay=0.1), Clock()
    with HttpVendor(ims) as vendor, client(vendor.url, auth=oauth(vendor.url, clock), api_key=None) as admin:
        admin.offers.content.get(1)
        clock.now += 86_399
        start = threading.Barrier(20)
        problems: list[BaseException] = []

        def work() -> None:
            start.wait()
            try:
                admin.offers.content.get(1)
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=work) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (problems, ims.made) == ([], 2)


async def test_tasks_and_threads_share_one_request() -> None:
    """Twenty tasks of one loop and a thread with a blocking client, all with one set of credentials: one request."""
    ims, clock = Ims(delay=0.1), Clock()
    with HttpVendor(ims) as vendor:
        shared = oauth(vendor.url, clock)
        with client(vendor.url, auth=shared, api_key=None) as blocking:
            async with async_client(vendor.url, auth=shared, api_key=None) as admin:
                tasks = [admin.offers.content.get(1) for _ in range(20)]
                await asyncio.gather(asyncio.to_thread(blocking.offers.content.get, 1), *tasks)
    assert ims.made == 1


async def test_a_cancelled_task_does_not_take_the_others_with_it() -> None:
    """When the task that obtains the token is cancelled, another one obtains it."""
    ims, clock = Ims(delay=0.2), Clock()
    with HttpVendor(ims) as vendor:
        async with async_client(vendor.url, auth=oauth(vendor.url, clock), api_key=None) as admin:
            first = asyncio.create_task(admin.offers.content.get(1))
            await asyncio.sleep(0.05)
            second = asyncio.create_task(admin.offers.content.get(1))
            await asyncio.sleep(0.05)
            first.cancel()
            assert await second == {"id": 1}
    assert ims.made == 2


def test_a_refused_token_is_renewed_once() -> None:
    """After a 401 one new token is tried; when that is refused too, the error says so."""
    ims, clock, notes = Ims(bad=("token-1",)), Clock(), list[CallNote]()
    with HttpVendor(ims) as vendor:
        auth = oauth(vendor.url, clock)
        with client(vendor.url, auth=auth, api_key=None, on_call=notes.append) as admin:
            assert admin.offers.content.create({"name": "a", "content": "b"}) == {"id": 1}
            assert ims.made == 2
            ims.bad = {"token-2", "token-3"}
            with pytest.raises(AuthError) as caught:
                admin.offers.content.get(1)
    assert (ims.made, caught.value.code) == (3, "401013")
    assert [note.attempt for note in notes if note.operation.startswith("offers")] == [1, 2, 1, 2]


def test_401_in_the_middle_of_paging() -> None:
    """A token that ends between two pages costs no row."""
    ims, clock = Ims(), Clock()
    rows = [{"id": number} for number in range(10)]

    def handle(request: Request) -> Answer:
        reply = ims(request)
        if reply.status != 200 or not request.path.endswith("/offers"):
            return reply
        begin, limit = int(request.query["offset"]), int(request.query["limit"])
        if begin > 3:
            ims.bad = {"token-1"}
            if request.headers["authorization"] == "Bearer token-1":
                return ims(request)
        return answer({"total": 10, "offset": begin, "limit": limit, "offers": rows[begin : begin + limit]})

    with HttpVendor(handle) as vendor, client(vendor.url, auth=oauth(vendor.url, clock), api_key=None) as admin:
        assert list(admin.offers.list(page_size=4)) == rows
    assert ims.made == 2


def test_cache_file(tmp_path: Path) -> None:
    """A token is kept for the next process in a file that others cannot read, and used until it is due."""
    ims, clock, path = Ims(), Clock(), tmp_path / "tokens.json"
    with HttpVendor(ims) as vendor:
        for _ in range(2):
            auth = oauth(vendor.url, clock, cache=TokenCache(path))
            with client(vendor.url, auth=auth, api_key=None) as admin:
                admin.offers.content.get(1)
        assert ims.made == 1
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert SECRET not in path.read_text()
        clock.now += 86_399
        with client(vendor.url, auth=oauth(vendor.url, clock, cache=TokenCache(path)), api_key=None) as admin:
            admin.offers.content.get(1)
        assert ims.made == 2
        # A token that the vendor refuses is not taken from the file again.
        ims.bad = {"token-2"}
        with client(vendor.url, auth=oauth(vendor.url, clock, cache=TokenCache(path)), api_key=None) as admin:
            admin.offers.content.get(1)
        assert ims.made == 3


def test_cache_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """A file with wider rights is not read, and the error says what to run; a broken file is only ignored."""
    path = tmp_path / "tokens.json"
    path.write_text("{")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        TokenCache(path).read("a")
    path.chmod(0o600)
    assert TokenCache(path).read("a") is None
    TokenCache(path).write("a", Token("t", 1.0, 2.0))
    assert TokenCache(path).read("a") == Token("t", 1.0, 2.0)
    assert list(tmp_path.iterdir()) == [path]


def test_the_token_service_is_asked_again_while_it_fails() -> None:
    """A token service that fails or breaks off is asked again: nothing is done twice by that."""
    clock = Clock()
    replies = iter([Answer(503), Answer(500), answer({"access_token": "a"})])

    def handle(request: Request) -> Answer:
        return next(replies) if request.path.startswith("/ims") else answer({"id": 1})

    with HttpVendor(handle) as vendor:
        with client(vendor.url, clock, auth=oauth(vendor.url, clock), api_key=None) as admin:
            assert admin.offers.content.get(1) == {"id": 1}
        assert [request.path for request in vendor.requests].count("/ims/token/v3") == 3
    assert len(clock.slept) == 2


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (400, {"error": "invalid_client", "error_description": "no such client"}, AuthError, "client secret"),
        (400, {"error": "invalid_scope"}, AuthError, "scope"),
        (401, {"error": "something_new"}, AuthError, "Developer Console"),
        (429, {}, ThrottledError, "cache"),
        (500, {}, ServerError, "later"),
        (200, {"token": 1}, AnswerError, "access_token"),
        (200, {"access_token": "a\nb"}, AuthError, "printable"),
    ],
)
def test_refusals_of_the_token_service(status: int, body: dict[str, Any], kind: type[Exception], says: str) -> None:
    """What the token service refuses names the cure, and never the secret."""
    clock = Clock()
    with HttpVendor(lambda _: answer(body, status)) as vendor:
        admin = client(vendor.url, auth=oauth(vendor.url, clock), api_key=None)
        with admin, pytest.raises(kind, match=says) as caught:
            admin.offers.content.get(1)
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(oauth(vendor.url, clock))


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: Any = KEY, passphrase: bytes | None = None) -> bytes:
    cipher = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    form: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher)
    return form


def legacy(url: str, clock: Clock, **options: Any) -> LegacyJWT:
    given = {"private_key": pem(), "org_id": "1@AdobeOrg", "technical_account_id": "2@techacct.adobe.com", **options}
    return LegacyJWT("client-1", SECRET, token_url=f"{url}/ims/exchange/jwt/", clock=clock, **given)


def test_jwt_exchange_as_printed() -> None:
    """The proof is signed with RS256 and carries the metascope; the printed life is in milliseconds."""
    clock = Clock()
    clock.now = 1_700_000_000.0
    printed = answer_of("auth.legacy_jwt")

    def handle(request: Request) -> Answer:
        return answer(printed) if request.path.startswith("/ims") else answer({"id": 1})

    with HttpVendor(handle) as vendor:
        auth = legacy(vendor.url, clock)
        with client(vendor.url, auth=auth, api_key=None) as admin:
            admin.offers.content.get(1)
            token = admin.exchange.auth._token  # type: ignore[union-attr]
    exchange, call = vendor.requests
    assert (exchange.method, exchange.target) == ("POST", "/ims/exchange/jwt/")
    assert set(exchange.form) == {"client_id", "client_secret", "jwt_token"}
    claims = jwt.decode(
        exchange.form["jwt_token"],
        KEY.public_key(),
        algorithms=["RS256"],
        audience="https://ims-na1.adobelogin.com/c/client-1",
        options={"verify_exp": False},
    )
    assert claims == {
        "iss": "1@AdobeOrg",
        "sub": "2@techacct.adobe.com",
        "aud": "https://ims-na1.adobelogin.com/c/client-1",
        "exp": 1_700_000_300,
        "https://ims-na1.adobelogin.com/s/ent_marketing_sdk": True,
    }
    assert call.headers["authorization"] == f"Bearer {printed['access_token']}"
    assert token is not None
    assert token.expires_at == pytest.approx(1_700_000_000 + 86_399.99)


def test_jwt_exchange_with_the_parameters_in_the_address() -> None:
    """`in_query=True` sends the request exactly as the page prints it; a plan or a note still masks it."""
    printed = call_of("auth.legacy_jwt")
    notes: list[Any] = []
    with HttpVendor(lambda _: answer({"access_token": "a", "id": 1})) as vendor:
        auth = legacy(vendor.url, Clock(), in_query=True)
        with client(vendor.url, auth=auth, api_key=None, on_call=notes.append) as admin:
            admin.offers.content.get(1)
    exchange = vendor.requests[0]
    assert printed["url"].partition("?")[0].endswith(exchange.path)
    assert list(exchange.query) == [pair.partition("=")[0] for pair in printed["url"].partition("?")[2].split("&")]
    assert exchange.body == b""
    assert SECRET not in notes[0].url
    assert exchange.query["jwt_token"] not in notes[0].url


@pytest.mark.parametrize(
    ("given", "milliseconds", "token", "life"),
    [
        (86_399_990, True, "opaque", 86_399.99),
        (86_399, False, "opaque", 86_399),
        (86_399_990, False, "opaque", 86_399.99),
        ("86399", False, "opaque", 86_399),
        (None, False, "opaque", 3_600),
        (86_399, True, answer_of("auth.legacy_jwt")["access_token"], 86_399),
        (None, True, answer_of("auth.legacy_jwt")["access_token"], 86_400),
    ],
)
def test_the_trap_of_the_milliseconds(given: Any, milliseconds: bool, token: str, life: float) -> None:
    """The endpoint decides the unit, a life of years is none, and a token that says it itself is believed."""
    assert life_s(given, token, milliseconds=milliseconds) == pytest.approx(life)


def test_bad_keys(tmp_path: Path) -> None:
    """A key that cannot work is refused before anything is sent, and the text says why."""
    path = tmp_path / "key.pem"
    path.write_bytes(pem(passphrase=b"open"))
    assert legacy("https://x", Clock(), private_key=path, passphrase="open") is not None
    for options, says in (
        ({"private_key": path}, "passphrase"),
        ({"private_key": path, "passphrase": "wrong"}, "wrong"),
        ({"private_key": pem(), "passphrase": "needless"}, "leave the passphrase out"),
        ({"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, "RSA"),
        ({"private_key": "-----BEGIN NONSENSE-----"}, "no PEM"),
        ({"private_key": str(tmp_path / "missing.pem")}, "cannot be read"),
        ({"org_id": ""}, "org_id"),
    ):
        with pytest.raises(ConfigError, match=says):
            legacy("https://x", Clock(), **options)


class Account:
    """The Admin API's tokens and a Profile API that demands one."""

    def __init__(self, present: str | None = "old", left: int = 1_000_000) -> None:
        self.present, self.left, self.refused = present, left, set[str]()
        self.made = 0

    def __call__(self, request: Request) -> Answer:
        if request.path.endswith("/authentication/token"):
            if request.method == "POST":
                self.made += 1
                self.present, self.left = f"new-{self.made}", 7_775_999
            if self.present is None:
                return answer({"httpStatus": 404}, 404)
            return answer({"accessToken": self.present, "expiresIn": self.left, "scope": "profile_api"})
        sent = request.headers.get("authorization") or f"Bearer {request.headers.get('access_token')}"
        good = sent == f"Bearer {self.present}" and self.present not in self.refused
        return answer({"client": "acme", "visitorId": "v"}) if good else answer({"status": 401}, 401)


@pytest.mark.parametrize("header", ["Authorization", "access_token"])
@pytest.mark.parametrize(
    ("account", "made"),
    [(Account(), 0), (Account(None), 1), (Account(left=100), 1)],
    ids=["present", "none", "about to end"],
)
def test_profile_token(account: Account, made: int, header: Any) -> None:
    """The account's token is read first; a new one is made only when there is none or it is about to end."""
    account = Account(account.present, account.left)
    clock = Clock()
    with HttpVendor(account) as vendor:
        with client(vendor.url, clock, profile_auth=ProfileToken(header=header, clock=clock)) as admin:
            assert admin.profiles.fetch("v")["visitorId"] == "v"
            admin.profiles.fetch("v")
        assert account.made == made
        first = vendor.requests[0]
        assert (first.method, first.target) == ("GET", "/acme/target/authentication/token?scope=profile_api")


def test_profile_token_that_is_refused_is_replaced() -> None:
    """When the Profile API refuses the account's token, a new one is made, once."""
    account, clock = Account(), Clock()
    account.refused = {"old"}
    with HttpVendor(account) as vendor, client(vendor.url, clock, profile_auth=ProfileToken(clock=clock)) as admin:
        assert admin.profiles.fetch("v")["visitorId"] == "v"
    assert account.made == 1


@pytest.mark.parametrize(("present", "left", "made"), [("old", 1000, 0), ("old", 200, 1), (None, 0, 1)])
def test_debug_token_that_is_good_now(present: str | None, left: int, made: int) -> None:
    """A token for traces is read first, and made only when there is none or it ends soon."""
    account = Account(present, left)
    with HttpVendor(account) as vendor, client(vendor.url) as admin:
        token = admin.tokens.current("debug_tools")
    assert account.made == made
    assert token["accessToken"] == ("new-1" if made else "old")
    assert vendor.requests[0].target == "/acme/target/authentication/token?scope=debug_tools"


def test_given_function_is_asked_again() -> None:
    """A function is asked for another token after a 401 and when its time is up."""
    tokens = iter(["a", "b", "c"])
    clock = Clock()
    good = {"b", "c"}

    def handle(request: Request) -> Answer:
        return answer({"id": 1}, 200 if request.headers["authorization"].removeprefix("Bearer ") in good else 401)

    auth = GivenToken(lambda: next(tokens), life_s=600, clock=clock)
    with HttpVendor(handle) as vendor, client(vendor.url, clock, auth=auth) as admin:
        admin.offers.content.get(1)
        clock.now += 600
        admin.offers.content.get(1)
    assert [request.headers["authorization"] for request in vendor.requests] == ["Bearer a", "Bearer b", "Bearer c"]


def test_given_text_with_blanks() -> None:
    """A token that cannot stand in a header is refused at once."""
    for bad in ("", "two words", "line\n", "ümlaut"):
        with pytest.raises(AuthError, match="printable ASCII"):
            GivenToken(bad)


def test_a_forked_child_does_not_wait_for_its_parent() -> None:
    """A child that is forked while the parent obtains a token obtains its own."""
    ims, clock = Ims(delay=0.3), Clock()
    with HttpVendor(ims) as vendor, client(vendor.url, auth=oauth(vendor.url, clock), api_key=None) as admin:
        thread = threading.Thread(target=admin.offers.content.get, args=(1,))
        thread.start()
        end = time.monotonic() + 20
        while not vendor.requests and time.monotonic() < end:
            time.sleep(0.005)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                os._exit(0 if admin.offers.content.get(1) == {"id": 1} else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        thread.join()


def test_a_cache_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The call goes on with the token; the log says what is wrong with the file."""
    ims, clock = Ims(), Clock()
    auth_cache = TokenCache(tmp_path / "missing" / "tokens.json")
    with HttpVendor(ims) as vendor:
        auth = oauth(vendor.url, clock, cache=auth_cache)
        with client(vendor.url, auth=auth, api_key=None) as admin:
            assert admin.offers.content.get(1) == {"id": 1}
    assert "cannot be written" in caplog.text
