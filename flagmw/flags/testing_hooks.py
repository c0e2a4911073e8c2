"""Overrides and captures of `flagmw.testing`, for all threads of the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flagmw._support.forksafe import Lock
from flagmw.types import Track


@dataclass(frozen=True, slots=True, eq=False)
class TestOverride:
    """Variants that are served instead of asking vendors; *strict* makes any other alias an error."""

    variants: Mapping[str, str]
    strict: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TestCapture:
    """Tracks that were made while this was in place, instead of being delivered."""

    tracks: list[Track] = field(default_factory=list)


_lock = Lock()
_overrides: list[TestOverride] = []
_captures: list[TestCapture] = []


def push(what: TestOverride | TestCapture) -> None:
    """Put *what* in place, in front of what is there."""
    with _lock:
        if isinstance(what, TestOverride):
            _overrides.append(what)
        else:
            _captures.append(what)


def pop(what: TestOverride | TestCapture) -> None:
    """Take *what* away again, wherever it stands."""
    with _lock:
        if isinstance(what, TestOverride):
            _overrides.remove(what)
        else:
            _captures.remove(what)


def override() -> TestOverride | None:
    """Return the override in place, if any; of several, one that holds all of them together."""
    if not _overrides:
        return None
    with _lock:
        variants: dict[str, str] = {}
        for override in _overrides:
            variants.update(override.variants)
        return TestOverride(variants, any(override.strict for override in _overrides)) if _overrides else None


def capture() -> TestCapture | None:
    """Return the innermost capture in place, if any."""
    return _captures[-1] if _captures else None
