"""What type checkers make of the management clients: `make types` runs mypy and pyright on this file."""

from __future__ import annotations

from typing import Any, assert_type

from flagmw.admin import AdobeAdmin, AsyncAdobeAdmin, Batch, Between, GivenToken, Not, PlannedRequest
from flagmw.admin.adobe.batch.results import BatchResults
from flagmw.admin.adobe.bodies.activity import Activity, ActivityDescription, ActivityRow
from flagmw.admin.adobe.bodies.content import Audience, JsonOffer, Offer
from flagmw.admin.adobe.bodies.personalization import PersonalizationActivity
from flagmw.admin.adobe.bodies.report import PerformanceReport
from flagmw.admin.adobe.profiles.requests import Profile
from flagmw.admin.adobe.profiles.upload import BulkResult
from flagmw.admin.adobe.rules import TargetRule, audience, geo, profile
from flagmw.admin.flow.listing import AsyncRows, BlockingRows


def blocking(admin: AdobeAdmin) -> None:
    """The blocking client returns results."""
    assert_type(admin.activities.ab.get(1), Activity)
    assert_type(admin.activities.ap.get(1), PersonalizationActivity)
    assert_type(admin.activities.set_state(1, "approved"), ActivityDescription)
    assert_type(admin.activities.list(priority=Not(4)), BlockingRows[ActivityRow])
    for row in admin.activities.list(startsAt=Between("2017-05-01", "2017-06-01"), limit=5):
        assert_type(row, ActivityRow)
    assert_type(admin.offers.content.create({"name": "a", "content": "b"}), Offer)
    assert_type(admin.offers.json.get(1), JsonOffer)
    assert_type(admin.audiences.get(1), Audience)
    assert_type(admin.reports.ab.performance(1), PerformanceReport)
    assert_type(admin.batch.run(Batch()), BatchResults)
    assert_type(admin.profiles.fetch("v"), Profile)
    assert_type(admin.profiles.bulk_update([{"pcId": 1, "a": 2}], id_kind="pcId"), BulkResult)
    assert_type(admin.offers.content.delete.request(1), PlannedRequest)
    assert_type(admin.activities.ab.split(1, {"A": 50, "B": 50}), Activity)


async def asynchronous(admin: AsyncAdobeAdmin) -> None:
    """The asynchronous client returns the same, awaited."""
    assert_type(await admin.activities.ab.get(1), Activity)
    assert_type(admin.activities.list(), AsyncRows[ActivityRow])
    async for row in admin.activities.list():
        assert_type(row, ActivityRow)
    assert_type(await admin.offers.content.delete.request(1), PlannedRequest)
    assert_type(await admin.profiles.bulk_update([{"pcId": 1, "a": 2}], id_kind="pcId"), BulkResult)


def rules() -> None:
    """Rules on visitors and rules on audiences are of different types."""
    assert_type(profile("a").equals("b") & ~geo("country").equals("us"), TargetRule)
    profile("a").equals("b") & audience(1)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]


def mistakes(admin: AdobeAdmin) -> None:
    """What cannot work is an error of the type checker."""
    admin.activities.ab.get("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    admin.activities.set_state(1, "live")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    admin.activities.ab.create({"nam": "a"})  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportArgumentType]
    admin.profiles.bulk_update([], id_kind="ecid")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def made() -> tuple[Any, ...]:
    """Clients are made from a tenant and credentials."""
    auth = GivenToken("t")
    AdobeAdmin("acme", auth, retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    return (AdobeAdmin("acme", auth, api_key="k"), AsyncAdobeAdmin("acme", auth, timeout_s=5))
