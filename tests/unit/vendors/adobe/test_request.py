"""What Adobe Target is asked: the URL, who the visitor is, their context, and the mboxes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from flagmw import AdobeTarget
from flagmw.types import VisitorState
from flagmw.vendors.adobe.request import PAGE_LOAD
from tests.unit.vendors.adobe.codec import (
    DEVICE,
    NOW,
    PROPERTY,
    RETURNING,
    SESSION,
    adobe,
    answer,
    body_of,
    decide,
    host,
    query,
    reply,
    run,
    sample,
    visit,
)

ORG = "1234ABCD@AdobeOrg"


def body(vendor: Any, **more: Any) -> Any:
    _, (call,) = decide(vendor, answer(), **more)
    return body_of(call)


def test_a_plain_question() -> None:
    """A new visitor, one mbox: nothing is sent that nobody knows."""
    _, (call,) = decide(adobe(), answer())
    assert (call.method, call.replay_safe, call.hedge_safe) == ("POST", True, False)
    assert (
        call.url == "https://demo.tt.omtrdc.net/rest/v1/delivery?client=demo&sessionId=00112233445566778899aabbccddeeff"
    )
    assert call.headers["content-type"] == "application/json"
    assert body_of(call) == {
        "requestId": "00112233445566778899aabbccddeeff",
        "impressionId": "00112233445566778899aabbccddeeff",
        "context": {
            "channel": "web",
            "address": {"url": "https://www.mysite.com/checkout"},
            "browser": {"host": "www.mysite.com"},
        },
        "experienceCloud": {"analytics": {"logging": "server_side"}},
        "execute": {"mboxes": [{"index": 0, "name": "hero"}]},
    }


def test_the_samples_ask_as_we_do() -> None:
    """The recorded questions are what is sent, apart from what every request has."""
    for case in ("execute_json", "prefetch"):
        given = sample(case)
        exposure = "read" if "prefetch" in given.call["body"] else "decide"
        _, (call,) = decide(adobe(exposure=exposure), given.reply)
        assert call.url == given.call["url"]
        assert given.call["body"].items() <= body_of(call).items()


def test_several_mboxes_are_one_request() -> None:
    """All mboxes go out together, numbered, with the same parameters each."""
    vendor = adobe("a", "b", "a", page_load=True, params={"tier": "gold"}, profile_params={"age": 30})
    said = {"parameters": {"tier": "gold"}, "profileParameters": {"age": "30"}}
    assert body(vendor)["execute"] == {
        "mboxes": [{"index": 0, "name": "a", **said}, {"index": 1, "name": "b", **said}],
        "pageLoad": said,
    }
    assert body(AdobeTarget("demo", page_load=True))["execute"] == {"pageLoad": {}}


def test_who_the_visitor_is() -> None:
    """The ids of the cookies, with the device's suffix as given; the site's own id only where that is wanted."""
    amcv = "1%7CMCMID%7C384%7CMCAAMLH-1%7C6%7CMCAAMB-1%7Cblob"
    cookies = {**RETURNING, "AMCV_1234ABCD%40AdobeOrg": amcv}
    vendor = adobe(org_id=ORG, third_party_id=True, environment_id=7, property_token=PROPERTY)
    _, (call,) = decide(vendor, answer(), cookies=cookies, user_id="u-1")
    assert query(call) == {"client": "demo", "sessionId": SESSION, "imsOrgId": ORG}
    sent = body_of(call)
    assert sent["id"] == {"tntId": f"{DEVICE}.28_20", "thirdPartyId": "u-1", "marketingCloudVisitorId": "384"}
    assert sent["experienceCloud"]["audienceManager"] == {"locationHint": 6, "blob": "blob"}
    assert (sent["environmentId"], sent["property"]) == (7, {"token": PROPERTY})
    assert "id" not in body(adobe(), user_id="u-1")


@pytest.mark.parametrize("user_id", ["a+b", "a/b", "x" * 257, "a\nb", "\ud800"])
def test_an_id_that_the_api_does_not_take_is_left_out_and_counted(user_id: str) -> None:
    decision, (call,) = decide(adobe(third_party_id=True), answer("hero"), user_id=user_id)
    assert "id" not in body_of(call)
    assert decision.rejected == ("BAD_DATA",)
    assert "hero" in decision.variants


@pytest.mark.parametrize(
    ("session", "sent"),
    [
        ("a%23b", "a%23b"),
        ("s%251", "s%251"),
        ("x%26client%3Devil", "x%26client%3Devil"),
        ("a%23b%23123", "a%23b%23123"),
    ],
)
def test_a_session_id_with_a_hash_stays_whole(session: str, sent: str) -> None:
    """`#` and `&` would end the id in a URL: they are percent-encoded, so that the server sees all of it."""
    _, (call,) = decide(adobe(), answer(), cookies={"mbox": f"session#{session}#{NOW + 9}"})
    assert call.url.endswith(f"&sessionId={sent}")
    assert "#" not in call.url and query(call)["client"] == "demo"


def test_context() -> None:
    """Audiences are made of what the body says; headers of the request count for nothing there."""
    sent = body(
        adobe(),
        user_agent="Mozilla/5.0",
        referer="https://search.example/",
        client_ip="192.0.2.0",
        data={
            "geo.countryCode": "DE",
            "geo.latitude": 52.5,
            "clientHints.mobile": True,
            "clientHints.platform": "Linux",
        },
    )
    assert sent["context"] == {
        "channel": "web",
        "address": {"url": "https://www.mysite.com/checkout", "referringUrl": "https://search.example/"},
        "browser": {"host": "www.mysite.com"},
        "userAgent": "Mozilla/5.0",
        "clientHints": {"mobile": True, "platform": "Linux"},
        "geo": {"countryCode": "DE", "latitude": 52.5, "ipAddress": "192.0.2.0"},
    }
    assert "parameters" not in sent["execute"]["mboxes"][0]


def test_attributes_go_to_their_places() -> None:
    """Plain names are parameters, over the configured ones; the prefixes of profile and product lead there."""
    data = {
        "tier": "silver", "logged_in": True, "n": 3, "profile.age": 41, "product.id": "p1", "product.categoryId": "c",
        "product.color": "red", "geo.planet": "x", "clientHints.mobile": "yes", "a.b": "deep", "profile.": "x",
    }  # fmt: skip
    (mbox,) = body(adobe(params={"tier": "gold", "x": "y"}), data=data)["execute"]["mboxes"]
    assert mbox["parameters"] == {
        "tier": "silver", "x": "y", "logged_in": "true", "n": "3", "a.b": "deep",
    }  # fmt: skip
    assert mbox["profileParameters"] == {"age": "41"}
    assert mbox["product"] == {"id": "p1", "categoryId": "c"}


def test_limits_of_parameters() -> None:
    """Names that Target keeps for itself, long names and values, broken Unicode and a fifty-first are left out."""
    data = {
        "orderId": "1", "orderTotal": 2, "productPurchasedIds": "3", "n" * 129: "x", "long": "v" * 5001,
        "broken": "\ud800", "profile.long": "v" * 257, "ok": "v" * 5000,
    }  # fmt: skip
    (mbox,) = body(adobe(), data=data)["execute"]["mboxes"]
    assert list(mbox["parameters"]) == ["ok"] and "profileParameters" not in mbox
    (mbox,) = body(adobe(), data={f"p{n}": n for n in range(70)})["execute"]["mboxes"]
    assert len(mbox["parameters"]) == 50


def test_a_visit_that_must_not_be_recorded_is_prefetched() -> None:
    """Prefetch counts nothing until it is told of: for QA, functional consent, shadow, and `exposure` read and off."""
    assert "execute" in body(adobe())
    for vendor, more in ((adobe(), {"record": False}), (adobe(exposure="read"), {}), (adobe(exposure="off"), {})):
        sent = body(vendor, **more)
        assert sent["prefetch"] == {"mboxes": [{"index": 0, "name": "hero"}]} and "execute" not in sent


def test_only_a_known_visitor_s_prefetch_may_be_hedged() -> None:
    """Asked for twice at once a new visitor would become two, and an execution would count."""
    for vendor, cookies, safe in (
        (adobe(exposure="read"), RETURNING, True),
        (adobe(exposure="read"), {}, False),
        (adobe(), RETURNING, False),
    ):
        _, (call,) = decide(vendor, answer(), cookies=cookies)
        assert call.hedge_safe is safe


# Preview and trace


def test_preview_parameters() -> None:
    """A signed override brings the parameters of a preview link for this vendor's name."""
    parameters = {
        "at_preview_token": "tok%2B1",
        "at_preview_index": ["1_2", "3", "0_1", "x", "1_2_3"],
        "at_preview_listed_activities_only": "true",
        "at_preview_evaluate_as_true_audience_ids": "12_14",
        "at_preview_evaluate_as_false_audience_ids": "x_y",
    }
    sent = body(adobe(), preview={"adobe_target": parameters, "other": {"at_preview_token": "no"}}, record=False)
    assert sent["qaMode"] == {
        "token": "tok%2B1",
        "previewIndexes": [{"activityIndex": 1, "experienceIndex": 2}, {"activityIndex": 3}],
        "listedActivitiesOnly": True,
        "evaluateAsTrueAudienceIds": [12, 14],
    }
    assert "preview" not in sent
    assert body(adobe(), preview={"adobe_target": {"at_preview": "link"}})["preview"] == {"token": "link"}


