"""The options of `AdobeTarget`: what is refused at the start, and what the refusal says."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw import AdobeTarget, ConfigError, Flagmw
from tests.unit.vendors.adobe.codec import PROPERTY, adobe

OTHER = object()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"client": ""}, "client must be the client code"),
        ({"client": None}, "client must be the client code"),
        ({"client": "demo.evil.example/"}, "client must be the client code"),
        ({"client": "demo@localhost:9999"}, "client must be the client code"),
        ({"client": "-demo"}, "client must be the client code"),
        ({"client": "d" * 64}, "client must be the client code"),
        ({"mboxes": ()}, "mboxes must name at least one"),
        ({"mboxes": "hero"}, "mboxes must be a list"),
        ({"mboxes": 3}, "mboxes must be a list"),
        ({"mboxes": {"hero": 1}}, "mboxes must be a list"),
        ({"mboxes": ["two words"]}, "mboxes: 'two words' is no name"),
        ({"mboxes": [""]}, "mboxes: '' is no name"),
        ({"mboxes": [7]}, "mboxes: 7 is no name"),
        ({"mboxes": ["hero-clicked"]}, "not ending in -clicked"),
        ({"mboxes": ["target-global-mbox"]}, "target-global-mbox is page_load=True"),
        ({"mboxes": [f"m{n}" for n in range(51)]}, "mboxes has 51 names; one request takes 50"),
        ({"page_load": "yes"}, "page_load must be True or False"),
        ({"aliases": "names"}, 'aliases must be one of "mboxes", "attributes"'),
        ({"property_token": "at_property"}, "property_token must be"),
        ({"property_token": 3}, "property_token must be"),
        ({"org_id": "1234"}, "org_id must be"),
        ({"org_id": "a/b@AdobeOrg"}, "org_id must be"),
        ({"environment_id": "seven"}, "environment_id must be"),
        ({"environment_id": True}, "environment_id must be"),
        ({"params": ["x"]}, "params must map names"),
        ({"params": {"x": [1]}}, "params must map names"),
        ({"params": {"orderId": "1"}}, "params: 'orderId' cannot be sent"),
        ({"params": {"profile.x": "1"}}, "params: 'profile.x' cannot be sent"),
        ({"profile_params": {"x": "v" * 257}}, "profile_params: 'x' cannot be sent"),
        ({"params": {f"p{n}": n for n in range(51)}}, "params: 'p50' cannot be sent"),
        ({"third_party_id": 1}, "third_party_id must be True or False"),
        ({"conversions": {"purchase": "two words"}}, "conversions must map metrics to mboxes"),
        ({"conversions": ["purchase"]}, "conversions must map metrics to mboxes"),
        ({"base_url": "ftp://x"}, "base_url must begin with"),
        ({"base_url": "https://u:p@x"}, "must not carry a user name"),
        ({"exposure": "sometimes"}, 'exposure must be one of "decide", "read", "off"'),
        ({"exposure": "decide", "decisioning": "on-device"}, 'exposure must be "read" or "off"'),
        ({"exposure": "decide", "decisioning": "hybrid"}, 'exposure must be "read" or "off"'),
        ({"decisioning": "local"}, "decisioning must be one of"),
        ({"environment": "prod"}, "environment must be one of"),
        ({"decisioning": "hybrid", "artifact_url": "http://cdn.example/rules.json"}, "artifact_url must be https"),
        ({"decisioning": "hybrid", "artifact_url": "rules.json"}, "artifact_url must begin with"),
        ({"decisioning": "on-device", "poll_s": 60}, "poll_s must be from 300"),
        ({"analytics": "both"}, "analytics must be one of"),
        ({"tracking_server": "https://x"}, "must be the host of Adobe Analytics"),
        ({"tracking_server": "x.y", "analytics": "client_side"}, "tracking_server needs analytics"),
        ({"debug": True}, "debug needs trace_token"),
        ({"trace_token": "x"}, "trace_token must be a token"),
        ({"prefix": "\n"}, "prefix must be"),
    ],
)
def test_wrong_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match="vendor 'adobe_target': ") as caught:
        AdobeTarget(**{"client": "demo", "mboxes": ["hero"], **options})
    assert text in str(caught.value)


def test_a_secret_is_in_no_text() -> None:
    with pytest.raises(ConfigError) as caught:
        adobe(trace_token="s3cret s3cret")
    assert "s3cret" not in str(caught.value)


def test_defaults() -> None:
    vendor = adobe()
    assert (vendor.name, vendor.base_url, vendor.exposure) == ("adobe_target", "https://demo.tt.omtrdc.net", "decide")
    assert (vendor.local, vendor.at_most_once, hasattr(vendor, "refresh")) == (False, False, False)
    assert repr(vendor) == "AdobeTarget(name='adobe_target', client='demo', decisioning='server')"
    for decisioning in ("on-device", "hybrid"):
        vendor = adobe(decisioning=decisioning)
        assert (vendor.exposure, vendor.local) == ("read", decisioning == "on-device")
        assert hasattr(vendor, "refresh") and vendor.refresh_fault is None


def test_it_is_a_vendor_of_the_configuration(tmp_path: Any) -> None:
    """A table in a file and variables make one, and a misspelt option is named."""
    file = tmp_path / "flagmw.toml"
    file.write_text(
        f'[[vendors]]\ntype = "adobe_target"\nname = "at"\nclient = "demo"\nproperty_token = "{PROPERTY}"\n'
    )
    environ = {
        "FLAGMW_VENDORS__AT__MBOXES": '["hero", "checkout"]',
        "FLAGMW_VENDORS__AT__CONVERSIONS": '{"purchase": "orderConfirmPage"}',
        "FLAGMW_VENDORS__AT__PAGE_LOAD": "true",
        "FLAGMW_VENDORS__AT__POLL_S": "600",
        "FLAGMW_VENDORS__AT__ALIASES": "attributes",
    }
    (vendor,) = Flagmw.from_mapping(file=file, environ=environ).config.vendors
    assert isinstance(vendor, AdobeTarget)
    assert (vendor.name, vendor.mboxes) == ("at", ("hero", "checkout"))
    with pytest.raises(ConfigError, match="unknown option 'mbox'; did you mean 'mboxes'"):
        Flagmw.from_mapping({"vendors": [{"type": "adobe_target", "client": "demo", "mbox": ["x"]}]}, environ={})
    with pytest.raises(ConfigError, match="client must be given"):
        Flagmw.from_mapping({"vendors": [{"type": "adobe_target", "mboxes": ["x"]}]}, environ={})


def test_two_accounts_at_once() -> None:
    vendors = [adobe(), adobe(name="second", prefix="second:")]
    assert [vendor.name for vendor in Flagmw(vendors=vendors).config.vendors] == ["adobe_target", "second"]
    with pytest.raises(ConfigError, match="debug needs debug=True"):
        Flagmw(vendors=[adobe(debug=True, trace_token="12345678")])
