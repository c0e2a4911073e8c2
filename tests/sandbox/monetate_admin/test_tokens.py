"""The Auth API: what the article on it says, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from flagmw.admin import AuthError, GivenToken, InvalidError, MonetateAdmin, MonetateKey, TokenCache
from flagmw.exceptions import ConfigError
from flagmw.sandbox import SandboxServer
from tests.sandbox.monetate_admin import boxed


def refresh(box: SandboxServer, http: httpx2.Client, claims: dict[str, Any], **more: Any) -> httpx2.Response:
    """Ask for a token with *claims*."""
    algorithm, private = more.pop("algorithm", "RS256"), more.pop("key", boxed.private_pem())
    proof = jwt.encode(claims, private, algorithm=algorithm)
    scheme = more.pop("scheme", "JWT")
    url = f"{box.url}/api/auth/v0/refresh/"
    return http.get(url, headers={"Authorization": f"{scheme} {proof}"}, params=more)


CLAIMS = {"iat": int(boxed.NEW_YEAR), "username": boxed.USER}


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512"])
def test_three_algorithms(box: SandboxServer, clock: boxed.Clock, algorithm: Any) -> None:
    """Each of the three makes a token that the Metadata API takes."""
    auth = boxed.key(box, clock, algorithm=algorithm)
    with boxed.admin(box, clock, auth=auth) as admin:
        assert admin.page_events.get(132)["title"] == "Added to cart"


def test_other_algorithms_are_refused(box: SandboxServer, http: httpx2.Client) -> None:
    """Symmetric ones, PS256 and none are refused, by the sandbox and before by the client."""
    for algorithm, key in (("HS256", b"x" * 64), ("PS256", boxed.private_pem()), ("none", None)):
        assert refresh(box, http, CLAIMS, algorithm=algorithm, key=key).status_code == 401
        with pytest.raises(ConfigError, match="RS256, RS384, RS512"):
            MonetateKey(boxed.USER, boxed.private_pem(), algorithm=algorithm)  # type: ignore[arg-type]


def test_the_answer(box: SandboxServer, http: httpx2.Client) -> None:
    """A token for an hour by default, for as long as it is asked for else; `iat` may be a fraction."""
    for asked, life in (({}, 3600), ({"ttl": "600"}, 600), ({"ttl": "43200"}, 43200)):
        answer = refresh(box, http, {**CLAIMS, "iat": boxed.NEW_YEAR + 0.5}, **asked)
        data = answer.json()["data"]
        assert (answer.status_code, data["expires_in"]) == (200, life)
        assert data["expires_at"] - data["issued_at"] == life
    for wrong in ("599", "43201", "x"):
        answer = refresh(box, http, CLAIMS, ttl=wrong)
        assert answer.status_code == 400 and answer.json()["meta"]["errors"][0]["field"] == "ttl"


@pytest.mark.parametrize(("off", "status"), [(60, 200), (-60, 200), (61, 401), (-61, 401)])
def test_the_leeway_is_a_minute(box: SandboxServer, http: httpx2.Client, off: int, status: int) -> None:
    """A clock may be 60 seconds off either way."""
    assert refresh(box, http, {**CLAIMS, "iat": int(boxed.NEW_YEAR) + off}).status_code == status


def test_what_is_refused(box: SandboxServer, http: httpx2.Client) -> None:
    """A key of another user, missing claims, another scheme, no JWT."""
    assert refresh(box, http, CLAIMS, key=boxed.private_pem(1)).status_code == 401
    assert refresh(box, http, {"username": boxed.USER}).status_code == 401
    assert refresh(box, http, {"iat": CLAIMS["iat"]}).status_code == 401
    assert refresh(box, http, {**CLAIMS, "username": "api-112-demo"}).status_code == 401
    assert refresh(box, http, CLAIMS, scheme="Bearer").status_code == 401
    bad = http.get(f"{box.url}/api/auth/v0/refresh/", headers={"Authorization": "JWT x.y.z"})
    assert bad.status_code == 401 and bad.json()["data"] == {}


def test_several_tokens_are_good_at_once(box: SandboxServer, clock: boxed.Clock) -> None:
    """A new token leaves the ones before as they are."""
    clients = [boxed.admin(box, clock) for _ in range(3)]
    try:
        for client in [*clients, *clients]:
            assert client.page_events.get(132)
    finally:
        for client in clients:
            client.close()
    assert [one["action"] for one in box.ledger()["requests"]].count("refresh") == 3


def test_renewed_ahead_of_its_end(box: SandboxServer, clock: boxed.Clock) -> None:
    """A token for ten minutes is renewed after nine; until then it is used again."""
    with boxed.admin(box, clock, auth=boxed.key(box, clock, ttl=600)) as admin:
        for moment in (0, 539, 541, 1080, 1082):
            clock.now = boxed.NEW_YEAR + moment
            admin.page_events.get(132)
    assert [one["action"] for one in box.ledger()["requests"]].count("refresh") == 3


def test_wrong_key(box: SandboxServer, clock: boxed.Clock) -> None:
    """The private key of another user: the error says what to check."""
    real = boxed.key(box, time.time, private_key=boxed.private_pem(1))
    with boxed.admin(box, clock, auth=real) as admin, pytest.raises(AuthError) as refused:
        admin.page_events.get(132)
    text = str(refused.value)
    assert "uploaded for api-111-demo" in text and "60 s" in text and "signature" in text


def test_a_clock_that_is_off(box: SandboxServer, clock: boxed.Clock) -> None:
    """Five minutes off: the error says by how much and which way."""
    # The server's Date header is a few seconds old when the machine is busy.
    for off, words in ((300, "(29|30)[0-9] s ahead of"), (-300, "(29|30)[0-9] s behind")):
        auth = boxed.key(box, lambda off=off: time.time() + off)
        with boxed.admin(box, clock, auth=auth) as admin, pytest.raises(AuthError, match=words) as refused:
            admin.page_events.get(132)
        assert "more than 60 s are not accepted" in str(refused.value)


def test_a_deactivated_key(box: SandboxServer, clock: boxed.Clock) -> None:
    """Its tokens are refused with 403 and not asked for again; neither is a new one given."""
    with boxed.admin(box, clock) as admin:
        admin.page_events.get(132)
        users = [{"username": boxed.USER, "public_key": boxed.public_pem(), "revoked": True}]
        box.sandbox.replace(boxed.scenario(users=users))
        before = len(box.ledger()["requests"])
        with pytest.raises(AuthError, match=r"revoked.*API Keys") as refused:
            admin.page_events.get(132)
        assert refused.value.status == 403 and len(box.ledger()["requests"]) == before + 1
    with boxed.admin(box, clock) as admin, pytest.raises(AuthError, match="deactivated"):
        admin.page_events.get(132)


def test_keys_that_cannot_be_used(tmp_path: Path) -> None:
    """An encrypted key without its passphrase, a wrong one, no key, no file."""
    locked = boxed.private_pem(0, "open sesame")
    (tmp_path / "private.pem").write_bytes(locked)
    MonetateKey(boxed.USER, tmp_path / "private.pem", passphrase="open sesame")
    for given, passphrase, says in (
        (locked, None, "give its passphrase"),
        (locked, "wrong", "passphrase is wrong"),
        (boxed.private_pem(), "x", "leave the passphrase out"),
        (boxed.public_pem(), None, "no PEM of a private key"),
        (str(tmp_path / "none.pem"), None, "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=says):
            MonetateKey(boxed.USER, given, passphrase=passphrase)


def test_options_of_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """A life out of range and a name that is none are refused; below 15 minutes a warning says why."""
    for ttl in (599, 43_201, 3600.0, True, "3600"):
        with pytest.raises(ConfigError, match="600 to 43200"):
            MonetateKey(boxed.USER, boxed.private_pem(), ttl=ttl)  # type: ignore[arg-type]
    for name in ("", " x", "a\nb", 1):
        with pytest.raises(ConfigError, match="username"):
            MonetateKey(name, boxed.private_pem())  # type: ignore[arg-type]
    MonetateKey(boxed.USER, boxed.private_pem(), ttl=600)
    assert "below 900 s" in caplog.text
    with pytest.raises(ConfigError, match="https"):
        MonetateKey(boxed.USER, boxed.private_pem(), base_url="http://api.monetate.net")


def test_a_platform_that_wants_fifteen_minutes(box: SandboxServer, clock: boxed.Clock) -> None:
    """Where the shorter life is refused, the error names the option."""
    box.sandbox.replace(boxed.scenario(shortest_ttl_s=900))
    auth = boxed.key(box, clock, ttl=600)
    with boxed.admin(box, clock, auth=auth) as admin, pytest.raises(InvalidError, match="ttl"):
        admin.page_events.get(132)


def test_nothing_secret_is_shown(box: SandboxServer, clock: boxed.Clock, tmp_path: Path) -> None:
    """Neither token nor proof stands in a repr, a dry run or the ledger; the cache file is its owner's."""
    path = tmp_path / "tokens.json"
    auth = boxed.key(box, clock, cache=TokenCache(path))
    with boxed.admin(box, clock, auth=auth) as admin:
        admin.page_events.get(132)
        token = next(iter(box.sandbox.monetate.tokens))
        planned = admin.page_events.get.request(132)
        assert planned.headers["Authorization"] == "Token ***"
        shown = f"{auth!r} {admin!r} {planned!r} {box.ledger()}"
    assert token not in shown and "eyJ" not in shown
    assert path.stat().st_mode & 0o077 == 0
    with boxed.admin(box, clock, auth=boxed.key(box, clock, cache=TokenCache(path))) as again:
        assert isinstance(again, MonetateAdmin) and again.page_events.get(132)
    assert [one["action"] for one in box.ledger()["requests"]].count("refresh") == 1


def test_two_threads_obtain_one_token(box: SandboxServer, clock: boxed.Clock) -> None:
    """While one caller obtains a token the others wait for it."""
    from concurrent.futures import ThreadPoolExecutor

    with boxed.admin(box, clock) as admin, ThreadPoolExecutor(8) as pool:
        titles = list(pool.map(lambda _: admin.page_events.get(132)["title"], range(16)))
    assert titles == ["Added to cart"] * 16
    assert [one["action"] for one in box.ledger()["requests"]].count("refresh") == 1


def test_the_sandboxs_own_token(box: SandboxServer, clock: boxed.Clock) -> None:
    """It needs no key, is for the retailer whose it is alone, and can be switched off."""
    own = GivenToken("sandbox-token", scheme="Token")
    with boxed.admin(box, clock, auth=own) as admin:
        assert admin.page_events.get(132)["title"] == "Added to cart"
    with boxed.admin(box, clock, auth=own, retailer="other") as admin, pytest.raises(AuthError):
        admin.page_events.get(132)
    box.sandbox.replace(boxed.scenario(token=""))
    with boxed.admin(box, clock, auth=own) as admin, pytest.raises(AuthError):
        admin.page_events.get(132)