@pytest.mark.parametrize(
    "parameters",
    [{}, {"at_preview_token": ""}, {"at_preview_token": 7}, {"at_preview_index": "1_1"}, {"at_preview_token": "a\n"}],
)
def test_no_token_no_preview(parameters: dict[str, Any]) -> None:
    """An empty token leaves the preview, and nothing else enters it."""
    assert "qaMode" not in body(adobe(), preview={"adobe_target": parameters})


def test_a_visitor_s_own_query_is_no_preview() -> None:
    """Parameters in the page's address change nothing, whatever they are called."""
    sent = body(adobe(), url="https://www.mysite.com/?at_preview_token=x&mboxTrace=console&authorization=y")
    assert not {"qaMode", "preview", "trace"} & sent.keys()


def test_trace_is_asked_for_by_debug_alone() -> None:
    token = "f1e2d3c4-0000-4000-8000-000000000000"
    assert body(adobe(debug=True, trace_token=token))["trace"] == {"authorizationToken": token}
    vendor = adobe(trace_token=token)
    assert "trace" not in body(vendor)
    assert token not in repr(vendor) + repr(vendor.__dict__)
    document = json.loads(sample("execute_json").reply.body)
    document["execute"]["mboxes"][0]["trace"] = {"clientCode": "demo"}
    decision, _ = decide(adobe(debug=True, trace_token=token), reply(document))
    assert json.loads(decision.log or "") == {"hero": {"clientCode": "demo"}}


