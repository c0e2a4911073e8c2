"""One visitor's cookies in the visitor store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from flagmw._cookies.own import VISITOR
from flagmw._exchange.context import REFRESH_S, Context
from flagmw._exchange.visitor import RequestVisitor
from flagmw._visitor_store import base as visitor_store

# The name under which `Context.refreshed` has the times of saving; no cookie has such a name.
_STORED = "; stored"


class LoadStage(Enum):
    """The stage of loading a visitor's cookies from the store."""

    NEW = "not loaded yet"
    LOADED = "loaded, or being loaded"
    FAILED = "loading failed: saving would overwrite the stored cookies"


class StoredVisitor:
    """Load and save the vendors' cookies of one request's visitor, as bytes.

    Attributes:
        stage: how far loading is.
    """

    def __init__(self, context: Context, visitor: RequestVisitor) -> None:
        self._context, self._visitor = context, visitor
        self._id: visitor_store.VisitorId | None = None
        self._key: str | None = None
        self.stage = LoadStage.NEW

    def key(self) -> str | None:
        """Return the store's key of this visitor; None for a new visitor."""
        if self._key is None:
            user_id = self._visitor.identity()[0]
            if user_id is None:
                token = self._visitor.own_cookie(VISITOR)
                self._id = visitor_store.read_id(token, self._context.config.signing_keys, self._visitor.now)
            self._key = visitor_store.key_of(user_id, None if self._id is None else self._id.id)
        return self._key

    def load(self, value: bytes | None) -> None:
        """Take the visitor's cookies from the store's *value*."""
        self._visitor.replace_states(visitor_store.load(self._context.config.vendors, value))

    def fail(self) -> None:
        """Treat the visitor as new, and save nothing: that would overwrite the stored cookies."""
        self.load(None)
        self.stage = LoadStage.FAILED

    def entry(self) -> tuple[str, bytes] | None:
        """Return key and value to save, None if nothing has changed; a new visitor gets an id cookie.

        Once a day a visitor is saved again and gets the id cookie again, so that both outlive the visits.
        """
        visitor = self._visitor
        after, before = visitor.all_cookies_after(), [state.cookies for state in visitor.states]
        key, due = self.key(), self._save_due(before)
        if after == before and not due:
            return None
        known_id = self._id
        if key is None:
            key = self._key = visitor_store.key_of(None, visitor.visit.fresh_id)
            self._set_id(visitor.visit.fresh_id)
        elif known_id is not None and visitor.now - known_id.issued >= REFRESH_S:
            self._set_id(known_id.id)
        assert key is not None
        self._context.refreshed.sent(_STORED, key, visitor.now)
        return key, visitor_store.dump(self._context.config.vendors, after)

    def _save_due(self, before: Sequence[Mapping[str, str]]) -> bool:
        """Say whether it is time to save the visitor again, though nothing has changed."""
        key, now = self.key(), self._visitor.now
        if key is None or self.stage is LoadStage.NEW or not any(before):
            return False
        if self._id is not None:
            return now - self._id.issued >= REFRESH_S
        return self._context.refreshed.due(_STORED, key, now, visitor_store.LIFE_S)

    def _set_id(self, id: str) -> None:
        visitor, life_s = self._visitor, visitor_store.LIFE_S
        token = self._context.config.signing_keys.sign("visitor", {"id": id}, visitor.now, life_s)
        visitor.add_own_line(visitor.own_line(VISITOR, token, life_s))
