"""Clients for Contentstack on loopback, and a project that keeps what is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flagmw.admin import AsyncContentstackAdmin, Authtoken, ContentstackAdmin
from tests.support.http_vendor import Answer, HttpVendor, Request, answer
from tests.unit.admin.adobe import Clock

SAMPLES = Path(__file__).parents[2] / "samples" / "contentstack_admin"
PROJECT = "64c7787b333555469a861224"
TOKEN = "authtoken-that-must-not-show"
EXPERIENCE, DRAFT, ACTIVE, EVENT, AUDIENCE = (digit * 24 for digit in "12345")


def client(url: str, clock: Clock | None = None, **options: Any) -> ContentstackAdmin:
    """Return a blocking client of the vendor at *url*, on a clock of its own."""
    clock = clock or Clock()
    given = {"auth": Authtoken(TOKEN), "base_url": url, "clock": clock, **options}
    return ContentstackAdmin(PROJECT, **given, sleep=clock.sleep)


def async_client(url: str, clock: Clock | None = None, **options: Any) -> AsyncContentstackAdmin:
    """Return an asynchronous client of the vendor at *url*, on a clock of its own."""
    clock = clock or Clock()
    given = {"auth": Authtoken(TOKEN), "base_url": url, "clock": clock, **options}
    return AsyncContentstackAdmin(PROJECT, **given, sleep=clock.asleep)


def sample(name: str) -> dict[str, Any]:
    """Return a body as the vendor's page prints it."""
    document: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))
    return document


class Scripted:
    """A vendor whose experience has the *versions* given; what is written is echoed, with a uid.

    Attributes:
        sent: method, path and body of each request.
    """

    def __init__(self, *versions: dict[str, Any]) -> None:
        self.versions = list(versions)
        self.sent: list[tuple[str, str, Any]] = []
        self.vendor = HttpVendor(self._handle)

    def _handle(self, request: Request) -> Answer:
        body = request.json() if request.body else None
        self.sent.append((request.method, request.target, body))
        if request.method == "GET":
            return answer(self.versions if request.path.endswith("/versions") else [])
        if request.method == "DELETE":
            return Answer(204)
        return answer({"uid": "9" * 24, **body}, 201 if request.method == "POST" else 200)

    def __enter__(self) -> Scripted:
        self.vendor.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.vendor.__exit__(None, None, None)
