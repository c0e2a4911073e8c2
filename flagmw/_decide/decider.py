"""The decider: from a request to its flags, by the deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from flagmw._decide.lazy import DeferredExchange, InThread, OnLoop
from flagmw._decide.refresh import Refresher
from flagmw._decide.vendor_client import VendorClient
from flagmw._decide.visitor_loader import VisitorLoader
from flagmw._delivery.delivery import Delivery
from flagmw._exchange.admission import ADMITTED, admit
from flagmw._exchange.exchange import Context, Exchange, Stage
from flagmw._exchange.protocol import RequestExchange
from flagmw._exchange.visitor import RequestVisitor
from flagmw._support.deadline import Deadline
from flagmw._support.forksafe import PerProcess
from flagmw._support.limits import Bucket
from flagmw.codes import ErrorCode
from flagmw.flags import testing_hooks
from flagmw.flags.flags import Flags, Pending
from flagmw.types import Decision, Inbound, Visit

_UNDECIDED_METHODS = frozenset({"HEAD", "OPTIONS"})
_ASKING = Stage.ASKING


class Decider:
    """Make the exchanges of requests and decide their flags.

    Args:
        clients: one per vendor that serves, in order.
        visitors: loads and saves visitors; None where there is no visitor store.
        decides_on: says whether vendors are asked about requests for a path.
        defers: whether lazy exchanges may begin as late as at the first read.
    """

    def __init__(
        self,
        context: Context,
        clients: Sequence[VendorClient],
        visitors: VisitorLoader | None,
        delivery: Delivery,
        refresher: Refresher,
        *,
        decides_on: Callable[[str], bool],
        defers: bool,
    ) -> None:
        config = context.config
        self._context, self._config, self._counts = context, config, context.counts
        self._clients, self._visitors = clients, visitors
        self._delivery, self._refresher = delivery, refresher
        self._decides_on, self._defers = decides_on, defers
        self._new_visitors = None if config.new_visitors_per_s is None else Bucket(config.new_visitors_per_s)
        self._count_reused = context.counts.tally("reused")
        self._deadline_s = config.deadline_ms / 1000
        self._gated = config.consent is not None or config.bots is not False or config.overrides
        self._process = PerProcess(object, self._leave_parent)
        self._process.get()

    # Exchanges

    def take(self, inbound: Inbound) -> Exchange:
        """Return the exchange of a request."""
        context = self._context
        incoming = context.cookie_reader(inbound.headers("cookie"))
        if incoming.rejected:
            for code in incoming.rejected:
                self._counts.add("visitor_cookie_rejected", "", code)
        visitor = RequestVisitor(context, None, incoming.states, inbound, incoming)
        exchange = Exchange(context, visitor)
        if not self._asks(inbound):
            exchange.asks = False
        if incoming.repeated:
            visitor.unify_own_cookies()
        if self._gated:
            admission = admit(context, visitor)
            if admission is not ADMITTED:
                exchange.apply(admission)
        return exchange

    def defer(self, inbound: Inbound) -> DeferredExchange | None:
        """Return the exchange of a lazy request, to be begun later; None if it has to begin at once.

        It has to begin at once if the response always depends on it: with overrides, with a visitor store, and with
        shadow vendors.
        """
        if not self._defers or not self._asks(inbound):
            return None
        has_cookies = (lambda: self._has_cookies(inbound)) if self._config.deletes_cookies else None
        return DeferredExchange(lambda: self._take_or_default(inbound), has_cookies)

    def excluded(self) -> Flags:
        """Return the flags of an excluded request: the defaults, or those of a test's override."""
        test_override = testing_hooks.override()
        if test_override is not None:
            return self._empty_exchange().overridden_by_test(test_override)
        config = self._config
        return Flags(defaults=config.defaults, error_code=ErrorCode.EXCLUDED, on=config.on)

    # Flags

    def lazily(self, exchange: RequestExchange, *, on_loop: bool) -> Flags:
        """Return flags that are decided when they are first read.

        Args:
            on_loop: the request is served by the running event loop; else by this thread.
        """
        if self._visitors is not None and not on_loop:
            self._visitors.load(exchange.begun(), self._deadline())
        # A page that reads no flag still has to deliver what dead processes have left.
        self._delivery.ready()
        config = self._config
        auto = config.mode == "auto"
        pending: Pending = (
            OnLoop(self, exchange, self._deadline_s, tracks_decide=auto)
            if on_loop
            else InThread(self, exchange, tracks_decide=auto)
        )
        flags = Flags(defaults=config.defaults, on=config.on, recorder=exchange.recorder, pending=pending)
        if isinstance(exchange, Exchange):
            exchange.watch(flags)
        return flags

    def ready(self, exchange: Exchange) -> Flags | None:
        """Return the flags if nothing has to be waited for, else None."""
        if self._visitors is not None and self._visitors.must_load(exchange):
            return None
        return self.without_vendors(exchange)

    def without_vendors(self, exchange: Exchange) -> Flags | None:
        """Return the flags if no vendor has to be asked, else None and the stage `ASKING`.

        The visitor's cookies are loaded already, where there is a visitor store.
        """
        if exchange.stage is _ASKING:
            return None
        test_override = testing_hooks.override()
        if test_override is not None:
            return exchange.overridden_by_test(test_override)
        if not exchange.asks:
            return exchange.undecided(ErrorCode.EXCLUDED)
        kept_from = exchange.visitor.kept_from
        if kept_from is None:
            flags = exchange.reuse_ready()
            if flags is not None:
                self._count_reused()
                return flags
        elif kept_from is not ErrorCode.PREFETCH:
            self._counts.add("undecided", "", kept_from)
            return exchange.undecided(kept_from)
        decisions = exchange.recall()
        if None not in decisions:
            self._count_reused()
            return exchange.resolve([decision for decision in decisions if decision is not None], ())
        if kept_from is not None:
            self._counts.add("undecided", "", kept_from)
            return exchange.undecided(kept_from)
        if not self._within_new_visitors(exchange):
            return exchange.undecided(ErrorCode.NEW_VISITORS)
        exchange.ask(decisions)
        return None

    def decide(self, exchange: Exchange) -> Flags:
        """Ask the vendors, each in its own pool of threads, and return the flags by the deadline."""
        began = time.monotonic()
        if self._visitors is not None:
            self._visitors.load(exchange, Deadline.after(self._deadline_s, began))
        flags = self.without_vendors(exchange)
        if flags is None:
            deadline = Deadline.after(self._deadline_s, began)
            self._in_this_process()
            visit, states = exchange.visitor.visit, exchange.visitor.states
            places = exchange.unknown
            calls = [
                self._clients[place].submit(visit, states[place], deadline, exchange.key(place)) for place in places
            ]
            answers = [self._clients[place].collect(call, deadline) for place, call in zip(places, calls, strict=True)]
            flags = self._resolve(exchange, places, answers)
        if self._visitors is not None:
            self._visitors.save(exchange)
        return flags

    async def adecide(self, exchange: Exchange) -> Flags:
        """Ask the vendors at once on the running loop and return the flags by the deadline."""
        deadline = self._deadline()
        if self._visitors is not None:
            await self._visitors.aload(exchange, deadline)
        flags = self.without_vendors(exchange)
        if flags is None:
            self._in_this_process()
            visit, states = exchange.visitor.visit, exchange.visitor.states
            places = exchange.unknown
            calls = [self._clients[place].ask(visit, states[place], deadline, exchange.key(place)) for place in places]
            if len(calls) == 1:
                answers = [await calls[0]]
            else:
                import asyncio

                answers = await asyncio.gather(*calls)
            flags = self._resolve(exchange, places, answers)
        if self._visitors is not None:
            await self._visitors.asave(exchange)
        return flags

    def load_visitor(self, exchange: Exchange) -> None:
        """Load the visitor's cookies from the visitor store, if there is one."""
        if self._visitors is not None:
            self._visitors.load(exchange, self._deadline())

    async def aload_visitor(self, exchange: Exchange) -> None:
        """As `load_visitor`, from an event loop: lazy flags may track before they are decided."""
        if self._visitors is not None:
            await self._visitors.aload(exchange, self._deadline())

    def internal_error(self, error: BaseException) -> None:
        """Count and log a defect of flagmw that was kept from the application."""
        self._counts.add("internal_error", "", ErrorCode.INTERNAL)
        self._context.throttle.log(
            logging.ERROR, ErrorCode.INTERNAL, "request served without flags", error=type(error).__name__
        )

    # Inside

    def _deadline(self) -> Deadline:
        return Deadline.after(self._deadline_s, time.monotonic())

    def _asks(self, inbound: Inbound) -> bool:
        """Say whether vendors are asked about a request like this."""
        return inbound.method not in _UNDECIDED_METHODS and self._decides_on(inbound.path)

    def _has_cookies(self, inbound: Inbound) -> bool:
        incoming = self._context.cookie_reader(inbound.headers("cookie"))
        return bool(incoming.vendor_bytes or incoming.own)

    def _empty_exchange(self) -> Exchange:
        return Exchange(self._context, RequestVisitor(self._context, Visit(url="https://localhost/"), []))

    def _take_or_default(self, inbound: Inbound) -> Exchange:
        """As `take`, but raise nothing: the view is running already."""
        try:
            return self.take(inbound)
        except Exception as error:
            self.internal_error(error)
            exchange = self._empty_exchange()
            exchange.asks = False
            return exchange

    def _resolve(self, exchange: Exchange, places: Sequence[int], answers: Sequence[Decision]) -> Flags:
        """Return the flags of what was remembered, and of the *answers* of the vendors at *places*."""
        decisions = list(exchange.decisions)
        for place, answer in zip(places, answers, strict=True):
            decisions[place] = answer
        return exchange.resolve([decision for decision in decisions if decision is not None], places)

    def _within_new_visitors(self, exchange: Exchange) -> bool:
        """Say whether vendors may be asked about this visitor; new visitors are limited by `new_visitors_per_s`."""
        if self._new_visitors is None or not exchange.is_new or self._new_visitors.take(time.monotonic()):
            return True
        exchange.visitor.kept_from = ErrorCode.NEW_VISITORS
        self._counts.add("undecided", "", ErrorCode.NEW_VISITORS)
        self._context.throttle.log(logging.WARNING, ErrorCode.NEW_VISITORS, "too many new visitors: no vendor is asked")
        return False

    def _leave_parent(self, inherited: object) -> None:
        """Forget the parent's calls in a forked child."""
        for client in self._clients:
            client.reset()

    def _in_this_process(self) -> None:
        """Start what asking takes; in a forked child, forget the parent's calls."""
        self._delivery.look()
        self._process.get()
        self._refresher.start()
        self._delivery.ready()
