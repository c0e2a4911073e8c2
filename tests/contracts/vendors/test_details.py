"""Purchases with details that vendors cannot take: each purchase arrives, over real connections."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from flagmw import AdobeTarget, Contentstack, Flagmw, Monetate, Visit
from flagmw.codes import ErrorCode as E
from tests.support.http_vendor import Answer, HttpVendor, Request, answer

BASE: dict[str, Any] = {"value": 49.9, "currency": "EUR", "items": [{"sku": "A1", "quantity": 1, "value": 49.9}]}


class Euro(str, enum.Enum):  # noqa: UP042 - the kind of enumeration whose str() is not its value
    EUR = "EUR"


def reply(request: Request) -> Answer:
    """Answer as each of the three vendors does."""
    if "/rest/v1/delivery" in request.path:
        asked = request.json().get("execute", {}).get("mboxes", [])
        body = {"status": 200, "requestId": request.json()["requestId"], "execute": {"mboxes": asked}}
        return answer({**body, "id": {"tntId": "1.28_0"}})
    if "/decide/" in request.path:
        asked = [event["requestId"] for event in request.json()["events"] if "requestId" in event]
        responses = [{"requestId": name, "actions": []} for name in asked]
        return answer({"meta": {"code": 200, "monetateId": "2.1.2"}, "data": {"responses": responses}})
    if "/manifest" in request.path:
        body = {"experiences": [{"shortUid": "0", "activeVariantShortUid": "1"}]}
        return answer(body, x_cs_personalize_user_uid="u-1")
    return Answer(202)


class Shop:
    """A visitor of three vendors, who buys."""

    def __init__(self, url: str) -> None:
        adobe = AdobeTarget("demo", ("hero",), base_url=url, name="adobe")
        monetate = Monetate("acme", "a-1/p/mysite.com", base_url=url, name="monetate")
        contentstack = Contentstack("64c7787b333555469a861224", base_url=url, name="cs")
        self.fm = Flagmw(vendors=[adobe, monetate, contentstack], outbox="memory://", deadline_ms=3000)
        self.visitor = self.fm.decide(Visit(url="https://www.mysite.com/")).save()

    def fitted(self) -> set[str]:
        return {code for what, _, code in self.fm.counts() if what == "track_fitted"}


@pytest.fixture
def http() -> Iterator[HttpVendor]:
    with HttpVendor(reply) as vendor:
        yield vendor


@pytest.fixture
def shop(http: HttpVendor) -> Iterator[Shop]:
    shop = Shop(http.url)
    yield shop
    shop.fm.close()


CASES: dict[str, tuple[dict[str, Any], set[E]]] = {
    "plain": ({}, set()),
    "key_of_a_checkout_session": ({"key": "cs_test_a1" + "B" * 56}, set()),
    "key_of_300": ({"key": "k" * 300}, {E.KEY_DIGEST}),
    "key_is_a_uuid": ({"key": uuid.uuid4()}, set()),
    "currency_lower_case": ({"currency": "eur"}, {E.CURRENCY_CASE}),
    "currency_is_an_enumeration": ({"currency": Euro.EUR}, set()),
    "value_is_text": ({"value": "49.90"}, {E.VALUE_CONVERTED}),
    "value_is_a_decimal": ({"value": Decimal("49.90")}, set()),
    "101_lines": ({"items": [{"sku": f"S{i}", "value": 1} for i in range(101)]}, {E.ITEMS_SUMMED, E.ITEMS_CUT}),
    "lines_of_a_generator": ({"items": ({"sku": f"S{i}", "value": 1} for i in range(2))}, {E.DETAIL_CONVERTED}),
    "title_of_300": ({"items": [{"sku": "A1", "value": 49.9, "title": "x" * 300}]}, {E.DETAIL_CUT}),
    "title_of_two_lines": ({"items": [{"sku": "A1", "value": 49.9, "title": "Shirt\nblue"}]}, {E.DETAIL_CLEANED}),
    "datetime": ({"data": {"at": datetime.datetime(2026, 5, 4, tzinfo=datetime.UTC)}}, {E.DETAIL_CONVERTED}),
    "list": ({"data": {"tags": ["a", "b"]}}, {E.DETAIL_JOINED}),
    "uuid": ({"data": {"basket": uuid.uuid4()}}, {E.DETAIL_CONVERTED}),
    "none": ({"data": {"coupon": None}}, set()),
    "nan": ({"data": {"discount": float("nan")}}, {E.DETAIL_DROPPED}),
    "51_entries": ({"data": {f"k{i}": i for i in range(51)}}, {E.DETAIL_DROPPED}),
    "line_without_a_price": ({"items": [{"sku": "A1"}, {"sku": "A2", "value": 3}]}, {E.ITEM_DROPPED}),
    "lines_without_a_product": ({"items": [{"value": 3}]}, {E.ITEM_DROPPED}),
    "line_of_half_a_kilogram": ({"items": [{"sku": "A1", "price": "7.98", "quantity": 0.5}]}, {E.ITEM_CHANGED}),
    "line_in_no_currency": ({"items": [{"sku": "A1", "value": 2, "currency": "?"}]}, {E.ITEM_CHANGED}),
}


@pytest.mark.parametrize("name", CASES)
def test_one_bad_detail_costs_no_purchase(shop: Shop, http: HttpVendor, name: str) -> None:
    """The purchase reaches every vendor once, and each change is counted by its own code."""
    change, codes = CASES[name]
    http.requests.clear()
    assert shop.fm.track("purchase", visitor=shop.visitor, **{"key": "o-1", **BASE, **change}) is not None
    assert shop.fm.flush(5)
    assert shop.fitted() == codes
    sent = {request.path.strip("/").split("/")[0]: request.json() for request in http.requests}
    assert set(sent) == {"rest", "decide", "events"} and len(http.requests) == 3
    assert len(sent["rest"]["execute"]["mboxes"][0]["order"]["id"]) <= 250


def lines_of(http: HttpVendor) -> list[dict[str, Any]]:
    """Return the lines of the purchase that Monetate got."""
    (events,) = (request.json()["events"] for request in http.requests if "/decide/" in request.path)
    (lines,) = (event["purchaseLines"] for event in events if "purchaseLines" in event)
    return lines


def test_lines_beyond_100_are_one(shop: Shop, http: HttpVendor) -> None:
    """Monetate's last line has the pieces and the value of all further ones; Adobe's list of products has no such."""
    http.requests.clear()
    items = [{"sku": f"S{i}", "price": "0.35", "quantity": 2} for i in range(130)]
    shop.fm.track("purchase", visitor=shop.visitor, key="o-1", currency="EUR", items=items)
    assert shop.fm.flush(5)
    lines = lines_of(http)
    last = {"sku": "further-lines", "pid": "further-lines", "quantity": 62, "currency": "EUR", "value": "21.70"}
    assert (len(lines), lines[-1]) == (100, last)
    assert sum(Decimal(line["value"]) for line in lines) == Decimal("91.00")
    (order,) = (r.json()["execute"]["mboxes"][0]["order"] for r in http.requests if "rest" in r.path)
    assert "further-lines" not in order["purchasedProductIds"]


def test_lists_as_each_vendor_writes_them(http: HttpVendor) -> None:
    """Webtrends gets `name[0]`, Adobe commas; Monetate's own lists stay lists."""
    from tests.unit.vendors.webtrends.codec import webtrends

    data = {"tags": ["a", "b"], "categories": ["shoes", "men, wide"]}
    shop = Shop(http.url)
    http.requests.clear()
    fm = Flagmw(vendors=[*shop.fm.config.vendors, webtrends(base_url=http.url)], outbox="memory://", deadline_ms=3000)
    cookies = {"_wt.control-2490593-ta_a": "x"}
    flags = fm.decide(Visit(url="https://www.mysite.com/", cookies=cookies, data=data))  # type: ignore[arg-type]
    asked = {request.path.strip("/").split("/")[0]: request for request in http.requests}
    page = next(e for e in asked["decide"].json()["events"] if e["eventType"].endswith("PageView"))
    assert page["categories"] == ["shoes", "men, wide"]
    assert asked["rest"].json()["execute"]["mboxes"][0]["parameters"]["tags"] == "a,b"
    assert {"tags[0]": "a", "tags[1]": "b"}.items() <= asked["control"].json()["data"].items()
    http.requests.clear()
    fm.track("purchase", visitor=flags.save(), data={"tags": ["a", "b"]}, aliases=["ta_a"], vendors=["webtrends"])
    fm.flush(0.3)
    assert {"tags[0]": "a", "tags[1]": "b"}.items() <= http.requests[0].json()["data"].items()
    assert fm.counts()["identity_fitted", "", E.DETAIL_JOINED] == 2
    fm.close()
    shop.fm.close()
