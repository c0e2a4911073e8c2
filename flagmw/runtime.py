"""`Flagmw`: the vendors, the drivers and the outbox behind one object that an application mounts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagmw._decide.decider import Deciding
from flagmw._decide.refresh import Refresher
from flagmw._decide.vendor_client import VendorClient
from flagmw._decide.visitor_loader import VisitorLoader
from flagmw._delivery.delivery import Delivery
from flagmw._delivery.shared_exposures import open_exposures
from flagmw._exchange import saved_visitor
from flagmw._exchange.exchange import Context, Exchange
from flagmw._shadow.report import Report
from flagmw._shadow.shadow import Shadow
from flagmw._support.counters import Counts, Label
from flagmw._support.limits import Bucket, Deadline
from flagmw._support.log import Throttle
from flagmw._visitor_store.factory import open_store
from flagmw.codes import ErrorCode
from flagmw.config.config import Config, build, from_mapping, matcher
from flagmw.flags.flags import Flags
from flagmw.outbox.base import OutboxStats
from flagmw.types import Visit, VisitorState

CLOSE_S = 8.0
REFRESH_S = 10.0


logger = logging.getLogger("flagmw")


class Flagmw(Deciding):
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
        self._context = Context(serving, self._counts, self._throttle, time.time)
        self._new_visitors = None if config.new_visitors_per_s is None else Bucket(config.new_visitors_per_s)
        self._context.seen = open_exposures(config.outbox) or self._context.seen
        self._visiting = (
            None
            if config.visitor_store is None
            else VisitorLoader(open_store(config.visitor_store), self._counts, self._throttle)
        )
        self._reused = self._counts.tally("reused")
        self._deadline_s = config.deadline_ms / 1000
        self._gated = config.consent is not None or config.bots is not False or config.overrides
        self._defers = config.mode == "lazy" and not (config.overrides or config.visitor_store)
        self._lanes = [VendorClient(vendor, self._context) for vendor in serving.vendors]
        shadows = [vendor for vendor in config.vendors if vendor not in serving.vendors]
        self._shadow = Shadow(shadows, self._context, self._deadline_s, config.shadow_report) if shadows else None
        self.shadows = bool(shadows)
        self._defers = self._defers and not shadows
        self._all_lanes = self._lanes if self._shadow is None else [*self._lanes, *self._shadow.lanes]
        self._decides_on, self.leaves_alone = matcher(config.paths), matcher(config.exclude)
        self._delivery = Delivery(config, self._all_lanes, self._counts, self._throttle)
        self._context.open_sink = self._delivery.sink
        self._context.reserve = self._delivery.reserve
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
        visit = visitor if isinstance(visitor, Visit) else saved_visitor.load(visitor, time.time())
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

    async def arest(self) -> None:
        """Let go of what belongs to the event loop, which may end, and go on with the rest: see `Delivery.rest`.

        For the end of an ASGI lifespan: servers and adapters have one for each worker, for each test, or for each call
        of a serverless function. It waits for no delivery.
        """
        import asyncio

        if self._shadow is not None:
            await self._shadow.cancel()
        for lane in self._all_lanes:
            await lane.aio.aclose()
        await asyncio.to_thread(self._delivery.rest, self.close)

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

    # For the edges, beside what `Deciding` has

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

    def touched_late(self) -> None:
        """Count and log that a view looked at flags when its headers had left: a cache may share what is personal."""
        self._counts.add("touched_late", "", ErrorCode.TOUCHED_LATE)
        self._throttle.log(
            logging.ERROR, ErrorCode.TOUCHED_LATE, "flags were read after the headers left: read them in the view"
        )

    # Inside

    def _exchange_of(self, visit: Visit) -> Exchange:
        states = [
            VisitorState({name: value for name, value in visit.cookies.items() if rule.reads(name)})
            for rule in (vendor.cookies for vendor in self._context.config.vendors)
        ]
        return Exchange(self._context, visit, states, self._delivery.sink())


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a `Flagmw` has counted, as it was at one moment.

    Attributes:
        counts: by (what, vendor, code), since this process began.
        outbox: the events; here `accepted = delivered + queued + dead + dropped` holds at any moment.
    """

    counts: Mapping[Label, int]
    outbox: OutboxStats
