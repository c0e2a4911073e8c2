"""The interface of a `Flagmw` for its edges: ASGI, WSGI, Django."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from flagmw._cookies.site_first import site_first
from flagmw._decide.decider import Decider
from flagmw._decide.lazy import DeferredExchange
from flagmw._delivery.delivery import Delivery
from flagmw._exchange.exchange import Context, Exchange
from flagmw._exchange.protocol import RequestExchange
from flagmw._shadow.shadow import Shadow
from flagmw._support import hooks
from flagmw._web import consent as consent_gate
from flagmw.codes import ErrorCode
from flagmw.flags.flags import Flags
from flagmw.types import Inbound


class Edge:
    """The steps that an edge takes for one request, in this order: take, decide, commit, ask shadow vendors.

    The steps of every request are attributes and not methods of their own: that saves a call each.

    Attributes:
        lazy: whether flags are decided when they are first read, everywhere.
        waits: whether flags are decided when they are first read, where a read can wait.
        asks_site: whether the site has functions of the request: `consent`, `bots`, `identify`.
        awaits_site: whether one of these is async.
        shadows: whether there are shadow vendors.
        defaults: the variants of undecided aliases.
        leaves_alone: says whether requests for a path are excluded.
        take: returns the exchange of a request.
        ready: returns the flags if nothing has to be waited for, else None.
        decide: asks the vendors from this thread and returns the flags by the deadline.
        adecide: as `decide`, on the running event loop.
        excluded: returns the flags of an excluded request.
        internal_error: counts and logs a defect of flagmw that was kept from the application.
    """

    def __init__(
        self,
        context: Context,
        decider: Decider,
        delivery: Delivery,
        shadow: Shadow | None,
        leaves_alone: Callable[[str], bool],
    ) -> None:
        self._context, self._decider, self._delivery, self._shadow = context, decider, delivery, shadow
        self.lazy = context.config.mode == "lazy"
        self.waits = context.config.mode != "eager"
        config = context.config
        options = {"consent": config.consent, "bots": config.bots, "identify": config.identify}
        self._hooks = {option: hook for option, hook in options.items() if callable(hook)}
        self.asks_site = bool(self._hooks)
        self.awaits_site = any(hooks.is_async(hook) for hook in self._hooks.values())
        self.shadows = shadow is not None
        self._cookie_rules = [vendor.cookies for vendor in context.config.vendors]
        self.defaults: Mapping[str, str] = context.config.defaults
        self.leaves_alone = leaves_alone
        self.take: Callable[[Inbound], Exchange] = decider.take
        self.ready: Callable[[Exchange], Flags | None] = decider.ready if context.on_server else decider.without_vendors
        self.decide: Callable[[Exchange], Flags] = decider.decide
        self.adecide: Callable[[Exchange], Awaitable[Flags]] = decider.adecide
        self.excluded: Callable[[], Flags] = decider.excluded
        self.internal_error: Callable[[BaseException], None] = decider.internal_error

    # Deciding

    def defer(self, inbound: Inbound) -> DeferredExchange | None:
        """Return the exchange of a lazy request, to be begun later; None if it has to begin at once."""
        return self._decider.defer(inbound)

    def lazily(self, exchange: RequestExchange, *, on_loop: bool) -> Flags:
        """Return flags that are decided when they are first read; see `Decider.lazily`."""
        return self._decider.lazily(exchange, on_loop=on_loop)

    def aload_visitor(self, exchange: Exchange) -> Awaitable[None]:
        """Load the visitor's cookies from the visitor store, if there is one."""
        return self._decider.aload_visitor(exchange)

    def defective(self) -> Flags:
        """Return the flags of a request that met a defect of flagmw: the defaults."""
        return Flags(defaults=self.defaults, error_code=ErrorCode.INTERNAL)

    # The site's functions of the request

    def answer(self, inbound: Inbound, to_thread: Callable[[hooks.Hook], Any] | None = None) -> Awaitable[None]:
        """Ask the site's functions on the running loop, before `take` or `defer`.

        Args:
            to_thread: makes an async function of a plain one that may block.
        """
        return consent_gate.answer(inbound, self._context.config, to_thread)

    def check_blocking(self) -> None:
        """Refuse async functions where a blocking server cannot run them.

        Raises:
            ConfigError: threads are greenlets.
        """
        if self.awaits_site:
            hooks.check_loops([option for option, hook in self._hooks.items() if hooks.is_async(hook)])

    # For the view

    def site_cookies_first(self, header: str) -> str | None:
        """Return the Cookie header for the application; None if it stays as it is. See `site_first`."""
        try:
            return site_first(header, self._cookie_rules)
        except Exception as error:
            self.internal_error(error)
            return None

    # After the view

    def commit(self, exchange: RequestExchange) -> None:
        """Put the request's events in the outbox; wait for that as configured. Raises nothing."""
        try:
            self._delivery.commit(exchange.begun().recorder)
        except Exception as error:
            self.internal_error(error)

    async def acommit(self, exchange: RequestExchange) -> None:
        """As `commit`, from an event loop, which it does not block."""
        try:
            await self._delivery.acommit(exchange.begun().recorder)
        except Exception as error:
            self.internal_error(error)

    def ask_shadow(self, exchange: RequestExchange, flags: Flags, *, on_loop: bool) -> None:
        """Ask the shadow vendors about a response that was sent; returns at once and raises nothing."""
        try:
            if self._shadow is not None:
                (self._shadow.on_loop if on_loop else self._shadow.in_thread)(exchange.begun(), flags)
        except Exception as error:
            self.internal_error(error)

    def touched_late(self) -> None:
        """Count and log that a view read flags after its headers were sent: a cache may share a personal page."""
        self._context.counts.add("touched_late", "", ErrorCode.TOUCHED_LATE)
        self._context.throttle.log(
            logging.ERROR, ErrorCode.TOUCHED_LATE, "flags were read after the headers were sent: read them in the view"
        )
