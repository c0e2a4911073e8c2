"""Experiences, their priority and analytics."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flagmw.admin.contentstack.bodies import Experience, Kind, Summary, TimeSeries
from flagmw.admin.contentstack.checks import KINDS, checked_tags, checked_text, checked_uid
from flagmw.admin.contentstack.resources.base import ContentstackResource, Document, given
from flagmw.admin.errors import AnswerError, InvalidError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, operation


class Experiences(ContentstackResource[M]):
    """Experiences. What they show is in their versions."""

    @operation
    def list(self) -> Flow[builtins.list[Experience]]:
        """Return all experiences."""
        answer: builtins.list[Experience] = yield from self._rows("experiences.list")
        return answer

    @operation
    def get(self, uid: str) -> Flow[Experience]:
        """Return an experience."""
        answer: Experience = yield from self._object("experiences.get", values={"uid": uid})
        return answer

    @operation
    def create(
        self, name: str, kind: Kind, *, description: str | None = None, tags: Sequence[str] | None = None
    ) -> Flow[Experience]:
        """Create an experience; `latestVersion` of the answer is its first, empty draft.

        Args:
            kind: "SEGMENTED" or "AB_TEST"; it cannot change.
            tags: ten at most, of letters, digits, "_", ":" and "-".
        """
        body = _experience(name, kind, description, tags)
        answer: Experience = yield from self._object("experiences.create", body=body)
        return answer

    @operation
    def update(
        self,
        uid: str,
        name: str,
        kind: Kind,
        *,
        description: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> Flow[Experience]:
        """Replace an experience's name, description and tags; *kind* is the one that it has."""
        body = _experience(name, kind, description, tags)
        answer: Experience = yield from self._object("experiences.update", values={"uid": uid}, body=body)
        return answer

    @operation
    def delete(self, uid: str) -> Flow[None]:
        """Delete an experience, also one that is active."""
        yield from self._nothing("experiences.delete", values={"uid": uid})


class Priority(ContentstackResource[M]):
    """The order of experiences, the most important one first."""

    @operation
    def get(self) -> Flow[builtins.list[str]]:
        """Return the uids of all experiences in their order."""
        answer: Any = yield from self._sent(self._planned("priority.get"), object)
        found = answer.get("priorityOrder") if isinstance(answer, dict) else answer
        if not isinstance(found, list) or not all(isinstance(uid, str) for uid in found):
            raise AnswerError("the answer holds no list of uids; check base_url", operation="priority.get")
        return found

    @operation
    def set(self, order: Sequence[str]) -> Flow[Document]:
        """Set the order; it must name every experience of the project once."""
        if isinstance(order, str):
            raise InvalidError("must be a list of uids", field="order")
        uids = [checked_uid(uid, f"order[{number}]") for number, uid in enumerate(order)]
        if len(set(uids)) != len(uids):
            raise InvalidError("an experience stands twice", field="order")
        answer: Document = yield from self._object("priority.set", body={"priorityOrder": uids})
        return answer


class Analytics(ContentstackResource[M]):
    """What visitors of an experience did; there is none before it is activated."""

    @operation
    def summary(
        self, experience: str, version: str, *, start: str | datetime | None = None, end: str | datetime | None = None
    ) -> Flow[Summary]:
        """Return impressions and conversions by variant, and which one leads; the latter of A/B tests only.

        The vendor speaks of a time frame and does not publish its parameters: *start* and *end* are sent as such.
        """
        query = _frame(version, start, end)
        answer: Summary = yield from self._object("analytics.summary", values={"uid": experience}, query=query)
        return answer

    @operation
    def time_series(
        self, experience: str, version: str, *, start: str | datetime | None = None, end: str | datetime | None = None
    ) -> Flow[TimeSeries]:
        """Return impressions and conversions by variant and hour; arguments as of `summary`."""
        query = _frame(version, start, end)
        answer: TimeSeries = yield from self._object("analytics.time_series", values={"uid": experience}, query=query)
        return answer


def _experience(name: str, kind: str, description: str | None, tags: Sequence[str] | None) -> Document:
    if kind not in KINDS:
        raise InvalidError(f"{kind!r} is no kind; use SEGMENTED or AB_TEST", field="kind")
    checked = None if tags is None else checked_tags(tags)
    return given(name=checked_text(name, "name"), description=description, __type=kind, tags=checked)


def _frame(version: str, start: str | datetime | None, end: str | datetime | None) -> list[tuple[str, str]]:
    query = [("version", checked_uid(version, "version"))]
    for name, moment in (("start", start), ("end", end)):
        if moment is not None:
            query.append((name, _moment(moment, name)))
    return query


def _moment(moment: str | datetime, field: str) -> str:
    try:
        found = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        raise InvalidError(f'{moment!r} is no time; write it as "2026-11-27T00:00:00Z"', field=field) from None
    if isinstance(moment, str) and len(moment) == len("2026-11-27"):
        return moment
    if found.tzinfo is None:
        raise InvalidError(f'{moment!s} has no zone; write it as "2026-11-27T00:00:00Z"', field=field)
    return found.isoformat()
