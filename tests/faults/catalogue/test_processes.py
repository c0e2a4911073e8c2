"""What an interpreter's end and a full outbox do to tracks: nothing raises, nothing hangs, everything is counted."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from flagmw import ErrorCode, Visit
from flagmw.outbox.memory import MemoryOutbox
from flagmw.types import Delivered, Event, Flow, Outcome, Track
from tests.contracts.edges.driver import Answer, Edge, Make, Probe, Seen
from tests.faults.catalogue.rows import eventually
from tests.support.busy import HELD_UP_S

# What a late track tells: whether it was taken, what the application's own store has, and flagmw's counters.
PRELUDE = """
import atexit, json, os, sys, threading, time
from flagmw import Flagmw, Visit
from flagmw.outbox.memory import MemoryOutbox
from flagmw.testing import FakeVendor

visit = Visit(url="https://www.mysite.com/", user_id="u-1")
outbox = MemoryOutbox() if OWN else "memory://"

def late(fm=None, json=json, os=os, time=time, outbox=outbox):
    fm = fm or globals()["fm"]
    taken = fm.track("purchase", visitor=visit) is not None
    # The store itself, where there is one: flagmw's own view of it may be gone by now.
    stored = 0 if outbox == "memory://" else outbox.stats(time.time()).accepted
    counts = {" ".join(label): n for label, n in fm.counts().items()}
    os.write(1, json.dumps({"taken": taken, "stored": stored, "counts": counts}).encode() + b"\\n")
"""

STAGES = {
    "before_our_own_exit_hook": """
        fm = Flagmw(vendors=[FakeVendor({"ta_A": "b"})], outbox=outbox)
        fm.decide(visit)
        atexit.register(late)
    """,
    "after_our_own_exit_hook": """
        atexit.register(late)
        fm = Flagmw(vendors=[FakeVendor({"ta_A": "b"})], outbox=outbox)
        fm.decide(visit)
        fm.track("purchase", visitor=visit)
    """,
    "while_modules_are_torn_down": """
        fm = Flagmw(vendors=[FakeVendor({"ta_A": "b"})], outbox=outbox)
        fm.decide(visit)

        class Late:
            def __del__(self, late=late, fm=fm):
                late(fm)

        sys.modules["last"] = type(sys)("last")
        sys.modules["last"].late = Late()
    """,
    "in_a_thread_that_does_not_stop": """
        fm = Flagmw(vendors=[FakeVendor({"ta_A": "b"})], outbox=outbox, tracks_per_visitor=10**6)

        def busy():
            while True:
                fm.track("purchase", visitor=visit)
                time.sleep(0.1)

        threading.Thread(target=busy, daemon=True).start()
        time.sleep(0.05)
        late()
    """,
}


# Where the late track is at the end, when it was the first: without an outbox of the application's own, and with one.
ENDS = {
    "before_our_own_exit_hook": ("delivered", "stored"),
    "after_our_own_exit_hook": ("lost", "stored"),
    "while_modules_are_torn_down": ("lost", "lost"),
    "in_a_thread_that_does_not_stop": ("delivered", "stored"),
}


@pytest.mark.parametrize("own", [False, True], ids=["memory", "outbox"])
@pytest.mark.parametrize("stage", STAGES)
def test_P22_track_at_interpreter_shutdown(stage: str, own: bool) -> None:
    """A late track raises nothing and hangs nothing: it is stored at once, or dropped and counted."""
    code = f"OWN = {own}\n" + PRELUDE + textwrap.dedent(STAGES[stage])
    order = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    done = subprocess.run(order, capture_output=True, text=True, timeout=30, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    (told,) = (json.loads(line) for line in done.stdout.splitlines())
    end = ENDS[stage][own]
    assert told["taken"]
    assert told["counts"].get("event_dropped  LOST_AT_EXIT", 0) == (end == "lost")
    assert (told["stored"] > 0) is (end == "stored")


class Stalled(Probe):
    """A vendor whose deliveries wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        self.go.wait(3 * HELD_UP_S)
        return [Delivered() for _ in batch]
        yield


def exposure(n: int) -> Event:
    track = Track(id=f"t{n}", metric="exposure")
    visit = Visit(url="https://www.mysite.com/")
    return Event(
        id=f"e{n}", vendor="probe", kind="exposure", track=track, aliases=("ta_P",), visit=visit, visitor_key=f"v{n}"
    )


def test_P23_full_queue(edge: Edge, make: Make) -> None:
    """Events that find no room are dropped and counted, exposures before tracks, and no page waits for room."""
    vendor, outbox = Stalled(), MemoryOutbox(max_rows=10)
    fm = make(vendors=[vendor], outbox=outbox)

    def view(seen: Seen) -> Answer:
        for _ in range(4):
            seen.flags.track("purchase")
        return Answer(seen.flags["ta_P"].encode())

    app = edge.mount(view, fm)
    assert len(outbox.put_many([exposure(n) for n in range(12)], time.time())) == 8, "exposures may fill four fifths"
    started = time.monotonic()
    page = edge.get(app)
    elapsed = time.monotonic() - started
    assert (page.status, page.body) == (200, b"p")
    assert elapsed < HELD_UP_S
    assert eventually(lambda: fm.counts().get(("event_dropped", "", ErrorCode.QUEUE_FULL)) == 2)
    stats = fm.outbox_stats()
    assert (stats.accepted, stats.queued, stats.refused) == (10, 10, {ErrorCode.QUEUE_FULL: 6})
    assert stats.balanced()
    vendor.go.set()
    assert fm.flush(5)
    stats = fm.outbox_stats()
    assert (stats.delivered, stats.queued) == (10, 0) and stats.balanced()
    assert eventually(lambda: fm.counts()[("delivery_delivered", "probe", "")] == 10)
