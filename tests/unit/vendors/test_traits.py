"""The description of a vendor's abilities, for vendors with all of them and with none."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw import AdobeTarget, Contentstack, Monetate, Static, Webtrends
from flagmw.types import Call, Flow, VisitorState
from flagmw.vendors.base import VendorTraits


class Bare:
    """A vendor without any optional part."""

    name, prefix, at_most_once = "bare", "b-", False


class Refreshed(Bare):
    """A vendor that is refreshed and does not say why a refresh failed."""

    base_url, shadow, batch_max, decides_by = "https://x.example", True, 7, "path"

    def refresh(self, now: float) -> Flow[float]:
        yield Call(method="GET", url=self.base_url, headers={})
        return now


def traits(vendor: Any) -> VendorTraits:
    return VendorTraits.of(vendor)


def test_a_bare_vendor_has_no_abilities() -> None:
    """Absent parts have the values that the contract names."""
    bare = traits(Bare())
    assert (bare.prefix, bare.base_url, bare.remote) == ("b-", None, False)
    assert not bare.shadow
    assert not bare.reports_reads
    assert (bare.decides_by, bare.batch_max, bare.names_visitor, bare.refresh) == ("url", 1, None, None)
    assert bare.identity is None
    assert bare.identity_of(VisitorState({"a": "b"})) == ""


def test_parts_that_a_vendor_has() -> None:
    """They are taken as they are; a vendor that never names a fault has none."""
    vendor = Refreshed()
    found = traits(vendor)
    assert (found.remote, found.shadow, found.batch_max, found.decides_by) == (True, True, 7, "path")
    assert found.refresh is not None
    assert found.refresh.refresh_fault is None
    assert next(found.refresh.refresh(1.0)).url == vendor.base_url


@pytest.mark.parametrize(
    ("vendor", "remote", "batch_max", "names", "refreshed"),
    [
        (Static(flags={"a": "on"}), False, 1, False, False),
        (Webtrends(domain_id="123456", key_token="ab" * 20, url="https://www.mysite.com"), True, 1, True, False),
        (Monetate("acme", "a-701b337c/p/example.com"), True, 20, False, False),
        (Contentstack("0123456789abcdef01234567"), True, 50, False, False),
        (AdobeTarget("acme", ["box"]), True, 50, False, False),
    ],
)
def test_vendors_of_the_package(vendor: Any, remote: bool, batch_max: int, names: bool, refreshed: bool) -> None:
    found = traits(vendor)
    assert (found.remote, found.names_visitor is not None, found.refresh is not None) == (remote, names, refreshed)
    assert found.batch_max == batch_max
