"""`Flagmw`: the vendors, the drivers and the outbox behind one object that an application mounts."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flagmw import _override, _saved
from flagmw._engine import Context, Exchange
from flagmw._guard import Breaker, Bucket, Deadline, PerMinute
from flagmw._inbound import Inbound, make_visit
from flagmw._lane import Lane
from flagmw._log import Throttle
from flagmw._stats import Counts, Label
from flagmw.codes import ErrorCode
from flagmw.config import Config, build, from_mapping, matcher
from flagmw.exceptions import OutboxError
from flagmw.flags import Flags
from flagmw.outbox.base import Outbox, OutboxStats
from flagmw.types import Event, EventNote, Flow, Outcome, Visit, VisitorState

if TYPE_CHECKING:
    from concurrent.futures import Future

COMMIT_WAIT_S = 0.05
CLOSE_S = 8.0
EXIT_FLUSH_S = 4.0

_UNDECIDED_METHODS = frozenset({"HEAD", "OPTIONS"})

logger = logging.getLogger("flagmw")


class Flagmw:
    """Decide flags through vendors, and deliver what visitors did to them.

    Keyword options are those of `Config`; see there, or the README's table. Nothing is opened or started
    before the first use, and everything starts anew in a forked child and after `close()`.

    Raises:
        ConfigError: an option is unknown or wrong; the text names it and the cure, never a secret.
    """

    def __init__(self, **options: Any) -> None:
        self._init(build(options))

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, Any] | None = None,
        *,
        file: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Flagmw:
        """Return a `Flagmw` from a mapping, a TOML file and `FLAGMW_*` variables; see `config.from_mapping`."""
        made = cls.__new__(cls)
        made._init(from_mapping(mapping, file=file, environ=environ))
        return made

    def _init(self, config: Config) -> None:
        self.config = config
        self._counts = Counts()
        self._throttle = Throttle(logger)
        tracks = PerMinute(config.tracks_per_visitor)
        self._context = Context(config, self._counts, self._throttle, time.time, tracks)
        self._new_visitors = None if config.new_visitors_per_s is None else Bucket(config.new_visitors_per_s)
        self._rules = [vendor.cookies for vendor in config.vendors]
        self._lanes = [Lane(vendor, config, self._counts, self._throttle) for vendor in config.vendors]
        self._decides_on, self._excluded = matcher(config.paths), matcher(config.exclude)
        # By pid: a forked child finds nothing of its own and makes it anew.
        self._by_pid: dict[int, _Running] = {}
        self._exit_pid = 0
        self._ended = False

    def __repr__(self) -> str:
        return f"Flagmw(vendors=[{', '.join(vendor.name for vendor in self.config.vendors)}])"

    # Outside of a request

    def decide(self, visit: Visit) -> Flags:
        """Return the flags of *visit*, waiting for the vendors until the deadline at most. Raises nothing."""
        exchange = self._exchange_of(visit)
        return self.settle(exchange)

    async def adecide(self, visit: Visit) -> Flags:
        """As `decide`, from an event loop."""
        exchange = self._exchange_of(visit)
        return await self.asettle(exchange)

    def track(
        self,
        metric: str,
        *,
        visitor: bytes | Visit,
        data: Mapping[str, Any] | None = None,
        aliases: Iterable[str] | None = None,
        vendors: Iterable[str] | None = None,
        key: str | None = None,
        value: float | None = None,
        currency: str | None = None,
        items: Sequence[Mapping[str, Any]] | None = None,
    ) -> str | None:
        """Report what a visitor did, from a job or a webhook; see `Flags.track`.

        Args:
            visitor: what `Flags.save()` returned in a request of theirs, or a `Visit` with their cookies.

        Raises:
            ValueError: *visitor* cannot be read; or the data is bad and the configuration says `debug`.
        """
        visit = visitor if isinstance(visitor, Visit) else _saved.load(visitor, time.time())
        return self._exchange_of(visit).track(
            metric,
            data=data,
            aliases=aliases,
            vendors=vendors,
            key=key,
            value=value,
            currency=currency,
            items=items,
        )

    # Life

    def start(self) -> None:
        """Start what can be started now instead of at first use: HTTP libraries, certificates, delivery."""
        self._here().worker.start()
        for lane in self._lanes:
            if lane.remote:
                lane.blocking.prepare()
                lane.delivery.prepare()

    async def astart(self) -> None:
        """As `start`, for an event loop."""
        self._here().worker.start()
        for lane in self._lanes:
            if lane.remote:
                lane.aio.prepare()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all events are delivered; return whether they are, after *timeout_s* seconds at most."""
        running, end = self._running, time.monotonic() + timeout_s
        if running is None:
            return True
        return running.stored(timeout_s) and running.worker.flush(max(0.0, end - time.monotonic()))

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Deliver what can be delivered, stop threads, close connections. A later use starts everything anew."""
        end = time.monotonic() + timeout_s
        running = self._by_pid.pop(os.getpid(), None)
        if running is not None:
            running.stored(min(EXIT_FLUSH_S, timeout_s / 2))
            if running.own_memory:
                # What only this process knows of is lost after this, so it gets the time there is.
                running.worker.flush(min(EXIT_FLUSH_S, max(0.0, end - time.monotonic() - 1.0)))
            running.worker.close(max(0.1, end - time.monotonic()))
            running.committer.shutdown(wait=False)
            lost = running.outbox.stats(running.worker.now()).queued if running.own_memory else 0
            if lost:
                self._counts.add("event_dropped", "", ErrorCode.LOST_AT_EXIT, lost)
                self._throttle.change(
                    logging.ERROR,
                    ErrorCode.LOST_AT_EXIT,
                    'events were lost: outbox="memory://" keeps none',
                    events=lost,
                )
            if running.own_memory:
                running.outbox.close()
        for lane in self._lanes:
            lane.blocking.close()
            lane.delivery.close()

    async def aclose(self, timeout_s: float = CLOSE_S) -> None:
        """As `close`, from an event loop, whose connections it closes too."""
        import asyncio

        for lane in self._lanes:
            await lane.aio.aclose()
        await asyncio.to_thread(self.close, timeout_s)

    def health(self) -> dict[str, Any]:
        """Return a small, plain picture for readiness endpoints and people."""
        running = self._running
        return {
            "vendors": {lane.vendor.name: lane.health() for lane in self._lanes},
            "delivery": None if running is None else running.worker.health(),
            "queued": 0 if running is None else running.outbox.stats(running.worker.now()).queued,
        }

    def counts(self) -> Mapping[Label, int]:
        """Return all counters by (what, vendor, code), as they are at this moment."""
        return self._counts.snapshot()

    def outbox_stats(self) -> OutboxStats:
        """Return the outbox's counts as they are at this moment."""
        running = self._here()
        return running.outbox.stats(running.worker.now())

    # For the edges

    def begin(self, inbound: Inbound) -> tuple[Exchange, bool] | None:
        """Return the exchange of a request and whether vendors are asked; None to leave the request alone."""
        path = inbound.path
        if self._excluded(path):
            return None
        visit, states, rejected = make_visit(inbound, self.config, self._rules, time.time(), self._identity_failed)
        for code in rejected:
            self._counts.add("visitor_cookie_rejected", "", code)
        exchange = Exchange(self._context, visit, states)
        asks = inbound.method not in _UNDECIDED_METHODS and self._decides_on(path)
        if asks and self._new_visitors is not None and not visit.cookies and visit.user_id is None:
            asks = self._new_visitors.take(time.monotonic())
            if not asks:
                exchange.kept_from = ErrorCode.NEW_VISITORS
                self._counts.add("undecided", "", ErrorCode.NEW_VISITORS)
                self._throttle.log(logging.WARNING, ErrorCode.NEW_VISITORS, "too many new visitors, no vendor is asked")
        return exchange, asks

    def excluded(self) -> Flags:
        """Return the flags of a request that is left alone: the defaults, or what a test has put in place."""
        override = _override.override()
        if override is not None:
            return Exchange(self._context, Visit(url="https://localhost/"), []).overridden(override)
        return Flags(defaults=self.config.defaults, error_code=ErrorCode.EXCLUDED, on=self.config.on)

    def settle(self, exchange: Exchange) -> Flags:
        """Ask all vendors, each in its own pool of threads, and return the flags by the deadline."""
        override = _override.override()
        if override is not None:
            return exchange.overridden(override)
        deadline = Deadline.after(self.config.deadline_ms / 1000, time.monotonic())
        self._here()
        asked = [
            lane.submit(exchange.visit, state, deadline)
            for lane, state in zip(self._lanes, exchange.states, strict=True)
        ]
        return exchange.settle([lane.collect(one, deadline) for lane, one in zip(self._lanes, asked, strict=True)])

    async def asettle(self, exchange: Exchange) -> Flags:
        """Ask all vendors at once on the running loop and return the flags by the deadline."""
        override = _override.override()
        if override is not None:
            return exchange.overridden(override)
        deadline = Deadline.after(self.config.deadline_ms / 1000, time.monotonic())
        self._here()
        asks = [
            lane.ask(exchange.visit, state, deadline) for lane, state in zip(self._lanes, exchange.states, strict=True)
        ]
        if len(asks) == 1:
            return exchange.settle([await asks[0]])
        import asyncio

        return exchange.settle(await asyncio.gather(*asks))

    def commit(self, exchange: Exchange) -> None:
        """Put the request's events in the outbox; wait for that 50 ms at most. Later ones go there at once."""
        stored = self._hand_over(exchange)
        if stored is None:
            return
        try:
            stored.result(COMMIT_WAIT_S)
        except TimeoutError:
            self._counts.add("commit_late", "", ErrorCode.COMMIT_LATE)

    async def acommit(self, exchange: Exchange) -> None:
        """As `commit`, from an event loop, which it does not block."""
        stored = self._hand_over(exchange)
        if stored is None:
            return
        import asyncio

        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(stored)), COMMIT_WAIT_S)
        except TimeoutError:
            self._counts.add("commit_late", "", ErrorCode.COMMIT_LATE)

    def internal_error(self, error: BaseException) -> None:
        """Count and log a defect of ours that an edge has kept from the application."""
        self._counts.add("internal_error", "", ErrorCode.INTERNAL)
        self._throttle.log(
            logging.ERROR, ErrorCode.INTERNAL, "request served without flags", error=type(error).__name__
        )

    def touched_late(self) -> None:
        """Count and log that a view looked at flags when its headers had left: a cache may share what is personal."""
        self._counts.add("touched_late", "", ErrorCode.TOUCHED_LATE)
        self._throttle.log(
            logging.ERROR, ErrorCode.TOUCHED_LATE, "flags were read after the headers left: read them in the view"
        )

    # Inside

    def _identity_failed(self, error: Exception) -> None:
        self._counts.add("identify_failed")
        self._throttle.log(logging.ERROR, "IDENTIFY", "identify failed, no identity", error=type(error).__name__)

    def _exchange_of(self, visit: Visit) -> Exchange:
        states = [
            VisitorState({name: value for name, value in visit.cookies.items() if rule.reads(name)})
            for rule in self._rules
        ]
        return Exchange(self._context, visit, states, _Sink(self._put))

    def _hand_over(self, exchange: Exchange) -> Future[None] | None:
        """Put away what the request has collected; return what may still be on its way to the store."""
        sink = exchange.sink
        if not isinstance(sink, _Sink):
            sink = exchange.sink = _Sink(self._put)
        events = exchange.drain()
        if events:
            sink(events)
        stored, sink.last = sink.last, None
        return stored

    def _put(self, events: Sequence[Event]) -> Future[None] | None:
        try:
            running = self._here()
        except ImportError:
            # The interpreter takes its modules apart: there is nothing left to store with, nor to log with.
            self._counts.add("event_dropped", "", ErrorCode.LOST_AT_EXIT, len(events))
            return None
        if self._ended and running.own_memory:
            self._counts.add("event_dropped", "", ErrorCode.LOST_AT_EXIT, len(events))
            self._throttle.log(logging.ERROR, ErrorCode.LOST_AT_EXIT, "events came after the end and were lost")
            return None
        if not running.own_memory:
            try:
                return running.committer.submit(self._store, running, events)
            except RuntimeError:
                pass  # closed just now, or the interpreter is on its way out: nothing is left that could be held up
        self._store(running, events)
        return None

    def _store(self, running: _Running, events: Sequence[Event]) -> None:
        try:
            stored = len(running.outbox.put_many(events, running.worker.now()))
        except Exception as error:
            # Somebody else's error text may quote what a visitor sent.
            told = str(error) if isinstance(error, OutboxError) else type(error).__name__
            self._counts.add("event_dropped", "", ErrorCode.OUTBOX_FAILED, len(events))
            self._throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, f"events were dropped: {told}")
            return
        if stored:
            running.worker.wake()
        if stored < len(events):
            self._counts.add("event_dropped", "", ErrorCode.QUEUE_FULL, len(events) - stored)
            self._throttle.log(logging.ERROR, ErrorCode.QUEUE_FULL, "events were dropped: the outbox is full")

    @property
    def _running(self) -> _Running | None:
        return self._by_pid.get(os.getpid())

    def _here(self) -> _Running:
        pid = os.getpid()
        running = self._by_pid.get(pid)
        if running is not None:
            return running
        inherited = [other for other in self._by_pid if other != pid]
        if inherited:
            # A forked child: what the parent has under way stays the parent's.
            self._throttle = self._context.throttle = Throttle(logger)
            for lane in self._lanes:
                lane.reset(self._throttle)
            for other in inherited:
                self._by_pid.pop(other, None)
        if self._exit_pid != pid:
            self._exit_pid = pid
            atexit.register(_close_at_exit, weakref.ref(self), pid)
        # setdefault is atomic: threads that race here agree on one, and the other has started nothing.
        return self._by_pid.setdefault(pid, _Running(self))

    def _deliver(self, vendor: str, flow: Flow[Sequence[Outcome]], deadline: Deadline) -> Sequence[Outcome]:
        lane = next(lane for lane in self._lanes if lane.vendor.name == vendor)
        return lane.delivery.run(flow, deadline)

    def _outcome(self, event: Event, outcome: Outcome) -> None:
        code = getattr(outcome, "code", None) or ""
        self._counts.add(f"delivery_{type(outcome).__name__.lower()}", event.vendor, code)
        if self.config.on_event is not None:
            self.config.on_event(
                EventNote(id=event.id, vendor=event.vendor, kind=event.kind, metric=event.track.metric, outcome=outcome)
            )


