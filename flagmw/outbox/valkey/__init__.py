"""Outbox on a Valkey server, for several machines."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flagmw.outbox.valkey.outbox import LocalPolicy, ValkeyOutbox, ValkeySeen, ValkeyVisitors

__all__ = ["LocalPolicy", "ValkeyOutbox", "ValkeySeen", "ValkeyVisitors"]


def __getattr__(name: str) -> object:
    # Loaded when it is first named: parts of this folder are used without the whole.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flagmw.outbox.valkey import outbox

    return getattr(outbox, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
