"""`Flagmw`: the object that an application makes and mounts."""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, Unpack

from flagmw._decide.decider import Decider
from flagmw._decide.refresh import Refresher
from flagmw._decide.vendor_client import VendorClient
from flagmw._decide.visitor_loader import VisitorLoader
from flagmw._delivery.delivery import Delivery
from flagmw._delivery.shared_exposures import open_exposures
from flagmw._edge.edge import Edge
from flagmw._exchange import saved_visitor
from flagmw._exchange.exchange import Context, Exchange
from flagmw._exchange.visitor import RequestVisitor
from flagmw._shadow.report import Report
from flagmw._shadow.shadow import Shadow
from flagmw._support.counters import Counters, Label
from flagmw._support.deadline import Deadline
from flagmw._support.log import Throttle
from flagmw._visitor_store.factory import open_store
from flagmw.config.config import Config, Identity, build, from_mapping, matcher
from flagmw.config.options import Options
from flagmw.config.sources import warn_of_ignored
from flagmw.exceptions import ConfigError
from flagmw.flags.flags import Flags
from flagmw.outbox.base import OutboxStats
from flagmw.types import DecisionNote, Visit, VisitorState

CLOSE_S = 8.0
REFRESH_S = 10.0


logger = logging.getLogger("flagmw")


NO_ASYNCIO = "flagmw needs asyncio: run the server with asyncio instead of trio (hypercorn --worker-class asyncio)"


