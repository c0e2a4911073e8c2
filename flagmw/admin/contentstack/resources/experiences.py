"""Experiences, their versions, priority and analytics."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from flagmw.admin.contentstack.checks import KINDS, checked_tags, checked_text, checked_uid, checked_version
from flagmw.admin.contentstack.resources.base import ContentstackResource, Document, given
from flagmw.admin.contentstack.versions import sendable, with_short_uids
from flagmw.admin.errors import ConflictError, InvalidError, NotFoundError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, operation

Kind = Literal["SEGMENTED", "AB_TEST"]


class Experiences(ContentstackResource[M]):
    """Experiences. What they show is in their versions."""

    @operation
    def list(self) -> Flow[builtins.list[Document]]:
        """Return all experiences."""
        return (yield from self._rows("experiences.list"))

    @operation
    def get(self, uid: str) -> Flow[Document]:
        """Return an experience."""
        return (yield from self._object("experiences.get", values={"uid": uid}))

    @operation
    def create(
        self, name: str, kind: Kind, *, description: str | None = None, tags: Sequence[str] | None = None
    ) -> Flow[Document]:
        """Create an experience; `latestVersion` of the answer is its first, empty draft."""
        body = _experience(name, kind, description, tags)
        return (yield from self._object("experiences.create", body=body))

    @operation
    def update(
        self,
        uid: str,
        name: str,
        kind: Kind,
        *,
        description: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> Flow[Document]:
        """Replace an experience's name, description and tags; its kind cannot change."""
        body = _experience(name, kind, description, tags)
        return (yield from self._object("experiences.update", values={"uid": uid}, body=body))

    @operation
    def delete(self, uid: str) -> Flow[None]:
        """Delete an experience, also one that is active."""
        yield from self._nothing("experiences.delete", values={"uid": uid})


class Versions(ContentstackResource[M]):
    """Versions of an experience: DRAFT, ACTIVE, PAUSED, ARCHIVED."""

    @operation
    def list(self, experience: str) -> Flow[builtins.list[Document]]:
        """Return all versions of an experience."""
        return (yield from self._rows("versions.list", values={"uid": experience}))

    @operation
    def create(
        self,
        experience: str,
        body: Mapping[str, Any],
        *,
        status: Literal["DRAFT", "ACTIVE"] = "DRAFT",
        on_draft: Literal["error", "update"] = "error",
    ) -> Flow[Document]:
        """Create a version; variants keep the short uids of present variants of the same name.

        Args:
            body: of `ab_test(...)` or `segmented(...)`, or the vendor's JSON.
            on_draft: "update" writes the draft that exists already instead of failing, since there is one at most.

        Raises:
            ConflictError: there is a draft already.
        """
        if on_draft not in ("error", "update"):
            raise InvalidError('must be "error" or "update"', field="on_draft")
        if status not in ("DRAFT", "ACTIVE"):
            raise InvalidError("a version is created as DRAFT or ACTIVE", field="status")
        made = checked_version({**body, "status": status})
        known = yield from self._read_rows("versions.list", values={"uid": experience})
        made = with_short_uids(made, _variants(known))
        draft = next((one for one in known if one.get("status") == "DRAFT"), None)
        if draft is None:
            return (yield from self._object("versions.create", values={"uid": experience}, body=made))
        if on_draft == "error":
            raise ConflictError(
                f'there is the draft {draft.get("uid")} already; update or discard it, or pass on_draft="update"',
                operation="versions.create",
            )
        values = {"uid": experience, "version": draft.get("uid")}
        return (yield from self._object("versions.update", values=values, body=made))

    @operation
    def update(self, experience: str, version: str, body: Mapping[str, Any]) -> Flow[Document]:
        """Replace a version by *body*, which needs a `status`; an active one can change its status only."""
        made = checked_version(body)
        values = {"uid": experience, "version": version}
        return (yield from self._object("versions.update", values=values, body=made))

    @operation
    def activate(self, experience: str, version: str | None = None) -> Flow[Document]:
        """Activate the draft, or *version*; the version that was active is archived."""
        return (yield from self._moved(experience, ("DRAFT",), "ACTIVE", version))

    @operation
    def pause(self, experience: str) -> Flow[Document]:
        """Pause the active version: the experience then has no variant for anybody."""
        return (yield from self._moved(experience, ("ACTIVE",), "PAUSED"))

    @operation
    def resume(self, experience: str) -> Flow[Document]:
        """Activate the paused version again."""
        return (yield from self._moved(experience, ("PAUSED",), "ACTIVE"))

    @operation
    def discard(self, experience: str) -> Flow[None]:
        """Delete the draft."""
        known = yield from self._read_rows("versions.list", values={"uid": experience})
        values = {"uid": experience, "version": _found(known, ("DRAFT",), None).get("uid")}
        yield from self._nothing("versions.delete", values=values)

    @operation
    def delete(self, experience: str, version: str) -> Flow[None]:
        """Delete a version; the vendor deletes drafts only."""
        yield from self._nothing("versions.delete", values={"uid": experience, "version": version})

    def _moved(
        self, experience: str, before: tuple[str, ...], status: str, version: str | None = None
    ) -> Flow[Document]:
        if version is not None:
            checked_uid(version, "version")
        known = yield from self._read_rows("versions.list", values={"uid": experience})
        found = _found(known, before, version)
        body = checked_version(sendable(found, status))
        values = {"uid": experience, "version": found.get("uid")}
        return (yield from self._object("versions.update", values=values, body=body))


