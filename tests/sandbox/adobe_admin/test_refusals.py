"""What the sandbox's management APIs refuse, and in which shape."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from flagmw.admin import (
    AdobeAdmin,
    AuthError,
    Batch,
    GivenToken,
    InvalidError,
    LegacyJWT,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
    VersionError,
)
from flagmw.admin.limits.window import Unlimited
from flagmw.sandbox import SandboxServer, Scenario
from tests.sandbox.adobe_admin import boxed
from tests.sandbox.adobe_admin.conftest import Raw

ENVELOPE = {"httpStatus", "requestId", "requestTime", "errors"}


def reset_with(box: SandboxServer, **settings: Any) -> None:
    box.replace_scenario(boxed.scenario(**settings))


@pytest.mark.parametrize(
    ("method", "path", "version"),
    [
        ("GET", "/activities", 1), ("GET", "/activities", None), ("GET", "/activities/ab/302740", 2),
        ("POST", "/activities/ab", 1), ("PUT", "/activities/302740/state", 3), ("GET", "/offers", 3),
        ("POST", "/offers/content", None), ("DELETE", "/audiences/1", 2), ("GET", "/environments", 2),
        ("POST", "/authentication/token?scope=debug_tools", 2), ("GET", "/activities/ab/302740/report/orders", 2),
    ],
)  # fmt: skip
def test_a_wrong_version_is_refused_as_printed(raw: Raw, method: str, path: str, version: int | None) -> None:
    """With 406 and the envelope of the documentation; none means version 1."""
    answer = raw(method, path, version, json={} if method in ("POST", "PUT") else None)
    assert answer.status_code == 406 and set(answer.json()) == ENVELOPE
    assert answer.json()["errors"] == [{"errorCode": "Unsupported.Feature", "message": "Unsupported features detected"}]


def test_versions_count_in_their_own_header_and_can_be_switched_off(raw: Raw) -> None:
    """A GET's Content-Type says nothing; the first version is the default."""
    accept = {"Content-Type": "application/vnd.adobe.target.v3+json"}
    assert raw("GET", "/activities", headers=accept).status_code == 406
    assert raw("GET", "/environments", headers=accept).status_code == 200
    assert raw("GET", "/environments/", headers={"Accept": "*/*"}).status_code == 200
    reset_with(raw.box, strict_versions=False)
    assert raw("GET", "/activities").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": "Bearer nobodys"}, 401, "401013"),
        ({"Authorization": "Basic eA=="}, 401, "401010"),
        ({"Authorization": ""}, 401, "401010"),
        ({"X-Api-Key": "another"}, 403, "403003"),
    ],
)
def test_the_gateway_refuses_in_its_own_shape(raw: Raw, headers: dict[str, str], status: int, code: str) -> None:
    answer = raw("GET", "/activities", 3, headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert set(answer.json()) == {"error_code", "message"}


BAD: list[tuple[str, str, int, Any, str]] = [
    ("POST", "/activities/ab", 3, boxed.activity(name=""), "name"),
    ("POST", "/activities/ab", 3, boxed.activity(name="x" * 251), "name"),
    ("POST", "/activities/ab", 3, boxed.activity(priority=1000), "priority"),
    ("POST", "/activities/ab", 3, boxed.activity(state="deleted"), "state"),
    ("POST", "/activities/ab", 3, boxed.activity(startsAt="2026-02-30"), "startsAt"),
    ("POST", "/activities/ab", 3, boxed.activity(startsAt="2026-02-02", endsAt="2026-02-01"), "endsAt"),
    ("POST", "/activities/ab", 3, boxed.activity((77,)), "experiences[0].offerLocations[0].offerId"),
    ("POST", "/activities/ab", 3, boxed.activity(experiences=[]), "experiences"),
    ("POST", "/activities/ab", 3, boxed.activity(locations={}), "locations"),
    ("POST", "/activities/ab", 3, boxed.activity(locations=[]), "locations"),
    ("POST", "/activities/ab", 3, boxed.activity(propertyIds=[9]), "propertyIds[0]"),
    ("POST", "/activities/ab", 3, boxed.activity(propertyIds=7), "propertyIds"),
    ("POST", "/activities/ab", 3, boxed.activity(metrics=[{"metricLocalId": 1}] * 2), "metrics.metricLocalId"),
    ("PUT", "/activities/302740/state", 1, {"state": "deleted"}, "state"),
    ("PUT", "/activities/302740/state", 1, {"state": "live"}, "state"),
    ("PUT", "/activities/302740/priority", 1, {"priority": "-1"}, "priority"),
    ("PUT", "/activities/302740/schedule", 1, {"startsAt": "2026-01-01"}, "endsAt"),
    ("PUT", "/activities/302740/name", 1, {}, "name"),
    ("POST", "/offers/content", 2, {"name": "x", "content": {}}, "content"),
    ("POST", "/offers/json", 2, {"name": "x"}, "content"),
    ("POST", "/audiences", 3, {"name": "x"}, "targetRule"),
    ("POST", "/audiences", 3, {"name": "x", "targetRule": {"page": "url", "is": ["a"]}}, "targetRule"),
    ("POST", "/audiences", 3, {"name": "x", "audienceRule": {"or": []}}, "audienceRule"),
    (
        "POST", "/audiences", 3,
        {"name": "x", "targetRule": {"page": "url", "equals": ["a"]}, "audienceRule": {"audienceId": 1}}, "targetRule",
    ),
    ("POST", "/properties", 1, {"name": "x", "channel": "tv"}, "channel"),
    ("POST", "/authentication/token?scope=all", 1, {}, "scope"),
    ("GET", "/activities?limit=-1", 3, None, "limit"),
    ("GET", "/activities?sortBy=color", 3, None, "sortBy"),
    ("GET", "/activities?startsAt=a/b", 3, None, "startsAt"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "version", "body", "field"), BAD)
def test_bad_values_are_refused_with_their_field(
    raw: Raw, method: str, path: str, version: int, body: Any, field: str
) -> None:
    """With 400 in the API's shape; nothing is created."""
    answer = raw(method, path, version, json=body) if body is not None else raw(method, path, version)
    assert answer.status_code == 400 and set(answer.json()) == ENVELOPE
    assert answer.json()["errors"][0]["meta"] == {"field": field}
    assert len(raw.box.sandbox.target.stores["demo"].activities) == 5  # those of the scenario


@pytest.mark.parametrize("content", [b"{", b"[]", b'"x"', b"\xff"])
def test_bodies_that_are_no_objects_are_refused(raw: Raw, content: bytes) -> None:
    assert raw("POST", "/activities/ab", 3, content=content).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "version", "status"),
    [
        ("GET", "/nothing", 3, 404), ("GET", "/activities/ab/1", 3, 404), ("GET", "/activities/xt/302740", 3, 404),
        ("GET", "/activities/ab/x", 3, 404), ("GET", "/mbox/unknown", 1, 404), ("PATCH", "/activities", 3, 405),
        ("GET", "/batch", 1, 405), ("DELETE", "/offers/content/0", 2, 404), ("GET", "/offers/content/391000", 2, 404),
        ("GET", "/authentication/token?scope=debug_tools", 1, 404),
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(raw: Raw, method: str, path: str, version: int, status: int) -> None:
    answer = raw(method, path, version)
    assert (answer.status_code, set(answer.json())) == (status, ENVELOPE)


def test_a_deleted_activity_is_gone_for_good(admin: AdobeAdmin) -> None:
    """Its own id finds nothing any more; its third-party id is free again."""
    made = admin.activities.ab.create(boxed.activity(thirdPartyId="mine"))
    with pytest.raises(InvalidError) as caught:
        admin.activities.ab.create(boxed.activity(name="Another", thirdPartyId="mine"))
    assert caught.value.field == "thirdPartyId"
    gone = admin.activities.ab.delete(made["id"])
    assert gone["thirdPartyId"].startswith("mine_")
    for call in (admin.activities.ab.get, admin.activities.ab.delete, admin.activities.activate):
        with pytest.raises(NotFoundError):
            call(made["id"])
    assert admin.activities.ab.create(boxed.activity(thirdPartyId="mine"))["id"] > made["id"]


def test_names_of_audiences_are_unique(admin: AdobeAdmin) -> None:
    rule = {"page": "url", "equals": ["a"]}
    first = admin.audiences.create({"name": "One", "targetRule": rule})
    with pytest.raises(InvalidError, match="another audience"):
        admin.audiences.create({"name": "One", "targetRule": rule})
    assert admin.audiences.update(first["id"], {"name": "One", "targetRule": rule})["name"] == "One"


@pytest.mark.parametrize(("right", "works"), [("Observer", "GET"), ("Editor", "POST"), ("Approver", "state")])
def test_a_missing_right_is_named(box: SandboxServer, admin: AdobeAdmin, right: str, works: str) -> None:
    """An observer reads, an editor writes, an approver activates."""
    own = admin.activities.ab.create(boxed.activity())["id"]
    reset_with(box, right=right)
    calls = {
        "GET": lambda: list(admin.activities.list()),
        "POST": lambda: admin.activities.set_name(own, "New"),
        "state": lambda: admin.activities.activate(own),
    }
    order = list(calls)
    for name, call in calls.items():
        if order.index(name) <= order.index(works):
            call()
        else:
            with pytest.raises(PermissionDeniedError, match=r"Editor|Approver"):
                call()


def test_fifty_calls_a_minute(box: SandboxServer, clock: boxed.Clock) -> None:
    """The 51st is answered 503 in the gateway's shape without Retry-After, until time has passed."""
    with httpx2.Client() as http:
        raw = Raw(box, http)
        reset_with(box, calls_per_minute=50)
        answers = [raw("GET", "/environments") for _ in range(51)]
        assert [one.status_code for one in answers] == [200] * 50 + [503]
        assert "error_code" in answers[-1].json() and "retry-after" not in answers[-1].headers
        clock.now += 1.2
        assert [raw("GET", "/environments").status_code for _ in range(2)] == [200, 503]
        clock.now += 60
        many = [{"operationId": n, "method": "GET", "relativeUrl": "/v1/environments"} for n in range(60)]
        assert raw("POST", "/batch", 1, json={"operations": many}).status_code == 200
        # 60 operations left a debt of ten calls: twelve seconds until it is paid, one more call after that.
        clock.now += 12
        assert raw("GET", "/environments").status_code == 503
        clock.now += 1.5
        assert raw("GET", "/environments").status_code == 200


def test_the_client_keeps_the_limit_by_itself(box: SandboxServer, clock: boxed.Clock) -> None:
    """120 calls and a batch of 60 are never refused; a client without a limit of its own is, and comes again."""
    reset_with(box, calls_per_minute=50)
    with boxed.admin(box, clock) as admin:
        for _ in range(120):
            admin.profile_attributes.list()
        batch = Batch()
        for _ in range(60):
            batch.add_call("GET", "/v1/environments")
        assert all(one.ok for one in admin.batch.run(batch))
    assert {one["answer"]["status"] for one in box.ledger()["requests"]} == {200}
    with boxed.admin(box, clock, limiter=Unlimited(), attempts=1) as eager, pytest.raises(ThrottledError):
        for _ in range(60):
            eager.profile_attributes.list()


def test_tokens_end_and_are_renewed(box: SandboxServer, clock: boxed.Clock) -> None:
    """The client obtains another one in time; a token that ended is refused by the gateway."""
    reset_with(box, token_life_s=1000)
    with boxed.admin(box, clock) as admin, httpx2.Client() as http:
        raw = Raw(box, http)
        for _ in range(5):
            admin.profile_attributes.list()
            clock.now += 400
        assert raw("GET", "/environments").json()["error_code"] == "401013"
    paths = [one["path"] for one in box.ledger()["requests"]]
    assert 2 < paths.count("/ims/token/v3") <= 5


def test_credentials_that_are_wrong(box: SandboxServer, clock: boxed.Clock) -> None:
    for more in ({"scopes": ("openid",)}, {}):
        auth = boxed.credential(box, clock, **more)
        if not more:
            reset_with(box, client_secret="changed")
        with boxed.admin(box, clock, auth=auth) as admin, pytest.raises(AuthError):
            admin.profile_attributes.list()
    with boxed.admin(box, clock, auth=GivenToken("foreign"), api_key="k") as admin, pytest.raises(AuthError):
        admin.profile_attributes.list()


@pytest.fixture(scope="module")
def key() -> tuple[bytes, str]:
    """Return a private key and its public one."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public.decode()


def proof_of(box: SandboxServer, key: bytes, **more: Any) -> LegacyJWT:
    given = {
        "org_id": "0123456789ABCDEF@AdobeOrg", "technical_account_id": "sandbox@techacct.adobe.com",
        "private_key": key, "token_url": f"{box.url}/ims/exchange/jwt/", **more,
    }  # fmt: skip
    return LegacyJWT("sandbox-client", "sandbox-secret", **given)


def test_the_jwt_exchange(box: SandboxServer, clock: boxed.Clock, key: tuple[bytes, str]) -> None:
    """Proofs are checked by signature and claims; the life is in milliseconds, and read as such."""
    private, public = key
    reset_with(box, public_key=public, token_life_s=1000)
    for in_query in (False, True):
        auth = proof_of(box, private, clock=clock, in_query=in_query)
        with boxed.admin(box, clock, auth=auth) as admin:
            for _ in range(3):
                assert admin.profile_attributes.list() == []
                clock.now += 900
    asked = [one for one in box.ledger()["requests"] if one["path"] == "/ims/exchange/jwt/"]
    assert len(asked) == 6 and "eyJ" not in json.dumps(box.ledger()["requests"])
    wrong: list[dict[str, Any]] = [
        {"org_id": "other@AdobeOrg"}, {"technical_account_id": "other@techacct.adobe.com"},
        {"metascopes": ("ent_other",)}, {"ims_url": "https://elsewhere.example"}, {"clock": lambda: clock() - 999},
    ]  # fmt: skip
    for more in wrong:
        with (
            boxed.admin(box, clock, auth=proof_of(box, private, **{"clock": clock, **more})) as admin,
            pytest.raises(AuthError),
        ):
            admin.profile_attributes.list()
    reset_with(box, public_key=public, jwt_retired=True)
    auth = proof_of(box, private, clock=clock)
    with boxed.admin(box, clock, auth=auth) as admin, pytest.raises(AuthError, match="end of life"):
        admin.profile_attributes.list()


def test_a_new_client_of_a_wrong_tenant_or_version(box: SandboxServer, clock: boxed.Clock) -> None:
    with AdobeAdmin("other", **boxed.options(box, clock)) as admin, pytest.raises(PermissionDeniedError):
        admin.profile_attributes.list()


def test_faults_are_put_into_these_routes_too(box: SandboxServer, clock: boxed.Clock) -> None:
    """By their names "admin", "ims", "profiles"."""
    with boxed.admin(box, clock, attempts=1) as admin:
        box.faults([{"route": "ims", "kind": "html", "times": 1}])
        with pytest.raises(Exception, match="token service"):
            admin.profile_attributes.list()
        box.faults([{"route": "adobe.admin", "kind": "error", "code": 406}])
        with pytest.raises(VersionError):
            admin.profile_attributes.list()
        box.faults([{"route": "profiles", "kind": "truncate", "bytes": 5}])
        with pytest.raises(Exception, match="early"):
            admin.profiles.fetch("d1")


def test_no_credential_is_in_the_ledger(box: SandboxServer, clock: boxed.Clock) -> None:
    with boxed.admin(box, clock) as admin:
        token = admin.tokens.create("profile_api")["accessToken"]
        admin.profile_attributes.list()
    shown = json.dumps(box.ledger())
    assert "sandbox-secret" not in shown and token not in shown and "eyJ" not in shown
    assert {one["action"] for one in box.ledger()["requests"]} == {"token", "createToken", "getProfileAttributes"}


def test_a_scenario_sets_the_management_up() -> None:
    """It is written as the scenario's other parts are."""
    shape = Scenario.from_mapping({"adobe": [{"client": "demo", "admin": {"calls_per_minute": 7}}]}).to_mapping()
    assert shape["adobe"][0]["admin"]["calls_per_minute"] == 7
