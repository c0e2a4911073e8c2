"""Which Domain a cookie may carry on which host."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._cookies.domains import (
    canonical_domain,
    cookie_domain,
    host_name,
    in_url,
    is_domain,
    is_public_suffix,
    registrable_domain,
)
from flagmw._cookies.header import format_set_cookie


@pytest.mark.parametrize(
    ("sent", "host"),
    [
        ("www.mysite.com", "www.mysite.com"),
        ("WWW.MySite.COM:8443", "www.mysite.com"),
        ("mysite.com.", "mysite.com"),
        ("mysite.com.:443", "mysite.com"),
        ("localhost:8000", "localhost"),
        ("my_host.internal", "my_host.internal"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("[::1", "::1"),
        (" mysite.com ", "mysite.com"),
        ("a" * 253, "a" * 253),
    ],
)
def test_host_name(sent: str, host: str) -> None:
    """A Host header gives the host alone, in lower case."""
    assert host_name(sent) == host


@pytest.mark.parametrize(
    "sent",
    [
        "",
        ":80",
        ".",
        "evil.com/path",
        "a/?x=",
        "user@host",
        "a b",
        "a\x00b",
        "a\r\nb",
        "bücher.de",
        "-a.com",
        "a" * 254,
        "[evil/?x=]",
        "[evil.com]",
        "[127.0.0.1]",
        "[",
        "[]",
        "[fe80::1%25<script>]",
    ],
)
def test_I14_hosts_that_are_none(sent: str) -> None:
    """A Host header that is no host name gives none, in brackets or without."""
    assert host_name(sent) == ""


@given(st.text(max_size=60))
def test_I14_a_host_name_is_harmless(sent: str) -> None:
    """Whatever the Host header says, nothing that could end the host in a URL comes out."""
    assert not set(host_name(sent)) & set("/?#@ \\<>\"'\r\n\t\x00")


def test_addresses_in_urls() -> None:
    """An IPv6 address stands in brackets in a URL, everything else as it is."""
    assert in_url("::1") == "[::1]"
    assert in_url("mysite.com") == "mysite.com"


@pytest.mark.parametrize(
    ("wish", "host", "domain"),
    [
        ("mysite.com", "www.mysite.com", "mysite.com"),
        ("mysite.com", "mysite.com", "mysite.com"),
        ("www.mysite.com", "www.mysite.com", "www.mysite.com"),
        ("shop.mysite.com", "a.b.shop.mysite.com", "shop.mysite.com"),
        (".mysite.com", "www.mysite.com", "mysite.com"),
        ("MySite.COM", "www.mysite.com", "mysite.com"),
        ("mysite.com.", "www.mysite.com", "mysite.com"),
        (" .MySite.com. ", "www.mysite.com", "mysite.com"),
        ("bücher.de", "www.xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("BÜCHER.de", "www.xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("my_site.example.com", "www.my_site.example.com", "my_site.example.com"),
        ("mysite.co.uk", "www.mysite.co.uk", "mysite.co.uk"),
        ("me.github.io", "me.github.io", "me.github.io"),
    ],
)
def test_V14_domains_are_canonicalised(wish: str, host: str, domain: str) -> None:
    """Dots, case and IDN make no difference to which domain is meant."""
    assert cookie_domain(wish, host) == domain
    assert f"; Domain={domain};" in format_set_cookie(
        "n", "v", max_age_s=None, domain=domain, secure=False, http_only=False
    )


@pytest.mark.parametrize(
    ("wish", "host"),
    [
        ("evil.example", "www.mysite.com"),
        ("webtrends-optimize.com", "www.mysite.com"),
        ("ysite.com", "www.mysite.com"),
        ("sub.mysite.com", "mysite.com"),
        ("www.mysite.com", "mysite.com"),
        ("mysite.com.evil.example", "mysite.com"),
    ],
)
def test_V12_foreign_domain_is_host_only(wish: str, host: str) -> None:
    """A domain that is neither the host nor above it gives a host-only cookie."""
    assert cookie_domain(wish, host) is None


@pytest.mark.parametrize(
    ("wish", "host"),
    [
        ("com", "mysite.com"),
        ("co.uk", "mysite.co.uk"),
        (".co.uk", "www.mysite.co.uk"),
        ("github.io", "me.github.io"),
        ("compute.amazonaws.com", "x.compute.amazonaws.com"),
        ("xn--55qx5d.cn", "mysite.xn--55qx5d.cn"),
        ("公司.cn", "mysite.xn--55qx5d.cn"),
        ("uk", "mysite.co.uk"),
        ("test", "mysite.test"),
    ],
)
def test_V13_public_suffix_is_host_only(wish: str, host: str) -> None:
    """A domain below which anyone may register names gives a host-only cookie."""
    assert cookie_domain(wish, host) is None
    assert "." not in wish.strip(".") or is_public_suffix(canonical_domain(wish) or "")


@pytest.mark.parametrize(
    ("wish", "host"),
    [
        (None, "www.mysite.com"),
        ("", "www.mysite.com"),
        (".", "www.mysite.com"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ("mysite.com:443", "www.mysite.com"),
        ("..mysite.com", "www.mysite.com"),
        ("my..site.com", "www.my..site.com"),
        ("mysite.com\r\nX: y", "www.mysite.com"),
        ("mysite.com; Secure", "www.mysite.com"),
        ("-x.mysite.com", "a.-x.mysite.com"),
        ("\ud800.com", "www.mysite.com"),
        ("ü" * 300 + ".com", "www.mysite.com"),
        ("mysite.com", "localhost"),
    ],
)
def test_V14_odd_domains_are_host_only(wish: str | None, host: str) -> None:
    """Addresses, names without a dot, ports and everything malformed give a host-only cookie."""
    assert cookie_domain(wish, host) is None


@pytest.mark.parametrize(("length", "good"), [(252, True), (253, True), (254, False)])
def test_name_length(length: int, good: bool) -> None:
    """A domain name has at most 253 characters."""
    name = ("a" * 49 + ".") * 5
    name += "b" * (length - len(name))
    assert len(name) == length
    assert is_domain(name) is good
    assert (canonical_domain(name) is not None) is good


@pytest.mark.parametrize(("length", "good"), [(62, True), (63, True), (64, False)])
def test_label_length(length: int, good: bool) -> None:
    """A label has at most 63 characters."""
    assert is_domain("a" * length + ".com") is good


def test_a_long_wish_costs_nothing() -> None:
    """Half a megabyte of dots and umlauts is refused before anything looks at it."""
    start = time.thread_time()
    for n in range(200):
        assert cookie_domain("ü." * 100_000 + str(n), "www.mysite.com") is None
    assert time.thread_time() - start < 0.5


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.shop.mysite.com", "mysite.com"),
        ("mysite.co.uk", "mysite.co.uk"),
        ("co.uk", None),
        ("me.github.io", "me.github.io"),
        ("localhost", None),
        ("127.0.0.1", None),
        ("::1", None),
        ("a..b", None),
    ],
)
def test_registrable_domain(host: str, domain: str | None) -> None:
    """The widest domain of a host is the one that somebody registered."""
    assert registrable_domain(host) == domain


@given(
    st.lists(st.sampled_from(["a", "www", "mysite", "com", "co", "uk", "github", "io", "_x", "-", "", "ü", "1", "A"])),
    st.lists(
        st.sampled_from(["a", "www", "mysite", "com", "co", "uk", "github", "io", "_x", "-", "", "1"]), max_size=5
    ),
)
def test_any_allowed_domain_can_be_written(wish: list[str], host: list[str]) -> None:
    """A domain that is allowed is a suffix of the host, no public suffix, and fit for the header."""
    name = host_name(".".join(host))
    domain = cookie_domain(".".join(wish), name)
    if domain is not None:
        assert name == domain or name.endswith("." + domain)
        assert not is_public_suffix(domain)
        assert format_set_cookie("n", "v", max_age_s=1, domain=domain, secure=False, http_only=False)