class Flagmw:
    """Decide flags through vendors, and deliver what visitors did to them.

    Keyword options are those of `Config`; see there, or the README's table. Nothing is opened or started
    before the first use, and everything starts anew in a forked child and after `close()`.

    Attributes:
        config: all options, checked.

    Raises:
        ConfigError: an option is unknown or wrong; the text names it and the cure, never a secret.
    """

    config: Config

    def __init__(self, **options: Unpack[Options]) -> None:
        warn_of_ignored(os.environ, (option.name for option in fields(Config)))
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
        flagmw = cls.__new__(cls)
        flagmw._init(from_mapping(mapping, file=file, environ=environ))
        return flagmw

    def _init(self, config: Config) -> None:
        self.config = config
        serving = config.serving()
        self._counts = Counters()
        self._throttle = Throttle(logger)
        self._context = context = Context(serving, self._counts, self._throttle, time.time)
        context.exposures = open_exposures(config.outbox) or context.exposures
        self._delivery = Delivery(config, self._counts, self._throttle)
        context.open_sink, context.reserve = self._delivery.open_sink, self._delivery.reserve
        self._visitors = (
            None
            if config.visitor_store is None
            else VisitorLoader(open_store(config.visitor_store), self._counts, self._throttle)
        )
        self._clients = [VendorClient(vendor, context) for vendor in serving.vendors]
        shadows = [vendor for vendor in config.vendors if vendor not in serving.vendors]
        self._shadow = Shadow(shadows, context, config.deadline_ms / 1000, config.shadow_report) if shadows else None
        self._all_clients = self._clients if self._shadow is None else [*self._clients, *self._shadow.clients]
        delivery = self._delivery
        refreshed = [(client.vendor.name, client.traits.refresh) for client in self._all_clients]
        self._refresher = Refresher(
            {name: vendor for name, vendor in refreshed if vendor is not None},
            lambda name, flow: delivery.run(name, flow, Deadline.after(REFRESH_S, time.monotonic())),
            self._throttle,
        )
        self._decider = Decider(
            context,
            self._clients,
            self._visitors,
            self._delivery,
            self._refresher,
            decides_on=matcher(config.paths),
            defers=config.mode != "eager" and not (config.overrides or config.visitor_store or shadows),
        )
        self._edge = Edge(context, self._decider, self._delivery, self._shadow, matcher(config.exclude))

    def __repr__(self) -> str:
        return f"Flagmw(vendors=[{', '.join(vendor.name for vendor in self.config.vendors)}])"

    # Outside of a request

    def decide(self, visit: Visit) -> Flags:
        """Return the flags of *visit*, waiting for the vendors until the deadline at most. Raises nothing."""
        return self._decider.decide(self._exchange_of(visit))

    async def adecide(self, visit: Visit) -> Flags:
        """As `decide`, from an event loop."""
        return await self._decider.adecide(self._exchange_of(visit))

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
        self._decider.load_visitor(exchange)
        return exchange.recorder.track(
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
        self._delivery.prepare()
        for client in self._all_clients:
            if client.remote:
                client.blocking.prepare()

    async def astart(self) -> None:
        """As `start`, for an event loop, which it does not hold up.

        Raises:
            ConfigError: the loop is not asyncio's.
        """
        import asyncio

        if not runs_asyncio():
            raise ConfigError(NO_ASYNCIO)
        await asyncio.to_thread(self._start_for_loop)

    def _start_for_loop(self) -> None:
        self._delivery.start()
        self._refresher.start()
        for client in self._all_clients:
            if client.remote:
                client.aio.prepare()

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
        for client in self._all_clients:
            client.close()
        if self._visitors is not None:
            self._visitors.close()
        self._context.exposures.close()

    async def aclose(self, timeout_s: float = CLOSE_S) -> None:
        """As `close`, from an event loop, whose connections it closes too."""
        import asyncio

        await self._leave_loop()
        await asyncio.to_thread(self.close, timeout_s)

    def health(self) -> dict[str, Any]:
        """Return a small, plain picture for readiness endpoints and people."""
        return {"vendors": {client.vendor.name: client.health() for client in self._clients}, **self._delivery.health()}

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

    # Inside

    def _exchange_of(self, visit: Visit) -> Exchange:
        states = [
            VisitorState({name: value for name, value in visit.cookies.items() if rule.reads(name)})
            for rule in (vendor.cookies for vendor in self._context.config.vendors)
        ]
        if type(visit.user_id) not in (str, NoneType) or visit.data:
            visit = self._fit(visit)
        exchange = Exchange(self._context, RequestVisitor(self._context, visit, states))
        exchange.recorder.open_sink()
        return exchange

    def _fit(self, visit: Visit) -> Visit:
        """Return *visit*, which the application may have made itself, with an identity that can be sent."""
        identity = Identity(visit.user_id, visit.data)
        if identity.changes is None and (identity.user_id, identity.data) == (visit.user_id, visit.data):
            return visit
        if identity.changes is not None:
            self._context.fitted("identity", "", identity.changes)
        return replace(visit, user_id=identity.user_id, data=identity.data)

    async def _leave_loop(self) -> None:
        """End what belongs to the running event loop: tasks and connections."""
        if self._shadow is not None:
            await self._shadow.cancel()
        for client in self._all_clients:
            await client.aio.aclose()


def runs_asyncio() -> bool:
    """True when the running event loop is asyncio's, or one that takes its place such as uvloop."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def edge_of(flagmw: Flagmw) -> Edge:
    """Return the interface of *flagmw* for the edges."""
    return flagmw._edge


def examined(flagmw: Flagmw, note: Callable[[DecisionNote], object]) -> Flagmw:
    """Return another `Flagmw` with the options of *flagmw*, whose decisions *note* hears of, and with `debug` on."""
    config = copy.copy(flagmw.config)
    site = config.on_decision

    def noted(decision: DecisionNote) -> None:
        note(decision)
        if site is not None:
            site(decision)

    object.__setattr__(config, "debug", True)
    object.__setattr__(config, "on_decision", noted)
    examined = type(flagmw).__new__(type(flagmw))
    examined._init(config)
    return examined


async def rest(flagmw: Flagmw) -> None:
    """Release what belongs to the event loop, which may end, and go on with the rest: see `Delivery.rest`.

    For the end of an ASGI lifespan: servers and adapters have one for each worker, for each test, or for each call
    of a serverless function. It waits for no delivery.
    """
    import asyncio

    await flagmw._leave_loop()
    await asyncio.to_thread(flagmw._delivery.rest, flagmw.close)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a `Flagmw` has counted, as it was at one moment.

    Attributes:
        counts: by (what, vendor, code), since this process began.
        outbox: the events; here `accepted = delivered + queued + dead + dropped` holds at any moment.
    """

    counts: Mapping[Label, int]
    outbox: OutboxStats
