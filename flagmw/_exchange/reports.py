"""What the flags of one exchange report, and what the delivery takes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flagmw._exchange import saved_visitor
from flagmw._exchange.recorder import Events
from flagmw.codes import ErrorCode
from flagmw.types import EMPTY, Event, Put, Variant, Visit

if TYPE_CHECKING:
    from flagmw._exchange.context import Context
    from flagmw._web.overrides import Override
    from flagmw.flags.flags import Flags

# Nobody is there who could be in a test; and there a cookie would be set without consent.
SILENT = frozenset({ErrorCode.NO_CONSENT, ErrorCode.BOT})
UNSEEN = frozenset({ErrorCode.NO_CONSENT, ErrorCode.BOT, ErrorCode.PREFETCH})


class Reports:
    """The half of an exchange that hears of the view; the other half knows who the visitor is.

    Most requests report nothing, so what they would need is made when something happens; until then it is the class's.

    Attributes:
        answered: whether the response has begun: what happens from then on waits for nothing, and goes away at once.
    """

    answered = False
    _events: Events | None = None
    _sink: Put | None = None
    # What the flags note, not the flags: they know their exchange, and a circle would be left to the collector.
    _read: Mapping[str, Variant] = EMPTY
    _reported = 0

    if TYPE_CHECKING:
        _context: Context
        kept_from: ErrorCode | None
        override: Override | None
        now: float
        states: Any

        @property
        def recorded(self) -> bool: ...

        @property
        def visit(self) -> Visit: ...

        def jar(self, n: int) -> Mapping[str, str]: ...

    def _given(self, flags: Flags) -> Flags:
        """Note the flags that the view gets, to report what it reads of them."""
        self._read = flags._exposed
        return flags

    def gave(self, flags: Flags) -> None:
        """Note that the view has *flags* in its hands, which have taken over what was settled."""
        self._read = flags._exposed

    # What `Flags` reports

    def mismatch(self, alias: str) -> None:
        self._context.counts.add("type_mismatch", "", ErrorCode.TYPE_MISMATCH)

    def identified_late(self) -> None:
        self._context.counts.add("identify_ignored", "", ErrorCode.LOADED_ALREADY)

    def save(self) -> bytes:
        return saved_visitor.dump(self.visit, [self.jar(n) for n in range(len(self.states))])

    def track(self, metric: str, **told: Any) -> str | None:
        kept_from = self.kept_from if self.kept_from in SILENT else None
        if kept_from is None and not self.recorded:
            kept_from = ErrorCode.NO_CONSENT
        if kept_from is None and self.override is not None:
            kept_from = ErrorCode.OVERRIDDEN
        return self._happened().track(metric, kept_from, told)

    def _happened(self) -> Events:
        if self._events is None:
            self._events = Events(self._context, self, self._sink)
        if self.answered and self._events.sink is None and self._context.open_sink is not None:
            self._events.sink = self._context.open_sink()
        return self._events

    # What the delivery takes

    @property
    def sink(self) -> Put | None:
        """Where events go at once, if anywhere."""
        return self._sink if self._events is None else self._events.sink

    @sink.setter
    def sink(self, sink: Put) -> None:
        self._happened().sink = sink

    @property
    def pending(self) -> bool:
        """Whether there is something that the delivery should take."""
        events = self._events
        return (self._context.reads and len(self._read) > self._reported) or (events is not None and bool(events))

    @property
    def has_reads(self) -> bool:
        """Whether the view has read variants whose vendors are to be told."""
        return self._context.reads and len(self._read) > self._reported

    def drain(self, *, expose: bool = True) -> list[Event]:
        """Return the events collected so far and forget them; what was read is among them if *expose* says so."""
        if expose:
            self.expose()
        return [] if self._events is None else self._events.drain()

    def expose(self) -> None:
        """Make events of what the view has read so far."""
        read = [*self._read.values()][self._reported :]
        if not read:
            return
        self._reported += len(read)
        silent = self.kept_from is not None or self.override is not None
        if not silent and self._context.reads and self.recorded:
            self._happened().expose(read, self.now)
