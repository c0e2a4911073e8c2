"""Transports of httpx or httpx2 that the caller brought."""

from __future__ import annotations

import concurrent.futures
import contextlib
from concurrent.futures import Future
from typing import Any

from flagmw._support.daemon_threads import Workers
from flagmw._transports import http as wire_http
from flagmw._transports.attempt import Attempt
from flagmw._transports.base import Foreign, Setup
from flagmw._transports.httpcore import ours
from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call


class CallerTransport:
    """A blocking transport.

    httpx's timeouts begin anew with every read, so a dripping vendor could hold a thread for minutes. A helper
    thread takes the call instead and can be left behind.
    """

    def __init__(self, foreign: Foreign, setup: Setup) -> None:
        self._foreign, self._setup = foreign, setup
        self._helpers = Workers("flagmw-transport", setup.size)

    def prepare(self) -> None:
        pass

    def ask(self, call: Call, attempt: Attempt) -> wire_http.RawReply:
        outcome: Future[wire_http.RawReply] = Future()
        attempt.hold(lambda: _resolve(outcome, TransportError(ErrorCode.RESET)))
        try:
            job = self._helpers.submit(self._work, outcome, call, attempt)
            return outcome.result(timeout=attempt.at - self._setup.clock())
        except concurrent.futures.TimeoutError:
            raise TransportError(ErrorCode.DEADLINE, sent=not job.cancel()) from None
        except RuntimeError as error:
            raise TransportError(ErrorCode.SHED, sent=False) from error
        finally:
            attempt.let_go()

    def close(self) -> None:
        self._helpers.stop()

    def abandon(self) -> None:
        pass

    def _work(self, outcome: Future[wire_http.RawReply], call: Call, attempt: Attempt) -> None:
        try:
            result: wire_http.RawReply | BaseException = self._ask(call, attempt)
        except BaseException as error:
            result = error
        _resolve(outcome, result)

    def _ask(self, call: Call, attempt: Attempt) -> wire_http.RawReply:
        clock = self._setup.clock
        left = attempt.at - clock()
        if left <= 0:
            raise TransportError(ErrorCode.DEADLINE, sent=False)
        ours.set(True)
        try:
            response = self._foreign.handler.handle_request(self._foreign.request(call, left))
            try:
                raw = response.headers.raw
                body = wire_http.body_for(call, response.status_code, raw, self._setup.limits, wire_http.size(raw))
                for chunk in response.stream:
                    body.feed(chunk)
                    if attempt.at <= clock():
                        raise TransportError(ErrorCode.DEADLINE)
                return wire_http.RawReply(response.status_code, raw, body.finish())
            finally:
                response.stream.close()
        except TransportError:
            raise
        except Exception as error:
            raise wire_http.explain_foreign(self._foreign.lib, error) from error
        finally:
            ours.set(False)


def _resolve(outcome: Future[wire_http.RawReply], result: wire_http.RawReply | BaseException) -> None:
    """Give *outcome* its result, unless it has one: the call may be late, or cut."""
    with contextlib.suppress(concurrent.futures.InvalidStateError):
        if isinstance(result, BaseException):
            outcome.set_exception(result)
        else:
            outcome.set_result(result)


class AsyncCallerTransport:
    """An async transport."""

    def __init__(self, foreign: Foreign, setup: Setup) -> None:
        self._foreign, self._setup = foreign, setup

    def prepare(self) -> None:
        pass

    def open(self) -> NoPool:
        return NoPool()

    async def ask(self, pool: Any, call: Call, attempt: Attempt) -> wire_http.RawReply:
        attempt.sent = True
        left = attempt.at - self._setup.clock()
        ours.set(True)
        try:
            response = await self._foreign.handler.handle_async_request(self._foreign.request(call, left))
            try:
                raw = response.headers.raw
                body = wire_http.body_for(call, response.status_code, raw, self._setup.limits, wire_http.size(raw))
                async for chunk in response.stream:
                    body.feed(chunk)
                return wire_http.RawReply(response.status_code, raw, body.finish())
            finally:
                await response.stream.aclose()
        except TransportError:
            raise
        except Exception as error:
            raise wire_http.explain_foreign(self._foreign.lib, error) from error
        finally:
            ours.set(False)


class NoPool:
    """The empty pool of a caller's transport."""

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass
