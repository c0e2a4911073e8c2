"""Options that both drivers have."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

from flagmw._drivers.hedge import Budget
from flagmw._transports.base import Setup, accept_ca_file
from flagmw._transports.body import LIMITS, Limits
from flagmw._transports.proxies import environment_proxies


class DriverArguments(TypedDict, total=False):
    """Keyword arguments for the options of `DriverOptions`."""

    limits: Limits
    trust_env: bool
    ca_file: str | os.PathLike[str] | None
    hedge_s: float | None
    hedge_budget: Budget
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOptions:
    """Options of a driver.

    Attributes:
        limits: sizes and times of connections and answers.
        trust_env: use the proxies that the environment names.
        ca_file: trust these certificate authorities instead of the system's.
        hedge_s: make a `hedge_safe` call once more when it has no answer after so many seconds; None never does.
        hedge_budget: the share of such calls that is made twice; a tenth when left out.
        clock: the clock of the deadlines.
    """

    limits: Limits = LIMITS
    trust_env: bool = False
    ca_file: str | os.PathLike[str] | None = None
    hedge_s: float | None = None
    hedge_budget: Budget = field(default_factory=Budget)
    clock: Callable[[], float] = time.monotonic

    def setup(self, size: int) -> Setup:
        """Return the set-up of a transport that keeps *size* connections.

        Raises:
            ConfigError: the proxies of the environment or the file of authorities cannot be used.
        """
        proxies = environment_proxies(self.trust_env)
        return Setup(size, self.limits, proxies, accept_ca_file(self.ca_file), self.clock)
