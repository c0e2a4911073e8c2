"""Django middleware, template tag and system checks.

Put "flagmw.django.FlagsMiddleware" in MIDDLEWARE and FLAGMW in the settings; the flags are at `request.flags`.

FLAGMW is a dict of options as `Flagmw.from_mapping` takes it, a `Flagmw`, or the dotted path of either. Templates read
`{{ request.flags.ta_Checkout }}`; an alias they cannot spell takes `{% load flagmw %}{% flag "exp:b" %}`, and
`"libraries": {"flagmw": "flagmw.django"}` in the OPTIONS of TEMPLATES. The middleware's place is below
UpdateCacheMiddleware, and below AuthenticationMiddleware where `identify` reads `inbound.request.user`.

What is wrong stops the server's start or is logged there; `manage.py check` tells it with "flagmw.django" among the
INSTALLED_APPS. E001: FLAGMW is missing, of a wrong type, or cannot be imported. E002: an option is unknown or wrong.
W001: FlagsMiddleware stands above UpdateCacheMiddleware. W002: it is listed twice. W003: it is not listed.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

try:
    from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
    from django import template
    from django.core import checks
    from django.http import HttpRequest, StreamingHttpResponse
    from django.http.response import HttpResponseBase
except ImportError as error:
    raise ImportError("flagmw.django needs Django: pip install 'flagmw[django]'") from error

from flagmw import asgi
from flagmw._exchange.exchange import Exchange
from flagmw.codes import ErrorCode
from flagmw.django.request import AsgiInbound, WsgiInbound, holder, inbound_of
from flagmw.django.response import edit, page_response

# Page caches hold responses in pickles of the version before, which name this function here.
from flagmw.django.response import restored as _restored  # noqa: F401
from flagmw.django.settings import examine, from_settings, misplaced
from flagmw.flags.current import current, known_current, set_current, swap_current
from flagmw.flags.flags import Flags, decide_now
from flagmw.runtime import edge_of

__all__ = ["FlagsMiddleware", "FlagsRequest", "flags_from", "from_settings"]

logger = logging.getLogger("flagmw.django")
register = template.Library()


class FlagsRequest(HttpRequest):
    """The type of requests below the middleware, for annotations: `def view(request: FlagsRequest)`."""

    flags: Flags


class FlagsMiddleware:
    """Decide flags for each request, set the vendors' cookies, commit tracks; under WSGI and ASGI.

    Where an edge around Django (`flagmw.wsgi`, `flagmw.asgi`) has decided, its flags are used and nothing else is done.

    Raises:
        ConfigError, ImproperlyConfigured: as `from_settings`.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response, self.flagmw = get_response, from_settings()
        self._edge = edge_of(self.flagmw)
        self._is_async = iscoroutinefunction(get_response)
        self.process_view: Callable[..., Any] = self._before_view
        if self._is_async:
            markcoroutinefunction(self)
            self.process_view = self._abefore_view
        else:
            self._edge.check_blocking()
        for found in misplaced(FlagsMiddleware):
            logger.warning("%s: %s %s", found.id, found.msg, found.hint)
        HttpRequest._cache_update_cache = property(_may_be_cached, _set_cached)  # type: ignore[attr-defined]

    def __call__(self, request: HttpRequest) -> Any:
        if self._is_async:
            return self._acall(request)
        # This may be a request that a view makes of its own site: the view's flags come back afterwards.
        outer = known_current()
        try:
            return self._call(request)
        finally:
            set_current(outer)

    def _call(self, request: HttpRequest) -> HttpResponseBase:
        exchange = None
        with self._ours(request):
            exchange, asked = self._begin(request)
            if exchange is not None and exchange.page is not None:
                return page_response(exchange.page, exchange.set_cookies)
            if asked is not None:
                _put(request, self._edge.decide(asked))
        try:
            response: HttpResponseBase = self.get_response(request)
        finally:
            # The view may have failed: what the visitor did before that happened all the same.
            if exchange is not None:
                self._commit(exchange)
        if exchange is not None:
            self._finish(request, response, exchange)
        return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        outer = known_current()
        try:
            return await self._call_async(request)
        finally:
            set_current(outer)

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        exchange = None
        with self._ours(request):
            inbound = None
            if self._edge.asks_site and not self._is_settled(request):
                # Plain functions may read the database, as `request.user` does, which Django refuses on a loop.
                inbound = inbound_of(request)
                await self._edge.answer(inbound, sync_to_async)
            exchange, asked = self._begin(request, inbound, on_loop=True)
            if exchange is not None and exchange.page is not None:
                return page_response(exchange.page, exchange.set_cookies)
            if exchange is not None:
                await self._edge.aload_visitor(exchange)
            if asked is not None:
                _put(request, await self._edge.adecide(asked))
        try:
            response: HttpResponseBase = await self.get_response(request)
        finally:
            if exchange is not None:
                await self._acommit(exchange)
        if exchange is not None:
            self._finish(request, response, exchange)
        return response

    # Reads in a coroutine cannot wait, so that the flags are decided when the view is known to be one.

    def _before_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        flags = getattr(request, "flags", None)
        if not self._edge.lazy and isinstance(flags, Flags) and flags.is_pending and iscoroutinefunction(view):
            with self._ours():
                decide_now(flags)

    async def _abefore_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        flags = getattr(request, "flags", None)
        if not self._edge.lazy and isinstance(flags, Flags) and flags.is_pending and iscoroutinefunction(view):
            with self._ours():
                await flags.load()

    def _is_settled(self, request: HttpRequest) -> bool:
        """Say whether an edge around Django has decided, or the request is left alone."""
        return asgi.KEY in holder(request) or self._edge.leaves_alone(request.path)

    def _begin(
        self, request: HttpRequest, inbound: WsgiInbound | AsgiInbound | None = None, *, on_loop: bool = False
    ) -> tuple[Exchange | None, Exchange | None]:
        """Return the exchange, and once more if vendors are asked now; None where the request is left alone."""
        if asgi.KEY in holder(request):
            request.flags = asgi.flags_from(holder(request))  # type: ignore[attr-defined]
            return None, None
        inbound = inbound_of(request) if inbound is None else inbound
        if self._edge.leaves_alone(inbound.path):
            _put(request, self._edge.excluded())
            set_current(None)
            return None, None
        exchange = self._edge.take(inbound)
        if self._edge.waits and exchange.asks:
            _put(request, self._edge.lazily(exchange, on_loop=on_loop))
            return exchange, None
        _put(request, exchange.undecided(ErrorCode.EXCLUDED))
        return exchange, exchange

    def _commit(self, exchange: Exchange) -> None:
        with self._ours():
            exchange.recorder.answered = True
            if exchange.recorder.pending:
                self._edge.commit(exchange)

    async def _acommit(self, exchange: Exchange) -> None:
        with self._ours():
            exchange.recorder.answered = True
            if exchange.recorder.pending:
                await self._edge.acommit(exchange)

    def _finish(self, request: HttpRequest, response: HttpResponseBase, exchange: Exchange) -> None:
        """Edit the response's headers, and see to what happens after the view has returned."""
        with self._ours():
            edit(request, response, exchange)
        with self._ours():
            # A file that the server may send on its own reads no flags, and would be one no more if it were wrapped.
            if isinstance(response, StreamingHttpResponse) and getattr(response, "file_to_stream", None) is None:
                wrap: Callable[..., Any] = self._astream if response.is_async else self._stream
                response.streaming_content = wrap(response.streaming_content, exchange, flags_from(request))
            self._shadow(response, exchange, flags_from(request))

    def _stream(self, content: Iterator[bytes], exchange: Exchange, flags: Flags) -> Iterator[bytes]:
        """Pass the pieces of *content* on, each when what the visitor did for it is put away."""
        pieces = iter(content)
        try:
            while True:
                outer = swap_current(flags)
                try:
                    piece = next(pieces, None)
                finally:
                    set_current(outer)
                if piece is None:
                    return
                self._commit(exchange)
                yield piece
        finally:
            self._commit(exchange)

    async def _astream(self, content: AsyncIterator[bytes], exchange: Exchange, flags: Flags) -> AsyncIterator[bytes]:
        """As `_stream`, for content that is made on an event loop."""
        pieces = aiter(content)
        try:
            while True:
                outer = swap_current(flags)
                try:
                    piece = await anext(pieces, None)
                finally:
                    set_current(outer)
                if piece is None:
                    return
                await self._acommit(exchange)
                yield piece
        finally:
            await self._acommit(exchange)

    def _shadow(self, response: HttpResponseBase, exchange: Exchange, flags: Flags) -> None:
        """Have shadow vendors asked when the response has gone: the server closes it then, in a thread."""
        if not self._edge.shadows:
            return
        close, ask = response.close, self._edge.ask_shadow

        def closed() -> None:
            close()
            ask(exchange, flags, on_loop=False)

        response.close = closed  # type: ignore[method-assign]

    @contextmanager
    def _ours(self, request: HttpRequest | None = None) -> Iterator[None]:
        """Keep a defect of ours from the site's visitors: the view runs as if we were not there."""
        try:
            yield
        except Exception as error:
            self._edge.internal_error(error)
            if request is not None:
                _put(request, self._edge.defective())


