"""Each endpoint by both clients, answers by the sandbox's own description."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from flagmw.admin import (
    AsyncContentstackAdmin,
    AuthError,
    Authtoken,
    ContentstackAdmin,
    ContentstackOAuth,
    GivenToken,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
)
from flagmw.admin.contentstack.endpoints import ENDPOINTS
from flagmw.admin.contentstack.rules import Country
from flagmw.admin.contentstack.versions import ab_test
from flagmw.exceptions import ConfigError
from flagmw.sandbox.contentstack_admin import places
from flagmw.sandbox.contentstack_admin.table import ENDPOINTS as SERVED
from tests.sandbox.contentstack_admin.conftest import PROJECT


async def steps(client: Any) -> dict[str, Any]:
    """Call every endpoint once, and return the answers by the endpoint's name."""

    async def done(value: Any) -> Any:
        if hasattr(value, "__aiter__"):
            return [row async for row in value]
        if inspect.isawaitable(value):
            return await value
        return value if isinstance(value, dict | list) or value is None else list(value)

    found: dict[str, Any] = {}

    async def step(name: str, *args: Any, **more: Any) -> Any:
        resource, method = name.split(".")
        found[name] = await done(getattr(getattr(client, resource), method)(*args, **more))
        return found[name]

    attribute = await step("attributes.create", "Age", "age", description="in years")
    await step("attributes.list")
    await step("attributes.update", attribute["uid"], "Age", "years")
    audience = await step("audiences.create", "US", Country.equals("US"))
    await step("audiences.list")
    await step("audiences.update", audience["uid"], "USA", Country.equals("US"))
    event = await step("events.create", "click")
    await step("events.list")
    await step("events.update", event["uid"], "clicked")
    made = await step("experiences.create", "Colours", "AB_TEST", tags=["Env:Test", "env:test"])
    uid = made["uid"]
    await step("experiences.list")
    await step("experiences.get", uid)
    await step("experiences.update", uid, "Colors", "AB_TEST")
    body = ab_test(["Red", "Blue"], metric=event["uid"])
    await step("versions.update", uid, made["latestVersion"], {**body, "status": "ACTIVE"})
    draft = await step("versions.create", uid, body)
    await step("versions.list", uid)
    await step("versions.delete", uid, draft["uid"])
    order = await step("priority.get")
    await step("priority.set", order[::-1])
    await step("analytics.summary", uid, made["latestVersion"])
    await step("analytics.time_series", uid, made["latestVersion"])
    for place in ("regions", "countries", "cities"):
        await step(f"geolocation.{place}", page_size=2)
    await step("experiences.delete", uid)
    await step("audiences.delete", audience["uid"])
    await step("events.delete", event["uid"])
    await step("attributes.delete", attribute["uid"])
    return found


def check(found: dict[str, Any]) -> None:
    assert sorted(found) == sorted(ENDPOINTS)
    assert len(ENDPOINTS) == len(SERVED) == 28
    assert found["attributes.update"]["key"] == "years"
    assert found["audiences.list"][0]["definition"]["rules"][0]["attribute"]["ref"] == "COUNTRY"
    assert found["experiences.create"]["tags"] == ["env:test"]
    assert found["versions.update"]["status"] == "ACTIVE"
    # A new version keeps the variants' short uids.
    shorts = [one["shortUid"] for one in found["versions.update"]["variants"]]
    assert [one["shortUid"] for one in found["versions.create"]["variants"]] == shorts == ["0", "1"]
    assert found["priority.set"]["priorityOrder"] == found["priority.get"][::-1]
    assert [one["name"] for one in found["geolocation.cities"]] == [
        "Sydney",
        "Berlin",
        "New York City",
        "San Francisco",
    ]


def test_every_endpoint_blocking(admin: ContentstackAdmin) -> None:
    check(asyncio.run(steps(admin)))


