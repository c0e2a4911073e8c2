"""Delivery worker: threads that send events to vendors."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flagmw.outbox.worker.worker import WIRE_S, Worker

__all__ = ["WIRE_S", "Worker"]


def __getattr__(name: str) -> object:
    # Loaded when it is first named: parts of this folder are used without the whole.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flagmw.outbox.worker import worker

    return getattr(worker, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
