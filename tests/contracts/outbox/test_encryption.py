"""Encryption at rest: what is on the disk shows nothing, and a wrong key loses nothing."""

from __future__ import annotations

import base64
import os
import time

import pytest

from flagmw._support.encryption import AesGcm, PlainText, Unreadable, cipher_from_environment
from flagmw._support.secret import Secret
from flagmw.exceptions import ConfigError
from flagmw.outbox.sqlite import SqliteOutbox
from flagmw.types import Delivered

OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def seal(*keys: str) -> AesGcm:
    return AesGcm([Secret(key) for key in keys])


def ids(lease) -> list[str]:
    return [] if lease is None else [row.event.id for row in lease.rows]


@pytest.mark.parametrize("form", [OLD, bytes([1] * 32).hex(), base64.urlsafe_b64encode(bytes([255]) * 32).decode()])
def test_keys_are_base64_or_hex(monkeypatch, form):
    """The environment's keys are taken in each usual form, several separated by commas."""
    monkeypatch.setenv("SHOP_KEY", f"{form}, {NEW}")
    made = cipher_from_environment("SHOP_KEY")
    assert made.decrypt(made.encrypt(b"body")) == b"body"
    assert made.decrypt(seal(NEW).encrypt(b"older")) == b"older"


@pytest.mark.parametrize("value", ["", "short", base64.b64encode(b"x" * 31).decode(), "ü" * 43])
def test_what_is_no_key_is_refused_without_being_quoted(monkeypatch, value):
    """A missing or wrong key stops the start, with the name of the variable or the form of a key."""
    monkeypatch.setenv("SHOP_KEY", value)
    with pytest.raises(ConfigError) as caught:
        cipher_from_environment("SHOP_KEY")
    assert "32 random bytes" in str(caught.value) and (not value or value not in str(caught.value))


def test_damaged_and_foreign_bodies_are_unreadable():
    """A changed byte, a cut and another key are told apart from a body; without a key so is anything sealed."""
    made = seal(NEW)
    stored = made.encrypt(b"body")
    for wrong in (stored[:-1], stored[:10], stored[:-1] + bytes([stored[-1] ^ 1]), seal(OLD).encrypt(b"body")):
        with pytest.raises(Unreadable):
            made.decrypt(wrong)
    with pytest.raises(Unreadable):
        PlainText().decrypt(stored)
    assert made.decrypt(b'{"v":1}') == b'{"v":1}', "events from before the encryption"


def test_nothing_of_a_visitor_is_on_the_disk(tmp_path, make_event):
    """Neither cookies nor pages nor order numbers are in the files, in the log or in the index."""
    store = SqliteOutbox(tmp_path, seal=seal(NEW))
    store.put_many([make_event(key="order-4711", url="https://shop.example/secret-page")], time.time())
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for told in (b"order-4711", b"secret-page", b"_wt.user-1", b"purchase"):
        assert told not in raw
    assert len(ids(store.claim(time.time(), 1, 60))) == 1
    store.close()


def test_a_wrong_key_leaves_the_events_for_the_right_one(tmp_path, make_event):
    """With another key they stay queued, in nobody's way; with the right one they are delivered."""
    store = SqliteOutbox(tmp_path, seal=seal(OLD))
    sealed = make_event()
    store.put_many([sealed], time.time())
    store.close()
    store = SqliteOutbox(tmp_path, seal=seal(NEW))
    own = make_event()
    store.put_many([own], time.time())
    lease = store.claim(time.time(), 5, 60)
    assert ids(lease) == [own.id]
    store.ack(lease, [Delivered()], time.time())
    assert store.stats(time.time()).queued == 1 and store.next_due(time.time()) is None
    store.close()
    store = SqliteOutbox(tmp_path, seal=seal(NEW, OLD))
    assert ids(store.claim(time.time(), 5, 60)) == [sealed.id]
    store.close()


def test_no_key_shows(monkeypatch):
    """Seals and stores do not show keys in any form of themselves."""
    monkeypatch.setenv("SHOP_KEY", NEW)
    made = cipher_from_environment("SHOP_KEY")
    assert NEW not in repr(made) + repr(vars(made)) + repr(SqliteOutbox(os.devnull, seal=made))
