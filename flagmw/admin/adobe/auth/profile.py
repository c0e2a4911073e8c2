"""Tokens for the Profile API, which the Admin API gives."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Literal

from flagmw.admin.adobe.endpoints import ENDPOINTS
from flagmw.admin.adobe.wire import request_of
from flagmw.admin.auth.given import checked_token
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.auth.token import Token
from flagmw.admin.errors import AnswerError, NotFoundError
from flagmw.admin.flow.effects import Flow

ENDING_S = 300.0
logger = logging.getLogger("flagmw.admin")


class ProfileToken(TokenSource):
    """The account's token for authenticated Profile API calls, 90 days by default.

    Making a token ends the one before, wherever it is in use. So the account's present token is read first, and a new
    one is made only when there is none, when it is about to end, or when the Profile API refuses it.

    Args:
        header: "Authorization" (as `Bearer`) by default; "access_token" is the older page's form.
        clock: seconds since the epoch.
    """

    scope: Literal["profile_api", "debug_tools"] = "profile_api"

    def __init__(
        self,
        *,
        header: Literal["Authorization", "access_token"] = "Authorization",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(header=header, scheme="Bearer" if header == "Authorization" else "", clock=clock)
        self._client: Any = None

    def bind(self, client: Any) -> None:
        """Use the Admin API through *client*; the first one counts."""
        if self._client is None:
            self._client = client

    def obtain(self, ask: Any, old: Token | None) -> Flow[Token]:
        """Return the account's token, or a new one."""
        try:
            found = yield from self._asked("tokens.get")
        except NotFoundError:
            found = None
        if found is not None and found.value != self._refused and self._lasts(found):
            return found
        if found is not None:
            logger.warning("a new profile token is created; the old one stops working everywhere")
        return (yield from self._asked("tokens.create"))

    def _lasts(self, token: Token) -> bool:
        return token.expires_at is None or token.expires_at - self._clock() > ENDING_S

    def _asked(self, name: str) -> Flow[Token]:
        client = self._client
        request = request_of(ENDPOINTS[name], client.root, client.api_key, query=[("scope", self.scope)])
        now = self._clock()
        answer = yield from client.exchange.json(request)
        value, seconds = (
            (answer.get("accessToken"), answer.get("expiresIn")) if isinstance(answer, dict) else (None, None)
        )
        if value is None:
            raise AnswerError("the answer holds no accessToken; check base_url", operation=name)
        life = float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else None
        return Token(checked_token(value), now, None if life is None else now + life)
