"""The management state of emulated accounts."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from flagmw.sandbox.adobe.model import ModelActivity, TargetAccount
from flagmw.sandbox.adobe_admin.dates import stamp
from flagmw.sandbox.adobe_admin.mboxes import MboxNames
from flagmw.sandbox.adobe_admin.profiles import ProfileStore
from flagmw.sandbox.adobe_admin.rate import Rate

Document = dict[str, Any]


@dataclass(slots=True)
class ManagedRecord:
    """An activity as the Admin API has it.

    Attributes:
        origin: the scenario's activity that it was made from, as long as only its name, state, priority or schedule
            were changed.
        removed: experiences that an update took away, with the time.
    """

    id: int
    type: str
    body: Document
    created: float
    modified: float
    origin: ModelActivity | None = None
    removed: list[tuple[Document, float]] = field(default_factory=list)
    changes: list[Document] = field(default_factory=list)

    def document(self) -> Document:
        """Return the activity as an answer has it."""
        return {"id": self.id, **self.body, "modifiedAt": stamp(self.modified)}


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token for profiles or traces."""

    value: str
    until: float


class AccountStore:
    """The management side of one account.

    Everything is read and changed by the server's own thread.

    Attributes:
        version: grows with every change.
    """

    def __init__(self, account: TargetAccount) -> None:
        self.seeded_from = account
        self.version = 0
        self.activities: dict[int, ManagedRecord] = {}
        self.offers: dict[int, Document] = {}
        self.audiences: dict[int, Document] = {}
        self.properties: dict[int, Document] = {}
        self.response_tokens: dict[int, Document] = {}
        self.environments: list[Document] = []
        self.tokens: dict[str, IssuedToken] = {}
        self.qa_tokens: dict[str, int] = {}
        self._ids: dict[str, Any] = {}

    def changed(self) -> None:
        """Note a change: what is served is worked out anew."""
        self.version += 1

    def next_id(self, kind: str, first: int) -> int:
        """Return a new id; ids of one kind are never used again."""
        return int(next(self._ids.setdefault(kind, count(first))))

    def token(self, scope: str, now: float) -> IssuedToken | None:
        """Return the token of *scope* that is good now."""
        found = self.tokens.get(scope)
        return found if found is not None and found.until > now else None

    def new_token(self, scope: str, until: float) -> IssuedToken:
        """Make a token; the one before stops working."""
        made = self.tokens[scope] = IssuedToken(str(uuid.uuid4()), until)
        return made


class TargetState:
    """The management side of all accounts of one sandbox."""

    def __init__(self) -> None:
        self.rate = Rate()
        self.profiles = ProfileStore()
        self.mboxes = MboxNames()
        self.clear()

    def clear(self) -> None:
        """Return to what the scenario says."""
        self.stores: dict[str, AccountStore] = {}
        self.served: dict[str, Any] = {}
        self.access_tokens: dict[str, tuple[str, float]] = {}
        self.rate.clear()
        self.profiles.clear()
        self.mboxes.clear()
