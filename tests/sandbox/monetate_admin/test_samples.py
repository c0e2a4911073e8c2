"""Every request that Monetate's two articles print, and what they say of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest

from flagmw.admin import AuthError, MonetateAdmin, MonetateKey, NotFoundError, ServerError
from flagmw.admin.monetate.auth import ALGORITHMS, LEEWAY_S, LONGEST_S, SHORTEST_S
from flagmw.sandbox import SandboxServer
from tests.sandbox.monetate_admin import boxed
from tests.support.http_vendor import HttpVendor, Request, answer

SAMPLES = Path(__file__).parents[2] / "samples" / "monetate_admin"


def sample(case: str, name: str = "call") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / case / f"{name}.json").read_text("utf-8"))
    return found


def reads(case: str) -> Callable[[MonetateAdmin], list[Any]]:
    return lambda admin: list(getattr(admin, case.partition(".")[0]).list())


def paged(request: Request) -> Any:
    """Answer as a vendor whose lists have two pages."""
    if "refresh" in request.path:
        return answer({"data": {"token": "t", "expires_in": 3600}})
    more = "page" not in request.query
    base = f"http://api.monetate.net{request.path}"
    rows = [{"id": 1 if more else 2, "title": "one", "experience_name": "e"}]
    return answer({"meta": {"code": 200, "next": f"{base}?page=2&page_size=1000" if more else None}, "data": rows})


@pytest.mark.parametrize("case", ["page_events.list", "variants.list", "custom_targets.list"])
def test_lists_are_asked_for_as_printed(case: str) -> None:
    """Path, header and parameters are the script's; all three kinds are read to the end."""
    with HttpVendor(paged) as vendor:
        auth = MonetateKey("api-111-demo", boxed.private_pem(), base_url=vendor.url)
        with MonetateAdmin("example", auth, base_url=vendor.url) as admin:
            rows = reads(case)(admin)
    printed = sample(case)
    sent = vendor.requests[2] if "page" in printed["query"] else vendor.requests[1]
    assert (sent.method, sent.path, sent.query) == (printed["method"], printed["path"], printed["query"])
    assert sent.headers["authorization"] == printed["headers"]["Authorization"].replace("<token>", "t")
    assert [row["id"] for row in rows] == [1, 2]
    assert set(sample(case, "answer")["data"][0]) <= set(rows[0])


def test_the_token_is_asked_for_as_printed(box: SandboxServer, clock: boxed.Clock) -> None:
    """`JWT <token>` with `iat` and `username`, a GET, and the answer's token and end."""
    printed = sample("auth.refresh")
    request = boxed.key(box, clock).request(clock.now)
    assert (request.call.method, urlsplit(request.call.url).path) == (printed["method"], printed["path"])
    scheme, _, proof = request.call.headers["Authorization"].partition(" ")
    assert scheme == "JWT" and list(printed["claims"]) == ["iat", "username"]
    claims = jwt.decode(proof, boxed.public_pem(), algorithms=["RS256"], options={"verify_iat": False})
    assert claims == {"iat": int(clock.now), "username": "api-111-demo"}
    assert ("ttl", str(printed["ttl"]["default"])) in parse_qsl(urlsplit(request.call.url).query)
    assert (printed["ttl"]["from"], printed["ttl"]["to"]) == (SHORTEST_S, LONGEST_S)
    assert list(ALGORITHMS) == printed["algorithms"] and printed["leeway_s"] == LEEWAY_S
    with boxed.admin(box, clock) as admin:
        admin.accounts.get(1)
    assert set(sample("auth.refresh", "answer")["data"]) == {"token", "expires_at"}


@pytest.mark.parametrize(("name", "address"), [("call", "article"), ("call.portal", "portal")])
def test_the_check_of_a_record(admin: MonetateAdmin, name: str, address: Any) -> None:
    """Both forms of the address."""
    planned = admin.data.check.request("customers", "c1", address=address)
    printed = sample("data.check", name)
    parts = urlsplit(planned.url)
    assert (planned.method, parts.path) == (printed["method"], printed["path"].replace("example", "acme"))
    assert dict(parse_qsl(parts.query)) == printed["query"]


def test_each_printed_code(admin: MonetateAdmin, box: SandboxServer) -> None:
    """401, 403, 404 and 500 are errors of different kinds."""
    kinds = {"401": AuthError, "403": AuthError, "404": NotFoundError, "500": ServerError}
    assert set(sample("codes", "codes")) == set(kinds)
    for code, kind in kinds.items():
        box.faults([{"kind": "error", "route": "metadata", "code": int(code), "status": int(code)}])
        with pytest.raises(kind):
            admin.page_events.list().__next__()
    box.faults([])
