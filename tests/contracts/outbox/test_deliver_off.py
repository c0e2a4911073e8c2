"""`deliver="off"`: a web process stores events and leaves their delivery to `flagmw deliver`."""

from __future__ import annotations

import threading

import pytest

from flagmw import ConfigError, Flagmw, Visit
from flagmw.outbox.memory import MemoryOutbox
from flagmw.testing import FakeVendor

VISIT = Visit(url="https://www.mysite.com/", user_id="u-1")


def test_nothing_is_delivered_until_the_process_is_told_to() -> None:
    vendor, outbox = FakeVendor({"ta_A": "b"}), MemoryOutbox()
    fm = Flagmw(vendors=[vendor], outbox=outbox, deliver="off")
    before = {*threading.enumerate()}
    fm.start()
    fm.track("purchase", visitor=VISIT)
    assert not fm.flush(0.3)
    assert (fm.outbox_stats().queued, vendor.delivered) == (1, [])
    started = {thread.name for thread in {*threading.enumerate()} - before}
    assert not [name for name in started if name.startswith("flagmw-outbox")]
    fm.deliver()
    assert fm.flush(5.0)
    assert len(vendor.delivered) == 1
    fm.close(1.0)


@pytest.mark.parametrize("outbox", [None, "memory://", "sqlite:///tmp/flagmw"])
def test_events_that_nobody_else_could_reach_are_refused(outbox: str | None) -> None:
    with pytest.raises(ConfigError, match="valkey://"):
        Flagmw(vendors=[FakeVendor()], outbox=outbox, deliver="off")
