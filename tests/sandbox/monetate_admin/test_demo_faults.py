"""Faults of the article's demo script that concern the calls; the others are in test_monetate_sessions.py."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flagmw.admin import AnswerError, AuthError, MonetateAdmin, MonetateKey, UnreachableError
from flagmw.exceptions import ConfigError
from flagmw.sandbox import SandboxServer
from tests.sandbox.monetate_admin import boxed
from tests.support.http_vendor import Answer, HttpVendor, Request, answer


def test_fault_2_the_addresses_are_there(admin: MonetateAdmin, box: SandboxServer) -> None:
    """Four of the script's addresses have no value; each of ours is answered."""
    admin.sessions.names()
    found = {one["path"] for one in box.ledger()["requests"]}
    root = "/api/metadata/v1/acme/production/metadata"
    assert found == {
        "/api/auth/v0/refresh/",
        f"{root}/variant/",
        f"{root}/experience-summary/",
        f"{root}/pageevent/",
        f"{root}/customtarget/",
    }


@pytest.mark.parametrize(("count", "calls"), [(0, 1), (3, 1), (4, 1), (5, 3), (12, 6)])
def test_fault_4_lists_end_where_they_end(admin: MonetateAdmin, box: SandboxServer, count: int, calls: int) -> None:
    """The script stops after the first page when there is a next one, and repeats it for ever when there is none."""
    events = [{"id": number, "title": f"event {number}"} for number in range(1, count + 1)]
    box.sandbox.replace(boxed.scenario(page_events=events))
    assert [one["id"] for one in admin.page_events.list(page_size=4)] == list(range(1, count + 1))
    assert [one["action"] for one in box.ledger()["requests"]].count("listPageEvents") <= calls


def test_fault_8_more_than_a_page_of_each_kind(admin: MonetateAdmin, box: SandboxServer) -> None:
    """The script reads a thousand page events and targets, and leaves out the others."""
    many = [{"id": number, "title": f"object {number}"} for number in range(1, 1101)]
    box.sandbox.replace(boxed.scenario(page_events=many, custom_targets=many))
    names = admin.sessions.names()
    assert len(names.page_events) == len(names.targets) == 1100


def test_fault_9_statuses_and_bodies_of_errors(box: SandboxServer, clock: boxed.Clock) -> None:
    """The script takes its token from whatever comes."""
    bodies: list[tuple[Answer, type[Exception]]] = [
        (answer({"meta": {"code": 401, "errors": ["no"]}, "data": {"token": "t"}}, 401), AuthError),
        (answer({"meta": {"code": 200}, "data": {}}), AnswerError),
        (Answer(200, b"<html>Sorry</html>"), AnswerError),
        (answer([]), AnswerError),
        (answer({"data": {"token": "with blanks in it"}}), AuthError),
    ]
    for body, kind in bodies:
        with HttpVendor(lambda _, body=body: body) as vendor:  # type: ignore[misc]
            auth = MonetateKey(boxed.USER, boxed.private_pem(), base_url=vendor.url)
            with MonetateAdmin("acme", auth, base_url=vendor.url) as admin, pytest.raises(kind):
                admin.page_events.get(1)


def test_fault_9_calls_end_in_time(clock: boxed.Clock) -> None:
    """The script waits for ever."""

    def slow(request: Request) -> Any:
        if "refresh" not in request.path:
            time.sleep(0.5)
        return answer({"data": {"token": "t", "expires_in": 3600}})

    with HttpVendor(slow) as vendor:
        auth = MonetateKey(boxed.USER, boxed.private_pem(), base_url=vendor.url)
        with MonetateAdmin("acme", auth, base_url=vendor.url, timeout_s=0.1, attempts=1) as admin:
            begun = time.monotonic()
            with pytest.raises(UnreachableError, match="in time"):
                admin.page_events.get(1)
        assert time.monotonic() - begun < 0.45


def test_fault_9_tokens_end(admin: MonetateAdmin, box: SandboxServer, clock: boxed.Clock) -> None:
    """The script goes on with a token that is over."""
    for hour in range(4):
        clock.now = boxed.NEW_YEAR + hour * 3600
        assert admin.page_events.get(132)
    assert all(one["answer"]["status"] == 200 for one in box.ledger()["requests"])


def test_fault_10_six_hundred_seconds_are_ten_minutes(box: SandboxServer, clock: boxed.Clock) -> None:
    """The script calls them fifteen; a token of that life is renewed before the tenth minute ends."""
    with boxed.admin(box, clock, auth=boxed.key(box, clock, ttl=600)) as admin:
        admin.page_events.get(132)
        clock.now += 599
        admin.page_events.get(132)
    assert [one["answer"]["status"] for one in box.ledger()["requests"]] == [200] * 4
    with pytest.raises(ConfigError):
        boxed.key(box, clock, ttl=15)
