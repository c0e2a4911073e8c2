"""A worker on vendors whose flows are real generators and a driver that does what a script says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from flagmw.exceptions import OutboxError, TransportError
from flagmw.outbox.memory import MemoryOutbox
from flagmw.outbox.worker import Worker
from flagmw.types import Call, Delivered, Event, Reply


class ScriptedVendor:
    """One call per delivery; what it brings is the script's next step, and `Delivered` when the script is over.

    A step is an outcome, a list of outcomes as the flow's raw result, a `TransportError` that the call ends with,
    another exception that the flow raises after the reply, or an event to wait for before the reply comes.
    """

    def __init__(self, *script: object) -> None:
        self.script = list(script)
        self.seen: list[str] = []
        self.step: object = None

    def deliver(self, batch: Sequence[Event]):
        self.seen += [event.id for event in batch]
        reply = yield Call(method="POST", url="https://vendor.example/track", headers={})
        assert reply.status == 200
        if isinstance(self.step, Exception):
            raise self.step
        if isinstance(self.step, list):
            return self.step
        return [self.step]

    def answer(self) -> Reply:
        self.step = self.script.pop(0) if self.script else Delivered()
        if isinstance(self.step, TransportError):
            raise self.step
        if isinstance(self.step, threading.Event):
            self.step.wait(60)
            self.step = Delivered()
        return Reply(status=200, headers={})


class BusyVendor:
    """One call per delivery, judged by *judge* in the thread that makes it; notes batches and what overlaps."""

    def __init__(self, judge: Callable[[Sequence[Event]], Sequence[object]] | None = None, batch_max: int = 1) -> None:
        self.batch_max = batch_max
        self.batches: list[list[str]] = []
        self.most = 0
        self.overlaps: list[str] = []
        self._judge = judge or (lambda batch: [Delivered()] * len(batch))
        self._lock = threading.Lock()
        self._inside: list[str] = []

    def deliver(self, batch: Sequence[Event]):
        yield Call(method="POST", url="https://vendor.example/track", headers={})
        visitor = batch[0].visitor_key
        with self._lock:
            self.batches.append([event.id for event in batch])
            self.overlaps += [visitor] if visitor in self._inside else []
            self._inside.append(visitor)
            self.most = max(self.most, len(self._inside))
        try:
            return self._judge(batch)
        finally:
            with self._lock:
                self._inside.remove(visitor)

    @property
    def seen(self) -> list[str]:
        return [id for batch in list(self.batches) for id in batch]

    def answer(self) -> Reply:
        return Reply(status=200, headers={})


class CountingOutbox(MemoryOutbox):
    """Counts how often somebody looks, and fails when it is told to."""

    claims = 0
    broken = False

    def claim(self, *args, **options):
        self.claims += 1
        if self.broken:
            raise OutboxError("disk full")
        return super().claim(*args, **options)


class Rig:
    """A worker with its store, its vendors and what it told `on_outcome`."""

    def __init__(self, clock, vendors, policy=None, store=None, **options):
        self.vendors, self.clock = vendors, clock
        self.store = store or MemoryOutbox(policy)
        self.told: list[tuple[str, object]] = []
        self.attempts: list[tuple[str, int]] = []
        options = {
            "max_rate": 10_000.0,
            "concurrency": 1,
            "on_outcome": self.tell,
        } | options
        # Attempts at once do not grow, unless a test says so.
        options.setdefault("concurrency_max", options["concurrency"])
        clocks = {"wall": clock, "monotonic": clock} if clock else {}
        self.worker = Worker(self.store, vendors, self.run, policy=policy, **clocks, **options)

    def tell(self, row, outcome) -> None:
        self.attempts.append((row.event.id, row.attempts + 1))
        self.told.append((row.event.id, outcome))

    def run(self, vendor, flow, deadline):
        next(flow)
        try:
            reply = self.vendors[vendor].answer()
        except TransportError as error:
            flow.throw(error)
        try:
            flow.send(reply)
        except StopIteration as done:
            return done.value
        raise AssertionError("one call was expected")

    def put(self, *events: Event) -> None:
        assert len(self.store.put_many(events, self.worker.now())) == len(events)
        self.worker.wake()

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.worker.wake()

    @property
    def stats(self):
        return self.store.stats(self.worker.now())


def eventually(condition: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait for *condition*, at most *within_s* seconds."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "flagmw-outbox"]


def codes(caplog) -> list[str]:
    return [record.getMessage().split("code=")[1].split()[0] for record in caplog.records]
