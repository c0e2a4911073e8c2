"""The current request's flags, for code far below the view."""

from __future__ import annotations

from contextvars import ContextVar

from flagmw.codes import ErrorCode
from flagmw.flags.flags import Flags

_flags: ContextVar[Flags | None] = ContextVar("flagmw_flags", default=None)


def current() -> Flags:
    """Return the flags of the request being served; outside of one, empty flags with code `NO_REQUEST`."""
    flags = _flags.get()
    return Flags(error_code=ErrorCode.NO_REQUEST) if flags is None else flags


def known_current() -> Flags | None:
    """As `current()`; None outside of a request."""
    return _flags.get()


def set_current(flags: Flags | None) -> None:
    """Make *flags* what `current()` returns in this context."""
    _flags.set(flags)


def swap_current(flags: Flags | None) -> Flags | None:
    """As `set_current`; return what was current before, to be set again when *flags* no longer are."""
    before = _flags.get()
    _flags.set(flags)
    return before