def test_every_endpoint_asynchronous(box: Any) -> None:
    async def run() -> dict[str, Any]:
        async with AsyncContentstackAdmin(PROJECT, **box.options(), sleep=box.clock.asleep) as client:
            return await steps(client)

    check(asyncio.run(run()))


def test_statuses_and_schemas_are_those_of_the_description(box: Any) -> None:
    document = box.http.get(f"{box.url}/openapi").json()
    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == {(one.method, one.path) for one in ENDPOINTS.values()}
    for endpoint in ENDPOINTS.values():
        assert str(endpoint.status) in document["paths"][endpoint.path][endpoint.method.lower()]["responses"]
    made = box.raw("POST", "/events", {"key": "a"})
    assert made.status_code == 201
    assert set(document["components"]["schemas"]["Event"]["required"]) <= set(made.json())
    assert box.raw("DELETE", f"/events/{made.json()['uid']}").status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        {"authtoken": ""},
        {"authtoken": "cs0123-management-token"},
        {"authtoken": "", "authorization": "Bearer x"},
        {"authtoken": "", "authorization": "sandbox-manage-token"},
    ],
)
def test_who_is_not_logged_in_is_refused(box: Any, headers: dict[str, str]) -> None:
    answer = box.raw("GET", "/events", **headers)
    assert answer.status_code == 401
    assert answer.json() == {"message": "You're not allowed in here unless you're logged in."}


def test_a_refused_authtoken_says_why_that_may_be(box: Any) -> None:
    with ContentstackAdmin(PROJECT, **box.options(auth=Authtoken("other"))) as client:
        with pytest.raises(AuthError, match=r"21st log-in.*SSO") as error:
            client.events.list()
        assert error.value.status == 401
        assert "other" not in str(error.value)


def test_the_scope_that_is_missing_is_named(box: Any) -> None:
    with ContentstackAdmin(PROJECT, **box.options(auth=GivenToken("sandbox-read-token"))) as client:
        assert client.events.list()
        with pytest.raises(PermissionDeniedError, match="personalize:manage") as error:
            client.events.create("x")
        assert error.value.right == "personalize:manage"
    with ContentstackAdmin(PROJECT, **box.options(auth=GivenToken("sandbox-manage-token"))) as client:
        assert client.events.create("x")["key"] == "x"


def test_oauth_tokens_are_renewed_and_the_refresh_token_is_kept(box: Any) -> None:
    kept: list[str] = []
    auth = ContentstackOAuth(
        "sandbox-refresh-token",
        "sandbox-client",
        "https://app.example/",
        token_url=f"{box.url}/token",
        on_refresh=kept.append,
        clock=box.clock,
    )
    with ContentstackAdmin(PROJECT, **box.options(auth=auth)) as client:
        client.events.list()
        client.events.list()
        assert kept == ["sandbox-refresh-1"]
        box.clock.now += 3590
        client.events.list()
        assert kept == ["sandbox-refresh-1", "sandbox-refresh-2"]
    assert "refresh" not in repr(auth)


def test_authtokens_come_from_the_environment_or_a_file(
    box: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTENTSTACK_AUTHTOKEN", "sandbox-authtoken")
    (tmp_path / "token").write_text("sandbox-authtoken\n")
    for auth in (Authtoken(), Authtoken(file=tmp_path / "token"), Authtoken(lambda: "sandbox-authtoken")):
        with ContentstackAdmin(PROJECT, **box.options(auth=auth)) as client:
            assert client.events.list()
    monkeypatch.delenv("CONTENTSTACK_AUTHTOKEN")
    with pytest.raises(ConfigError, match="CONTENTSTACK_AUTHTOKEN"):
        Authtoken()


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("NA", "personalize-api"),
        ("eu", "eu-personalize-api"),
        ("AU", "au-personalize-api"),
        ("azure-na", "azure-na-personalize-api"),
        ("AZURE_EU", "azure-eu-personalize-api"),
        ("GCP_NA", "gcp-na-personalize-api"),
        ("GCP_EU", "gcp-eu-personalize-api"),
    ],
)
def test_regions_have_their_hosts(region: str, host: str) -> None:
    client = ContentstackAdmin(PROJECT, Authtoken("x"), region=region, dry_run=True)
    assert client.events.list.request().url == f"https://{host}.contentstack.com/events"


