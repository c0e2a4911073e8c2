"""Shadow vendors: asked after responses, and compared with what was served."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flagmw._cookies import header as cookie_header
from flagmw._decide.vendor_client import VendorClient
from flagmw._exchange.context import Context
from flagmw._exchange.exchange import Exchange, Stage
from flagmw._exchange.memory_shares import weight_of
from flagmw._exchange.visitor import RequestVisitor
from flagmw._shadow.report import Document, Outcome, Report
from flagmw._shadow.report_file import write
from flagmw._support.cache import TwoGenerationCache
from flagmw._support.deadline import Deadline
from flagmw._support.forksafe import Lock, PerProcess
from flagmw._support.limits import Gate
from flagmw._web.consent import Consent
from flagmw.codes import ErrorCode
from flagmw.flags.flags import Flags, content_of, failure_of
from flagmw.types import EMPTY, Decision, Variant, Visit, VisitorState
from flagmw.vendors.base import Vendor

if TYPE_CHECKING:
    import asyncio

AT_ONCE_MAX = 64
THREADS = 4
WRITE_EVERY_S = 60.0

Jar = dict[str, str]


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked after one response.

    Attributes:
        states: each shadow vendor's cookies of the visitor.
        keys: what the visitor is known by here.
        served: what the page had.
    """

    visit: Visit
    states: Sequence[VisitorState]
    keys: Sequence[int]
    served: Mapping[str, Variant]


