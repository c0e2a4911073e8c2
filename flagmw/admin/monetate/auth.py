"""Tokens of Monetate's Auth API, obtained with a signed JWT."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from flagmw.admin.auth.cache import TokenCache
from flagmw.admin.auth.given import checked_token
from flagmw.admin.auth.keys import load_private_key
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.auth.token import Token
from flagmw.admin.errors import AnswerError, AuthError, InvalidError, ServerError, ThrottledError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.http.fault import cleaned
from flagmw.admin.http.request import ApiRequest
from flagmw.admin.monetate.wire import BASE_URL, checked_root, fault_of
from flagmw.exceptions import ConfigError, ProtocolError
from flagmw.types import Call, Reply
from flagmw.vendors.common.http_status import retry_after
from flagmw.vendors.common.json import loads

Algorithm = Literal["RS256", "RS384", "RS512"]
ALGORITHMS = ("RS256", "RS384", "RS512")
SHORTEST_S, LONGEST_S = 600, 43_200
# The portal's text says fifteen minutes where its description and the demo say 600 seconds.
SURELY_ACCEPTED_S = 900
LEEWAY_S = 60.0

logger = logging.getLogger("flagmw.admin")


class MonetateKey(TokenSource):
    """An API user of Monetate and its private key.

    Several tokens of one key are good at the same time. They end by themselves, or when the key is deactivated.

    Args:
        username: as the platform made it, "api-111-demo".
        private_key: PEM, or the path of a PEM file; its public key must be uploaded for *username*.
        passphrase: of the key, where it has one.
        algorithm: "RS256", "RS384" or "RS512".
        ttl: how long a token is good, from 600 to 43,200 seconds.
        base_url: of the API host.
        cache: a file that keeps the token between processes.
        clock: seconds since the epoch; Monetate accepts one that is at most 60 s off.

    Raises:
        ConfigError: the key cannot be used, or another option is wrong.
    """

    def __init__(
        self,
        username: str,
        private_key: str | bytes | Path,
        *,
        passphrase: str | None = None,
        algorithm: Algorithm = "RS256",
        ttl: int = 3600,
        base_url: str = BASE_URL,
        cache: TokenCache | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(scheme="Token", cache=cache, clock=clock)
        if not isinstance(username, str) or not username.isprintable() or username != username.strip() or not username:
            raise ConfigError('MonetateKey: username must be the API user\'s name, such as "api-111-demo"')
        if algorithm not in ALGORITHMS:
            raise ConfigError(f"MonetateKey: algorithm must be one of {', '.join(ALGORITHMS)}")
        if isinstance(ttl, bool) or not isinstance(ttl, int) or not SHORTEST_S <= ttl <= LONGEST_S:
            raise ConfigError(f"MonetateKey: ttl must be a whole number from {SHORTEST_S} to {LONGEST_S} seconds")
        if ttl < SURELY_ACCEPTED_S:
            logger.warning(
                "Monetate may refuse a ttl below %d s: its documentation names two shortest values", SURELY_ACCEPTED_S
            )
        self.username, self._algorithm, self._ttl = username, algorithm, ttl
        self._key = load_private_key(private_key, passphrase)
        self._url = f"{checked_root('MonetateKey', base_url)}/api/auth/v0/refresh/"

    @property
    def cache_key(self) -> str:
        """Return the API user and the host that its tokens are for."""
        return f"monetate:{self.username}:{urlsplit(self._url).netloc}"

    def obtain(self, ask: Any, old: Token | None) -> Flow[Token]:
        """Return a new token."""
        now = self._clock()
        reply = yield from ask(self.request(now))
        if reply.status != 200:
            self._refuse(reply, now)
        return self._token_of(reply, now)

    def request(self, now: float) -> ApiRequest:
        """Return the request for a token, signed at *now*."""
        import jwt

        proof = jwt.encode({"iat": int(now), "username": self.username}, self._key, algorithm=self._algorithm)
        call = Call(
            method="GET",
            url=f"{self._url}?ttl={self._ttl}",
            headers={"Authorization": f"JWT {proof}", "Accept": "application/json"},
        )
        return ApiRequest(operation="auth.refresh", template="/api/auth/v0/refresh/", call=call, changes=False)

    def _token_of(self, reply: Reply, now: float) -> Token:
        try:
            document = loads(reply.body)
        except ProtocolError:
            raise AnswerError("Monetate's token service answers no JSON; check base_url and proxies") from None
        data = document.get("data") if isinstance(document, dict) else None
        if not isinstance(data, dict) or "token" not in data:
            raise AnswerError("Monetate's token service answers without data.token; check base_url")
        # By the life and not by the end: the end is a time of Monetate's clock, which may differ from this one.
        life = data.get("expires_in")
        if isinstance(life, bool) or not isinstance(life, int | float) or life <= 0:
            life = self._ttl
        return Token(checked_token(data["token"]), now, now + float(life))

    def _refuse(self, reply: Reply, now: float) -> None:
        fault = cleaned(fault_of(reply))
        says = f'; Monetate says: "{fault.message}"' if fault.message else ""
        details: dict[str, Any] = {"operation": "auth.refresh", "status": reply.status, "code": fault.code}
        if reply.status == 401:
            raise AuthError(f"Monetate does not accept the signed request: {self._cure(reply, now)}{says}", **details)
        if reply.status == 403:
            text = "the key is deactivated; ask an administrator to upload a new public key under Sites, API Keys"
            raise AuthError(f"{text}{says}", **details)
        if reply.status == 429:
            seconds = retry_after(reply) or 60.0
            text = f"Monetate's token service throttles; come again in {seconds:.0f} s and use a token cache{says}"
            raise ThrottledError(text, seconds=seconds, **details)
        if reply.status >= 500:
            raise ServerError(
                f"Monetate's token service fails; try again, then ask the account manager{says}", **details
            )
        if reply.status == 404:
            raise AnswerError(f"there is no token service at base_url; check it{says}", **details)
        if reply.status == 400:
            raise InvalidError(
                f"Monetate refuses the request for a token; check ttl{says}", field=fault.field, **details
            )
        raise AnswerError(
            f"Monetate's token service gives an answer of an unknown kind; check base_url{says}", **details
        )

    def _cure(self, reply: Reply, now: float) -> str:
        skew = clock_skew_s(reply, now)
        if skew is not None and abs(skew) > LEEWAY_S:
            where = "ahead of" if skew > 0 else "behind"
            return (
                f"this machine's clock is {abs(skew):.0f} s {where} Monetate's, and more than {LEEWAY_S:.0f} s are not "
                "accepted; set it"
            )
        return (
            f"check that the public key of this private key is uploaded for {self.username}, and this machine's clock, "
            f"which may be {LEEWAY_S:.0f} s off at most"
        )

    def __repr__(self) -> str:
        return f"MonetateKey(username={self.username!r})"


def clock_skew_s(reply: Reply, now: float) -> float | None:
    """Return how many seconds *now* is ahead of the time in the answer's Date header; None without one."""
    try:
        return now - parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None
