"""Clients for a vendor on loopback, and the samples of the documentation page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flagmw.admin import AdobeAdmin, AsyncAdobeAdmin, GivenToken

SAMPLES = Path(__file__).parents[2] / "samples" / "adobe_admin"
TENANT, API_KEY, TOKEN = "acme", "key-of-the-integration", "token-that-must-not-show"


class Clock:
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


def client(url: str, clock: Clock | None = None, **options: Any) -> AdobeAdmin:
    """Return a blocking client of the vendor at *url*, on a clock of its own."""
    clock = clock or Clock()
    return AdobeAdmin(TENANT, **_options(url, clock, options), sleep=clock.sleep)


def async_client(url: str, clock: Clock | None = None, **options: Any) -> AsyncAdobeAdmin:
    """Return an asynchronous client of the vendor at *url*, on a clock of its own."""
    clock = clock or Clock()
    return AsyncAdobeAdmin(TENANT, **_options(url, clock, options), sleep=clock.asleep)


def _options(url: str, clock: Clock, options: dict[str, Any]) -> dict[str, Any]:
    given = {"auth": GivenToken(TOKEN), "api_key": API_KEY, "base_url": url, "profile_url": url, "client_code": "acme"}
    return {**given, "clock": clock, **options}


def call_of(case: str) -> dict[str, Any]:
    """Return the request of a sample, as printed."""
    document: dict[str, Any] = json.loads((SAMPLES / case / "call.json").read_text("utf-8"))
    return document


def answer_of(case: str) -> Any:
    """Return the answer of a sample."""
    return json.loads((SAMPLES / case / "answer.json").read_text("utf-8"))
