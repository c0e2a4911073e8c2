"""The JWT exchange ("Service Account"), which Adobe has retired."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flagmw._support.secret import Secret
from flagmw.admin.adobe.auth.ims import IMS, form_request, token_of
from flagmw.admin.adobe.auth.oauth import checked_text, key_of
from flagmw.admin.auth.cache import TokenCache
from flagmw.admin.auth.keys import load_private_key
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.auth.token import Token
from flagmw.admin.flow.effects import Flow

PROOF_LIFE_S = 300


class LegacyJWT(TokenSource):
    """A technical account that proves itself with a signed JWT. Adobe ended this flow in 2025; use
    `OAuthServerToServer` wherever there is a choice.

    Args:
        client_id: also the API key of every call.
        org_id: the organisation, "...@AdobeOrg".
        technical_account_id: "...@techacct.adobe.com".
        private_key: PEM, or the path of a PEM file.
        passphrase: of the key, where it has one.
        metascopes: what the token is for.
        in_query: send the parameters in the address, as Adobe's page shows it. They then stand in logs on the way.
        ims_url: the service that the proof is made out to, whatever `token_url` is.
        cache: a file that keeps the token between processes.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        org_id: str,
        technical_account_id: str,
        private_key: str | bytes | Path,
        passphrase: str | None = None,
        metascopes: Sequence[str] = ("ent_marketing_sdk",),
        in_query: bool = False,
        token_url: str = f"{IMS}/ims/exchange/jwt/",
        ims_url: str = IMS,
        cache: TokenCache | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(cache=cache, clock=clock)
        self.client_id = checked_text("client_id", client_id)
        self._secret = Secret(checked_text("client_secret", client_secret))
        self._org_id = checked_text("org_id", org_id)
        self._account = checked_text("technical_account_id", technical_account_id)
        self._key = load_private_key(private_key, passphrase)
        self._metascopes = tuple(metascopes)
        self._in_query = in_query
        self._token_url, self._ims_url = token_url, ims_url.rstrip("/")

    @property
    def cache_key(self) -> str:
        """Return the client id and a digest of account, scopes and address."""
        return key_of("jwt", self.client_id, self._account, ",".join(self._metascopes), self._token_url)

    def obtain(self, ask: Any, old: Token | None) -> Flow[Token]:
        """Return a new token."""
        now = self._clock()
        fields = {"client_id": self.client_id, "client_secret": self._secret.reveal(), "jwt_token": self._proof(now)}
        reply = yield from ask(form_request("auth.legacy_jwt", self._token_url, fields, in_query=self._in_query))
        return token_of(reply, now, milliseconds=True)

    def _proof(self, now: float) -> str:
        import jwt

        claims: dict[str, Any] = {
            "iss": self._org_id,
            "sub": self._account,
            "aud": f"{self._ims_url}/c/{self.client_id}",
            "exp": int(now) + PROOF_LIFE_S,
        }
        claims |= {f"{self._ims_url}/s/{scope}": True for scope in self._metascopes}
        return jwt.encode(claims, self._key, algorithm="RS256")

    def __repr__(self) -> str:
        return f"LegacyJWT(client_id={self.client_id!r})"
