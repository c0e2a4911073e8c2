"""The options: what is refused and how it is said, and where values may come from."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest

import flagmw
from flagmw import Flagmw
from flagmw.codes import ErrorCode
from flagmw.config import (
    FILE_VARIABLE,
    VENDOR_TYPES,
    Config,
    Identity,
    build,
    from_mapping,
    matcher,
    nearest,
)
from flagmw.config.checks import CHECKS
from flagmw.config.options import Options
from flagmw.exceptions import ConfigError, FlagmwError
from flagmw.outbox.memory import MemoryOutbox
from flagmw.vendors.adobe import AdobeTarget
from flagmw.vendors.contentstack import Contentstack
from flagmw.vendors.monetate import Monetate
from flagmw.vendors.static import Static
from flagmw.vendors.webtrends import Webtrends
from tests.unit.vendors.webtrends.codec import TOKEN, webtrends

CANARY = "c4n4ry-t0ken-never-shown"
TABLE = {"type": "webtrends", "name": "wt", "domain_id": 2490593, "key_token": CANARY, "url": "https://www.mysite.com"}


class Transport:
    """A blocking transport."""

    def handle_request(self, request: Any) -> Any: ...


class AsyncTransport:
    """An async transport."""

    async def handle_async_request(self, request: Any) -> Any: ...


# Single options


def test_defaults() -> None:
    """Without options everything has a value that works."""
    config = build({})
    assert (config.vendors, config.deadline_ms, config.outbox, config.paths) == ((), 300, None, ("/*",))
    assert (config.client_ip, config.referer, config.cookie_secure, config.hybrid) == (
        "anonymised",
        "origin",
        "auto",
        True,
    )
    assert (config.cookie_budget, config.max_in_flight, config.pool_size, config.max_rate) == (6144, 64, None, None)
    assert config.transport == (None, None)


@pytest.mark.parametrize(
    ("option", "value", "cure"),
    [
        ("vendors", "webtrends", "must be a list"),
        ("vendors", {"a": 1}, "must be a list"),
        ("vendors", 5, "must be a list"),
        ("vendors", ["webtrends"], "use Webtrends"),
        ("vendors", [object()], "use Webtrends"),
        ("defaults", ["a"], "aliases to variants"),
        ("defaults", {"a": True}, "aliases to variants"),
        ("defaults", {1: "a"}, "aliases to variants"),
        ("deadline_ms", 9, "from 10 to 60000"),
        ("deadline_ms", 60_001, "from 10 to 60000"),
        ("deadline_ms", 0.3, "whole number"),
        ("deadline_ms", True, "whole number"),
        ("deadline_ms", "300", "whole number"),
        ("outbox", "sqlite://x", "three slashes"),
        ("outbox", "sqlite:///", "three slashes"),
        ("outbox", "sqlite:///x?colour=red", "key_env"),
        ("outbox", "sqlite:///x?sync=off", '"full" or "normal"'),
        ("outbox", "postgres://x", "memory://"),
        ("outbox_required", 1, "True or False"),
        ("outbox", 5, "memory://"),
        ("outbox", object(), "memory://"),
        ("paths", "/*", "must be a list"),
        ("paths", ["shop/*"], "must begin with"),
        ("paths", [5], "list of texts"),
        ("exclude", ["static"], "must begin with"),
        ("on", ["a"], "lists of variants"),
        ("on", {"a": "true"}, "must be a list"),
        ("on", {"a": [True]}, "list of texts"),
        ("on", {1: ["a"]}, "lists of variants"),
        ("cookie_domain", "localhost", "such as"),
        ("cookie_domain", "127.0.0.1", "such as"),
        ("cookie_domain", "https://mysite.com", "such as"),
        ("cookie_domain", 5, "such as"),
        ("cookie_domain", "co.uk", "public suffix"),
        ("cookie_domain", "com", "such as"),
        ("cookie_secure", "always", '"auto"'),
        ("cookie_secure", None, '"auto"'),
        ("cookie_budget", 511, "from 512"),
        ("cookie_budget", 65_537, "to 65536"),
        ("hybrid", "yes", "True or False"),
        ("hybrid", 1, "True or False"),
        ("trusted_proxies", "10.0.0.0/8", "must be a list"),
        ("trusted_proxies", ["*"], "10.0.0.0/8"),
        ("trusted_proxies", ["10.0.0.0/40"], "10.0.0.0/8"),
        ("trusted_proxies", [10], "list of texts"),
        ("client_ip_header", "a b", "must be the name of a header"),
        ("client_ip", "on", '"anonymised", "full", "off"'),
        ("client_ip", None, '"anonymised", "full", "off"'),
        ("referer", "all", '"origin", "full", "off"'),
        ("send_query", "page", "must be a list"),
        ("identify", "myapp.identify", "'myapp.identify' cannot be imported"),
        ("consent", 3, "must be a function of the request"),
        ("bots", "json:nothing", "'json:nothing' cannot be imported"),
        ("mode", "later", '"eager", "lazy"'),
        ("reuse_s", -1, "seconds from 0"),
        ("stale_s", "1 day", "seconds from 0"),
        ("hold_s", True, "seconds from 0"),
        ("late_ms", -1, "from 0"),
        ("hedge_ms", 0, "from 1"),
        ("memory_mb", 0, "from 1"),
        ("signing_keys", ["short"], "32 random bytes"),
        ("signing_keys", ["a" * 64], "32 random bytes"),
        ("signing_keys", [5], "list of keys"),
        ("consent", "yes", "must be a function"),
        ("bots", "yes", "True, False or a function"),
        ("overrides", True, "token_urlsafe"),
        ("overrides", "yes", "True or False"),
        ("keep_cookies", "yes", "True or False"),
        ("exposure_ttl_s", float("inf"), "seconds from 0"),
        ("visitor_store", "file:///tmp", "load and save"),
        ("visitor_store", "sqlite:///tmp/visitors", "token_urlsafe"),
        ("deliver", "later", '"inprocess", "off"'),
        ("shadow_report", "/no/such/place/shadow.json", "existing directory"),
        ("shadow_report", "/tmp", "must name a file"),
        ("max_in_flight", 0, "from 1"),
        ("pool_size", 0, "from 1"),
        ("new_visitors_per_s", 0, "above 0"),
        ("tracks_per_visitor", 0, "whole number"),
        ("tracks_per_visitor", None, "whole number"),
        ("max_rate", 0, "above 0"),
        ("commit_wait_ms", 0, "whole number from 1 to 60000"),
        ("max_rate", float("nan"), "above 0"),
        ("max_rate", float("inf"), "above 0"),
        ("max_rate", True, "above 0"),
        ("debug", "true", "True or False"),
        ("transport", object(), "HTTPTransport"),
        ("transport", (Transport(), object()), "HTTPTransport"),
        ("transport", "requests", "no such transport 'requests'; for blocking calls there are httpx2, httptools"),
        ("transport", ("aiohttp", "httpx2"), "no such transport 'aiohttp'; for blocking calls there are httpx2"),
        ("trust_env", 0, "True or False"),
        ("ca_file", "/no/such/file.pem", "file"),
        ("ca_file", "/tmp", "file"),
        ("ca_file", 5, "file"),
        ("on_decision", 5, "must be a function"),
        ("on_event", "print", "must be a function"),
    ],
)
def test_wrong_options(option: str, value: Any, cure: str) -> None:
    """Every option says by name what it takes when it is given something else."""
    with pytest.raises(ConfigError) as caught:
        build({option: value})
    assert option in str(caught.value)
    assert cure in str(caught.value)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, FlagmwError)


def test_every_option_is_checked() -> None:
    """No option is left out of the table above."""
    told = {argument[0] for argument in test_wrong_options.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert told == set(Config.__dataclass_fields__)


@pytest.mark.parametrize(
    ("option", "value", "final"),
    [
        ("deadline_ms", 10, 10),
        ("deadline_ms", 60_000, 60_000),
        ("cookie_budget", 512, 512),
        ("cookie_budget", 65_536, 65_536),
        ("cookie_domain", ".MySite.com", "mysite.com"),
        ("cookie_domain", "bücher.de", "xn--bcher-kva.de"),
        ("cookie_secure", False, False),
        ("paths", ["*", "/a"], ("*", "/a")),
        ("send_query", {"page"}, ("page",)),
        ("on", {"a": ("x", "y")}, {"a": frozenset({"x", "y"})}),
        ("max_rate", 1, 1.0),
        ("trusted_proxies", ["10.1.2.3/8"], (ipaddress.ip_network("10.0.0.0/8"),)),
        ("trusted_proxies", ["::1"], (ipaddress.ip_network("::1/128"),)),
        ("ca_file", Path(__file__), __file__),
        ("shadow_report", "shadow.json", Path("shadow.json")),
    ],
)
def test_final_forms(option: str, value: Any, final: Any) -> None:
    """Good values pass, at their limits too, and are kept in one form."""
    assert getattr(build({option: value}), option) == final


def test_serving() -> None:
    """Vendors that only shadow are among all, and not among those that serve; everything else stays."""
    now, later = Static(flags={}, name="now"), Static(flags={}, name="later", shadow=True)
    config = build({"vendors": [later, now], "deadline_ms": 77, "trusted_proxies": ["10.0.0.0/8"]})
    assert (config.vendors, config.serving().vendors) == ((later, now), (now,))
    assert (config.serving().deadline_ms, config.serving().trusted_proxies) == (77, config.trusted_proxies)
    alone = build({"vendors": [now]})
    assert alone.serving() is alone
    with pytest.raises(ConfigError, match="shadow must be True or False"):
        Static(flags={}, shadow="yes")  # type: ignore[arg-type]


def test_transports() -> None:
    """A transport is kept by what it can do, alone or as a pair."""
    blocking, asynchronous = Transport(), AsyncTransport()
    assert build({"transport": blocking}).transport == (blocking, None)
    assert build({"transport": asynchronous}).transport == (None, asynchronous)
    assert build({"transport": (asynchronous, blocking)}).transport == (blocking, asynchronous)


@pytest.mark.parametrize(
    ("value", "final"),
    [
        ("httpx2", ("httpx2", "httpx2")),
        ("httptools", ("httptools", "httptools")),
        ("aiohttp", (None, "aiohttp")),
        (("httptools", "aiohttp"), ("httptools", "aiohttp")),
        ([None, "httptools"], (None, "httptools")),
    ],
)
def test_transports_by_name(value: Any, final: Any) -> None:
    """A name serves each colour that has such a transport; a pair names the blocking one first."""
    assert build({"transport": value}).transport == final


def test_an_outbox_object_is_taken() -> None:
    """An object with an outbox's methods is one."""
    outbox = MemoryOutbox()
    assert build({"outbox": outbox}).outbox is outbox


