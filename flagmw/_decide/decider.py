"""From a request to its flags: what is known already, then the vendors' answers, by the deadline."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flagmw._decide.lazy import DeferredExchange, InThread, OnLoop
from flagmw._exchange.exchange import Exchange
from flagmw._support.limits import Bucket, Deadline
from flagmw._web.inbound import Inbound
from flagmw.codes import ErrorCode
from flagmw.flags import testing_hooks
from flagmw.flags.flags import Flags, Pending
from flagmw.types import Visit

if TYPE_CHECKING:
    from flagmw._decide.refresh import Refresher
    from flagmw._decide.vendor_client import VendorClient
    from flagmw._decide.visitor_loader import VisitorLoader
    from flagmw._delivery.delivery import Delivery
    from flagmw._exchange.exchange import Context
    from flagmw._support.counters import Counts
    from flagmw._support.log import Throttle
    from flagmw.config.config import Config

_UNDECIDED_METHODS = frozenset({"HEAD", "OPTIONS"})


class Deciding:
    """The half of a `Flagmw` that decides; the other half owns what this uses, and its life.

    Attributes:
        leaves_alone: says whether requests for a path are none of flagmw's business.
    """

    leaves_alone: Callable[[str], bool]
    config: Config
    _context: Context
    _counts: Counts
    _throttle: Throttle
    _lanes: Sequence[VendorClient]
    _visiting: VisitorLoader | None
    _new_visitors: Bucket | None
    _delivery: Delivery
    _refresher: Refresher
    _reused: Callable[[], int]
    _decides_on: Callable[[str], bool]
    _deadline_s: float
    _gated: bool
    _defers: bool
    _pid: int

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

    def _take_deferred(self, inbound: Inbound) -> Exchange:
        """As `take`, but raise nothing: the view is running already."""
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
        placed = testing_hooks.override()
        if placed is not None:
            return Exchange(self._context, Visit(url="https://localhost/"), []).placed(placed)
        return Flags(defaults=self.config.defaults, error_code=ErrorCode.EXCLUDED, on=self.config.on)

    def defer(self, inbound: Inbound) -> DeferredExchange | None:
        """Return the exchange of a request, in lazy mode, to be begun later; None where it has to begin at once.

        That is where the response depends on it whatever the view does: a tester's override leaves its mark, a visitor
        kept on the server has to be fetched, shadow vendors are asked after the response.
        """
        if not self._defers or not self._asks(inbound):
            return None
        return DeferredExchange(lambda: self._take_deferred(inbound))

    def lazily(self, exchange: Exchange | DeferredExchange, *, on_loop: bool) -> Flags:
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
        placed = testing_hooks.override()
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

    def internal_error(self, error: BaseException) -> None:
        """Count and log a defect of ours that an edge has kept from the application."""
        self._counts.add("internal_error", "", ErrorCode.INTERNAL)
        self._throttle.log(
            logging.ERROR, ErrorCode.INTERNAL, "request served without flags", error=type(error).__name__
        )

    # Inside

    def _within_bucket(self, exchange: Exchange) -> bool:
        """Say whether vendors may be asked for one more visitor without any identity, if this is one."""
        if self._new_visitors is None or not exchange.is_new or self._new_visitors.take(time.monotonic()):
            return True
        exchange.kept_from = ErrorCode.NEW_VISITORS
        self._counts.add("undecided", "", ErrorCode.NEW_VISITORS)
        self._throttle.log(logging.WARNING, ErrorCode.NEW_VISITORS, "too many new visitors, no vendor is asked")
        return False

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
