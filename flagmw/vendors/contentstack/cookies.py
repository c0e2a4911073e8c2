"""Cookies of Contentstack Personalize, in the form of its own client.

`cs-personalize-user-uid` names the visitor. `cs-personalize-manifest` holds the last decision as raw compact JSON, with
which the client in the page does not ask again (npm `@contentstack/personalize-edge-sdk`, `addStateToResponse` and
`init`). That client reads a value up to the next `=` and decodes nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from flagmw._cookies.header import octets_ok
from flagmw._cookies.rule import CookieRule
from flagmw.types import CookieChange
from flagmw.vendors.common.values import unquoted

USER = "cs-personalize-user-uid"
MANIFEST = "cs-personalize-manifest"
# Says that the uid is the id of a user of the site, who may log out.
KNOWN = f"{USER}-known"
LYTICS_AUDIENCES = "cs-lytics-audiences"
LYTICS_ID = "seerid"
USER_LIFE_S = 365 * 86400
MANIFEST_MAX_BYTES = 3800  # browsers drop a cookie of more than 4,096 bytes, its name included

_UID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# The official client writes a missing id as one of these texts.
_MISSING = frozenset({"null", "undefined"})
_JSON = re.compile(r"\{[ -:<>-~]*\}")


class Cookies:
    """The cookies of one project.

    Args:
        manifest: the decision is kept in a cookie for the client in the page.
        lytics: the cookies of Lytics are read. They are never written.
        known_users: ids of the site's users are uids, and marked.
    """

    def __init__(self, *, manifest: bool, lytics: bool, known_users: bool = False) -> None:
        self._manifest, self._lytics, self._known_users = manifest, lytics, known_users

    def rule(self) -> CookieRule:
        """Return the rule for the cookies in use."""
        written = frozenset({USER, *([MANIFEST] if self._manifest else ()), *([KNOWN] if self._known_users else ())})
        read = written | {LYTICS_AUDIENCES, LYTICS_ID} if self._lytics else written
        return CookieRule(
            # The mark's name begins like the uid's.
            prefixes=tuple(sorted(read - {KNOWN})),
            reads=read.__contains__,
            writes=written.__contains__,
            value_ok=lambda value: octets_ok(value) or _JSON.fullmatch(value) is not None,
            max_bytes=MANIFEST_MAX_BYTES,
            # The manifest only saves a request. The cookies of Lytics belong to the site and are never given up.
            priority=lambda name: {USER: 0, KNOWN: 0, MANIFEST: 2}.get(name, -1),
            newness=_newness,
            namespace=("cs-personalize-",),
        )

    def read(self, cookies: Mapping[str, str]) -> str | None:
        """Return the visitor's uid; None if there is none or it is malformed."""
        return usable_uid(unquoted(cookies.get(USER, "")))

    def lytics_audiences(self, cookies: Mapping[str, str]) -> str:
        """Return the audiences that Lytics keeps; empty if they are not used."""
        return unquoted(cookies.get(LYTICS_AUDIENCES, "")) if self._lytics else ""

    def lytics_id(self, cookies: Mapping[str, str]) -> str | None:
        """Return the visitor's id at Lytics; None if it is not used."""
        return unquoted(cookies.get(LYTICS_ID, "")) if self._lytics else None

    def names_user(self, cookies: Mapping[str, str]) -> bool:
        """Say whether the uid in *cookies* is the id of a user of the site."""
        uid = self.read(cookies)
        return self._known_users and uid is not None and unquoted(cookies.get(KNOWN, "")) == _mark(uid)

    def forgotten(self, cookies: Mapping[str, str]) -> tuple[CookieChange, ...]:
        """Return the changes that take a user's id from the browser."""
        return tuple(
            CookieChange(name=name, value="", max_age_s=0) for name in (USER, KNOWN, MANIFEST) if name in cookies
        )

    def changes(
        self, uid: str | None, manifest: str, cookies: Mapping[str, str], *, is_user: bool = False
    ) -> tuple[CookieChange, ...]:
        """Return the cookies after a decision for the visitor *uid*, who has *cookies*.

        Args:
            is_user: the uid is the id of a user of the site.
        """
        if uid is None and self.names_user(cookies):
            return self.forgotten(cookies)
        changes = []
        if uid is not None:
            changes.append(CookieChange(name=USER, value=uid, max_age_s=USER_LIFE_S))
        if is_user and uid is not None:
            changes.append(CookieChange(name=KNOWN, value=_mark(uid), max_age_s=USER_LIFE_S))
        elif KNOWN in cookies:
            changes.append(CookieChange(name=KNOWN, value="", max_age_s=0))
        # With a manifest but no uid the client in the page would report impressions of "undefined".
        if self._manifest and uid is not None and _fits(manifest):
            changes.append(CookieChange(name=MANIFEST, value=manifest))
        elif MANIFEST in cookies:
            # With an old manifest the page would show another decision than this response.
            changes.append(CookieChange(name=MANIFEST, value="", max_age_s=0))
        return tuple(changes)


def _mark(uid: str) -> str:
    return hashlib.blake2b(uid.encode(), digest_size=8).hexdigest()


def _newness(name: str, value: str) -> float | None:
    """Return None for a value that cannot be used; no value tells its age."""
    if name == USER:
        return None if usable_uid(unquoted(value)) is None else 0.0
    if name == MANIFEST:
        return 0.0 if _JSON.fullmatch(value) else None
    return 0.0 if value else None


def usable_uid(uid: Any) -> str | None:
    """Return *uid* if it can name a visitor in a header and in a cookie, else None. It is opaque, not a number."""
    return uid if isinstance(uid, str) and _UID.fullmatch(uid) and uid not in _MISSING else None


def _fits(manifest: str) -> bool:
    """Say whether the client in the page can read *manifest* back from a cookie."""
    return len(manifest) <= MANIFEST_MAX_BYTES and _JSON.fullmatch(manifest) is not None