def test_config_is_frozen_and_copied() -> None:
    """Nothing in a configuration can be changed, and later changes of what it was made of do not reach it."""
    defaults, vendors = {"a": "b"}, [webtrends()]
    config = build({"defaults": defaults, "vendors": vendors})
    defaults["a"], vendors[:] = "c", []
    assert config.defaults == {"a": "b"} and len(config.vendors) == 1
    with pytest.raises(AttributeError):
        config.debug = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.defaults["a"] = "x"  # type: ignore[index]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("deadline", "deadline_ms"),
        ("vendor", "vendors"),
        ("cookiedomain", "cookie_domain"),
        ("trust_proxies", "trusted"),
    ],
)
def test_near_misses(wrong: str, right: str) -> None:
    """An unknown option is refused with the nearest right name."""
    with pytest.raises(ConfigError, match=rf"unknown option '{wrong}'; did you mean '{right}"):
        build({wrong: 1})


def test_far_misses() -> None:
    """Where no name is near, all are listed."""
    assert nearest("zzz", ["b", "a"]) == "; there are: a, b"
    with pytest.raises(ConfigError, match=r"there are: .*deadline_ms"):
        build({"zzz": 1})


# Vendors


@pytest.mark.parametrize("name", ["", "WT", "-a", "a b", "a" * 65, "a\n", 5, None])
def test_vendor_names(name: Any) -> None:
    """A vendor's name can be a label and a part of a variable's name."""
    with pytest.raises(ConfigError, match="vendor name"):
        build({"vendors": [Static(flags={}, name=name)]})


