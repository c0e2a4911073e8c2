"""What operators ask of an outbox, and how it reaches the process that owns it."""

from __future__ import annotations

import os
import stat
import threading
import time
from dataclasses import replace

import pytest

from flagmw.codes import ErrorCode
from flagmw.outbox import orders
from flagmw.outbox.errands import Errands
from flagmw.outbox.memory import MemoryOutbox
from flagmw.types import Dead, Event
from flagmw.vendors.static import Static
from flagmw.vendors.webtrends import Webtrends

WT = Webtrends(1, "7a32f9364bd1ea68668a0e50bd815e79109a03720951", "https://www.mysite.com", name="wt")
STATIC = Static(flags={"a": "b"}, name="static")
VENDORS = {"wt": WT, "static": STATIC}
USER = "_wt.user-1"


def of(make_event, *, user_id: str | None = None, vendor: str = "wt", **cookies: str) -> Event:
    event = make_event(vendor=vendor)
    return replace(event, visit=replace(event.visit, user_id=user_id, cookies=cookies))


def purge(**known) -> orders.Order:
    return orders.forget_visitor([WT, STATIC], **({"user_ids": [], "saved": {}, "cookies": {}} | known))


def test_a_visitor_is_found_by_what_they_are_known_by(make_event, clock):
    """By user id, by the cookie that tells visitors apart, or by a cookie that the operator names; nobody else is."""
    events = {
        "same user": of(make_event, user_id="u-1"),
        "same cookie": of(make_event, **{USER: "ann", "_wt.control-1-x": "other"}),
        "same control": of(make_event, **{USER: "bob", "_wt.control-1-x": "same"}),
        "nothing": of(make_event),
    }
    for order, found in (
        (purge(user_ids=["u-1"]), {"same user"}),
        (purge(saved={USER: "ann", "_wt.control-1-x": "same"}), {"same cookie"}),
        (purge(cookies={"_wt.control-1-x": "same"}), {"same control"}),
        (purge(user_ids=["u-1"], cookies={USER: "bob"}), {"same user", "same control"}),
        (purge(user_ids=["ann"]), set()),
    ):
        matches = orders.matcher(orders.from_bytes(order.to_bytes()), VENDORS)
        assert {name for name, event in events.items() if matches(event)} == found


def test_a_vendor_that_names_no_cookie_is_asked_for_its_identity(make_event):
    """Two events are then of one visitor when the vendor says the same of both."""
    name = next(iter(STATIC.cookies.prefixes))
    order = purge(saved={name: "visitor-1"})
    matches = orders.matcher(order, VENDORS)
    assert matches(of(make_event, vendor="static", **{name: "visitor-1"}))
    assert not matches(of(make_event, vendor="static", **{name: "visitor-2"}))


def test_an_order_names_nobody():
    """What lies on the disk are salted hashes, different in every order."""
    first, second = purge(user_ids=["u-1"], cookies={USER: "ann"}), purge(user_ids=["u-1"], cookies={USER: "ann"})
    assert b"u-1" not in first.to_bytes() and b"ann" not in first.to_bytes()
    assert not set(first.marks) & set(second.marks)


def test_an_order_needs_something_to_go_by():
    """A saved visitor without any telling cookie is refused instead of matching everybody."""
    with pytest.raises(ValueError, match="tells one visitor from another"):
        purge(saved={"_wt.control-1-x": "same"})


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"v":9}', b'{"v":1,"work":"burn","ids":null,"marks":[]}'])
def test_what_is_no_order_is_refused(data):
    """A damaged file, or a later version's, is no order."""
    with pytest.raises(ValueError, match="no order"):
        orders.from_bytes(data)


def test_orders_are_carried_out(make_event, clock):
    """Letters are sent again or dropped, all or by id; a visitor's events go, queued and dead; the account balances."""
    store = MemoryOutbox()
    events = [make_event() for _ in range(4)]
    store.put_many([*events, of(make_event, user_id="u-1")], clock.now)
    lease = store.claim(clock.now, 4, 60.0)
    store.ack(lease, [Dead(ErrorCode.VENDOR_400)] * 4, clock.now)
    do = lambda order: orders.carry_out(order, store, VENDORS, clock.now)  # noqa: E731
    assert do(orders.letters("revive", [events[0].id, "unknown"])) == 1
    assert do(orders.letters("forget", [events[1].id])) == 1
    assert do(purge(user_ids=["u-1"])) == 1
    assert do(orders.letters("revive", None)) == 2
    stats = store.stats(clock.now)
    assert (stats.queued, stats.dead, sum(stats.dropped.values())) == (3, 0, 2)
    assert stats.balanced()


def test_an_errand_reaches_its_owner_and_is_answered(tmp_path):
    """The order is carried out once, by its owner only, and the answer comes back; nothing stays behind."""
    errands, order = Errands(tmp_path / "orders"), orders.letters("revive", ["x"])
    errands.post("slot-1", order)
    mode = stat.S_IMODE
    assert mode((tmp_path / "orders").stat().st_mode) == 0o700
    assert [mode(path.stat().st_mode) for path in (tmp_path / "orders").iterdir()] == [0o600]
    done: list[tuple[str, orders.Order]] = []

    def owner() -> None:
        end = time.monotonic() + 5
        while not done and time.monotonic() < end:
            errands.serve(["slot-2"], lambda *_: pytest.fail("not theirs"))
            errands.serve(["slot-1"], lambda owner, order: done.append((owner, order)) or 7)
            time.sleep(0.01)

    thread = threading.Thread(target=owner)
    thread.start()
    assert errands.answer("slot-1", order, 5) == 7
    thread.join()
    assert done == [("slot-1", order)]
    assert list((tmp_path / "orders").iterdir()) == []


def test_an_order_that_nobody_takes_is_taken_back(tmp_path):
    """An owner that died, or does not look, leaves the operator without an answer and no order behind."""
    errands, order = Errands(tmp_path / "orders"), orders.letters("forget", None)
    assert errands.serve(["slot-1"], lambda *_: 1) == 0, "a folder that is not there has no orders"
    errands.post("slot-1", order)
    assert errands.answer("slot-1", order, 0.1) is None
    assert errands.serve(["slot-1"], lambda *_: pytest.fail("taken back")) == 0


def test_rubbish_in_the_folder_is_removed(tmp_path):
    """A file that is no order is passed over once, and old ones are swept away."""
    errands = Errands(tmp_path)
    (tmp_path / "slot-1.x.order").write_bytes(b"rubbish")
    assert errands.serve(["slot-1"], lambda *_: pytest.fail("no order")) == 0
    old = tmp_path / "slot-1.y.answer"
    old.write_bytes(b"{}")
    os.utime(old, (1, 1))
    errands.sweep(time.time())
    assert list(tmp_path.iterdir()) == []
