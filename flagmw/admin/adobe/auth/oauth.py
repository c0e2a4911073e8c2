"""OAuth server-to-server, Adobe's flow for programs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from flagmw._support.secret import Secret
from flagmw.admin.adobe.auth.ims import IMS, form_request, token_of
from flagmw.admin.auth.cache import TokenCache
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.auth.token import Token
from flagmw.admin.flow.effects import Flow
from flagmw.exceptions import ConfigError

SCOPES = (
    "openid",
    "AdobeID",
    "target_sdk",
    "additional_info.projectedProductContext",
    "read_organizations",
    "additional_info.roles",
)


class OAuthServerToServer(TokenSource):
    """A client id and secret from the Adobe Developer Console.

    Args:
        client_id: also the API key of every call.
        client_secret: never shown, logged or put into an address.
        scopes: what the token is for; by default what Adobe Target needs.
        token_url: where tokens are obtained.
        cache: a file that keeps the token between processes, `TokenCache("~/.cache/...")`.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        scopes: Sequence[str] = SCOPES,
        token_url: str = f"{IMS}/ims/token/v3",
        cache: TokenCache | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(cache=cache, clock=clock)
        self.client_id = checked_text("client_id", client_id)
        self._secret = Secret(checked_text("client_secret", client_secret))
        self._scopes = tuple(scopes)
        self._token_url = token_url

    @property
    def cache_key(self) -> str:
        """Return the client id and a digest of the scopes and the address."""
        return key_of("oauth", self.client_id, ",".join(self._scopes), self._token_url)

    def obtain(self, ask: Any, old: Token | None) -> Flow[Token]:
        """Return a new token."""
        fields = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self._secret.reveal(),
            "scope": ",".join(self._scopes),
        }
        now = self._clock()
        reply = yield from ask(form_request("auth.oauth", self._token_url, fields))
        return token_of(reply, now, milliseconds=False)

    def __repr__(self) -> str:
        return f"OAuthServerToServer(client_id={self.client_id!r})"


def checked_text(option: str, value: object) -> str:
    """Return *value*, which must be printable text without blanks at its ends.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, str) or not value or not value.isprintable() or value != value.strip():
        raise ConfigError(f"{option} must be printable text without blanks around it")
    return value


def key_of(flow: str, client_id: str, *others: str) -> str:
    """Return the name of a token in a cache file."""
    return f"{flow}:{client_id}:{hashlib.sha256(chr(10).join(others).encode()).hexdigest()[:16]}"