def flags_from(request: HttpRequest) -> Flags:
    """Return the flags of *request*; undecided ones where its path is excluded.

    Raises:
        RuntimeError: `FlagsMiddleware` is not mounted.
    """
    flags: Flags | None = getattr(request, "flags", None)
    if flags is None:
        raise RuntimeError('no flags on this request: add "flagmw.django.FlagsMiddleware" to MIDDLEWARE')
    return flags


@register.simple_tag(takes_context=True)
def flag(context: template.Context, alias: str) -> str:
    """Return the variant of *alias*: `{% flag "exp:b" %}`, or `{% flag "exp:b" as variant %}`."""
    request = getattr(context, "request", None) or context.get("request")
    return (current() if request is None else flags_from(request)).variant(alias).key


def _put(request: HttpRequest, flags: Flags) -> None:
    holder(request)[asgi.KEY] = flags
    request.flags = asgi.flags_from(holder(request))  # type: ignore[attr-defined]
    set_current(flags)


# Django's page caches ask this attribute of a request whether to keep its response. `cache_page` asks before any
# middleware could say that the page is private, so that the flags have to.
def _may_be_cached(request: HttpRequest) -> bool:
    flags = getattr(request, "flags", None)
    return bool(vars(request).get("_cache_update_cache")) and not (isinstance(flags, Flags) and flags.touched)


def _set_cached(request: HttpRequest, value: bool) -> None:
    vars(request)["_cache_update_cache"] = value


@checks.register
def _check(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    return examine(FlagsMiddleware)
