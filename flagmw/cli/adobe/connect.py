"""The client of `flagmw adobe`, made from settings and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flagmw.admin.adobe.auth.ims import IMS
from flagmw.admin.adobe.auth.legacy_jwt import LegacyJWT
from flagmw.admin.adobe.auth.oauth import SCOPES, OAuthServerToServer
from flagmw.admin.adobe.auth.profile import ProfileToken
from flagmw.admin.adobe.client import BASE_URL, CALLS_PER_MINUTE, AdobeAdmin
from flagmw.admin.auth.cache import TokenCache
from flagmw.admin.auth.given import GivenToken
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.limits.shared import SharedLimiter
from flagmw.admin.limits.window import Limiter
from flagmw.cli.admin.command import REACH
from flagmw.cli.admin.session import Connection
from flagmw.cli.admin.settings import Settings, token_cache
from flagmw.exceptions import ConfigError
from flagmw.vendors.common.options import leaves_machine_unencrypted

VENDOR = "adobe"
SETTINGS = {
    "tenant": "first part of the Admin API's path",
    "client_code": "first part of the Profile API's host; needed for profiles only",
    "client_id": "of the credential in the Adobe Developer Console; also the API key",
    "client_secret": "of the credential",
    "scopes": "of the token, separated by commas; what Adobe Target needs by default",
    "token": "an access token that was obtained elsewhere, instead of `client_secret`",
    "org_id": "of the retired JWT flow: the organisation",
    "technical_account_id": "of the retired JWT flow: the technical account",
    "private_key_file": "of the retired JWT flow: the PEM file of the private key",
    "profile_token": 'of the Profile API, where the account demands one; "account" takes the account\'s own',
    "base_url": "of the Admin API",
    "profile_url": "of the Profile API",
    "token_url": "where access tokens are obtained",
    "limit_url": "of a Valkey server over which processes share the limit of 50 calls a minute",
}
SANDBOX = {"tenant": "demo", "client_code": "demo", "client_id": "sandbox-client", "client_secret": "sandbox-secret"}


def connect(
    connection: Connection,
    *,
    tenant: Annotated[
        str | None, typer.Option(help="First part of the Admin API's path; else $ADOBE_TENANT.", rich_help_panel=REACH)
    ] = None,
    client_code: Annotated[
        str | None, typer.Option(help="For profiles; else $ADOBE_CLIENT_CODE.", rich_help_panel=REACH)
    ] = None,
    profile_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Instead of the Profile API's host.", rich_help_panel=REACH)
    ] = None,
    no_token_cache: Annotated[
        bool, typer.Option("--no-token-cache", help="Keep no access token between commands.", rich_help_panel=REACH)
    ] = False,
) -> AdobeAdmin:
    """Return the client.

    Raises:
        ConfigError: a setting is missing or cannot work.
    """
    settings, box = connection.settings, connection.sandbox
    cache = None if no_token_cache else token_cache()
    auth = _sandbox_auth(box, cache) if box else _auth(settings, cache)
    limit_url = None if box else settings.get("limit_url")
    name = tenant or (SANDBOX["tenant"] if box else settings.need("tenant", "--tenant"))
    limiter: Limiter | None = SharedLimiter(limit_url, f"adobe-{name}", CALLS_PER_MINUTE) if limit_url else None
    return AdobeAdmin(
        name,
        auth,
        api_key=SANDBOX["client_id"] if box else settings.need("client_id"),
        client_code=client_code or (SANDBOX["client_code"] if box else settings.get("client_code")),
        profile_auth=None if box else _profile_auth(settings),
        base_url=connection.base_url or box or settings.get("base_url") or BASE_URL,
        profile_url=profile_url or box or settings.get("profile_url"),
        limiter=limiter,
        timeout_s=connection.timeout_s,
        max_wait_s=connection.max_wait_s,
        on_call=connection.on_call,
    )


def _sandbox_auth(box: str, cache: TokenCache | None) -> TokenSource:
    url = f"{box}/ims/token/v3"
    return OAuthServerToServer(SANDBOX["client_id"], SANDBOX["client_secret"], token_url=url, cache=cache)


def _auth(settings: Settings, cache: TokenCache | None) -> TokenSource:
    token = settings.get("token")
    if token is not None:
        return GivenToken(token)
    client_id, secret = settings.need("client_id"), settings.need("client_secret")
    key = settings.get("private_key_file")
    if key is not None:
        return LegacyJWT(
            client_id,
            secret,
            org_id=settings.need("org_id"),
            technical_account_id=settings.need("technical_account_id"),
            private_key=Path(key).expanduser(),
            token_url=_token_url(settings, f"{IMS}/ims/exchange/jwt/"),
            cache=cache,
        )
    scopes = settings.get("scopes")
    names = SCOPES if scopes is None else tuple(filter(None, (one.strip() for one in scopes.split(","))))
    if not names:
        raise ConfigError("scopes must name at least one scope; leave it out for what Adobe Target needs")
    url = _token_url(settings, f"{IMS}/ims/token/v3")
    return OAuthServerToServer(client_id, secret, scopes=names, token_url=url, cache=cache)


def _token_url(settings: Settings, default: str) -> str:
    url = settings.get("token_url") or default
    if leaves_machine_unencrypted(url):
        raise ConfigError("token_url must be https: the secret must not cross a network in the clear")
    return url


def _profile_auth(settings: Settings) -> TokenSource | None:
    given = settings.get("profile_token")
    if given is None:
        return None
    return ProfileToken() if given == "account" else GivenToken(given)
