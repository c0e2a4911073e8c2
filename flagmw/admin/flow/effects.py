"""The steps that an operation asks its driver for."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from flagmw.types import Call

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """Make a call; the answer is a `flagmw.types.Reply`, a failure is thrown in as `TransportError`.

    Attributes:
        timeout_s: how long the whole call may take, in seconds.
        max_bytes: how large the answer may be, decoded.
    """

    call: Call
    timeout_s: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until somebody else, in another thread or task, has finished *future*; the answer is its result."""

    future: Future[Any]


@dataclass(frozen=True, slots=True)
class Work:
    """Run a function that may block (a file, a Valkey server); the answer is what it returns."""

    function: Callable[[], Any]


Effect: TypeAlias = Send | Sleep | Wait | Work

Flow: TypeAlias = Generator[Effect, Any, T]
"""An operation: yields effects, is sent what they bring, returns its result. It does no I/O."""
