"""Authtokens of a user, made elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flagmw.admin.auth.given import checked_token
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.auth.token import Token
from flagmw.admin.errors import AuthError
from flagmw.admin.flow.effects import Flow, Work
from flagmw.exceptions import ConfigError

VARIABLE = "CONTENTSTACK_AUTHTOKEN"
CURE = (
    "Contentstack does not accept the authtoken. A user has 20 at most, and the 21st log-in ends the oldest without a "
    "word; users who log in by SSO get none; a management token of a stack is none. Use the authtoken of the last "
    "log-in, or OAuth"
)


class Authtoken(TokenSource):
    """A user's authtoken. Nothing is logged in: that would end another token of the user.

    Args:
        token: the token, or a function that returns one; the environment's CONTENTSTACK_AUTHTOKEN where neither it
            nor *file* is given.
        file: a file that holds the token and nothing else; read again after the vendor refused it.
    """

    def __init__(
        self,
        token: str | Callable[[], str] | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(scheme="", header="authtoken", clock=clock)
        if token is not None and file is not None:
            raise ConfigError("authtoken: give the token or its file, not both")
        self._given: Callable[[], str]
        if file is not None:
            path = Path(file).expanduser()
            self._given = lambda: _read(path)
        elif token is None:
            if not os.environ.get(VARIABLE, "").strip():
                raise ConfigError(f"authtoken is missing: pass it, its file, or set {VARIABLE}")
            self._given = lambda: os.environ.get(VARIABLE, "").strip()
        elif isinstance(token, str):
            kept = checked_token(token)
            self._given = lambda: kept
        else:
            self._given = token

    def obtain(self, ask: Any, old: Token | None) -> Flow[Token]:
        """Return the token as it is now."""
        value = checked_token((yield Work(self._given)))
        if value == self._refused:
            raise AuthError("the authtoken is refused, and there is no second one")
        return Token(value, self._clock(), None)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not ASCII"
        raise AuthError(f"the authtoken's file {path} cannot be read: {reason}") from None