class _Running:
    """What one process has started: the outbox and its worker. Made without starting anything."""

    def __init__(self, fm: Flagmw) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from flagmw.outbox.memory import MemoryOutbox
        from flagmw.outbox.worker import Worker

        config = fm.config
        self.own_memory = isinstance(config.outbox, str)
        self.outbox: Outbox = MemoryOutbox() if self.own_memory else config.outbox
        self.worker = Worker(
            self.outbox,
            {vendor.name: vendor for vendor in config.vendors},
            fm._deliver,
            {vendor.name: Breaker() for vendor in config.vendors},
            max_rate=config.max_rate,
            on_outcome=fm._outcome,
        )
        self.committer = ThreadPoolExecutor(1, "flagmw-commit")

    def stored(self, timeout_s: float) -> bool:
        """Wait until everything handed over so far is in the outbox; return whether it is."""
        if self.own_memory:
            return True
        try:
            self.committer.submit(int).result(timeout_s)
        except TimeoutError:
            return False
        except RuntimeError:
            pass  # the interpreter is on its way out, and has waited for it before it said so
        return True


class _Sink:
    """Where a request's tracks go at once; knows the last that may still be on its way."""

    def __init__(self, put: Callable[[Sequence[Event]], Future[None] | None]) -> None:
        self._put = put
        self.last: Future[None] | None = None

    def __call__(self, events: Sequence[Event]) -> None:
        self.last = self._put(events) or self.last


def _close_at_exit(reference: weakref.ref[Flagmw], pid: int) -> None:
    fm = reference()
    if fm is not None and os.getpid() == pid:
        fm.close()
        fm._ended = True
