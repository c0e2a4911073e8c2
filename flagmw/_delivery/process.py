"""What one process has of a `Flagmw`'s delivery: the outbox, and the worker that delivers from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flagmw._support.limits import Deadline
from flagmw.config.config import Config
from flagmw.outbox.base import Leased, Outbox
from flagmw.outbox.factory import make
from flagmw.outbox.location import Location
from flagmw.types import Flow, Outcome

if TYPE_CHECKING:
    from concurrent.futures import Future


class DeliveryProcess:
    """Outbox and worker, made without starting anything.

    Args:
        made: an outbox, or where one is.
        deliver, outcome: what the worker drives flows with, and whom it tells.

    Attributes:
        delivers: whether this process delivers, too.
        owned: whether the outbox was made here, to be closed here; *own_memory*: in memory, so that it ends here.
        opened: whether it has stored anything yet.
        submits: whether it stores without being waited for.
        puts: how often events came.
        closed: whether its store is closed, or about to be.
    """

    def __init__(
        self,
        config: Config,
        made: Any,
        deliver: Callable[[str, Flow[Sequence[Outcome]], Deadline], Sequence[Outcome]],
        outcome: Callable[[Leased, Outcome], None],
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from flagmw.outbox.worker.worker import Worker

        self.delivers = config.deliver == "inprocess"
        self.owned = isinstance(made, Location)
        self.opened = self.closed = False
        self.puts = 0
        self.own_memory = self.owned and made.scheme == "memory"
        self.outbox: Outbox = make(made, required=config.outbox_required) if self.owned else made
        self.submits = not self.own_memory and callable(getattr(self.outbox, "submit", None))
        vendors = {vendor.name: vendor for vendor in config.vendors}
        self.worker = Worker(
            self.outbox,
            vendors,
            deliver,
            max_rate=config.max_rate,
            on_outcome=outcome,
        )
        if self.owned and hasattr(self.outbox, "on_work"):
            self.outbox.on_work = lambda: self.worker.wake() if self.delivers else None
        if self.owned and hasattr(self.outbox, "at_most_once"):
            self.outbox.at_most_once = any(vendor.at_most_once for vendor in config.vendors)
        self.committer = ThreadPoolExecutor(1, "flagmw-commit")

    def stored(self, timeout_s: float) -> bool:
        """Wait until everything handed over so far is in the outbox; return whether it is."""
        if self.own_memory:
            return True
        try:
            last: Future[Any] = (
                self.outbox.submit([], self.worker.now()) if self.submits else self.committer.submit(int)
            )
            last.result(timeout_s)
        except Exception as error:
            # A store that does not take events has told so for each of them, and somebody else's may raise anything;
            # an interpreter on its way out has waited for it before it said so.
            return not isinstance(error, TimeoutError)
        return True
