"""Versions of experiences, and what may happen to them."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from flagmw.admin.contentstack.bodies import Version, VersionInput
from flagmw.admin.contentstack.checks import checked_uid, checked_version
from flagmw.admin.contentstack.resources.base import ContentstackResource, Document
from flagmw.admin.contentstack.versions import sendable, with_short_uids
from flagmw.admin.errors import ConflictError, InvalidError, NotFoundError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, operation

OnDraft = Literal["error", "update"]
DRAFT_EXISTS = "DRAFT_ALREADY_EXISTS"


class Versions(ContentstackResource[M]):
    """Versions of an experience: DRAFT, ACTIVE, PAUSED, ARCHIVED.

    A new experience has an empty draft. An active or paused version can change its status only; to change what it
    shows, create a draft and activate it, which archives the version that was active.
    """

    @operation
    def list(self, experience: str) -> Flow[builtins.list[Version]]:
        """Return all versions of an experience, the newest first."""
        answer: builtins.list[Version] = yield from self._rows("versions.list", values={"uid": experience})
        return answer

    @operation
    def create(
        self,
        experience: str,
        body: VersionInput | Mapping[str, Any],
        *,
        status: Literal["DRAFT", "ACTIVE"] = "DRAFT",
        on_draft: OnDraft = "error",
    ) -> Flow[Version]:
        """Create a version; variants keep the short uids of present variants of the same name.

        Args:
            body: of `ab_test(...)` or `segmented(...)`, or the vendor's JSON.
            status: "ACTIVE" puts it on the site at once.
            on_draft: "update" writes the draft that exists already instead of failing, since there is one at most.

        Raises:
            ConflictError: there is a draft already.
            InvalidError: percentages do not make 100, or something else is wrong.
        """
        if on_draft not in ("error", "update"):
            raise InvalidError('must be "error" or "update"', field="on_draft")
        if status not in ("DRAFT", "ACTIVE"):
            raise InvalidError("a version is created as DRAFT or ACTIVE", field="status")
        made = checked_version({**body, "status": status})
        known = yield from self._known(experience)
        draft = _draft(known)
        if draft is None:
            try:
                return (yield from self._created(experience, made, known))
            except InvalidError as error:
                # Somebody else has made one since the versions were read.
                if DRAFT_EXISTS not in f"{error.code} {error}":
                    raise
            known = yield from self._known(experience)
            draft = _draft(known) or {}
        if on_draft == "error" or not draft:
            text = f"there is the draft {draft.get('uid', 'of somebody else')} already; update or discard it"
            raise ConflictError(f'{text}, or pass on_draft="update"', operation="versions.create")
        return (yield from self._written(experience, draft.get("uid"), with_short_uids(made, _variants(known))))

    @operation
    def update(
        self,
        experience: str,
        version: str,
        body: VersionInput | Mapping[str, Any],
        *,
        keep_short_uids: bool = True,
    ) -> Flow[Version]:
        """Replace a version by *body*, which needs a `status`; an active one can change its status only.

        Args:
            keep_short_uids: read the versions first, and give variants without a short uid that of the present
                variant of the same name. Without, the vendor numbers them anew, and what names them breaks.
        """
        made = checked_version(body)
        checked_uid(version, "version")
        if keep_short_uids and any(one.get("shortUid") is None for one in made["variants"]):
            made = with_short_uids(made, _variants((yield from self._known(experience))))
        return (yield from self._written(experience, version, made))

    @operation
    def activate(self, experience: str, version: str | None = None) -> Flow[Version]:
        """Activate the draft, or *version*; the version that was active is archived."""
        return (yield from self._moved(experience, ("DRAFT",), "ACTIVE", version))

    @operation
    def pause(self, experience: str) -> Flow[Version]:
        """Pause the active version: the experience then has no variant for anybody."""
        return (yield from self._moved(experience, ("ACTIVE",), "PAUSED"))

    @operation
    def resume(self, experience: str) -> Flow[Version]:
        """Activate the paused version again."""
        return (yield from self._moved(experience, ("PAUSED",), "ACTIVE"))

    @operation
    def discard(self, experience: str) -> Flow[None]:
        """Delete the draft; the only version of an experience stays."""
        found = _found((yield from self._known(experience)), ("DRAFT",), None)
        yield from self._nothing("versions.delete", values={"uid": experience, "version": found.get("uid")})

    @operation
    def delete(self, experience: str, version: str) -> Flow[None]:
        """Delete a version; the vendor deletes drafts only."""
        yield from self._nothing("versions.delete", values={"uid": experience, "version": version})

    def _known(self, experience: str) -> Flow[builtins.list[Document]]:
        return (yield from self._read_rows("versions.list", values={"uid": experience}))

    def _created(self, experience: str, made: Document, known: Sequence[Document]) -> Flow[Version]:
        body = with_short_uids(made, _variants(known))
        answer: Version = yield from self._object("versions.create", values={"uid": experience}, body=body)
        return answer

    def _written(self, experience: str, version: object, body: Mapping[str, Any]) -> Flow[Version]:
        values = {"uid": experience, "version": version}
        answer: Version = yield from self._object("versions.update", values=values, body=body)
        return answer

    def _moved(
        self, experience: str, before: tuple[str, ...], status: str, version: str | None = None
    ) -> Flow[Version]:
        if version is not None:
            checked_uid(version, "version")
        found = _found((yield from self._known(experience)), before, version)
        body = sendable(found, status)
        if found.get("status") == "DRAFT":
            # What is live already is the vendor's own, and goes back unchanged.
            checked_version(body)
        return (yield from self._written(experience, found.get("uid"), cast(Mapping[str, Any], body)))


def _draft(known: Sequence[Document]) -> Document | None:
    return next((one for one in known if one.get("status") == "DRAFT"), None)


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
