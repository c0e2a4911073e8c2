"""The digest of a vendor's options, which decision cookies at visitors hold, stays the same from version to version."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw._exchange.remembered import _fingerprint
from flagmw.vendors.adobe import AdobeTarget
from flagmw.vendors.contentstack import Contentstack
from flagmw.vendors.monetate import Monetate
from flagmw.vendors.static import Static
from flagmw.vendors.webtrends import Webtrends

SHOP = "https://www.mysite.com"
ACCOUNT: dict[type, dict[str, Any]] = {
    Webtrends: {"domain_id": 2490593, "key_token": "0123456789", "url": SHOP},
    AdobeTarget: {"client": "demo", "mboxes": ["hero", "checkout"]},
    Monetate: {"retailer": "demo", "channel": "a-701b337c/p/example.com"},
    Contentstack: {"project_uid": "0123456789abcdef01234567"},
    Static: {"flags": {"ta_Hero": "variation"}},
}
PROPERTY = "8a0b1c2d-0000-4000-8000-0123456789ab"
CASES: list[tuple[type, dict[str, Any], str]] = [
    (Webtrends, {},
     "9f7de321390f4237"),
    (Webtrends, {"name": "other", "prefix": "shop:", "project": "ta_Hero", "exposure": "read", "staging": True},
     "1ca2cea3d69320cb"),
    (Webtrends, {"url": SHOP + "/{path}", "data": {"a": {"b": 1}}, "encrypted": False, "session_cookies": "timeout",
                 "serve_paused": True, "gzip_request": True, "metric_pattern": "[a-z]+", "at_most_once": True,
                 "shadow": True, "debug": True, "extra_params": {"x": [1]}},
     "acad1527cdb08cb7"),
    (Webtrends, {"base_url": "http://127.0.0.1:9/ots/"},
     "b9b71eeca2b53f98"),
    (AdobeTarget, {},
     "604362a7919f59a3"),
    (AdobeTarget, {"page_load": True, "aliases": "attributes", "property_token": PROPERTY, "environment_id": 7,
                   "org_id": "1234ABCD@AdobeOrg", "params": {"a": 1}, "profile_params": {"b": "2"},
                   "third_party_id": True, "conversions": {"purchase": "orderConfirmPage"}},
     "a33ad948ddc09619"),
    (AdobeTarget, {"base_url": "http://127.0.0.1:9", "exposure": "off", "analytics": "client_side",
                   "decides_by": "site", "at_most_once": True, "shadow": True, "debug": True,
                   "trace_token": "0123456789"},
     "39938b9bf6a3378c"),
    (AdobeTarget, {"decisioning": "on-device", "environment": "staging", "property_token": PROPERTY},
     "0e30c80ea33cf7a0"),
    (AdobeTarget, {"decisioning": "hybrid", "artifact_url": "http://127.0.0.1:9/rules.json", "poll_s": 400},
     "0ad09333d025b3c1"),
    (Monetate, {},
     "4b46368b0c5f3ba5"),
    (Monetate, {"name": "other", "exposure": "off", "slots": ["a"], "action_types": ["NoAction", "OmnichannelHtml"],
                "flag_map": {"17": "hero", 18: "cart"}, "data": {"a": 1}, "user_id_as": "device",
                "mint_id_locally": True},
     "445249b0e58dee01"),
    (Monetate, {"decides_by": "path", "purchase_metric": "buy", "cart_metric": "basket", "add_to_cart_metric": "add",
                "page_events": {"a": "b"}, "at_most_once": False, "shadow": True,
                "base_url": "http://127.0.0.1:9/api"},
     "ffbc0f20692c81f3"),
    (Contentstack, {},
     "d07c73da579d157f"),
    (Contentstack, {"region": "gcp-eu", "exposure": "off", "aliases": {"b": "hero"}, "tags": ["x"], "data": {"a": 1},
                    "known_users": True, "manifest_cookie": False, "lytics": True, "decides_by": "path"},
     "8a1d1244a734557a"),
    (Contentstack, {"base_url": "http://127.0.0.1:9/cs", "at_most_once": True, "shadow": True, "prefix": "cs:"},
     "98c9eaf9510a6295"),
    (Static, {},
     "4324394bf103832e"),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "options", "digest"), CASES, ids=range(len(CASES)))
def test_equal_options_have_the_digest_of_earlier_versions(vendor: type, options: dict[str, Any], digest: str) -> None:
    """Visitors keep the decisions in their cookies when flagmw is updated."""
    assert _fingerprint(vendor(**(ACCOUNT[vendor] | options))).hex()[:16] == digest


def test_every_option_that_changes_decisions_changes_the_digest() -> None:
    """No two of the cases share a digest."""
    digests = {_fingerprint(vendor(**(ACCOUNT[vendor] | options))) for vendor, options, _ in CASES}
    assert len(digests) == len(CASES)
