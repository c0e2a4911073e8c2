"""The clients of `flagmw monetate`, made from settings and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flagmw.admin.auth.cache import TokenCache
from flagmw.admin.auth.given import GivenToken
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.monetate.auth import MonetateKey
from flagmw.admin.monetate.client import MonetateAdmin
from flagmw.admin.monetate.sftp.connection import HOST, PORT, MonetateSFTP
from flagmw.admin.monetate.wire import BASE_URL
from flagmw.cli.admin.command import REACH
from flagmw.cli.admin.session import Connection
from flagmw.cli.admin.settings import Settings, token_cache
from flagmw.exceptions import ConfigError

VENDOR = "monetate"
SETTINGS = {
    "retailer": "the retailer's short name",
    "username": "of the API user, such as api-111-demo",
    "private_key_file": "PEM file of the API user's private key",
    "private_key_passphrase": "of the private key, where it has one",
    "algorithm": "RS256, RS384 or RS512; RS256 by default",
    "ttl": "how long a token is good, from 600 to 43200 seconds; 3600 by default",
    "token": "a token that was obtained elsewhere, instead of `private_key_file`",
    "base_url": "of the API host",
    "account": "of Session Stream: the account's id, the first part of its files' path",
    "sftp_username": "of the SFTP user",
    "sftp_password": "of the SFTP user, or `sftp_private_key_file`",
    "sftp_private_key_file": "of the SFTP user",
    "sftp_passphrase": "of the SFTP user's private key, where it has one",
    "sftp_host": f"{HOST} by default",
    "sftp_port": f"{PORT} by default",
    "sftp_known_hosts": "file with the SFTP host's public key; ~/.ssh/known_hosts by default",
}
SANDBOX = {"retailer": "acme", "token": "sandbox-token"}


def connect(
    connection: Connection,
    *,
    retailer: Annotated[
        str | None, typer.Option(help="The retailer's short name; else $MONETATE_RETAILER.", rich_help_panel=REACH)
    ] = None,
    no_token_cache: Annotated[
        bool, typer.Option("--no-token-cache", help="Keep no access token between commands.", rich_help_panel=REACH)
    ] = False,
) -> MonetateAdmin:
    """Return the client.

    Raises:
        ConfigError: a setting is missing or cannot work.
    """
    settings, box = connection.settings, connection.sandbox
    base_url = connection.base_url or box or settings.get("base_url") or BASE_URL
    options: dict[str, Any] = {
        "base_url": base_url,
        "timeout_s": connection.timeout_s,
        "max_wait_s": connection.max_wait_s,
        "on_call": connection.on_call,
    }
    if box:
        auth: TokenSource = GivenToken(SANDBOX["token"], scheme="Token")
        return MonetateAdmin(retailer or SANDBOX["retailer"], auth, **options)
    name = retailer or settings.need("retailer", "--retailer")
    cache = None if no_token_cache else token_cache()
    return MonetateAdmin(name, _auth(settings, base_url, cache), **options)


def connect_sftp(settings: Settings) -> MonetateSFTP:
    """Return the client for files.

    Raises:
        ConfigError: a setting is missing or cannot work.
    """
    key, known_hosts = settings.get("sftp_private_key_file"), settings.get("sftp_known_hosts")
    return MonetateSFTP(
        settings.need("sftp_username"),
        password=None if key else settings.need("sftp_password"),
        private_key=None if key is None else Path(key).expanduser(),
        passphrase=settings.get("sftp_passphrase"),
        host=settings.get("sftp_host") or HOST,
        port=_number(settings, "sftp_port", PORT),
        known_hosts=known_hosts,
    )


def _auth(settings: Settings, base_url: str, cache: TokenCache | None) -> TokenSource:
    token = settings.get("token")
    if token is not None:
        return GivenToken(token, scheme="Token")
    options: dict[str, Any] = {}
    if settings.get("algorithm") is not None:
        options["algorithm"] = settings.get("algorithm")
    return MonetateKey(
        settings.need("username"),
        Path(settings.need("private_key_file")).expanduser(),
        passphrase=settings.get("private_key_passphrase"),
        ttl=_number(settings, "ttl", 3600),
        base_url=base_url,
        cache=cache,
        **options,
    )


def _number(settings: Settings, name: str, otherwise: int) -> int:
    text = settings.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{name} must be a whole number")
    return int(text)
