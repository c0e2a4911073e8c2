"""The Metadata API: names of what the engine serves, in both clients."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from flagmw.admin import (
    AnswerError,
    AuthError,
    InvalidError,
    MonetateAdmin,
    NotFoundError,
    ServerError,
    UnreachableError,
)
from flagmw.admin.auth.given import GivenToken
from flagmw.sandbox import SandboxServer
from tests.sandbox.monetate_admin import boxed


def test_experiences_are_those_that_the_engine_serves(admin: MonetateAdmin) -> None:
    """Names, types, goal, splits and letters come from the account of the decision side."""
    rows = admin.experiences.readable(1)
    assert [(row["split_letter"], row["split"], row["label"]) for row in rows] == [
        ("A", 0.5, "New Arrivals"),
        ("B", 0.5, "Clearance"),
    ]
    assert rows[0] == {
        "experience_id": 1,
        "experience_name": "Homepage Hero Replacement",
        "account_domain": "www.mysite.com",
        "experience_type": "Standard Test",
        "integration_type": "engine-api",
        "goal_metric": "Conversion rate",
        "split_id": 101,
        "split_letter": "A",
        "split": 0.5,
        "label": "New Arrivals",
    }


def test_ratios_of_variants_and_control_equal_one(admin: MonetateAdmin) -> None:
    """The value reported is the ratio for the split, so all ratios for variants and control equal 1."""
    for experience in admin.experiences.list():
        assert sum(split["split"] for split in experience["variant_splits"]) == pytest.approx(1.0)
    assert {row["split_letter"] for row in admin.experiences.readable(2)} == {"Experiment", "Control"}


def test_several_variants_belong_to_one_experience(admin: MonetateAdmin) -> None:
    """A variant's id is its split's; the experience's id comes with it."""
    variants = list(admin.variants.list())
    assert [(one["id"], one["experience_id"], one["split_name"]) for one in variants][:3] == [
        (101, 1, "A"),
        (102, 1, "B"),
        (201, 2, "A"),
    ]
    assert admin.variants.get(102)["experience_name"] == "Homepage Hero Replacement"
    assert {one["integration_type"] for one in variants} == {"engine-api"}


def test_filter_by_a_part_of_the_name(admin: MonetateAdmin) -> None:
    """In any case, for experiences and variants."""
    assert {one["id"] for one in admin.experiences.list(name="LAYOUT")} == {2}
    assert {one["experience_id"] for one in admin.variants.list(name="e")} == {1, 2, 3, 4}
    assert list(admin.variants.list(name="zebra & co")) == []


def test_other_kinds(admin: MonetateAdmin) -> None:
    """Page events, custom targets and accounts, by list and by id."""
    assert [one["title"] for one in admin.page_events.list()] == ["Added to cart", "Signed up"]
    assert admin.page_events.get(133) == {"id": 133, "title": "Signed up"}
    assert admin.custom_targets.get(7)["collects_person_id"] is True
    assert [one["id"] for one in admin.custom_targets.list()] == [7]
    assert admin.accounts.get(1)["channel"] == "a-701b337c/p/www.mysite.com"
    assert [one["name"] for one in admin.accounts.list()] == ["a-701b337c"]


async def test_the_asynchronous_client(box: SandboxServer, clock: boxed.Clock) -> None:
    """The same methods under the same names."""
    async with boxed.async_admin(box, clock) as admin:
        assert (await admin.page_events.get(132))["title"] == "Added to cart"
        assert [one["id"] async for one in admin.variants.list(page_size=2)] == [101, 102, 201, 301, 302, 401]
        assert len(await admin.experiences.readable(3)) == 3
        assert (await admin.variants.lookup(101))["split_name"] == "A"


def test_pages(admin: MonetateAdmin, box: SandboxServer) -> None:
    """Lists are read to their end, by the address of the next page."""
    assert len(list(admin.variants.list())) == 6
    assert len(box.ledger()["requests"]) == 2  # a token, a page
    assert len(list(admin.variants.list(page_size=4))) == 6
    assert len(list(admin.variants.list(page_size=1, limit=3))) == 3
    rows = admin.variants.list(page_size=2)
    assert len(list(rows)) == 6 and rows.shifted == 0


@pytest.mark.parametrize("size", [0, -1, 1001, 2.0, True, "10"])
def test_sizes_of_pages(admin: MonetateAdmin, size: Any) -> None:
    """A size that Monetate would silently lower is refused, and so is one that is none."""
    with pytest.raises(InvalidError, match="page_size: must be a whole number from 1 to 1000"):
        admin.variants.list(page_size=size)
    with pytest.raises(InvalidError, match="limit"):
        admin.variants.list(limit=-1)


