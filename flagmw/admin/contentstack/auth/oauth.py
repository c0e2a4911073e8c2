"""OAuth tokens of a user, renewed by a refresh token."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from flagmw._support.secret import Secret
from flagmw.admin.auth.cache import TokenCache
from flagmw.admin.auth.given import checked_token
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.auth.token import Token
from flagmw.admin.contentstack.regions import token_url as url_of
from flagmw.admin.errors import AuthError, ServerError
from flagmw.admin.flow.effects import Flow, Work
from flagmw.admin.http.request import ApiRequest
from flagmw.exceptions import ConfigError, ProtocolError
from flagmw.types import Call, Reply
from flagmw.vendors.common.json import loads
from flagmw.vendors.common.options import leaves_machine_unencrypted

LIFE_S = 3600.0
# The vendor does not say when a refresh token ends.
KEPT_S = 365 * 86_400.0
CURE = (
    "Contentstack does not accept the OAuth token. It is good for an hour, in one region, and until the app is "
    "uninstalled; obtain a new one, and check region= and that the app may use Personalize"
)

logger = logging.getLogger("flagmw.admin")


class ContentstackOAuth(TokenSource):
    """A refresh token, which a person's log-in in a browser made.

    The exchange is that of the vendor's own client for JavaScript; the Personalize pages do not describe it.

    Args:
        refresh_token: renewed with every use, so that the last one must be kept: see *on_refresh*.
        redirect_uri: of the app, as it was at the log-in.
        client_secret: of apps that have one; None for those that log in with PKCE.
        region: whose token service is asked; *token_url* names another.
        on_refresh: called with every new refresh token, to keep it.
        cache: a file that keeps both tokens between processes.
    """

    def __init__(
        self,
        refresh_token: str,
        client_id: str,
        redirect_uri: str,
        *,
        client_secret: str | None = None,
        region: str = "NA",
        token_url: str | None = None,
        on_refresh: Callable[[str], object] | None = None,
        cache: TokenCache | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(cache=cache, clock=clock)
        for name, value in (("client_id", client_id), ("redirect_uri", redirect_uri)):
            if not isinstance(value, str) or not value.isprintable() or not value:
                raise ConfigError(f"{name} must be printable text")
        self.client_id, self._redirect_uri = client_id, redirect_uri
        self._refresh = Secret(checked_token(refresh_token))
        self._secret = None if client_secret is None else Secret(client_secret)
        self._token_url = token_url or url_of(region)
        if leaves_machine_unencrypted(self._token_url):
            raise ConfigError("token_url must be https: the refresh token must not cross a network in the clear")
        self._on_refresh, self._renewed = on_refresh, False

    @property
    def cache_key(self) -> str:
        """Return the client id and a digest of the address."""
        return f"contentstack:{self.client_id}:{hashlib.sha256(self._token_url.encode()).hexdigest()[:16]}"

    def obtain(self, ask: Any, old: Token | None) -> Flow[Token]:
        """Return a new token, and keep the new refresh token."""
        now = self._clock()
        kept = yield from self._kept_refresh_token()
        if kept is not None and kept != self._refresh.reveal():
            reply: Reply = yield from ask(self._request(kept))
            if reply.status in (400, 401):
                # The one that was given may be newer: a person has logged in again since.
                reply = yield from ask(self._request(self._refresh.reveal()))
        else:
            reply = yield from ask(self._request(self._refresh.reveal()))
        answer = _answer(reply)
        renewed = answer.get("refresh_token")
        if isinstance(renewed, str) and renewed:
            self._refresh = Secret(checked_token(renewed))
            yield from self._keep(renewed, now)
        life = answer.get("expires_in")
        good = isinstance(life, int | float) and not isinstance(life, bool) and life > 0
        return Token(checked_token(answer.get("access_token")), now, now + (float(life) if good else LIFE_S))  # type: ignore[arg-type]

    def _request(self, refresh_token: str) -> ApiRequest:
        fields = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": self.client_id,
            "redirect_uri": self._redirect_uri,
        }
        if self._secret is not None:
            fields["client_secret"] = self._secret.reveal()
        call = Call(
            method="POST",
            url=self._token_url,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(fields).encode(),
            replay_safe=False,
        )
        return ApiRequest(operation="auth.oauth", template="/token", call=call)

    def _kept_refresh_token(self) -> Flow[str | None]:
        cache = self._cache
        if cache is None or self._renewed:
            return None
        found: Token | None = yield Work(lambda: cache.read(f"{self.cache_key}:refresh"))
        return None if found is None else found.value

    def _keep(self, renewed: str, now: float) -> Flow[None]:
        self._renewed = True
        cache, on_refresh = self._cache, self._on_refresh
        if cache is not None:
            kept = Token(renewed, now, now + KEPT_S)
            yield Work(lambda: cache.write(f"{self.cache_key}:refresh", kept))
        if on_refresh is not None:
            yield Work(lambda: _kept(on_refresh, renewed))

    def __repr__(self) -> str:
        return f"ContentstackOAuth(client_id={self.client_id!r})"


def _kept(keep: Callable[[str], object], token: str) -> None:
    try:
        keep(token)
    except Exception as error:
        logger.warning("on_refresh failed: %s; the refresh token is not kept", type(error).__name__)


def _answer(reply: Reply) -> dict[str, Any]:
    if reply.status >= 500:
        raise ServerError("the token service fails; try again later", status=reply.status, operation="auth.oauth")
    if reply.status != 200:
        text = "the token service refuses the refresh token; log in again and pass the new one"
        raise AuthError(text, status=reply.status, operation="auth.oauth")
    try:
        document = loads(reply.body)
    except ProtocolError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("access_token"), str):
        raise AuthError("the token service's answer holds no token; check token_url", operation="auth.oauth")
    return document