def test_two_vendors_of_one_name() -> None:
    """Two accounts of one vendor need names of their own."""
    with pytest.raises(ConfigError, match="two vendors are named 'webtrends': give one"):
        build({"vendors": [webtrends(), webtrends(domain_id=1)]})
    assert len(build({"vendors": [webtrends(), webtrends(domain_id=1, name="wt2")]}).vendors) == 2


@pytest.mark.parametrize(
    ("option", "value", "cure"),
    [
        ("domain_id", "abc", "decimal"),
        ("domain_id", 1.0, "decimal"),
        ("domain_id", True, "decimal"),
        ("domain_id", None, "decimal"),
        ("domain_id", "1" * 13, "decimal"),
        ("domain_id", "1/..", "decimal"),
        ("key_token", CANARY + " x", "Key Token"),
        ("key_token", None, "Key Token"),
        ("key_token", "short", "Key Token"),
        ("key_token", CANARY * 20, "Key Token"),
        ("url", "", "locations"),
        ("url", "https://a b", "locations"),
        ("url", "https://ü.de", "locations"),
        ("url", None, "locations"),
        ("url", "x" * 2049, "locations"),
        ("project", "a,b", "alias"),
        ("project", " a", "alias"),
        ("project", "", "alias"),
        ("project", "a" * 129, "alias"),
        ("project", 5, "alias"),
        ("base_url", "ftp://x", "https"),
        ("base_url", 5, "str"),
        ("exposure", "seen", '"decide", "read", "off"'),
        ("prefix", 5, "printable"),
        ("prefix", "a\n", "printable"),
        ("prefix", "a" * 65, "printable"),
        ("staging", "false", "True or False"),
        ("encrypted", "true", "True or False"),
        ("serve_paused", 1, "True or False"),
        ("gzip_request", 0, "True or False"),
        ("at_most_once", None, "True or False"),
        ("debug", "true", "True or False"),
        ("session_cookies", "forever", '"browser", "timeout"'),
        ("data", "a=1", "mapping"),
        ("data", {1: "a"}, "mapping"),
        ("data", {"a": object()}, "JSON"),
        ("data", {"a": "\ud800"}, "JSON"),
        ("extra_params", ["a"], "mapping"),
        ("extra_params", {"a": {1, 2}}, "JSON"),
        ("metric_pattern", "(", "regular expression"),
        ("metric_pattern", 5, "regular expression"),
        ("metric_pattern", b"a+", "regular expression"),
    ],
)
def test_wrong_webtrends_options(option: str, value: Any, cure: str) -> None:
    """Every option of Webtrends says by name what it takes, and never repeats a token."""
    with pytest.raises(ConfigError) as caught:
        webtrends(name="shop", **{option: value})
    assert "vendor 'shop'" in str(caught.value)
    assert option in str(caught.value)
    assert cure in str(caught.value)
    assert CANARY not in str(caught.value) and TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "cure"),
    [
        ("https://user@host/", "user name"),
        ("https://user:pw@host/", "user name"),
        ("https://:pw@host/", "user name"),
        ("https://host/?x=1", "query"),
        ("https://host/?", "query"),
        ("https://host/#x", "query or fragment"),
        ("https://host/#", "query or fragment"),
        ("https://", "name a host"),
        ("//host", "https://"),
        ("host", "https://"),
        ("", "https://"),
        ("file:///etc/passwd", "https://"),
        ("https://host:99999/", "not a URL"),
        ("https://host:x/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://ho st/", "spaces"),
        ("https://host\r\n/", "spaces"),
        ("https://host\\@evil/", "backslashes"),
        ("https://höst/", "ASCII"),
    ],
)
def test_I28_base_urls(base_url: str, cure: str) -> None:
    """A base URL is a plain https or http address and no more."""
    with pytest.raises(ConfigError, match="base_url") as caught:
        webtrends(base_url=base_url)
    assert cure in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://ots.example",
        "http://10.0.0.1:80",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://[::2]",
        "http://2130706433",
        "http://0.0.0.0",
        "http://169.254.169.254",
        "HTTP://ots.example",
    ],
)
def test_I28_http_off_this_machine(base_url: str) -> None:
    """Plain http beyond this machine needs debug."""
    with pytest.raises(ConfigError, match="vendor 'webtrends': base_url must be https"):
        build({"vendors": [webtrends(base_url=base_url)]})
    assert build({"vendors": [webtrends(base_url=base_url)], "debug": True}).debug