class Shadow:
    """Ask *vendors* what they would have decided. Starts nothing before the first question, anew in each process.

    They are asked about pages that were decided afresh, of visitors who may be counted. What they set as cookies is
    kept here, by what the vendors that serve know the visitor by.

    Args:
        context: that of the vendors that serve.
        deadline_s: how long an answer may take: as long as if it were served.
        path: where the report is written.
    """

    def __init__(self, vendors: Sequence[Vendor], context: Context, deadline_s: float, path: Path | None) -> None:
        self.clients = [VendorClient(vendor, context) for vendor in vendors]
        self._rules = [vendor.cookies for vendor in vendors]
        self._context, self._deadline_s, self._path = context, deadline_s, path
        self._lock = Lock()
        self._jars: TwoGenerationCache[int, Sequence[Jar]] = TwoGenerationCache(
            context.shares.shadows, lambda jars: 200 + sum(map(weight_of, jars))
        )
        self._process = PerProcess(self._start_process, self._leave_parent)
        self._last = self._new_report()

    def report(self) -> Document:
        """Return this process's comparisons so far; after `close` those until then."""
        running = self._process.current()
        report = self._last if running is None else running.report
        return report.document()

    # After a response

    def in_thread(self, exchange: Exchange, flags: Flags) -> None:
        """Ask from threads, for a response that has gone; this returns at once."""
        running = self._process.get()
        question = self._question(exchange, flags)
        if question is None or not self._enter(running):
            return
        try:
            running.threads.submit(self._ask_in_thread, running, question)
        except RuntimeError:  # the interpreter is on its way out
            running.gate.leave()

    def on_loop(self, exchange: Exchange, flags: Flags) -> None:
        """Ask from the running event loop, for a response that has gone; this returns at once."""
        import asyncio
        from contextvars import Context as Variables

        running = self._process.get()
        question = self._question(exchange, flags)
        if question is None or not self._enter(running):
            return
        # What the request's own variables hold must not live on with it.
        task = asyncio.get_running_loop().create_task(self._ask(running, question), context=Variables())
        running.tasks.add(task)
        task.add_done_callback(lambda done: self._over(running, done))

    async def cancel(self) -> None:
        """End what the running event loop has under way."""
        import asyncio

        running = self._process.current()
        loop = asyncio.get_running_loop()
        tasks = [] if running is None else [task for task in running.tasks if task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Leave what waits in threads, and write the report a last time."""
        running = self._process.take()
        if running is not None:
            running.threads.shutdown(wait=False, cancel_futures=True)
            self._last = running.report
            self._write(running)

    # Inside

    def _enter(self, running: _Running) -> bool:
        if running.gate.enter():
            return True
        for client in self.clients:
            self._context.counts.add("shadow_shed", client.vendor.name, ErrorCode.SHED)
        return False

    def _question(self, exchange: Exchange, flags: Flags) -> _Question | None:
        """Return what to ask about *exchange*, whose view got *flags*; None where there is nothing to compare with."""
        visitor = exchange.visitor
        if flags.is_pending or failure_of(flags) is not None or exchange.stage is not Stage.DECIDED:
            return None
        if visitor.consent is not Consent.FULL or visitor.override is not None or visitor.inbound is None:
            return None
        visit = visitor.visit
        known = dict.fromkeys(self._known_by(visitor))
        with self._lock:
            jars = next((jar for key in known if (jar := self._jars.get(key)) is not None), None)
        # Where the vendor's own tag has set cookies, as in a site that moves from one vendor to another, they count.
        parsed = cookie_header.read(visitor.inbound.headers("cookie"), self._rules)
        states = [
            VisitorState({**(jars[place] if jars else EMPTY), **cookies}) for place, cookies in enumerate(parsed.own)
        ]
        asked = replace(visit, record=False, cookies=EMPTY, preview=EMPTY)
        return _Question(asked, states, tuple(known), content_of(flags).variants)

    def _known_by(self, visitor: RequestVisitor) -> list[int]:
        """Return the visitor's keys before and after the response: the next page comes with the latter."""
        user_id = visitor.visit.user_id
        if user_id is not None:
            return [hash(user_id)]
        known: list[int] = []
        for place, traits in enumerate(self._context.traits):
            for cookies in (visitor.states[place].cookies, visitor.cookies_after(place)):
                identity = traits.identity_of(VisitorState(cookies))
                if identity:
                    known.append(hash((traits.vendor.name, identity)))
        return known

    def _ask_in_thread(self, running: _Running, question: _Question) -> None:
        try:
            deadline = Deadline.after(self._deadline_s, time.monotonic())
            calls = [
                client.submit(question.visit, state, deadline)
                for client, state in zip(self.clients, question.states, strict=True)
            ]
            decisions = [client.collect(call, deadline) for client, call in zip(self.clients, calls, strict=True)]
            if self._compare(running, question, decisions):
                self._write(running)
        except Exception as error:
            self._failed(error)
        finally:
            running.gate.leave()

    async def _ask(self, running: _Running, question: _Question) -> None:
        import asyncio

        deadline = Deadline.after(self._deadline_s, time.monotonic())
        asks = [
            client.ask(question.visit, state, deadline)
            for client, state in zip(self.clients, question.states, strict=True)
        ]
        if self._compare(running, question, await asyncio.gather(*asks)):
            await asyncio.to_thread(self._write, running)

    def _over(self, running: _Running, task: asyncio.Task[None]) -> None:
        running.gate.leave()
        running.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _compare(self, running: _Running, question: _Question, decisions: Sequence[Decision]) -> bool:
        """Count how *decisions* compare, and keep their cookies; return whether it is time to write the report."""
        now = question.visit.now
        jars = [dict(state.cookies) for state in question.states]
        for client, jar, decision in zip(self.clients, jars, decisions, strict=True):
            name = client.vendor.name
            running.report.asked(name, now, decision.error)
            if decision.error is not None:
                self._context.counts.add("shadow_failed", name, decision.error)
                continue
            self._keep(client.vendor, jar, decision)
            self._compare_one(running.report, client.vendor, question.served, decision)
        if question.keys:
            with self._lock:
                for key in question.keys:
                    self._jars.put(key, jars)
        return self._path is not None and running.write_due(time.monotonic())

    def _compare_one(self, report: Report, vendor: Vendor, served: Mapping[str, Variant], decision: Decision) -> None:
        defaults = self._context.config.defaults
        theirs = {vendor.prefix + alias: variant.key for alias, variant in decision.variants.items()}
        for alias in {**served, **theirs}:
            shown = served[alias].key if alias in served else defaults.get(alias, "control")
            other = theirs.get(alias)
            outcome: Outcome = "missing" if other is None else "same" if other == shown else "differs"
            self._context.counts.add(f"shadow_{outcome}", vendor.name)
            report.compared(vendor.name, alias, outcome, shown, other or "")

    @staticmethod
    def _keep(vendor: Vendor, jar: Jar, decision: Decision) -> None:
        for change in decision.cookies:
            if change.max_age_s == 0:
                jar.pop(change.name, None)
            elif cookie_header.writable(change.name, change.value, vendor.cookies) is None:
                jar[change.name] = change.value

    def _write(self, running: _Running) -> None:
        if self._path is None:
            return
        try:
            write(self._path, running.name, running.report.document())
        except (OSError, ValueError) as error:
            self._context.counts.add("shadow_report_failed")
            self._context.throttle.log(
                logging.ERROR, "SHADOW_REPORT", "shadow_report cannot be written", error=type(error).__name__
            )

    def _failed(self, error: BaseException) -> None:
        self._context.counts.add("internal_error", "", ErrorCode.INTERNAL)
        self._context.throttle.log(
            logging.ERROR, ErrorCode.INTERNAL, "a call to a shadow vendor failed", error=type(error).__name__
        )

    def _new_report(self) -> Report:
        return Report([client.vendor.name for client in self.clients], self._context.clock())

    def _start_process(self) -> _Running:
        return _Running(self._new_report(), self._context.clock())

    def _leave_parent(self, inherited: _Running) -> None:
        """Forget the parent's calls in a forked child."""
        for client in self.clients:
            client.reset()


class _Running:
    """What one process has. Made without starting anything."""

    def __init__(self, report: Report, now: float) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.name = f"{os.getpid()}-{now:.3f}"
        self.report = report
        self.gate = Gate(AT_ONCE_MAX)
        self.threads = ThreadPoolExecutor(THREADS, "flagmw-shadow")
        self.tasks: set[asyncio.Task[None]] = set()
        self._written = float("-inf")

    def write_due(self, now: float) -> bool:
        """Say whether the report should be written at *now*, in seconds of a monotonic clock, and note that it is."""
        due = now - self._written >= WRITE_EVERY_S
        if due:
            self._written = now
        return due
