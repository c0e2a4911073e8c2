"""Track calls of the Webtrends emulator: what counts, and what each alias is told."""

from __future__ import annotations

from typing import Any

import pytest

DOMAIN = 2490593
P1, P2 = "ta_Project1", "ta_Project2"


def code(element: dict[str, Any]) -> int | None:
    found: int | None = element["body"].get("message", {}).get("errorCode")
    return found


def test_a_conversion_is_counted_for_the_variation_seen(caller: Any, vendor: Any) -> None:
    """A conversion names alias, metric, experiment, visitor and data in the ledger."""
    (decided,) = caller.control(P1)
    (element,) = caller.track([P1], "Page_Checkout Step1", data={"revenue": 49.9, "units": 2, "sku": "a"})
    assert (element["opcode"], element["opstatus"]) == ("conversion", "success")
    assert element["params"]["testAlias"] == P1
    (row,) = vendor.ledger()["conversions"]
    assert row["metric"] == "Page_Checkout Step1" and row["data"] == {"revenue": 49.9, "units": 2, "sku": "a"}
    assert row["experiment_id"] == decided["params"]["r_experimentID"]
    assert row["system_uid"] == decided["params"]["systemUID"]


def test_a_list_is_answered_per_alias(caller: Any, vendor: Any) -> None:
    """Several aliases give an array in the order of the list, with accumulating conversion cookies."""
    caller.control()
    first, second = caller.track([P2, P1])
    assert [first["params"]["testAlias"], second["params"]["testAlias"]] == [P2, P1]
    conversions = [name for name in second["body"]["cookies"] if name.startswith("_wt.conversion-")]
    assert conversions == [f"_wt.conversion-{DOMAIN}-{P2}", f"_wt.conversion-{DOMAIN}-{P1}"]
    assert second["body"]["cookies"][conversions[0]]["timeout"] == 1_800_000
    assert len(vendor.ledger()["conversions"]) == 2


def test_a_list_may_be_raw_or_encoded(caller: Any, account: Any, project: Any, vendor: Any) -> None:
    """The commas may be encoded, and an alias may hold a space."""
    account(project("ta_Project 1"), project(P2))
    caller.control()
    for path in (f"{DOMAIN}-ta_Project%201,{P2}", f"{DOMAIN}-ta_Project%201%2C{P2}"):
        answer = caller.post(f"track/{path}", conversionPoint="m").json()
        assert [e["params"]["testAlias"] for e in answer] == ["ta_Project 1", P2]


def test_partial_success(caller: Any, vendor: Any) -> None:
    """Each alias is judged on its own."""
    caller.control(P1)
    elements = caller.track([P1, P2, "ta_None"])
    assert [code(e) for e in elements] == [None, 314, 303]
    assert elements[1]["body"]["message"]["errorMessage"].endswith(f"{DOMAIN}-{P2}")
    assert [row["alias"] for row in vendor.ledger()["conversions"]] == [P1]


def test_repeats_count(caller: Any, vendor: Any) -> None:
    """A repeated conversion counts again, unless the cookie that blocks it is sent: 312."""
    caller.control(P1)
    caller.track([P1])
    (again,) = caller.track([P1])
    block = f"_wt.conversion-{DOMAIN}-{P1}"
    caller.cookies[block] = again["body"]["cookies"][block]["value"]
    assert code(caller.track([P1])[0]) == 312
    assert len(vendor.ledger()["conversions"]) == 2


@pytest.mark.parametrize("path", [f"track/{DOMAIN}", f"track/{DOMAIN}-"])
def test_no_alias(caller: Any, path: str) -> None:
    """A track call must name a project."""
    assert code(caller.post(path, conversionPoint="m").json()) == 313


@pytest.mark.parametrize("metric", [None, "", "a-b", "a/b", "käse", 7, " a"])
def test_metric_names(caller: Any, metric: Any) -> None:
    """A metric must be there and hold only letters, digits, spaces and underscores."""
    caller.control(P1)
    assert code(caller.post(f"track/{DOMAIN}-{P1}", conversionPoint=metric).json()) == 201


def test_paused(caller: Any, account: Any, project: Any, vendor: Any) -> None:
    """A conversion of a paused test is refused with 318, or counted where the account says so."""
    account(project())
    caller.control("ta_A")
    account(project(state="paused"))
    assert code(caller.track(["ta_A"])[0]) == 318
    account(project(state="paused"), track_paused=True)
    assert code(caller.track(["ta_A"])[0]) is None


def test_throttled_out(caller: Any, account: Any, project: Any) -> None:
    """Whoever was throttled out does not convert: 418."""
    account(project(throttle=0.0))
    caller.control("ta_A")
    assert code(caller.track(["ta_A"])[0]) == 418


def test_view_only_and_gone(caller: Any, account: Any, project: Any) -> None:
    """View-only projects are 317, an older run 315, a removed variation 305."""
    account(project(run_id=11, variations=[{"key": "a", "experiment_id": 90}]))
    caller.control("ta_A")
    account(project(run_id=11, variations=[{"key": "a", "experiment_id": 90}], where={"view_only": True}))
    assert code(caller.track(["ta_A"])[0]) == 317
    account(project(run_id=12, variations=[{"key": "a", "experiment_id": 90}]))
    assert code(caller.track(["ta_A"])[0]) == 315
    account(project(run_id=11, variations=[{"key": "b", "experiment_id": 91}]))
    assert code(caller.track(["ta_A"])[0]) == 305


def test_tracking_goes_by_alias_not_by_location(caller: Any) -> None:
    """A conversion may come from another URL than the decision."""
    caller.control(P1)
    assert code(caller.track([P1], url="https://elsewhere.test/")[0]) is None


def test_track_counts_no_view(caller: Any, vendor: Any) -> None:
    """A track call never counts a view."""
    caller.control(P1)
    caller.track([P1], **{"_wt.track": "true"})
    assert vendor.ledger()["views"] == []
