"""Reports of the emulated Admin API, counted from what visitors did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flagmw.sandbox.adobe_admin.activities import record_of
from flagmw.sandbox.adobe_admin.call import AdminCall, Handler
from flagmw.sandbox.adobe_admin.dates import minute, stamp
from flagmw.sandbox.adobe_admin.serving import goals
from flagmw.sandbox.adobe_admin.store import Document, ManagedRecord

Entry = dict[str, Any]
# Reports of AB tests are also those of Auto-Allocate; the orders' path is printed for every kind.
_PERFORMANCE = {"ab": ("ab", "auto_allocate")}
_ORDERS: dict[str, tuple[str, ...]] = {"ab": ()}
# Ten times the mean of the others: so much more than the rest that it would carry the result alone.
OUTLIER = 10.0


def performance(kind: str) -> Handler:
    """Return the handler of a kind's performance report."""

    def handler(call: AdminCall) -> Document:
        record = record_of(call, *_PERFORMANCE.get(kind, (kind,)))
        views, conversions = _did(call, record)
        rows = [
            {
                "experienceLocalId": experience_id,
                "totals": _totals(
                    [view for view in views if view["experiment_id"] == experience_id], conversions, experience_id
                ),
            }
            for experience_id in [experience["experienceLocalId"] for experience in _experiences(record)]
        ]
        totals: Document = {}
        for unit in ("visitor", "visit", "impression", "landing"):
            counts = [row["totals"][unit]["totals"] for row in rows]
            totals[unit] = {
                "totals": {name: sum(count[name] for count in counts) for name in ("entries", "conversions")}
            }
        report = {"statistics": {"totals": totals, "experiences": rows}}
        return {**_head(call, record), "report": report}

    return handler


def orders(kind: str) -> Handler:
    """Return the handler of a kind's orders report."""

    def handler(call: AdminCall) -> Document:
        record = record_of(call, *_ORDERS.get(kind, (kind,)))
        _, conversions = _did(call, record)
        rows = [
            _order(conversion, experience_id, record.type)
            for conversion, experience_id in conversions
            if conversion.get("order")
        ]
        for row in rows:
            others = [other["total"] for other in rows if other is not row]
            if others and row["total"] > OUTLIER * sum(others) / len(others) > 0:
                row["outlier"] = True
        return {**_head(call, record), "orders": rows}

    return handler


def _head(call: AdminCall, record: ManagedRecord) -> Document:
    metrics = record.body.get("metrics") or []
    converting = [item["metricLocalId"] for item in metrics if item.get("conversion")]
    environment = next((item["id"] for item in call.store.environments if item["name"] == "Production"), None)
    activity: Document = {"id": record.id, "type": record.type}
    for name in ("thirdPartyId", "state", "name", "priority"):
        if name in record.body:
            activity[name] = record.body[name]
    activity["modifiedAt"] = stamp(record.modified)
    activity["metrics"] = [
        {"name": metric.get("name", ""), "metricLocalId": metric["metricLocalId"]} for metric in metrics
    ]
    activity["experiences"] = list(_experiences(record))
    return {
        "reportParameters": {
            "activityId": record.id,
            "environmentId": environment or call.store.environments[0]["id"],
            "conversionMetricLocalIds": converting,
            "reportInterval": f"{minute(record.created)}/{minute(call.now)}",
        },
        "activity": activity,
    }


def _experiences(record: ManagedRecord) -> Iterator[Document]:
    for experience in record.body.get("experiences") or ():
        yield {"name": experience["name"], "experienceLocalId": experience["experienceLocalId"]}
    present = {experience["experienceLocalId"] for experience in record.body.get("experiences") or ()}
    for experience, at in record.removed:
        if experience["experienceLocalId"] not in present:
            yield {
                "name": experience["name"],
                "experienceLocalId": experience["experienceLocalId"],
                "deletedAt": stamp(at, milliseconds=True),
            }


def _did(call: AdminCall, record: ManagedRecord) -> tuple[list[Entry], list[tuple[Entry, int]]]:
    """Return the views of an activity, and each conversion after one, with the experience that it counts for."""
    ledger = call.sandbox.ledger.read()
    mine = {"vendor": "adobe", "client": call.account.client}
    views = [view for view in _of(ledger["views"], mine) if view["run_id"] == record.id]
    events = {name if event == "mbox_shown" else f"{name}-clicked" for name, event in goals(record.body)}
    entered: dict[str, list[Entry]] = {}
    for view in views:
        entered.setdefault(view["system_uid"], []).append(view)
    conversions = []
    for conversion in _of(ledger["conversions"], mine):
        before = [view for view in entered.get(conversion["system_uid"], ()) if view["time"] <= conversion["time"]]
        if conversion["metric"] in events and before:
            conversions.append((conversion, before[-1]["experiment_id"]))
    return views, conversions


def _of(entries: Iterable[Entry], wanted: Entry) -> Iterator[Entry]:
    return (entry for entry in entries if all(entry.get(name) == value for name, value in wanted.items()))


def _totals(views: list[Entry], conversions: list[tuple[Entry, int]], experience_id: int) -> Document:
    mine = [conversion for conversion, experience in conversions if experience == experience_id]

    def counted(unit: str) -> Document:
        return {"totals": {"entries": _count(views, unit), "conversions": _count(mine, unit)}}

    return {unit: counted(unit) for unit in ("visitor", "visit", "impression", "landing")}


def _count(entries: list[Entry], unit: str) -> int:
    if unit == "visitor":
        return len({entry["system_uid"] for entry in entries})
    if unit == "visit":
        return len({(entry["system_uid"], entry["session"]) for entry in entries})
    return len(entries)


def _order(conversion: Entry, experience_id: int, kind: str) -> Document:
    order = conversion["order"]
    place, products = (
        ("decisionStackId", "productIds") if kind == "abt" else ("experienceLocalId", "productPurchasedIds")
    )
    row: Document = {"time": stamp(conversion["time"], milliseconds=True), place: experience_id}
    row |= {"id": order.get("id", ""), "total": order.get("total", 0)}
    if conversion.get("duplicate"):
        row["duplicate"] = True
    if order.get("purchasedProductIds"):
        row[products] = list(order["purchasedProductIds"])
    return row
