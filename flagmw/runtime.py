"""`Flagmw`: the vendors, the drivers and the outbox behind one object that an application mounts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flagmw import _override, _saved
from flagmw._delivery import Delivery
from flagmw._engine import Context, Exchange
from flagmw._guard import Bucket, Deadline, PerMinute
from flagmw._inbound import Inbound, make_visit
from flagmw._lane import Lane
from flagmw._log import Throttle
from flagmw._stats import Counts, Label, Stats
from flagmw.codes import ErrorCode
from flagmw.config import Config, build, from_mapping, matcher
from flagmw.flags import Flags
from flagmw.outbox.base import OutboxStats
from flagmw.types import Visit, VisitorState

CLOSE_S = 8.0

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
        self._delivery = Delivery(config, self._lanes, self._counts, self._throttle)
        self._pid = os.getpid()

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
        self._delivery.start()
        for lane in self._lanes:
            if lane.remote:
                lane.blocking.prepare()
                lane.delivery.prepare()

    async def astart(self) -> None:
        """As `start`, for an event loop."""
        self._delivery.start()
        for lane in self._lanes:
            if lane.remote:
                lane.aio.prepare()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all events are delivered; return whether they are, after *timeout_s* seconds at most."""
        return self._delivery.flush(timeout_s)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Deliver what can be delivered, stop threads, close connections. A later use starts everything anew."""
        self._delivery.close(timeout_s)

    async def aclose(self, timeout_s: float = CLOSE_S) -> None:
        """As `close`, from an event loop, whose connections it closes too."""
        import asyncio

        for lane in self._lanes:
            await lane.aio.aclose()
        await asyncio.to_thread(self.close, timeout_s)

    def health(self) -> dict[str, Any]:
        """Return a small, plain picture for readiness endpoints and people."""
        return {"vendors": {lane.vendor.name: lane.health() for lane in self._lanes}, **self._delivery.health()}

    def counts(self) -> Mapping[Label, int]:
        """Return all counters by (what, vendor, code), as they are at this moment."""
        return self._counts.snapshot()

    def outbox_stats(self) -> OutboxStats:
        """Return the outbox's counts as they are at this moment."""
        return self._delivery.stats()

    def stats(self) -> Stats:
        """Return one picture of all counters and of the outbox."""
        return Stats(counts=self._counts.snapshot(), outbox=self._delivery.stats())

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
        self._in_this_process()
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
        self._in_this_process()
        asks = [
            lane.ask(exchange.visit, state, deadline) for lane, state in zip(self._lanes, exchange.states, strict=True)
        ]
        if len(asks) == 1:
            return exchange.settle([await asks[0]])
        import asyncio

        return exchange.settle(await asyncio.gather(*asks))

    def commit(self, exchange: Exchange) -> None:
        """Put the request's events in the outbox; wait for that 50 ms at most. Later ones go there at once."""
        self._delivery.commit(exchange)

    async def acommit(self, exchange: Exchange) -> None:
        """As `commit`, from an event loop, which it does not block."""
        await self._delivery.acommit(exchange)

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
        return Exchange(self._context, visit, states, self._delivery.sink())

    def _in_this_process(self) -> None:
        """Forget, in a forked child, what the parent has under way: that stays the parent's."""
        self._delivery.look()
        pid = os.getpid()
        if pid != self._pid:
            self._pid = pid
            for lane in self._lanes:
                lane.reset()
