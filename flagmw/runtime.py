"""`Flagmw`: the vendors, the drivers and the outbox behind one object that an application mounts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flagmw import _placed, _saved
from flagmw._delivery import Delivery
from flagmw._engine import Context, Exchange
from flagmw._guard import Bucket, Deadline, PerMinute
from flagmw._inbound import Inbound
from flagmw._lane import Lane
from flagmw._lazy import Deferred, InThread, OnLoop
from flagmw._log import Throttle
from flagmw._refresh import Refresher
from flagmw._shadow import Shadow
from flagmw._shadow_report import Report
from flagmw._stats import Counts, Label, Stats
from flagmw._visiting import Visiting
from flagmw._visitors import open_seen, open_store
from flagmw.codes import ErrorCode
from flagmw.config import Config, build, from_mapping, matcher
from flagmw.flags import Flags, Pending
from flagmw.outbox.base import OutboxStats
from flagmw.types import Visit, VisitorState

CLOSE_S = 8.0
REFRESH_S = 10.0

_UNDECIDED_METHODS = frozenset({"HEAD", "OPTIONS"})

logger = logging.getLogger("flagmw")


class Flagmw:
    """Decide flags through vendors, and deliver what visitors did to them.

    Keyword options are those of `Config`; see there, or the README's table. Nothing is opened or started
    before the first use, and everything starts anew in a forked child and after `close()`.

    Attributes:
        config: all options, checked.
        leaves_alone: says whether requests for a path are none of flagmw's business.
        shadows: whether there are vendors that are asked after responses, to compare.

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
        serving = config.serving()
        self._counts = Counts()
        self._throttle = Throttle(logger)
        tracks = PerMinute(config.tracks_per_visitor)
        self._context = Context(serving, self._counts, self._throttle, time.time, tracks)
        self._new_visitors = None if config.new_visitors_per_s is None else Bucket(config.new_visitors_per_s)
        self._context.seen = open_seen(config.outbox) or self._context.seen
        self._visiting = (
            None
            if config.visitor_store is None
            else Visiting(open_store(config.visitor_store), self._counts, self._throttle)
        )
        self._reused = self._counts.tally("reused")
        self._deadline_s = config.deadline_ms / 1000
        self._gated = config.consent is not None or config.bots is not False or config.overrides
        self._defers = config.mode == "lazy" and not (config.overrides or config.visitor_store)
        self._lanes = [Lane(vendor, self._context) for vendor in serving.vendors]
        shadows = [vendor for vendor in config.vendors if vendor not in serving.vendors]
        self._shadow = Shadow(shadows, self._context, self._deadline_s, config.shadow_report) if shadows else None
        self.shadows = bool(shadows)
        self._defers = self._defers and not shadows
        self._all_lanes = self._lanes if self._shadow is None else [*self._lanes, *self._shadow.lanes]
        self._decides_on, self.leaves_alone = matcher(config.paths), matcher(config.exclude)
        self._delivery = Delivery(config, self._all_lanes, self._counts, self._throttle)
        self._context.open_sink = self._delivery.sink
        refreshed = {lane.vendor.name: lane for lane in self._all_lanes if hasattr(lane.vendor, "refresh")}
        self._refresher = Refresher(
            {name: lane.vendor for name, lane in refreshed.items()},  # type: ignore[misc]
            lambda name, flow: refreshed[name].delivery.run(flow, Deadline.after(REFRESH_S, time.monotonic())),
            self._throttle,
        )
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"Flagmw(vendors=[{', '.join(vendor.name for vendor in self.config.vendors)}])"

    # Outside of a request

    def decide(self, visit: Visit) -> Flags:
        """Return the flags of *visit*, waiting for the vendors until the deadline at most. Raises nothing."""
        return self.settle(self._exchange_of(visit))

    async def adecide(self, visit: Visit) -> Flags:
        """As `decide`, from an event loop."""
        return await self.asettle(self._exchange_of(visit))

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
        exchange = self._exchange_of(visit)
        if self._visiting is not None:
            self._visiting.load(exchange, Deadline.after(self._deadline_s, time.monotonic()))
        return exchange.track(
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
        self._delivery.start()
        self._refresher.start()
        for lane in self._all_lanes:
            if lane.remote:
                lane.blocking.prepare()
                lane.delivery.prepare()

    async def astart(self) -> None:
        """As `start`, for an event loop."""
        self._delivery.start()
        self._refresher.start()
        for lane in self._all_lanes:
            if lane.remote:
                lane.aio.prepare()

    def deliver(self) -> None:
        """Start to deliver what waits in the outbox, in this process, whatever the option `deliver` says."""
        self._delivery.deliver()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all events are delivered; return whether they are, after *timeout_s* seconds at most."""
        return self._delivery.flush(timeout_s)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Deliver what can be delivered, stop threads, close connections. A later use starts everything anew."""
        self._refresher.close()
        if self._shadow is not None:
            self._shadow.close()
        self._delivery.close(timeout_s)
        if self._visiting is not None:
            self._visiting.close()
        close = getattr(self._context.seen, "close", None)
        if callable(close):
            close()

    async def aclose(self, timeout_s: float = CLOSE_S) -> None:
        """As `close`, from an event loop, whose connections it closes too."""
        import asyncio

        if self._shadow is not None:
            await self._shadow.cancel()
        for lane in self._all_lanes:
            await lane.aio.aclose()
        await asyncio.to_thread(self.close, timeout_s)

    def health(self) -> dict[str, Any]:
        """Return a small, plain picture for readiness endpoints and people."""
        return {"vendors": {lane.vendor.name: lane.health() for lane in self._lanes}, **self._delivery.health()}

    def counts(self) -> Mapping[Label, int]:
        """Return all counters by (what, vendor, code), as they are at this moment."""
        return self._counts.snapshot()

    def shadow_report(self) -> dict[str, Any]:
        """Return how shadow vendors compare with what this process served, by vendor and alias, ready for JSON."""
        return Report((), time.time()).document() if self._shadow is None else self._shadow.report()

    def outbox_stats(self) -> OutboxStats:
        """Return the outbox's counts as they are at this moment."""
        return self._delivery.stats()

    def stats(self) -> Stats:
        """Return one picture of all counters and of the outbox."""
        return Stats(counts=self._counts.snapshot(), outbox=self._delivery.stats())

    # For the edges

    def begin(self, inbound: Inbound) -> Exchange | None:
        """Return the exchange of a request; None to leave the request alone."""
        return None if self.leaves_alone(inbound.path) else self.take(inbound)

    def take(self, inbound: Inbound) -> Exchange:
        """Return the exchange of a request that is not left alone."""
        context = self._context
        carried = context.read(inbound.headers("cookie"))
        if carried.rejected:
            for code in carried.rejected:
                self._counts.add("visitor_cookie_rejected", "", code)
        exchange = Exchange(context, None, carried.states, inbound=inbound, carried=carried)
        exchange.asks = self._asks(inbound)
        if self._gated:
            exchange.admit()
        return exchange

    def _late(self, inbound: Inbound) -> Exchange:
        try:
            return self.take(inbound)
        except Exception as error:
            self.internal_error(error)
            exchange = Exchange(self._context, Visit(url="https://localhost/"), [])
            exchange.asks = False
            return exchange

    def _asks(self, inbound: Inbound) -> bool:
        """Say whether vendors are asked about a request like this."""
        return inbound.method not in _UNDECIDED_METHODS and self._decides_on(inbound.path)

    def excluded(self) -> Flags:
        """Return the flags of a request that is left alone: the defaults, or what a test has put in place."""
        placed = _placed.override()
        if placed is not None:
            return Exchange(self._context, Visit(url="https://localhost/"), []).placed(placed)
        return Flags(defaults=self.config.defaults, error_code=ErrorCode.EXCLUDED, on=self.config.on)

    def defer(self, inbound: Inbound) -> Deferred | None:
        """Return the exchange of a request, in lazy mode, to be begun later; None where it has to begin at once.

        That is where the response depends on it whatever the view does: a tester's override leaves its mark, a visitor
        kept on the server has to be fetched, shadow vendors are asked after the response.
        """
        if not self._defers or not self._asks(inbound):
            return None
        return Deferred(lambda: self._late(inbound))

    def lazily(self, exchange: Exchange | Deferred, *, on_loop: bool) -> Flags:
        """Return flags that are decided when they are first read.

        Args:
            on_loop: the request is served by the running event loop; else by this thread.
        """
        if self._visiting is not None and not on_loop:
            self._visiting.load(exchange.begun(), Deadline.after(self._deadline_s, time.monotonic()))
        pending: Pending = OnLoop(self, exchange, self._deadline_s) if on_loop else InThread(self, exchange)
        config = self.config
        flags = Flags(defaults=config.defaults, on=config.on, recorder=exchange, pending=pending)
        if isinstance(exchange, Exchange):
            exchange.gave(flags)
        return flags

    def ready(self, exchange: Exchange) -> Flags | None:
        """Return the flags if nothing has to be waited for to make them, else None."""
        if self._visiting is not None and not exchange.loaded and exchange.kept_from is None:
            return None
        return self._known(exchange)

    def _known(self, exchange: Exchange) -> Flags | None:
        """Return the flags if no vendor need be asked for them, else None; `known` says that it was seen to already."""
        if exchange.known:
            return None
        placed = _placed.override()
        if placed is not None:
            return exchange.placed(placed)
        if not exchange.asks:
            return exchange.undecided(ErrorCode.EXCLUDED)
        if exchange.kept_from is None:
            again = exchange.again()
            if again is not None:
                self._reused()
                return again
        elif exchange.kept_from is not ErrorCode.PREFETCH:
            self._counts.add("undecided", "", exchange.kept_from)
            return exchange.undecided(exchange.kept_from)
        known = exchange.recall()
        if None not in known:
            self._reused()
            return exchange.settle([decision for decision in known if decision is not None], ())
        if exchange.kept_from is not None:
            self._counts.add("undecided", "", exchange.kept_from)
            return exchange.undecided(exchange.kept_from)
        if not self._within_bucket(exchange):
            return exchange.undecided(ErrorCode.NEW_VISITORS)
        exchange.known = known
        return None

    def settle(self, exchange: Exchange) -> Flags:
        """Ask the vendors, each in its own pool of threads, and return the flags by the deadline."""
        deadline = Deadline.after(self._deadline_s, time.monotonic())
        if self._visiting is not None:
            self._visiting.load(exchange, deadline)
        flags = self._known(exchange)
        if flags is None:
            self._in_this_process()
            decisions, unknown = list(exchange.known), exchange.unknown
            asked = [
                self._lanes[n].submit(exchange.visit, exchange.states[n], deadline, exchange.key(n)) for n in unknown
            ]
            for n, one in zip(unknown, asked, strict=True):
                decisions[n] = self._lanes[n].collect(one, deadline)
            flags = exchange.settle([decision for decision in decisions if decision is not None], unknown)
        if self._visiting is not None:
            self._visiting.save(exchange)
        return flags

    async def asettle(self, exchange: Exchange) -> Flags:
        """Ask the vendors at once on the running loop and return the flags by the deadline."""
        deadline = Deadline.after(self._deadline_s, time.monotonic())
        if self._visiting is not None:
            await self._visiting.aload(exchange, deadline)
        flags = self._known(exchange)
        if flags is None:
            self._in_this_process()
            decisions, unknown = list(exchange.known), exchange.unknown
            asks = [self._lanes[n].ask(exchange.visit, exchange.states[n], deadline, exchange.key(n)) for n in unknown]
            if len(asks) == 1:
                answers = [await asks[0]]
            else:
                import asyncio

                answers = await asyncio.gather(*asks)
            for n, answer in zip(unknown, answers, strict=True):
                decisions[n] = answer
            flags = exchange.settle([decision for decision in decisions if decision is not None], unknown)
        if self._visiting is not None:
            await self._visiting.asave(exchange)
        return flags

    async def fetch(self, exchange: Exchange) -> None:
        """Have the visitor's cookies at hand where the server keeps them: lazy flags may track before they load."""
        if self._visiting is not None:
            await self._visiting.aload(exchange, Deadline.after(self._deadline_s, time.monotonic()))

    def commit(self, exchange: Exchange) -> None:
        """Put the request's events in the outbox; wait for that as configured. Later ones go there at once."""
        self._delivery.commit(exchange)

    async def acommit(self, exchange: Exchange) -> None:
        """As `commit`, from an event loop, which it does not block."""
        await self._delivery.acommit(exchange)

    def shadow(self, exchange: Exchange, flags: Flags, *, on_loop: bool) -> None:
        """Ask the shadow vendors about a response that has gone; returns at once and raises nothing."""
        try:
            if self._shadow is not None:
                (self._shadow.on_loop if on_loop else self._shadow.in_thread)(exchange, flags)
        except Exception as error:
            self.internal_error(error)

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

    def _within_bucket(self, exchange: Exchange) -> bool:
        """Say whether vendors may be asked for one more visitor without any identity, if this is one."""
        if self._new_visitors is None or any(state.cookies for state in exchange.states):
            return True
        if exchange.who()[0] is not None or self._new_visitors.take(time.monotonic()):
            return True
        exchange.kept_from = ErrorCode.NEW_VISITORS
        self._counts.add("undecided", "", ErrorCode.NEW_VISITORS)
        self._throttle.log(logging.WARNING, ErrorCode.NEW_VISITORS, "too many new visitors, no vendor is asked")
        return False

    def _exchange_of(self, visit: Visit) -> Exchange:
        states = [
            VisitorState({name: value for name, value in visit.cookies.items() if rule.reads(name)})
            for rule in (vendor.cookies for vendor in self._context.config.vendors)
        ]
        return Exchange(self._context, visit, states, self._delivery.sink())

    def _in_this_process(self) -> None:
        """Forget, in a forked child, what the parent has under way: that stays the parent's. Start to refresh rules."""
        self._delivery.look()
        pid = os.getpid()
        if pid != self._pid:
            for lane in self._lanes:
                lane.reset()
            self._pid = pid  # last: another thread that sees it may ask at once
        self._refresher.start()
        self._delivery.ready()
