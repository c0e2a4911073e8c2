"""One vendor as the runtime sees it: its health, its room for calls, and how its flow is run."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from flagmw._engine import failed
from flagmw._guard import Breaker, Deadline, Gate
from flagmw._log import Throttle
from flagmw._stats import Counts
from flagmw.codes import ErrorCode
from flagmw.config import Config
from flagmw.exceptions import TransportError
from flagmw.outbox.pace import CONCURRENCY
from flagmw.types import Decision, DecisionNote, Visit, VisitorState
from flagmw.vendors.base import Vendor

if TYPE_CHECKING:
    from concurrent.futures import Future

SLOT_WAIT_S = 0.005
DELIVERY_CONNECT_S = 2.0


class Lane:
    """Ask one vendor, within its breaker, its in-flight cap and the deadline. Never raises but on cancellation."""

    def __init__(self, vendor: Vendor, config: Config, counts: Counts, throttle: Throttle) -> None:
        blocking_transport, async_transport = config.transport
        self.vendor, self._config, self._counts, self._throttle = vendor, config, counts, throttle
        # A vendor without a service of its own (Static) never yields a call, so its flow runs where it stands.
        self.remote = getattr(vendor, "base_url", None) is not None and not getattr(vendor, "local", False)
        self.breaker = Breaker()
        self._threads, self._tasks = Gate(config.pool_size), Gate(config.max_in_flight)
        # Imported here: `import flagmw` must not cost a script the event loop, sockets and TLS.
        from flagmw.drivers._body import Limits
        from flagmw.drivers.aio import AsyncDriver
        from flagmw.drivers.blocking import BlockingDriver

        outside: dict[str, Any] = {"trust_env": config.trust_env, "ca_file": config.ca_file}
        # Half of the deadline at most goes into one address that does not answer; another may.
        near = Limits(connect_s=max(0.1, config.deadline_ms / 2000))
        self.blocking = BlockingDriver(pool_size=config.pool_size, limits=near, transport=blocking_transport, **outside)
        self.aio = AsyncDriver(max_connections=config.max_in_flight, limits=near, transport=async_transport, **outside)
        # Nobody waits for a delivery, so it has the time for a connection whose first packet was lost.
        limits = Limits(connect_s=DELIVERY_CONNECT_S)
        self.delivery = BlockingDriver(pool_size=CONCURRENCY, limits=limits, transport=blocking_transport, **outside)

    def reset(self) -> None:
        """Forget what another process was doing: the calls that its child inherits are not the child's."""
        self.breaker = Breaker()
        self._threads, self._tasks = Gate(self._config.pool_size), Gate(self._config.max_in_flight)

    def close(self) -> None:
        """Close the blocking drivers' connections and let their threads end."""
        self.blocking.close()
        self.delivery.close()

    def submit(self, visit: Visit, state: VisitorState, deadline: Deadline) -> Future[Decision] | Decision:
        """Begin to ask from a thread; wait for the future with `collect`."""
        if not self.remote:
            return self._locally(visit, state)
        gate = self._threads
        refused = self._admit()
        if refused is not None:
            return refused
        if not gate.enter(SLOT_WAIT_S):
            return self._shed()
        try:
            future = self.blocking.submit(self.vendor.decide(visit, state), deadline)
        except Exception as error:
            from concurrent.futures import Future

            future = Future()
            future.set_exception(error)
        except BaseException:
            gate.leave()
            raise
        # The slot is the thread's: a call that nobody waits for any more still holds it.
        future.add_done_callback(lambda _: gate.leave())
        return future

    def collect(self, asked: Future[Decision] | Decision, deadline: Deadline) -> Decision:
        """Wait for what `submit` began, until the deadline at the latest."""
        if isinstance(asked, Decision):
            return self._tell(asked, 0.0)
        started = time.monotonic()
        try:
            decision = _checked(asked.result(deadline.left(started)))
        except TimeoutError:
            asked.cancel()
            decision = failed(self.vendor.name, ErrorCode.DEADLINE, trips=True)
        except TransportError as error:
            if error.code is ErrorCode.SHED:  # no thread to be had, which says nothing of the vendor
                return self._tell(self._shed(), 0.0)
            decision = failed(self.vendor.name, error.code, trips=True)
        except Exception as error:
            decision = self._bug(error)
        return self._note(decision, time.monotonic() - started)

    async def ask(self, visit: Visit, state: VisitorState, deadline: Deadline) -> Decision:
        """Ask from an event loop."""
        import asyncio

        if not self.remote:
            return self._tell(self._locally(visit, state), 0.0)
        refused = self._admit()
        if refused is not None:
            return self._tell(refused, 0.0)
        gate = self._tasks
        if not gate.enter():
            try:
                await asyncio.sleep(SLOT_WAIT_S)
            except asyncio.CancelledError:
                self.breaker.abandon()
                raise
            if not gate.enter():
                return self._tell(self._shed(), 0.0)
        started = time.monotonic()
        try:
            decision = _checked(await self.aio.run(self.vendor.decide(visit, state), deadline))
        except asyncio.CancelledError:
            self.breaker.abandon()
            raise
        except Exception as error:
            decision = self._bug(error)
        finally:
            gate.leave()
        return self._note(decision, time.monotonic() - started)

    def health(self) -> dict[str, Any]:
        now = time.monotonic()
        return {
            "breaker": self.breaker.state(now),
            "next_probe_s": round(self.breaker.open_for(now), 3),
            "in_flight": self._threads.inside + self._tasks.inside,
        }

    def _admit(self) -> Decision | None:
        if self.breaker.allow(time.monotonic()):
            return None
        return failed(self.vendor.name, ErrorCode.BREAKER_OPEN)

    def _shed(self) -> Decision:
        self.breaker.abandon()
        self._throttle.log(logging.WARNING, ErrorCode.SHED, "too many calls under way", vendor=self.vendor.name)
        return failed(self.vendor.name, ErrorCode.SHED)

    def _locally(self, visit: Visit, state: VisitorState) -> Decision:
        try:
            flow = self.vendor.decide(visit, state)
            next(flow)
        except StopIteration as stop:
            return stop.value if isinstance(stop.value, Decision) else self._bug(TypeError())
        except Exception as error:
            return self._bug(error)
        flow.close()
        return failed(self.vendor.name, ErrorCode.INTERNAL)

    def _bug(self, error: Exception) -> Decision:
        """Turn a defect of ours, or of a vendor written elsewhere, into a decision; its text may hold anything."""
        self._counts.add("internal_error", self.vendor.name, ErrorCode.INTERNAL)
        self._throttle.log(
            logging.ERROR, ErrorCode.INTERNAL, "deciding failed", vendor=self.vendor.name, error=type(error).__name__
        )
        return failed(self.vendor.name, ErrorCode.INTERNAL, trips=True)

    def _note(self, decision: Decision, elapsed_s: float) -> Decision:
        name, now = self.vendor.name, time.monotonic()
        if decision.error is not None and decision.trips:
            if self.breaker.failure(now, decision.retry_after_s):
                self._throttle.change(logging.WARNING, decision.error, "vendor is left alone for a while", vendor=name)
        elif self.breaker.success(now):
            self._throttle.change(logging.WARNING, "RECOVERED", "vendor answers again", vendor=name)
        return self._tell(decision, elapsed_s)

    def _tell(self, decision: Decision, elapsed_s: float) -> Decision:
        code, name = decision.error or decision.notice, self.vendor.name
        self._counts.add("decided" if code is None else "undecided", name, code or "")
        if decision.advice is not None and code is not None:
            level = logging.ERROR if decision.error else logging.WARNING
            self._throttle.log(level, f"{code}", decision.advice, vendor=name)
        if self._config.on_decision is not None:
            note = DecisionNote(
                vendor=name,
                decided=len(decision.variants),
                error=decision.error,
                notice=decision.notice,
                log=decision.log if self._config.debug else None,
                elapsed_s=elapsed_s,
            )
            try:
                self._config.on_decision(note)
            except Exception as error:
                self._throttle.log(logging.ERROR, "HOOK", "on_decision failed", error=type(error).__name__)
        return decision


def _checked(decision: Decision) -> Decision:
    if not isinstance(decision, Decision):
        raise TypeError("not a decision")
    return decision