def test_lookup_by_id_with_a_cache(admin: MonetateAdmin, box: SandboxServer, clock: boxed.Clock) -> None:
    """Within five minutes an object is read once, and a missing one is asked for once."""

    def read() -> int:
        return sum(one["action"].startswith("get") for one in box.ledger()["requests"])

    for _ in range(3):
        assert admin.experiences.lookup(1)["experience_name"] == "Homepage Hero Replacement"
        with pytest.raises(NotFoundError):
            admin.experiences.lookup(99)
    assert read() == 2
    admin.experiences.lookup(1)["experience_name"] = "changed by the caller"
    assert admin.experiences.lookup(1)["experience_name"] == "Homepage Hero Replacement"
    clock.now += 301
    admin.experiences.lookup(1)
    assert read() == 3


def test_each_code_has_its_error_and_cure(admin: MonetateAdmin, box: SandboxServer, clock: boxed.Clock) -> None:
    """401, 403, 404 and 500, each with what to do next."""
    with pytest.raises(NotFoundError, match="check the id and the account"):
        admin.page_events.get(1)
    with boxed.admin(box, clock, retailer="other") as other, pytest.raises(NotFoundError, match="the retailer other"):
        other.page_events.get(132)
    bad = boxed.admin(box, clock, auth=GivenToken("1.wrong.token", scheme="Token"))
    with bad, pytest.raises(AuthError, match="refuses the token that was given"):
        bad.page_events.get(132)
    for code, kind, says in ((500, ServerError, "try again later"), (403, AuthError, "deactivated")):
        box.faults([{"kind": "error", "route": "monetate.metadata", "code": code, "status": code}])
        with pytest.raises(kind, match=says) as failed:
            admin.page_events.get(132)
        assert failed.value.status == code
    box.faults([])


def test_an_error_that_comes_as_a_success(admin: MonetateAdmin, box: SandboxServer) -> None:
    """`meta.code` counts as well as the status."""
    box.faults([{"kind": "error", "route": "metadata", "code": 500, "status": 200}])
    with pytest.raises(AnswerError, match="says that it failed with 500"):
        admin.page_events.get(132)
    faults: tuple[tuple[dict[str, Any], type[Exception]], ...] = (
        ({"kind": "html", "status": 200}, AnswerError),
        ({"kind": "comments"}, AnswerError),
        ({"kind": "truncate"}, UnreachableError),
    )
    for fault, kind in faults:
        box.faults([{**fault, "route": "metadata"}])
        with pytest.raises(kind):
            admin.page_events.get(132)
    box.faults([])


def test_a_renewed_token_after_401(admin: MonetateAdmin, box: SandboxServer) -> None:
    """A token that Monetate forgot is renewed once, and the call is made again."""
    assert admin.page_events.get(132)
    box.sandbox.monetate.tokens.clear()
    assert admin.page_events.get(132)["id"] == 132


def test_ids_and_names_cannot_become_other_paths(admin: MonetateAdmin) -> None:
    """What is no id is refused before anything is sent."""
    for own in ("1/../2", -1, True, 1.0, None):
        with pytest.raises(InvalidError, match="whole number"):
            admin.page_events.get(own)  # type: ignore[arg-type]
    with pytest.raises(InvalidError, match="name"):
        list(admin.variants.list(name=3))  # type: ignore[arg-type]


def test_addresses_with_and_without_the_slash(box: SandboxServer, admin: MonetateAdmin, http: httpx2.Client) -> None:
    """The published description has none at the end, the article's script has one."""
    admin.page_events.get(132)
    token = next(iter(box.sandbox.monetate.tokens))
    root = f"{box.url}/api/metadata/v1/acme/production/metadata"
    for path in ("pageevent", "pageevent/", "pageevent/132", "pageevent/132/"):
        assert http.get(f"{root}/{path}", headers={"Authorization": f"Token {token}"}).status_code == 200


def test_sizes_of_the_sandbox(box: SandboxServer, admin: MonetateAdmin, http: httpx2.Client) -> None:
    """Ten by default, a thousand at most, `count` is that of the page, `next` has the request's own host."""
    many = [{"id": number, "title": f"event {number}"} for number in range(1, 1502)]
    box.sandbox.replace(boxed.scenario(page_events=many))
    admin.page_events.get(132)
    headers = {"Authorization": f"Token {next(iter(box.sandbox.monetate.tokens))}"}
    url = f"{box.url}/api/metadata/v1/acme/production/metadata/pageevent/"
    for query, count in (("", 10), ("?page_size=5000", 1000), ("?page=2&page_size=1000", 501)):
        meta = http.get(url + query, headers=headers).json()["meta"]
        assert meta["count"] == count and (meta["next"] is None) == (count == 501)
        assert meta["next"] is None or meta["next"].startswith(url)
    assert http.get(f"{url}?page=900", headers=headers).status_code == 404
    assert http.get(f"{url}?page=x", headers=headers).status_code == 400
    assert [one["id"] for one in admin.page_events.list()] == list(range(1, 1502))
