"""One process's outbox and delivery worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flagmw._delivery.business_keys import Reserve
from flagmw._support.deadline import Deadline
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
        outbox: an outbox, or the location of one.
        deliver, on_outcome: drives a vendor's flow; is called with each outcome.

    Attributes:
        delivers: whether this process delivers, too.
        owned: whether the outbox was made here, to be closed here; *own_memory*: in memory, so that it ends here.
        opened: whether it has stored anything yet.
        submits: whether it stores without being waited for.
        reserve: asks the outbox for business keys; None if it cannot check them.
        puts: how often events came.
        closed: whether its store is closed, or about to be.
    """

    def __init__(
        self,
        config: Config,
        outbox: Any,
        deliver: Callable[[str, Flow[Sequence[Outcome]], Deadline], Sequence[Outcome]],
        on_outcome: Callable[[Leased, Outcome], None],
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from flagmw.outbox.worker.worker import Worker

        self.delivers = config.deliver == "inprocess"
        self.owned = isinstance(outbox, Location)
        self.opened = self.closed = False
        self.puts = 0
        self.own_memory = self.owned and outbox.scheme == "memory"
        self.outbox: Outbox = make(outbox, required=config.outbox_required) if self.owned else outbox
        self.submits = not self.own_memory and callable(getattr(self.outbox, "submit", None))
        # An outbox written elsewhere may lack it.
        reserve = getattr(self.outbox, "reserve", None)
        self.reserve: Reserve | None = reserve if callable(reserve) else None
        vendors = {vendor.name: vendor for vendor in config.vendors}
        self.worker = Worker(
            self.outbox,
            vendors,
            deliver,
            max_rate=config.max_rate,
            on_outcome=on_outcome,
        )
        # Storing and forwarding use one clock: the machine's clock may be set between the two.
        go_by = getattr(self.outbox, "go_by", None)
        if callable(go_by):
            go_by(self.worker.now)
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
            # A store that takes no events has already said so for each of them, and a foreign store may raise anything;
            # an interpreter on its way out has waited for it before it said so.
            return not isinstance(error, TimeoutError)
        return True
