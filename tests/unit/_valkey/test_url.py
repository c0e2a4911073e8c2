"""Valkey URLs: what they say, what is wrong with them, and that nothing of them shows a secret."""

from __future__ import annotations

import pytest

from flagmw._support.secret import Secret
from flagmw._valkey.url import parse
from flagmw.config import build
from flagmw.exceptions import ConfigError
from flagmw.outbox import location

CANARY = "c4n4ry-secret"


def test_everything_that_a_url_can_say():
    """Each part ends where it belongs."""
    address = parse("valkeys://shop:pass%40word@host.example:6380/2?dir=/srv/x&prefix=shop&replicas=1&ca_file=/ca.pem")
    assert (address.host, address.port, address.database, address.tls) == ("host.example", 6380, 2, True)
    assert (address.username, address.password) == ("shop", Secret("pass@word"))
    assert (address.directory, address.prefix, address.replicas, address.ca_file) == ("/srv/x", "shop:", 1, "/ca.pem")


@pytest.mark.parametrize(
    ("url", "tls"), [("valkey://h", False), ("redis://h", False), ("valkeys://h", True), ("rediss://h", True)]
)
def test_the_least_that_a_url_can_say(url, tls):
    """Redis' schemes mean the same; what is not said has a default."""
    address = parse(url, {})
    assert (address.port, address.database, address.tls, address.prefix, address.replicas) == (
        6379,
        0,
        tls,
        "flagmw:",
        0,
    )
    assert (address.username, address.password, address.directory, address.allow_eviction) == (None, None, None, False)


def test_the_password_may_come_from_the_environment():
    """One in the URL wins."""
    variables = {"FLAGMW_VALKEY_PASSWORD": "from-outside"}
    assert parse("valkey://shop@h", variables).password == Secret("from-outside")
    assert parse("valkey://shop:inside@h", variables).password == Secret("inside")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://h", "begins with"),
        ("valkey://", "begins with"),
        ("valkey:///0", "no host"),
        (f"valkey://u:{CANARY}@h:port/0", "host and port"),
        (f"valkey://u:{CANARY}@h/zero", "whole number"),
        (f"valkey://u:{CANARY}@h?replicas=-1", "replicas"),
        (f"valkey://u:{CANARY}@h?replica=1", "'replica'"),
        (f"valkey://u:{CANARY}@h?prefix=a*", "prefix"),
        (f"valkey://u:{CANARY}@h?prefix=", "prefix"),
        (f"valkey://u:{CANARY}@h?sync=normal", "'sync'"),
    ],
)
def test_what_cannot_work_is_told_without_secrets(url, told):
    """The error names the part that is wrong and shows no password."""
    with pytest.raises(ConfigError, match=told) as caught:
        parse(url, {})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"valkey://u:{CANARY}@h", "dir="),
        (f"valkey://u:{CANARY}@h?dir=here", "dir="),
        (f"valkey://u:{CANARY}@h?dir=/x&sync=never", "sync must be"),
        (f"valkey://u:{CANARY}@h?dir=/x&colour=red", "no option 'colour'"),
    ],
)
def test_an_outbox_needs_a_place_on_the_machine(url, told):
    """As `outbox=` a URL names a directory, and may have the options of the files in it."""
    with pytest.raises(ConfigError, match=told) as caught:
        build({"outbox": url})
    assert CANARY not in str(caught.value)
    found = location.parse("valkey://h?dir=/srv/x&sync=normal&max_mib=64&replicas=1&key_env=KEYS")
    assert (found.scheme, found.path, found.server.replicas) == ("valkey", "/srv/x", 1)
    assert found.options == {"sync": "normal", "max_mib": "64", "key_env": "KEYS"}


def test_nothing_shows_the_password():
    """Neither the address, nor a parsed location, nor the configuration that holds the text."""
    url = f"valkey://shop:{CANARY}@h?dir=/srv/x"
    assert CANARY not in repr(parse(url)) + repr(location.parse(url)) + repr(build({"outbox": url})) + parse(url).name