class Priority(ContentstackResource[M]):
    """The order of experiences, the most important one first."""

    @operation
    def get(self) -> Flow[builtins.list[str]]:
        """Return the uids of all experiences in their order."""
        answer: Any = yield from self._sent(self._planned("priority.get"), object)
        found = answer.get("priorityOrder") if isinstance(answer, dict) else answer
        return [str(uid) for uid in found] if isinstance(found, list) else []

    @operation
    def set(self, order: Sequence[str]) -> Flow[Document]:
        """Set the order; it must name every experience of the project once."""
        if isinstance(order, str):
            raise InvalidError("must be a list of uids", field="order")
        uids = [checked_uid(uid, f"order[{number}]") for number, uid in enumerate(order)]
        if len(set(uids)) != len(uids):
            raise InvalidError("an experience stands twice", field="order")
        return (yield from self._object("priority.set", body={"priorityOrder": uids}))


class Analytics(ContentstackResource[M]):
    """What visitors of an experience did; there is none before it is activated."""

    @operation
    def summary(
        self, experience: str, version: str, *, start: str | datetime | None = None, end: str | datetime | None = None
    ) -> Flow[Document]:
        """Return impressions and conversions by variant, and which one leads.

        The vendor speaks of a time frame and does not publish its parameters: *start* and *end* are sent as such.
        """
        query = _frame(version, start, end)
        return (yield from self._object("analytics.summary", values={"uid": experience}, query=query))

    @operation
    def time_series(
        self, experience: str, version: str, *, start: str | datetime | None = None, end: str | datetime | None = None
    ) -> Flow[Document]:
        """Return impressions and conversions by variant and hour; arguments as of `summary`."""
        query = _frame(version, start, end)
        return (yield from self._object("analytics.time_series", values={"uid": experience}, query=query))


def _experience(name: str, kind: str, description: str | None, tags: Sequence[str] | None) -> Document:
    if kind not in KINDS:
        raise InvalidError(f"{kind!r} is no kind; use SEGMENTED or AB_TEST", field="kind")
    checked = None if tags is None else checked_tags(tags)
    return given(name=checked_text(name, "name"), description=description, __type=kind, tags=checked)


def _variants(known: Sequence[Document]) -> list[Document]:
    """Return the variants of the versions, those of the live version first."""
    order = {"ACTIVE": 0, "PAUSED": 1, "DRAFT": 2}
    versions = sorted(known, key=lambda one: order.get(str(one.get("status")), 3))
    return [variant for one in versions for variant in one.get("variants") or () if isinstance(variant, dict)]


def _found(known: Sequence[Document], before: tuple[str, ...], version: str | None) -> Document:
    wanted = " or ".join(before)
    for one in known:
        if one.get("uid") == version or (version is None and one.get("status") in before):
            return one
    there = ", ".join(str(one.get("status")) for one in known) or "none"
    what = f"no version {version}" if version else f"no version that is {wanted}"
    raise NotFoundError(f"the experience has {what}; there are: {there}", operation="versions.list")


def _frame(version: str, start: str | datetime | None, end: str | datetime | None) -> list[tuple[str, str]]:
    query = [("version", checked_uid(version, "version"))]
    for name, moment in (("start", start), ("end", end)):
        if moment is not None:
            query.append((name, moment.isoformat() if isinstance(moment, datetime) else moment))
    return query