def test_base_url_keeps_its_path() -> None:
    _, (call,) = decide(adobe(base_url="http://127.0.0.1:8765/adobe/"), answer())
    assert call.url.startswith("http://127.0.0.1:8765/adobe/rest/v1/delivery?")
    assert host(call) == "127.0.0.1:8765"


def test_broken_unicode_in_a_visit_does_not_stop_the_question() -> None:
    _, (call,) = run(adobe().decide(visit(url="https://h.example/\ud800x", host="h.example"), VisitorState()), answer())
    assert body_of(call)["context"]["address"]["url"] == "https://h.example/x"


def test_page_load_is_an_alias_of_its_own() -> None:
    """What comes with the page is read under the global mbox's name."""
    page = {"options": [{"type": "html", "content": "x", "responseTokens": {"experience.name": "B"}}]}
    decision, _ = decide(AdobeTarget("demo", page_load=True), answer(execute={"pageLoad": page}))
    assert {alias: variant.key for alias, variant in decision.variants.items()} == {PAGE_LOAD: "B"}


def test_analytics_is_shared_with_the_page() -> None:
    """With the page's tracking server the request has an id that the bootstrap gives to the page, fresh each time."""
    vendor = adobe(tracking_server="shop.sc.omtrdc.net")
    decision, (call,) = decide(vendor, answer("hero"))
    shared = decision.hints["bootstrap"]
    assert re.fullmatch("[0-9A-F]{16}-[0-9A-F]{16}", shared["supplementalDataId"])
    assert shared["trackingServer"] == "shop.sc.omtrdc.net"
    assert body_of(call)["experienceCloud"]["analytics"] == {"logging": "server_side", **shared}
    other, _ = decide(vendor, answer("hero"), fresh_id="f" * 32)
    assert other.hints["bootstrap"]["supplementalDataId"] != shared["supplementalDataId"]


def test_analytics_is_not_shared_uncounted() -> None:
    """Without consent to be counted, and without an answer, there is nothing to join."""
    vendor = adobe(tracking_server="shop.sc.omtrdc.net")
    decision, (call,) = decide(vendor, answer("hero"), record=False)
    assert "bootstrap" not in decision.hints
    assert body_of(call)["experienceCloud"]["analytics"] == {"logging": "server_side"}
    decision, _ = decide(vendor, reply(b"", 500))
    assert "bootstrap" not in decision.hints
