"""`outbox=` as text, and the place that an application gets by default."""

from __future__ import annotations

import logging
import os

import pytest

from flagmw import Flagmw, Static, Stats
from flagmw.exceptions import ConfigError, OutboxError
from flagmw.outbox.location import Location, default_directory, parse

STATIC = Static(flags={})


def test_locations():
    """The forms that there are, with their options."""
    assert parse("memory://") == Location("memory")
    assert parse("sqlite:///var/lib/my%20shop") == Location("sqlite", "/var/lib/my shop")
    found = parse("sqlite:///data?key_env=KEY&network=allow&copies=adopt&sync=normal&max_mib=64")
    assert found.options == {
        "key_env": "KEY", "network": "allow", "copies": "adopt", "sync": "normal", "max_mib": "64"
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "memory", "memory://x", "sqlite://data", "sqlite:data", "sqlite:///", "sqlite:///x#y", "file:///x"]
    + [f"sqlite:///x?{wrong}" for wrong in ("a=b", "sync=off", "max_mib=0", "max_mib=x", "network=", "key_env=A-B")],
)
def test_wrong_locations(text):
    """Anything else is refused with what would be right."""
    with pytest.raises(ConfigError, match="outbox"):
        parse(text)


def test_the_default_place_is_the_application_s_own():
    """It follows XDG, is the same for each process of an application, and another for each other application."""
    place = default_directory({"XDG_STATE_HOME": "/state"}, "/home/me", "/srv/shop", ["wt", "adobe"])
    assert place.startswith("/state/flagmw/shop-")
    assert place == default_directory({"XDG_STATE_HOME": "/state"}, "/root", "/srv/shop", ["adobe", "wt"])
    others = [
        default_directory({"XDG_STATE_HOME": "/state"}, "/home/me", "/srv/other", ["wt", "adobe"]),
        default_directory({"XDG_STATE_HOME": "/state"}, "/home/me", "/srv/shop", ["wt"]),
        default_directory({}, "/home/me", "/srv/shop", ["wt", "adobe"]),
        default_directory({"XDG_STATE_HOME": "relative"}, "/home/me", "/", ["wt"]),
    ]
    assert len({place, *others}) == 5
    assert others[2].startswith("/home/me/.local/state/flagmw/shop-") and "/flagmw/app-" in others[3]


def test_the_default_place_is_named_once(caplog):
    """An application that has not said where is told where, with the way to say it."""
    fm = Flagmw(vendors=[STATIC])
    assert caplog.records == [], "nothing is opened before the first use"
    fm.start()
    fm.start()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1 and os.environ["XDG_STATE_HOME"] in told[0] and 'outbox="sqlite:///' in told[0]
    assert fm.health()["outbox"] == "ok"
    assert isinstance(fm.stats(), Stats) and fm.stats().outbox.balanced()
    fm.close()


def test_P7_an_unusable_place_is_told_and_shows_in_health(tmp_path, caplog):
    """Without `outbox_required` the application starts; readiness endpoints can tell that events are not on disk."""
    (tmp_path / "file").write_text("")
    fm = Flagmw(vendors=[STATIC], outbox=f"sqlite://{tmp_path}/file/x")
    fm.start()
    assert fm.health()["outbox"] not in (None, "ok")
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    fm.close()


def test_P7_required(tmp_path, monkeypatch):
    """With `outbox_required` an outbox that cannot be had stops the start, at once or when it is opened."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="outbox_required"):
        Flagmw(
            vendors=[STATIC],
            outbox=f"sqlite://{tmp_path}/file/x",
            outbox_required=True,
        )
    with pytest.raises(ConfigError, match="sqlite:///"):
        Flagmw(vendors=[STATIC], outbox="memory://", outbox_required=True)
    fm = Flagmw(
        vendors=[STATIC],
        outbox=f"sqlite://{tmp_path}/good",
        outbox_required=True,
    )
    (tmp_path / "good").rmdir()
    (tmp_path / "good").write_text("")
    with pytest.raises(OutboxError):
        fm.start()
    fm.close()


def test_a_missing_key_stops_the_start(tmp_path):
    """The variable that was to hold the key is named."""
    with pytest.raises(ConfigError, match="SHOP_NO_KEY"):
        Flagmw(vendors=[STATIC], outbox=f"sqlite://{tmp_path}/x?key_env=SHOP_NO_KEY")
