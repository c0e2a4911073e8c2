"""Tokens of the caller: a text, or a function that returns one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flagmw._support.secret import Secret
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.auth.token import Token
from flagmw.admin.errors import AuthError
from flagmw.admin.flow.effects import Flow, Work


class GivenToken(TokenSource):
    """A token that is made elsewhere.

    Args:
        token: the token, or a function that returns one. A function is asked again after the vendor refused its
            token, and every *life_s* seconds where that is given; it may block.
        life_s: how long a token of the function is good, in seconds; None for as long as the vendor takes it.
        scheme, header: how it is sent; `Authorization: Bearer ...` by default.
    """

    def __init__(
        self,
        token: str | Callable[[], str],
        *,
        life_s: float | None = None,
        scheme: str = "Bearer",
        header: str = "Authorization",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(scheme=scheme, header=header, clock=clock)
        self._given: Secret | Callable[[], str] = Secret(checked_token(token)) if isinstance(token, str) else token
        self._life_s = life_s

    def obtain(self, ask: Any, old: Token | None) -> Flow[Token]:
        """Return the text, or what the function says now."""
        given = self._given
        if isinstance(given, Secret):
            if self._refused is not None:
                raise AuthError("the vendor refuses the token that was given; make a new one and pass it in")
            value = given.reveal()
        else:
            value = checked_token((yield Work(given)))
            if value == self._refused:
                raise AuthError("the vendor refuses the token, and its function returned the same one again")
        now = self._clock()
        return Token(value, now, None if self._life_s is None else now + self._life_s)


def checked_token(value: object) -> str:
    """Return *value*, which must be able to stand in a header.

    Raises:
        AuthError: it is no text, or holds blanks or other characters that a header cannot carry.
    """
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value or " " in value:
        raise AuthError("the token must be printable ASCII text without blanks; it was cut or quoted on its way here")
    return value
