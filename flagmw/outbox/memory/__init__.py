"""Outbox in the memory of one process."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flagmw.outbox.memory.outbox import MemoryOutbox

__all__ = ["MemoryOutbox"]


def __getattr__(name: str) -> object:
    # Loaded when it is first named: parts of this folder are used without the whole.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flagmw.outbox.memory import outbox

    return getattr(outbox, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