@pytest.mark.parametrize(
    "base_url", ["http://localhost:8765", "http://127.0.0.1:8765/x/", "http://[::1]:8765", "https://pat.example/ots"]
)
def test_I28_good_base_urls(base_url: str) -> None:
    """Plain http to this machine is fine, and a trailing slash makes no difference."""
    (vendor,) = build({"vendors": [webtrends(base_url=base_url)]}).vendors
    assert vendor.base_url == base_url.rstrip("/")  # type: ignore[attr-defined]


def test_vendor_debug_needs_debug() -> None:
    """The vendor's slow debug log is not switched on by itself."""
    with pytest.raises(ConfigError, match="debug"):
        build({"vendors": [webtrends(debug=True)]})
    build({"vendors": [webtrends(debug=True)], "debug": True})


def test_I23_tokens_do_not_show() -> None:
    """Neither a vendor's nor the configuration's repr shows a token."""
    config = from_mapping({"vendors": [TABLE]}, environ={})
    assert CANARY not in repr(config) + repr(config.vendors) + str(vars(config.vendors[0]))


# Sources


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_precedence(tmp_path: Path) -> None:
    """The environment goes before the mapping, the mapping before the file, and what none names is the default."""
    file = write(tmp_path / "flagmw.toml", "deadline_ms = 100\npool_size = 2\nmax_in_flight = 3\n")
    config = from_mapping(
        {"deadline_ms": 200, "pool_size": 4}, file=file, environ={"FLAGMW_DEADLINE_MS": "400", "OTHER": "x"}
    )
    assert (config.deadline_ms, config.pool_size, config.max_in_flight, config.max_rate) == (400, 4, 3, None)


def test_file_variable(tmp_path: Path) -> None:
    """`FLAGMW_CONFIG` names a file; a file given in code goes before it; an empty one is none."""
    one, two = write(tmp_path / "1.toml", "pool_size = 1"), write(tmp_path / "2.toml", "pool_size = 2")
    assert from_mapping(environ={FILE_VARIABLE: str(one)}).pool_size == 1
    assert from_mapping(file=two, environ={FILE_VARIABLE: str(one)}).pool_size == 2
    assert from_mapping(environ={FILE_VARIABLE: ""}).pool_size is None


