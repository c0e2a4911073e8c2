"""Contentstack: what goes wrong, and what the error says to do."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flagmw.admin import (
    AmbiguousError,
    AnswerError,
    AuthError,
    Authtoken,
    ContentstackAdmin,
    ContentstackOAuth,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    ThrottledError,
    TokenCache,
)
from flagmw.exceptions import ConfigError
from tests.support.http_vendor import Answer, HttpVendor, Request, answer
from tests.unit.admin.adobe import Clock
from tests.unit.admin.contentstack import EVENT, EXPERIENCE, PROJECT, TOKEN, async_client, client

TWO_ERRORS = {"errors": {"variants": [{"code": "EMPTY_ARRAY", "message": "empty"}], "status": ["STATUS_REQUIRED"]}}
NOT_LOGGED_IN = {"message": "You're not allowed in here unless you're logged in."}


def always(status: int, document: Any, **headers: str) -> HttpVendor:
    return HttpVendor(lambda _: answer(document, status, **headers))


def test_an_authtoken_that_has_ended() -> None:
    """The 401's cure names the reasons that the vendor's page gives: 20 tokens, SSO; nothing is logged in."""
    with always(401, NOT_LOGGED_IN) as vendor, client(vendor.url) as admin:
        with pytest.raises(AuthError, match="20 at most") as caught:
            admin.events.list()
        assert [request.path for request in vendor.requests] == ["/events"]
    text = str(caught.value)
    assert "SSO" in text and "management token" in text and "not allowed in here" in text
    assert TOKEN not in text and caught.value.status == 401
    assert text.count("Contentstack does not accept") == 1


def test_an_oauth_token_that_has_ended() -> None:
    """A function is asked again once; then the cure is OAuth's."""
    tokens = iter(["old", "new", "newer"])
    with always(401, NOT_LOGGED_IN) as vendor, client(vendor.url, auth=lambda: next(tokens)) as admin:
        with pytest.raises(AuthError, match="good for an hour") as caught:
            admin.events.list()
        assert [one.headers["authorization"] for one in vendor.requests] == ["Bearer old", "Bearer new"]
    assert "authtoken" not in str(caught.value)


def test_a_scope_that_is_missing_is_named() -> None:
    """A read names both scopes, a write the one that it needs."""
    with always(403, {"message": "Forbidden"}) as vendor, client(vendor.url) as admin:
        with pytest.raises(PermissionDeniedError, match="personalize:read or personalize:manage") as caught:
            admin.events.list()
        assert caught.value.right == "personalize:read or personalize:manage"
        with pytest.raises(PermissionDeniedError) as caught:
            admin.events.create("click")
        assert caught.value.right == "personalize:manage"


@pytest.mark.parametrize(
    ("status", "read", "write"),
    [
        (400, InvalidError, InvalidError),
        (401, AuthError, AuthError),
        (403, PermissionDeniedError, PermissionDeniedError),
        (404, NotFoundError, NotFoundError),
        (429, ThrottledError, ThrottledError),
        (500, ServerError, AmbiguousError),
        (502, ServerError, AmbiguousError),
        (504, ServerError, AmbiguousError),
    ],
)
async def test_statuses_of_the_page(status: int, read: Any, write: Any) -> None:
    """Each status of the vendor's table has its error; a write that may have been done says so."""
    with always(status, {"error": "personalize.X.Y", "message": "No"}) as vendor:
        with client(vendor.url) as admin:
            with pytest.raises(read) as caught:
                admin.attributes.list()
            assert (caught.value.status, caught.value.code) == (status, "personalize.X.Y")
            assert '"No"' in str(caught.value)
        async with async_client(vendor.url) as later:
            with pytest.raises(write) as caught:
                await later.attributes.create("Age", "age")
            assert caught.value.status == status


