"""Secrets that do not show, logs that do not flood, counters that stay closed, and a short memory."""

from __future__ import annotations

import logging
import pickle

import pytest

from flagmw._support.counters import Counters
from flagmw._support.log import Throttle
from flagmw._support.secret import Secret
from flagmw.vendors.webtrends.refused import RecentlyRefused


def test_I23_secrets() -> None:
    """A secret shows its value on request only, and cannot be pickled away."""
    secret = Secret("canary")
    shown = f"{secret} {secret!r} {[secret]} {vars(type('Holder', (), {'token': secret}))}"
    assert "canary" not in shown and "***" in shown
    assert secret.reveal() == "canary"
    assert secret == Secret("canary") != Secret("other")
    assert hash(secret) == hash(Secret("canary"))
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_throttle(caplog: pytest.LogCaptureFixture) -> None:
    """A trouble that goes on is told once in ten seconds, with how often it was not told; others are not held back."""
    now = [0.0]
    throttle = Throttle(logging.getLogger("test.throttle"), clock=lambda: now[0])
    said = []
    for at in (0.0, 5.0, 9.9, 10.0, 10.1):
        now[0] = at
        said.append(throttle.log(logging.WARNING, "A", "trouble", vendor="wt"))
    assert said == [True, False, False, True, False]
    assert throttle.log(logging.WARNING, "B", "other trouble")
    assert [record.getMessage() for record in caplog.records] == [
        "trouble code=A vendor=wt",
        "trouble code=A vendor=wt suppressed=2",
        "other trouble code=B",
    ]


def test_throttle_and_a_clock_that_goes_back() -> None:
    """A clock that went back silences nothing."""
    now = [1000.0]
    throttle = Throttle(logging.getLogger("test.throttle"), clock=lambda: now[0])
    assert throttle.log(logging.INFO, "A", "x")
    now[0] = 10.0
    assert throttle.log(logging.INFO, "A", "x")


def test_counts() -> None:
    """Counters add up by what, vendor and code; a snapshot does not move."""
    counts = Counters()
    counts.add("a", "v1", "X")
    counts.add("a", "v2", "X", 2)
    counts.add("a", "v2", "Y")
    snapshot = counts.snapshot()
    counts.add("a")
    assert (counts.total("a"), counts.total("a", "v2"), counts.total("a", None, "X"), counts.total("b")) == (5, 3, 3, 0)
    assert snapshot == {("a", "v1", "X"): 1, ("a", "v2", "X"): 2, ("a", "v2", "Y"): 1}


def test_seen() -> None:
    """What was seen is known for its time, whatever the order of its cookies, and forgotten in bounded memory."""
    seen = RecentlyRefused(60.0, size=2)
    assert not seen.has({"a": "1"}, 0.0)
    seen.add({"a": "1", "b": "2"}, 0.0)
    assert seen.has({"b": "2", "a": "1"}, 59.9)
    assert not seen.has({"a": "1"}, 0.0)
    assert not seen.has({"a": "1", "b": "2"}, 60.0)
    for n in range(3):
        seen.add({"n": str(n)}, 100.0)
    assert [seen.has({"n": str(n)}, 100.0) for n in range(3)] == [False, True, True]
