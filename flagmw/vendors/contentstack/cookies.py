"""The cookies of Contentstack Personalize at the visitor, as its own client writes and reads them.

`cs-personalize-user-uid` is the visitor, `cs-personalize-manifest` the last decision as raw compact JSON, with which
the client in the page asks no more (npm `@contentstack/personalize-edge-sdk`, `addStateToResponse` and `init`). That
client takes a value up to the next `=` and decodes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flagmw._cookies.header import octets_ok
from flagmw._cookies.rule import CookieRule

USER = "cs-personalize-user-uid"
MANIFEST = "cs-personalize-manifest"
LYTICS_AUDIENCES = "cs-lytics-audiences"
LYTICS_ID = "seerid"
USER_LIFE_S = 365 * 86400
MANIFEST_MAX_BYTES = 3800  # browsers drop a cookie of more than 4,096 bytes, its name included

_UID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# What the official client makes of a missing id, and keeps.
_NOBODY = frozenset({"null", "undefined"})
_JSON = re.compile(r"\{[ -:<>-~]*\}")


def usable_uid(uid: Any) -> str | None:
    """Return *uid* if it can name a visitor in a header and in a cookie, else None. It is opaque, not a number."""
    return uid if isinstance(uid, str) and _UID.fullmatch(uid) and uid not in _NOBODY else None


def user_uid(cookies: Mapping[str, str]) -> str | None:
    """Return the visitor's uid among *cookies*; some clients add quotes."""
    return usable_uid(bare(cookies.get(USER, "")))


def bare(value: str) -> str:
    """Return *value* without one pair of quotes around it."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def fits(manifest: str) -> bool:
    """Say whether *manifest* can be a cookie that the client in the page will read back whole."""
    return len(manifest) <= MANIFEST_MAX_BYTES and _JSON.fullmatch(manifest) is not None


def rule(*, manifest: bool, lytics: bool) -> CookieRule:
    """Return the rule for the cookies that are in use; those of Lytics are only read."""
    own = frozenset({USER, MANIFEST} if manifest else {USER})
    read = own | {LYTICS_AUDIENCES, LYTICS_ID} if lytics else own
    return CookieRule(
        prefixes=tuple(sorted(read)),
        reads=read.__contains__,
        writes=own.__contains__,
        value_ok=lambda value: octets_ok(value) or _JSON.fullmatch(value) is not None,
        max_bytes=MANIFEST_MAX_BYTES,
        # The manifest is only a saving; the cookies of Lytics are not ours to give up.
        priority=lambda name: {USER: 0, MANIFEST: 2}.get(name, -1),
    )
