"""Management side of emulated projects: what is kept for each."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flagmw.sandbox.contentstack.model import Project
from flagmw.sandbox.contentstack_admin.counts import Counts
from flagmw.sandbox.contentstack_admin.settings import Settings

Document = dict[str, Any]
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(slots=True)
class ProjectStore:
    """What a project has now.

    Attributes:
        revision: grows with every change; 0 while it is as the scenario has it.
        versions: of each experience, the oldest first.
        dealt: by the uid of a version that the scenario made, the text that deals its visitors.
        activated: when a version became active first, by its uid.
        content_types: of the CMS, linked to an experience.
        next_short: the next short uid of a variant by experience, and of an experience under "".
    """

    uid: str
    seeded_from: Project
    revision: int = 0
    attributes: dict[str, Document] = field(default_factory=dict)
    audiences: dict[str, Document] = field(default_factory=dict)
    events: dict[str, Document] = field(default_factory=dict)
    experiences: dict[str, Document] = field(default_factory=dict)
    versions: dict[str, list[Document]] = field(default_factory=dict)
    priority: list[str] = field(default_factory=list)
    dealt: dict[str, str] = field(default_factory=dict)
    activated: dict[str, float] = field(default_factory=dict)
    content_types: dict[str, list[Document]] = field(default_factory=dict)
    next_short: dict[str, int] = field(default_factory=dict)
    made: int = 0

    def new_uid(self) -> str:
        """Return a uid that was not there before."""
        self.made += 1
        return hashlib.sha256(f"{self.uid} {self.made}".encode()).hexdigest()[:24]

    def new_short_uid(self, experience: str, taken: set[str]) -> str:
        """Return the next short uid: of a variant of *experience*, or of an experience for "". None comes twice."""
        while True:
            number = self.next_short.get(experience, 0)
            self.next_short[experience] = number + 1
            text = ""
            while True:
                number, digit = divmod(number, 36)
                text = _DIGITS[digit] + text
                if not number:
                    break
            if text not in taken:
                return text

    def new(self, now: float, **fields: Any) -> Document:
        """Return a document with the fields that all have."""
        at = stamp(now)
        return {
            "uid": self.new_uid(),
            "project": self.uid,
            **fields,
            "createdBy": "sandbox",
            "updatedBy": "sandbox",
            "createdAt": at,
            "updatedAt": at,
        }


class PersonalizeState(Settings):
    """All projects' stores, tokens, calls and counts of one sandbox.

    Attributes:
        projects: names and stacks of projects, by their uid.
        tokens: scopes and end by an OAuth token that was issued.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """Forget everything but the settings."""
        self.stores: dict[str, ProjectStore] = {}
        self.projects: dict[str, Document] = {}
        self.served: dict[str, tuple[int, Project, Project]] = {}
        self.tokens: dict[str, tuple[str, float]] = {}
        self.refresh_token = "sandbox-refresh-token"  # noqa: S105
        self.issued = 0
        self.calls: deque[float] = deque()
        self.counts = Counts()

    def admits(self, now: float) -> bool:
        """Say whether one more call is within the limit, and count it if so."""
        while self.calls and self.calls[0] <= now - 1:
            self.calls.popleft()
        if self.calls_per_second and len(self.calls) >= self.calls_per_second:
            return False
        self.calls.append(now)
        return True


def cms_uid(*parts: str) -> str:
    """Return the uid that a variant or a variant group has in the CMS."""
    return f"cs{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"


def stamp(now: float) -> str:
    """Return a moment as the vendor writes it."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(now * 1000) % 1000:03d}Z"
