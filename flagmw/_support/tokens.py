"""Signed tokens for remembered decisions, overrides and visitor ids.

JSON Web Tokens (RFC 7519) with HMAC-SHA256, the one algorithm that is ever accepted. Each says what it was made for,
so that one kind cannot be passed off as another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from flagmw._support.secret import Secret
from flagmw.exceptions import ConfigError

Purpose = Literal["decision", "override", "visitor"]

MAX_CHARS = 2048
# Machines' clocks differ: a token of the near future is not yet a forged one.
SKEW_S = 60.0
KEY_COMMAND = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"

_ALGORITHM = "HS256"
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class Keys:
    """Sign with the newest key; accept what any of them signed.

    Args:
        keys: newest first; each of at least 32 bytes.

    Raises:
        ConfigError: a key is too short or too plain to guard anything, or is a key of another kind.
    """

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        self._keys = tuple(Secret(_checked(key)) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def sign(self, purpose: Purpose, claims: Mapping[str, Any], now: float, life_s: float) -> str:
        """Return a token with *claims* for *purpose* that is good for *life_s* seconds from *now*."""
        import jwt

        issued = {"aud": purpose, "iat": int(now), "exp": math.ceil(now + life_s), **claims}
        return jwt.encode(issued, self._keys[0].reveal(), _ALGORITHM)

    def read(self, purpose: Purpose, token: str, now: float) -> dict[str, Any] | None:
        """Return the claims of *token*; None for one that is not ours, not for *purpose*, or not good at *now*.

        Its length and alphabet are looked at before anything is computed; never raises.
        """
        if len(token) > MAX_CHARS or not _COMPACT.fullmatch(token):
            return None
        import jwt

        for key in self._keys:
            try:
                claims = jwt.decode(
                    token,
                    key.reveal(),
                    [_ALGORITHM],
                    audience=purpose,
                    # Times are looked at below, on the clock that is passed in.
                    options={
                        "require": ["aud", "iat", "exp"],
                        "verify_exp": False,
                        "verify_iat": False,
                        "verify_nbf": False,
                    },
                )
            except (jwt.InvalidTokenError, ValueError, RecursionError):
                continue
            return claims if _in_time(claims, now) else None
        return None


def _in_time(claims: Mapping[str, Any], now: float) -> bool:
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        return False
    return issued - SKEW_S <= now < expires + SKEW_S


def _checked(key: str | bytes) -> str:
    text = key.decode("latin-1") if isinstance(key, bytes) else key
    if not isinstance(text, str) or len(text.encode("utf-8", "surrogatepass")) < 32 or len(set(text)) < 12:
        raise ConfigError(f"signing_keys: a key must be at least 32 random bytes; make one with: {KEY_COMMAND}")
    import jwt

    try:
        # Broken Unicode and keys made for other algorithms: better refused here than at a visitor's page.
        jwt.encode({}, text, _ALGORITHM)
    except (jwt.PyJWTError, ValueError):
        raise ConfigError(f"signing_keys: a key cannot be used for signing; make one with: {KEY_COMMAND}") from None
    return text
