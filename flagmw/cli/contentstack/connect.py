"""The client of `flagmw contentstack`, made from settings and options."""

from __future__ import annotations

from typing import Annotated

import typer

from flagmw.admin.auth.cache import TokenCache
from flagmw.admin.auth.given import GivenToken
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.contentstack.auth.authtoken import Authtoken
from flagmw.admin.contentstack.auth.oauth import ContentstackOAuth
from flagmw.admin.contentstack.client import CALLS_PER_SECOND, ContentstackAdmin
from flagmw.admin.limits.shared import SharedLimiter
from flagmw.admin.limits.window import Limiter
from flagmw.cli.admin.command import REACH
from flagmw.cli.admin.session import Connection
from flagmw.cli.admin.settings import Settings, token_cache
from flagmw.exceptions import ConfigError

VENDOR = "contentstack"
SETTINGS = {
    "project_uid": "the project: 24 hex digits, from its settings",
    "region": "NA, EU, AU, AZURE_NA, AZURE_EU, GCP_NA or GCP_EU; NA by default",
    "authtoken": "of a user, made by a log-in elsewhere; the commands never log in",
    "authtoken_file": "a file that holds the authtoken and nothing else",
    "token": "an OAuth access token that was obtained elsewhere, instead of an authtoken",
    "refresh_token": "of OAuth, instead of an authtoken: access tokens are obtained with it",
    "client_id": "of OAuth: the app's",
    "client_secret": "of OAuth: the app's, where it has one",
    "redirect_uri": "of OAuth: the app's, as it was at the log-in",
    "token_url": "where OAuth tokens are obtained",
    "base_url": "of the Management API, instead of the region's",
    "limit_url": "of a Valkey server over which processes share the organization's limit of calls",
    "organization": "by this name the limit is shared; the project by default, though the limit is an organization's",
}
SANDBOX = {"project_uid": "64c7787b333555469a861224", "authtoken": "sandbox-authtoken", "path": "/contentstack-admin"}


def connect(
    connection: Connection,
    *,
    project: Annotated[
        str | None,
        typer.Option(metavar="UID", help="The project; else $CONTENTSTACK_PROJECT_UID.", rich_help_panel=REACH),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="NA, EU, ...; else $CONTENTSTACK_REGION.", rich_help_panel=REACH)
    ] = None,
    no_token_cache: Annotated[
        bool, typer.Option("--no-token-cache", help="Keep no OAuth token between commands.", rich_help_panel=REACH)
    ] = False,
) -> ContentstackAdmin:
    """Return the client.

    Raises:
        ConfigError: a setting is missing or cannot work.
    """
    settings, box = connection.settings, connection.sandbox
    place = region or settings.get("region") or "NA"
    name = project or (SANDBOX["project_uid"] if box else settings.need("project_uid", "--project"))
    cache = None if no_token_cache or box else token_cache()
    limit_url = None if box else settings.get("limit_url")
    shared = f"contentstack-{settings.get('organization') or name}"
    limiter: Limiter | None = SharedLimiter(limit_url, shared, CALLS_PER_SECOND, 1) if limit_url else None
    return ContentstackAdmin(
        name,
        Authtoken(SANDBOX["authtoken"]) if box else _auth(settings, place, cache),
        region=place,
        base_url=connection.base_url or (f"{box}{SANDBOX['path']}" if box else settings.get("base_url")),
        limiter=limiter,
        timeout_s=connection.timeout_s,
        max_wait_s=connection.max_wait_s,
        on_call=connection.on_call,
    )


def _auth(settings: Settings, region: str, cache: TokenCache | None) -> TokenSource:
    authtoken, file = settings.get("authtoken"), settings.get("authtoken_file")
    token, refresh_token = settings.get("token"), settings.get("refresh_token")
    if authtoken is not None or file is not None:
        return Authtoken(authtoken, file=None if authtoken is not None else file)
    if token is not None:
        return GivenToken(token)
    if refresh_token is None:
        variables = ", ".join(map(settings.variable, ("authtoken", "authtoken_file", "token", "refresh_token")))
        raise ConfigError(f"credentials are missing; set one of {variables}, or its setting in the credentials file")
    return ContentstackOAuth(
        refresh_token,
        settings.need("client_id"),
        settings.need("redirect_uri"),
        client_secret=settings.get("client_secret"),
        region=region,
        token_url=settings.get("token_url"),
        cache=cache,
    )