def test_unknown_regions_and_projects_are_refused(box: Any) -> None:
    with pytest.raises(ConfigError, match="region"):
        ContentstackAdmin(PROJECT, Authtoken("x"), region="MARS")
    for uid in ("", "0", PROJECT.upper(), None):
        with pytest.raises(ConfigError, match="project_uid"):
            ContentstackAdmin(uid, Authtoken("x"))  # type: ignore[arg-type]
    with ContentstackAdmin("0" * 24, **box.options()) as client, pytest.raises(NotFoundError, match="Project"):
        client.events.list()


def test_the_eleventh_call_in_a_second_is_refused_and_the_client_waits(box: Any, admin: ContentstackAdmin) -> None:
    box.server.sandbox.personalize.calls_per_second = 10
    statuses = [box.raw("GET", "/events").status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    before = box.clock.now
    assert admin.events.list()
    assert box.clock.now > before
    for _ in range(30):
        admin.events.list()
    assert box.clock.now - before >= 3  # eight a second
    box.clock.now += 2
    for _ in range(10):
        box.raw("GET", "/events")
    with pytest.raises(ThrottledError):
        admin.events.create("not repeated")


def test_a_body_needs_its_content_type(box: Any) -> None:
    headers = {"authtoken": "sandbox-authtoken", "x-project-uid": PROJECT, "content-type": "text/plain"}
    answer = box.http.post(f"{box.url}/events", headers=headers, content=b'{"key":"a"}')
    assert answer.status_code == 400


@pytest.mark.parametrize("uid", ["0", "", "../events", "64C7787B333555469A861224", 5, None])
def test_what_is_no_uid_is_never_sent(admin: ContentstackAdmin, uid: Any) -> None:
    with pytest.raises(InvalidError, match="uid"):
        admin.events.delete(uid)


def test_keys_are_taken_once_and_presets_stay(box: Any, admin: ContentstackAdmin) -> None:
    with pytest.raises(InvalidError, match="key: this key is there") as error:
        admin.events.create("purchase")
    assert error.value.code == "KEY_ALREADY_EXISTS"
    assert error.value.field == "key"
    preset = next(one for one in admin.attributes.list() if one["__type"] == "PRESET")
    with pytest.raises(InvalidError, match="preset"):
        admin.attributes.delete(preset["uid"])
    with pytest.raises(NotFoundError):
        admin.events.delete("f" * 24)
    assert box.raw("GET", f"/experiences/{'0' * 24}/versions/{'0' * 24}").json()["message"].startswith("Cannot GET")
    with pytest.raises(InvalidError, match="every experience"):
        admin.priority.set([])


def test_places_are_searched(admin: ContentstackAdmin) -> None:
    assert [one["code"] for one in admin.geolocation.countries(name="aus")] == ["AT", "AU"]
    assert [one["name"] for one in admin.geolocation.regions(codes=["US-CA", "DE-BE"])] == ["Berlin", "California"]
    assert [one["name"] for one in admin.geolocation.cities(limit=1)] == ["Sydney"]


def test_places_that_move_between_pages_are_reported(admin: ContentstackAdmin) -> None:
    rows = admin.geolocation.cities(page_size=2)
    names = [next(rows)["name"], next(rows)["name"]]
    places.CITIES.insert(0, {"code": "1", "name": "Aachen", "regionCode": "DE-NW", "countryCode": "DE"})
    try:
        names += [one["name"] for one in rows]
    finally:
        del places.CITIES[0]
    assert rows.shifted == 1
    assert names == ["Sydney", "Berlin", "New York City", "San Francisco"]
