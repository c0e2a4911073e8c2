"""Token sources: one token request at a time for all callers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from flagmw._support.forksafe import Lock
from flagmw.admin.auth.cache import TokenCache
from flagmw.admin.auth.token import Token
from flagmw.admin.flow.effects import Flow, Wait, Work


class TokenSource:
    """Credentials that a client sends.

    A subclass says how a token is obtained. Clients in any threads and event loops may share one object: while one of
    them obtains a token, the others wait for it.

    Args:
        scheme: what stands before the token in the header: "Bearer", "Token"; "" for nothing.
        header: the header that carries it.
        cache: a file in which tokens are kept between processes; None to keep them in memory only.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        scheme: str = "Bearer",
        header: str = "Authorization",
        cache: TokenCache | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._scheme, self._header = scheme, header
        self._cache, self._clock = cache, clock
        self._lock = Lock()
        self._token: Token | None = None
        self._refused: str | None = None
        self._pending: Future[Token | None] | None = None
        self._pid = os.getpid()

    @property
    def cache_key(self) -> str:
        """Return the token's owner, for the cache file; nothing secret."""
        return type(self).__name__

    def obtain(self, ask: Any, old: Token | None) -> Flow[Token]:
        """Return a new token.

        Args:
            ask: `ask(call) -> Flow[Reply]` sends a call of the source's own.
            old: the token that is due or was refused, None at first.
        """
        raise NotImplementedError

    def headers(self, token: Token) -> Mapping[str, str]:
        """Return the headers that carry *token*."""
        return {self._header: f"{self._scheme} {token.value}" if self._scheme else token.value}

    def planned_headers(self) -> Mapping[str, str]:
        """Return the headers as a dry run shows them."""
        return {self._header: f"{self._scheme} ***" if self._scheme else "***"}

    def current(self, ask: Any, refused: Token | None = None) -> Flow[Token]:
        """Return a token that is good now, and obtain it where needed.

        Args:
            refused: the token that the vendor has just answered with 401.
        """
        while True:
            with self._lock:
                if self._pid != os.getpid():
                    # Whoever was obtaining a token in the parent is not there in a forked child.
                    self._pid, self._pending = os.getpid(), None
                if refused is not None and self._token is not None and self._token.value == refused.value:
                    self._token, self._refused = None, refused.value
                token = self._token
                if token is not None and not token.due(self._clock()):
                    return token
                pending = self._pending
                if pending is None:
                    mine = self._pending = Future()
            if pending is not None:
                shared: Token | None = yield Wait(pending)
                if shared is None:
                    continue  # whoever was at it gave up
                return shared
            return (yield from self._lead(mine, ask, token))

    def _lead(self, mine: Future[Token | None], ask: Any, old: Token | None) -> Flow[Token]:
        token: Token | None = None
        failure: Exception | None = None
        try:
            token = yield from self._found_or_obtained(ask, old)
            return token
        except Exception as error:
            failure = error
            raise
        finally:
            with self._lock:
                self._pending = None
                if token is not None:
                    self._token = token
            if failure is not None:
                mine.set_exception(failure)
            else:
                mine.set_result(token)

    def _found_or_obtained(self, ask: Any, old: Token | None) -> Flow[Token]:
        cache = self._cache
        if cache is not None:
            kept: Token | None = yield Work(lambda: cache.read(self.cache_key))
            if kept is not None and kept.value != self._refused and not kept.due(self._clock()):
                return kept
        token = yield from self.obtain(ask, old)
        if cache is not None:
            kept_token = token
            yield Work(lambda: cache.write(self.cache_key, kept_token))
        return token