@pytest.mark.parametrize(
    ("body", "code", "field", "says"),
    [
        (TWO_ERRORS, "EMPTY_ARRAY", "variants", "variants: empty; status: STATUS_REQUIRED"),
        ({"errors": {"key": {"code": "KEY_ALREADY_EXISTS"}}}, "KEY_ALREADY_EXISTS", "key", "key: KEY_ALREADY_EXISTS"),
        ({"errors": {"key": "is taken"}, "message": "other"}, None, "key", "key: is taken"),
        ({"error": "personalize.A.B", "message": "text"}, "personalize.A.B", None, "text"),
        ({"error_message": "first", "message": "second"}, None, None, "first"),
        ({"statusCode": 404, "message": "Cannot GET /x", "error": "Not Found"}, None, None, "Cannot GET /x"),
        ({"errors": {}}, None, None, None),
        ({"errors": ["x"]}, None, None, None),
        ([1], None, None, None),
    ],
)  # fmt: skip
def test_shapes_of_errors(body: Any, code: str | None, field: str | None, says: str | None) -> None:
    """The vendor's two shapes, and anything else, without an error of the client's own."""
    with always(400, body) as vendor, client(vendor.url) as admin, pytest.raises(InvalidError) as caught:
        admin.events.list()
    assert (caught.value.code, caught.value.field) == (code, field)
    assert (f'"{says}"' in str(caught.value)) if says else "the vendor says" not in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>proxy</html>", b"", b"[1]", b'{"a": 1}', b"\xff", b"["])
def test_answers_that_make_no_sense(body: bytes) -> None:
    """A list that is none is an error, never an empty result; a write says to look first."""
    with HttpVendor(lambda _: Answer(200, body)) as vendor, client(vendor.url) as admin:
        with pytest.raises(AnswerError):
            admin.audiences.list()
        with pytest.raises(AnswerError):
            list(admin.geolocation.cities())
        with pytest.raises(AnswerError):
            admin.priority.get()
        if not body.startswith(b"{"):
            with pytest.raises(AmbiguousError, match="read /events"):
                admin.events.create("click")


def test_too_many_calls() -> None:
    """A read waits a second and comes again, up to five times; a POST is left to the caller; Retry-After is kept."""
    clock = Clock()
    with always(429, {"message": "Too many requests"}) as vendor, client(vendor.url, clock) as admin:
        with pytest.raises(ThrottledError):
            admin.events.list()
        assert (len(vendor.requests), clock.slept) == (5, [1.0] * 4)
        with pytest.raises(ThrottledError):
            admin.events.create("click")
        assert len(vendor.requests) == 6
    with always(429, {}, retry_after="7") as vendor, client(vendor.url, Clock()) as admin:
        with pytest.raises(ThrottledError) as caught:
            admin.events.create("click")
        assert caught.value.seconds == 7


def test_eight_calls_a_second() -> None:
    """By default no second holds more than eight calls, two fewer than the vendor allows the organization."""
    clock = Clock()
    times: list[float] = []

    def handle(request: Request) -> Answer:
        times.append(clock())
        return answer([])

    with HttpVendor(handle) as vendor, client(vendor.url, clock) as admin:
        for _ in range(20):
            admin.events.list()
    assert times == [1000.0] * 8 + [1001.0] * 8 + [1002.0] * 4


@pytest.mark.parametrize(
    "uid", ["", "0", "b", "x" * 24, "A" * 24, "a" * 23, "a" * 32, "../../events", 7, None, "a" * 24 + "\n"]
)
def test_a_uid_that_is_none(uid: Any) -> None:
    """It is refused before anything is sent, in paths, bodies and queries."""
    with HttpVendor(lambda _: answer([])) as vendor, client(vendor.url) as admin:
        for call in (
            lambda: admin.experiences.get(uid),
            lambda: admin.versions.delete(EXPERIENCE, uid),
            lambda: admin.versions.list(uid),
            lambda: admin.priority.set([EXPERIENCE, uid]),
            lambda: admin.analytics.summary(EXPERIENCE, uid),
            lambda: admin.events.update(uid, "key"),
        ):
            with pytest.raises(InvalidError, match="24 hex digits"):
                call()
        assert vendor.requests == []
    with pytest.raises(ConfigError, match="project_uid"):
        ContentstackAdmin(uid, lambda: "token")


def test_values_that_are_refused() -> None:
    """Names that are empty, kinds and tags that there are not, orders with a uid twice, times without a zone."""
    with HttpVendor(lambda _: answer([])) as vendor, client(vendor.url) as admin:
        for call in (
            lambda: admin.attributes.create("", "age"),
            lambda: admin.attributes.create("Age", " "),
            lambda: admin.events.create(7),  # type: ignore[arg-type]
            lambda: admin.experiences.create("x", "MULTI"),  # type: ignore[arg-type]
            lambda: admin.experiences.create("x", "AB_TEST", tags=["a b"]),
            lambda: admin.experiences.create("x", "AB_TEST", tags=[f"t{one}" for one in range(11)]),
            lambda: admin.experiences.create("x", "AB_TEST", tags="shop"),
            lambda: admin.priority.set([EXPERIENCE, EXPERIENCE]),
            lambda: admin.priority.set(EXPERIENCE),
            lambda: admin.analytics.summary(EXPERIENCE, EVENT, start="yesterday"),
            lambda: admin.analytics.time_series(EXPERIENCE, EVENT, end="2026-11-27T00:00:00"),
            lambda: admin.audiences.create("x", {"__type": "RuleCombination", "combinationType": "AND", "rules": []}),
            lambda: admin.audiences.create("x", {"combinationType": "AND", "rules": [{"__type": "Regel"}]}),
            lambda: admin.events.create("\ud800"),
            lambda: admin.geolocation.cities(codes="US"),
            lambda: admin.geolocation.cities(limit=-1),
        ):
            with pytest.raises(InvalidError):
                call()
        assert vendor.requests == []


def test_options_that_cannot_work() -> None:
    """Credentials do not cross a network in the clear, and a region is one of seven."""
    for options in (
        {"base_url": "http://personalize-api.contentstack.com"},
        {"base_url": "ftp://x"},
        {"region": "MARS"},
        {"region": 7},
    ):
        with pytest.raises(ConfigError):
            ContentstackAdmin(PROJECT, lambda: "token", **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="token_url must be https"):
        ContentstackOAuth("r", "app", "https://app.example/", token_url="http://developerhub.example/token")
    with pytest.raises(ConfigError, match="auth must be"):
        ContentstackAdmin(PROJECT, "token")  # type: ignore[arg-type]


def test_an_authtoken_from_file_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read again after a refusal, so that a new token needs no restart; the environment works too."""
    file = tmp_path / "authtoken"
    file.write_text("old\n", "utf-8")

    def handle(request: Request) -> Answer:
        if request.headers["authtoken"] == "old":
            file.write_text("new\n", "utf-8")
            return answer(NOT_LOGGED_IN, 401)
        return answer([])

    with HttpVendor(handle) as vendor:
        with client(vendor.url, auth=Authtoken(file=file)) as admin:
            assert admin.events.list() == []
        monkeypatch.setenv("CONTENTSTACK_AUTHTOKEN", "from-environment")
        with client(vendor.url, auth=Authtoken()) as admin:
            admin.events.list()
        assert [one.headers["authtoken"] for one in vendor.requests] == ["old", "new", "from-environment"]
    monkeypatch.delenv("CONTENTSTACK_AUTHTOKEN")
    with pytest.raises(ConfigError, match="CONTENTSTACK_AUTHTOKEN"):
        Authtoken()
    with HttpVendor(handle) as vendor, client(vendor.url, auth=Authtoken(file=tmp_path / "none")) as admin:
        with pytest.raises(AuthError, match="cannot be read"):
            admin.events.list()
        file.write_text("two words", "utf-8")
        with client(vendor.url, auth=Authtoken(file=file)) as other, pytest.raises(AuthError, match="blanks"):
            other.events.list()
        assert vendor.requests == []


class TokenService:
    """Contentstack's token service: each refresh token is good once."""

    def __init__(self, refresh_token: str) -> None:
        self.good, self.count = refresh_token, 0

    def __call__(self, request: Request) -> Answer:
        if request.path != "/token":
            good = request.headers["authorization"] == f"Bearer access-{self.count}"
            return answer([]) if good else answer(NOT_LOGGED_IN, 401)
        form = request.form
        if form["refresh_token"] != self.good or form["grant_type"] != "refresh_token":
            return answer({"error": "invalid_grant"}, 400)
        self.count += 1
        self.good = f"refresh-{self.count}"
        return answer({"access_token": f"access-{self.count}", "refresh_token": self.good, "expires_in": 3600})


def test_oauth_refreshes_and_keeps_the_new_refresh_token(tmp_path: Path) -> None:
    """A refresh token is good once: the new one is told, and the next process takes it from the cache."""
    service, kept, now = TokenService("given"), list[str](), [time.time()]

    def source(url: str) -> ContentstackOAuth:
        return ContentstackOAuth(
            "given", "app", "https://app.example/back", client_secret="s", token_url=f"{url}/token",
            on_refresh=kept.append, cache=TokenCache(tmp_path / "tokens.json"), clock=lambda: now[0],
        )  # fmt: skip

    with HttpVendor(service) as vendor:
        with client(vendor.url, auth=source(vendor.url)) as admin:
            admin.events.list()
            admin.events.list()
            assert kept == ["refresh-1"]
            now[0] += 3600
            admin.events.list()
            assert kept == ["refresh-1", "refresh-2"]
        now[0] += 3600
        with client(vendor.url, auth=source(vendor.url)) as another_process:
            another_process.events.list()
        assert kept[-1] == "refresh-3"
        # A person has logged in again: the kept one is refused, the given one is good.
        service.good = "given"
        now[0] += 3600
        with client(vendor.url, auth=source(vendor.url)) as after_log_in:
            after_log_in.events.list()
        first = next(one.form for one in vendor.requests if one.path == "/token")
        assert first == {
            "grant_type": "refresh_token", "refresh_token": "given", "client_id": "app",
            "redirect_uri": "https://app.example/back", "client_secret": "s",
        }  # fmt: skip
        service.good = "somebody else's"
        now[0] += 3600
        with client(vendor.url, auth=source(vendor.url)) as refused, pytest.raises(AuthError, match="log in again"):
            refused.events.list()


CITIES = [{"code": str(number), "name": f"City {number}"} for number in range(25)]


@pytest.mark.parametrize("whole", [False, True])
def test_places_in_pages(whole: bool) -> None:
    """All come once, whether the vendor sends pages or ignores their parameters; a limit ends the reading."""

    def handle(request: Request) -> Answer:
        skip, limit = int(request.query["skip"]), int(request.query["limit"])
        return answer(CITIES if whole else CITIES[skip : skip + limit])

    with HttpVendor(handle) as vendor, client(vendor.url) as admin:
        rows = admin.geolocation.cities(name="City", codes=["1", "2"], page_size=10)
        assert list(rows) == CITIES and rows.shifted == 0
        assert vendor.requests[0].query == {"name": "City", "codes": "1,2", "skip": "0", "limit": "10"}
        assert "x-project-uid" not in vendor.requests[0].headers
        assert [one["code"] for one in admin.geolocation.cities(limit=3)] == ["0", "1", "2"]
        skips = [int(one.query["skip"]) for one in vendor.requests]
        assert all(before <= after for before, after in pairwise(skips[:-1]))


def test_places_that_move_between_two_pages() -> None:
    """A row that goes away while the list is read may hide another one: it is counted, never silent."""
    cities = list(CITIES)

    def handle(request: Request) -> Answer:
        skip, limit = int(request.query["skip"]), int(request.query["limit"])
        page = answer(cities[skip : skip + limit])
        del cities[:2]
        return page

    with HttpVendor(handle) as vendor, client(vendor.url) as admin:
        rows = admin.geolocation.cities(page_size=10)
        assert len({one["code"] for one in rows}) >= 20
        assert rows.shifted > 0
