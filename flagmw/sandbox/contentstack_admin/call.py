"""One call of the emulated Management API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flagmw.sandbox.contentstack_admin.errors import invalid, missing
from flagmw.sandbox.contentstack_admin.settings import Settings
from flagmw.sandbox.contentstack_admin.store import Document, ProjectStore, stamp

if TYPE_CHECKING:
    from flagmw.sandbox.state import Sandbox


@dataclass(frozen=True, slots=True)
class AdminCall:
    """What a handler needs.

    Attributes:
        values: the path's parts in braces.
    """

    sandbox: Sandbox
    store: ProjectStore
    values: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Document = field(default_factory=dict)

    @property
    def now(self) -> float:
        """Return the sandbox's time."""
        return self.sandbox.clock()

    @property
    def limits(self) -> Settings:
        """Return what the API allows."""
        return self.sandbox.personalize

    def text(self, name: str, *, optional: bool = False) -> str:
        """Return a text of the body.

        Raises:
            ApiError: it is missing or no text.
        """
        value = self.body.get(name, "" if optional else None)
        if not isinstance(value, str) or (not optional and not value.strip()):
            raise invalid(name, f"{name.upper()}_REQUIRED", f"{name} must be a text")
        return value

    def experience(self) -> Document:
        """Return the experience that the path names."""
        found = self.store.experiences.get(self.values["uid"])
        if found is None:
            raise missing("EXPERIENCES")
        return found

    def changed(self, document: Document, **fields: Any) -> Document:
        """Set *fields* of *document*, and note that it was changed now."""
        document.update(fields)
        document["updatedAt"] = stamp(self.now)
        self.store.revision += 1
        return document