def test_toml_with_vendors(tmp_path: Path) -> None:
    """A file describes vendors in tables, in order."""
    file = write(
        tmp_path / "flagmw.toml",
        'vendors = [{type = "webtrends", name = "wt", domain_id = 1, key_token = "12345678", url = "flags.com/", '
        'data = {a = 1}}, {type = "static", flags = {ta_x = "b"}}]\n[on]\nta_x = ["b"]\n',
    )
    config = from_mapping(file=file, environ={})
    assert [(type(vendor), vendor.name) for vendor in config.vendors] == [(Webtrends, "wt"), (Static, "static")]
    assert config.on == {"ta_x": frozenset({"b"})}


def test_pyproject(tmp_path: Path) -> None:
    """In a pyproject.toml the options are in `[tool.flagmw]`, and there may be none."""
    file = write(tmp_path / "pyproject.toml", "[project]\nname = 'x'\n[tool.flagmw]\npool_size = 2\n")
    assert from_mapping(file=file, environ={}).pool_size == 2
    assert from_mapping(file=write(file, "[project]\nname = 'x'\n"), environ={}).pool_size is None


@pytest.mark.parametrize(
    ("name", "content", "cure"),
    [
        ("flagmw.toml", b"pool_size = ", "not valid TOML"),
        ("flagmw.toml", b"a = '\xff'", "UTF-8"),
        ("flagmw.toml", "poolsize = 1".encode("utf-16"), "UTF-8"),
        ("flagmw.toml", b"poolsize = 1", "did you mean 'pool_size'"),
        ("flagmw.toml", b"a = " + b"[" * 5000, "not valid TOML"),
        ("pyproject.toml", b"[tool]\nflagmw = 5", "must be a table"),
        ("pyproject.toml", b"tool = 5", "must be a table"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes, cure: str) -> None:
    """A file that cannot be used is a ConfigError that says why."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        from_mapping(file=tmp_path / name, environ={})
    assert cure in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    """A file that is not there, or is a folder, is a ConfigError with its name."""
    for path in (tmp_path / "no.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot read the configuration"):
            from_mapping(file=path, environ={})


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("FLAGMW_DEADLINE_MS", "250", "deadline_ms", 250),
        ("FLAGMW_MAX_RATE", "2.5", "max_rate", 2.5),
        ("FLAGMW_HYBRID", "false", "hybrid", False),
        ("FLAGMW_DEBUG", " YES ", "debug", True),
        ("FLAGMW_TRUST_ENV", "1", "trust_env", True),
        ("FLAGMW_COOKIE_SECURE", "auto", "cookie_secure", "auto"),
        ("FLAGMW_COOKIE_SECURE", "AUTO", "cookie_secure", "auto"),
        ("FLAGMW_COOKIE_SECURE", "off", "cookie_secure", False),
        ("FLAGMW_PATHS", "/a, /b/*,", "paths", ("/a", "/b/*")),
        ("FLAGMW_EXCLUDE", "", "exclude", ()),
        ("FLAGMW_SEND_QUERY", "page,sort", "send_query", ("page", "sort")),
        ("FLAGMW_TRUSTED_PROXIES", "10.0.0.0/8", "trusted_proxies", (ipaddress.ip_network("10.0.0.0/8"),)),
        ("FLAGMW_DEFAULTS", '{"a": "b"}', "defaults", {"a": "b"}),
        ("FLAGMW_ON", '{"a": ["b"]}', "on", {"a": frozenset({"b"})}),
        ("FLAGMW_COOKIE_DOMAIN", "mysite.com", "cookie_domain", "mysite.com"),
        ("FLAGMW_OUTBOX", "memory://", "outbox", "memory://"),
        ("FLAGMW_CLIENT_IP", "off", "client_ip", "off"),
        ("FLAGMW_TRANSPORT", "aiohttp", "transport", (None, "aiohttp")),
        ("FLAGMW_TRANSPORT", "httptools, aiohttp", "transport", ("httptools", "aiohttp")),
        ("FLAGMW_TRANSPORT", ",aiohttp", "transport", (None, "aiohttp")),
    ],
)
def test_environment(variable: str, text: str, option: str, value: Any) -> None:
    """A variable is read as the type of its option."""
    assert getattr(from_mapping(environ={variable: text}), option) == value


@pytest.mark.parametrize(
    ("variable", "text", "cure"),
    [
        ("FLAGMW_DEADLINE_MS", CANARY, "must be a number"),
        ("FLAGMW_MAX_RATE", CANARY, "must be a number"),
        ("FLAGMW_MAX_RATE", "nan", "above 0"),
        ("FLAGMW_HYBRID", CANARY, "true or false"),
        ("FLAGMW_COOKIE_SECURE", CANARY, "true or false"),
        ("FLAGMW_DEFAULTS", CANARY, "must be JSON"),
        ("FLAGMW_DEFAULTS", "[" * 100_000, "must be JSON"),
        ("FLAGMW_DEADLINE", "1", "did you mean 'deadline_ms'"),
        ("FLAGMW_DEADLINE_MS__X", "1", "names no option"),
        ("FLAGMW_", "1", "names no option"),
        ("FLAGMW_VENDORS", CANARY, "in code or in a file"),
        ("FLAGMW_ON_EVENT", "a.b", "on_event is given in code"),
        ("FLAGMW_CONSENT", "a.b", "must name a function that can be imported"),
        ("FLAGMW_ON_EVENT", "a.b", "on_event is given in code"),
        ("FLAGMW_VENDORS__XX__KEY_TOKEN", CANARY, "'xx' that is not configured"),
        ("FLAGMW_VENDORS__WT__KEYTOKEN", CANARY, "did you mean 'key_token'"),
        ("FLAGMW_VENDORS__WT", CANARY, "names no option of vendor 'wt'"),
        ("FLAGMW_VENDORS__WT__ENCRYPTED", CANARY, "true or false"),
        ("FLAGMW_VENDORS__WT__DATA", CANARY, "must be JSON"),
        ("FLAGMW_VENDORS__CODE__STAGING", "1", "built in code"),
    ],
)
def test_wrong_environment(variable: str, text: str, cure: str) -> None:
    """A wrong variable is refused by its name, with the cure and without its text."""
    code = webtrends(name="code")
    with pytest.raises(ConfigError) as caught:
        from_mapping({"vendors": [TABLE, code]}, environ={variable: text})
    assert cure in str(caught.value)
    assert variable.lower() in str(caught.value).lower() or "max_rate" in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("text", ["", "a.b", "aiohttp,httptools", "httptools,aiohttp,aiohttp"])
def test_wrong_transport_variable(text: str) -> None:
    """A variable can name the transports that there are, and no others."""
    with pytest.raises(ConfigError, match="for async ones httpx2, httptools, aiohttp; a pair names both"):
        from_mapping(environ={"FLAGMW_TRANSPORT": text})


def test_vendor_variables() -> None:
    """Variables reach a vendor's table by its name or, where it has none, its type; a dash is an underscore."""
    table = {key: value for key, value in TABLE.items() if key not in ("key_token", "name")}
    environ = {
        "FLAGMW_VENDORS__WEBTRENDS__KEY_TOKEN": "from-the-environment",
        "FLAGMW_VENDORS__WEBTRENDS__STAGING": "true",
        "FLAGMW_VENDORS__WEBTRENDS__DATA": '{"a": 1}',
        "FLAGMW_VENDORS__THE_OTHER__PREFIX": "x:",
    }
    other = MappingProxyType({**TABLE, "name": "the-other"})
    vendor, second = from_mapping({"vendors": [table, other]}, environ=environ).vendors
    assert isinstance(vendor, Webtrends)
    assert vendor.staging is True
    assert second.prefix == "x:"
    assert "key_token" not in table and "prefix" not in other


def test_environment_alone() -> None:
    """Variables alone describe vendors; those that they add follow those that are configured, by name."""
    environ = {
        "FLAGMW_VENDORS__WT__TYPE": "webtrends",
        "FLAGMW_VENDORS__WT__DOMAIN_ID": "2490593",
        "FLAGMW_VENDORS__WT__KEY_TOKEN": CANARY,
        "FLAGMW_VENDORS__WT__URL": "https://www.mysite.com",
        "FLAGMW_VENDORS__A_FILE__TYPE": "static",
        "FLAGMW_VENDORS__A_FILE__FLAGS": '{"ta_Hero": "b"}',
        "FLAGMW_DEFAULTS": '{"ta_Checkout": "old"}',
    }
    config = from_mapping(environ=environ)
    assert [vendor.name for vendor in config.vendors] == ["a_file", "wt"]
    assert config.defaults == {"ta_Checkout": "old"}
    configured = from_mapping({"vendors": [{**TABLE, "name": "zz"}]}, environ=environ)
    assert [vendor.name for vendor in configured.vendors] == ["zz", "a_file", "wt"]


@pytest.mark.parametrize(
    ("environ", "cure"),
    [
        ({"FLAGMW_VENDORS__WT__TYPE": "webtrend"}, "did you mean 'webtrends'"),
        ({"FLAGMW_VENDORS__WT__TYPE": ""}, "unknown"),
        ({"FLAGMW_VENDORS__WT__TYPE": "webtrends"}, "domain_id, key_token, url must be given"),
        ({"FLAGMW_VENDORS__WT__URL": "https://www.mysite.com"}, "set FLAGMW_VENDORS__WT__TYPE as well"),
        ({"FLAGMW_VENDORS__TYPE": "static"}, "names a vendor 'type'"),
    ],
)
def test_wrong_environment_alone(environ: dict[str, str], cure: str) -> None:
    """A vendor that variables describe badly is refused with the variable or the option that is missing."""
    with pytest.raises(ConfigError) as caught:
        from_mapping(environ=environ)
    assert cure in str(caught.value)


def test_a_type_in_the_environment_replaces_the_tables_type() -> None:
    """As with every other option, the environment is the stronger one."""
    table = {"type": "static", "name": "wt", "flags": {"a": "b"}}
    with pytest.raises(ConfigError, match="vendor 'wt': unknown option 'flags'"):
        from_mapping({"vendors": [table]}, environ={"FLAGMW_VENDORS__WT__TYPE": "webtrends"})


def test_ignored_variables_are_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """`Flagmw(...)` in code names the variables that it does not read, without their texts."""
    monkeypatch.setenv("FLAGMW_DEADLINE_MS", CANARY)
    monkeypatch.setenv("FLAGMW_VENDORS__WT__KEY_TOKEN", CANARY)
    monkeypatch.setenv("FLAGMW_BULK_ROWS", "5")
    Flagmw()
    (record,) = caplog.records
    assert "ignores FLAGMW_DEADLINE_MS, FLAGMW_VENDORS__WT__KEY_TOKEN; use Flagmw.from_mapping" in record.getMessage()
    assert CANARY not in caplog.text
    caplog.clear()
    monkeypatch.setenv("FLAGMW_DEADLINE_MS", "400")
    monkeypatch.delenv("FLAGMW_VENDORS__WT__KEY_TOKEN")
    monkeypatch.delenv("FLAGMW_BULK_ROWS")
    assert Flagmw.from_mapping().config.deadline_ms == 400
    assert not caplog.records


def test_typed_options_are_those_of_the_configuration() -> None:
    """Type checkers see the options that there are, and the words that each of them takes."""
    hints = get_type_hints(Options)
    assert list(hints) == [option.name for option in fields(Config)]
    for option, hint in hints.items():
        for word in get_args(hint) if get_origin(hint) is Literal else ():
            assert CHECKS[option](option, word) == word


@pytest.mark.parametrize(
    ("table", "cure"),
    [
        ({}, "type is missing; there are: webtrends, "),
        ({"type": "webtrend"}, "unknown: 'webtrend'; did you mean 'webtrends'"),
        ({"type": ["webtrends"]}, "type is unknown"),
        ({"type": 5}, "type is unknown"),
        ({"type": "webtrends"}, "vendor 'webtrends': domain_id, key_token, url must be given"),
        ({**TABLE, "keytoken": CANARY}, "vendor 'wt': unknown option 'keytoken'; did you mean 'key_token'"),
        ({**TABLE, 5: CANARY}, "vendor 'wt': unknown option 5"),
        ({"type": "static"}, "give either path or flags"),
        ("webtrends", "str is no vendor"),
    ],
)
def test_wrong_vendor_tables(table: Any, cure: str) -> None:
    """A table that describes no vendor is refused with the cure, whatever the environment says."""
    with pytest.raises(ConfigError) as caught:
        from_mapping({"vendors": [table]}, environ={})
    assert cure in str(caught.value)
    assert CANARY not in str(caught.value)
    with pytest.raises(ConfigError):
        from_mapping({"vendors": [table]}, environ={"FLAGMW_VENDORS__OTHER__NAME": "x"})


def test_vendor_types() -> None:
    """The names that a table's type may have."""
    made = {
        kind: getattr(import_module(place.partition(":")[0]), place.partition(":")[2])
        for kind, place in VENDOR_TYPES.items()
    }
    assert made == {
        "webtrends": Webtrends,
        "adobe_target": AdobeTarget,
        "monetate": Monetate,
        "contentstack": Contentstack,
        "static": Static,
    }


def test_vendors_are_imported_when_named() -> None:
    """A site pays for the vendors it has; the names are all there, and a wrong one is an ordinary error."""
    code = (
        "import sys, flagmw; from flagmw import Flagmw, Webtrends;"
        "assert set(flagmw.__all__) <= set(dir(flagmw));"
        "assert not {f'flagmw.vendors.{name}' for name in ('adobe', 'monetate', 'contentstack')} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'Webtrend'"):
        flagmw.Webtrend  # type: ignore[attr-defined]  # noqa: B018


# Identity

J, D = ErrorCode.DETAIL_JOINED, ErrorCode.DETAIL_DROPPED


@pytest.mark.parametrize(
    ("arguments", "kept", "changes"),
    [
        ({"user_id": UUID(int=7)}, ("00000000-0000-0000-0000-000000000007", {}), None),
        ({"user_id": 1.5}, ("1.5", {}), {(ErrorCode.DETAIL_CONVERTED, "user_id"): 1}),
        ({"user_id": object()}, (None, {}), {(ErrorCode.KEY_DROPPED, "user_id"): 1}),
        ({"user_id": "u-1", "data": {"a": [1], "b": 2}}, ("u-1", {"a": "1", "b": 2}), {(J, "data"): 1}),
        ({"user_id": "u-1", "data": {"a": object(), "b": 2}}, ("u-1", {"b": 2}), {(D, "data"): 1}),
        ({"user_id": "u-1", "data": 5}, ("u-1", {}), {(D, "data"): 1}),
    ],
)
def test_one_odd_attribute_keeps_the_identity(
    arguments: dict[str, Any], kept: tuple[Any, ...], changes: dict[tuple[ErrorCode, str], int] | None
) -> None:
    """What cannot be sent is made fit or left out, and listed; the rest of the identity stays."""
    identity = Identity(**arguments)
    assert (identity.user_id, dict(identity.data)) == kept
    assert identity.changes == changes
    assert (identity.refusal is None) is (changes is None)


def test_identity() -> None:
    """A primary key is an id, an empty name is nobody, and the id does not show."""
    assert Identity(user_id=17).user_id == "17"  # type: ignore[arg-type]
    assert Identity(user_id="").user_id is None
    assert Identity(data={"plan": "gold"}).data == {"plan": "gold"}
    assert "gold" not in repr(Identity(data={"plan": "gold"}))


# Path patterns


@pytest.mark.parametrize(
    ("patterns", "path", "matches"),
    [
        (("/*",), "/anything/at/all", True),
        (("*",), "", True),
        ((), "/", False),
        (("/",), "/", True),
        (("/",), "/a", False),
        (("/static/*",), "/static/a/b.css", True),
        (("/static/*",), "/static/", True),
        (("/static/*",), "/static", False),
        (("/static/*",), "/x/static/a", False),
        (("*.css",), "/static/a.css", True),
        (("*.css",), "/static/a.css.map", False),
        (("/a/*/c",), "/a/b/c", True),
        (("/a/*/c",), "/a/b/c/c", True),
        (("/a/*/c",), "/a/b/d", False),
        (("/a*b*c",), "/abbcc", True),
        (("/a*b*c",), "/ac", False),
        (("/a**c",), "/abc", True),
        (("/a.b",), "/axb", False),
        (("/a+(b",), "/a+(b", True),
        (("/x", "/y/*"), "/y/1", True),
        (("/a\n*",), "/a\nb", True),
        (("/api/*",), "/API/x", False),
    ],
)
def test_patterns(patterns: tuple[str, ...], path: str, matches: bool) -> None:
    """`*` stands for anything, slashes too; all else is itself."""
    assert matcher(patterns)(path) is matches


def test_patterns_take_no_time() -> None:
    """A path made to fit a pattern in countless ways is decided at once."""
    test: Callable[[str], bool] = matcher(("/*/x/*/x/*/x/*/x/*/y",))
    start = time.thread_time()
    assert test("/x" * 4000) is False
    assert time.thread_time() - start < 0.05


def test_vendor_of_the_application_by_its_path() -> None:
    """A type with a colon names a class of the application; what cannot be imported says how to write it."""
    config = from_mapping({"vendors": [{"type": "flagmw.testing:FakeVendor", "name": "own"}]}, environ={})
    assert config.vendors[0].name == "own"
    for kind in ("no.such.module:Vendor", "flagmw.testing:NoSuchVendor", ":x", "flagmw.testing:"):
        with pytest.raises(ConfigError, match=r"package\.module:Class"):
            from_mapping({"vendors": [{"type": kind}]}, environ={})
    with pytest.raises(ConfigError, match=r"unknown option 'nmae'; did you mean 'name'"):
        from_mapping({"vendors": [{"type": "flagmw.testing:FakeVendor", "nmae": "own"}]}, environ={})


def test_C3_a_host_with_a_dot_at_its_end() -> None:
    """Certificates have no such names, so that it would fail at every call."""
    with pytest.raises(ConfigError, match="without the dot"):
        Webtrends(1, "a" * 32, "https://www.mysite.com", base_url="https://ots.example.com./api")


@pytest.mark.parametrize("name", ["json.dumps", "json:dumps"])
def test_functions_by_name(tmp_path: Path, name: str) -> None:
    """The functions of the request have dotted names in code, in files and in the environment."""
    file = tmp_path / "flagmw.toml"
    file.write_text(f'consent = "{name}"\n')
    environ = {"FLAGMW_IDENTIFY": name, "FLAGMW_BOTS": name}
    config = from_mapping(file=file, environ=environ)
    assert config.consent is config.identify is config.bots is json.dumps
    assert build({"bots": name}).bots is json.dumps
    assert from_mapping(environ={"FLAGMW_BOTS": "off"}).bots is False
