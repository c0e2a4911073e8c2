"""`flagmw adobe token`: access tokens, and tokens for profiles and traces."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from flagmw.admin.adobe.client import AdobeAdmin
from flagmw.admin.auth.token import Token
from flagmw.admin.errors import InvalidError
from flagmw.cli.admin.session import Session
from flagmw.cli.adobe.root import commands
from flagmw.cli.text import say

token = commands.group("token", "Tokens: never printed unless --show asks for them.")


class Scope(StrEnum):
    """What a token is for."""

    ACCESS = "access"
    PROFILE_API = "profile_api"
    DEBUG_TOOLS = "debug_tools"


ScopeOption = Annotated[Scope, typer.Option(help="access is the Admin API's own, kept between commands.")]
ShowOption = Annotated[bool, typer.Option("--show", help="Print the token itself.")]


@token.command("get", calls={"tokens.get": "--scope profile_api"})
def get(session: Session[AdobeAdmin], scope: ScopeOption = Scope.ACCESS, show: ShowOption = False) -> None:
    """Show the token that is good now; an access token is obtained where there is none."""
    if scope is not Scope.ACCESS:
        _show(session, session.call(session.client.tokens.get, scope.value), show)
        return
    if session.planning:
        raise InvalidError(
            "an access token comes from the token service, for which there is no dry run", field="--scope"
        )
    client = session.client
    auth = client.exchange.auth
    if auth is None:
        raise InvalidError("this client has no credentials", field="--scope")
    found: Token = client.driver.run(auth.current(client.exchange.ask))
    left = None if found.expires_at is None else int(found.expires_at - time.time())
    _show(session, {"accessToken": found.value, "scope": scope.value, "expiresIn": left}, show)


@token.command("current", calls=["tokens.current"])
def current(session: Session[AdobeAdmin], scope: ScopeOption = Scope.PROFILE_API, show: ShowOption = False) -> None:
    """Show the token that is good now, or make one where there is none or it ends within five minutes."""
    _show(session, session.call(session.client.tokens.current, _of_account(scope)), show)


@token.command("create", calls=["tokens.create"], destroys=True)
def create(session: Session[AdobeAdmin], scope: ScopeOption = Scope.PROFILE_API, show: ShowOption = False) -> None:
    """Make a new token. The one before stops working at once, wherever it is used."""
    name = _of_account(scope)
    session.confirm(f"end the {name} token that is in use now")
    _show(session, session.call(session.client.tokens.create, name), show)


def _of_account(scope: Scope) -> Any:
    if scope is Scope.ACCESS:
        raise InvalidError(
            "must be profile_api or debug_tools; access tokens are obtained by themselves", field="--scope"
        )
    return scope.value


def _show(session: Session[AdobeAdmin], found: Mapping[str, Any], show: bool) -> None:
    """Print what is known of a token; with *show* the token, alone unless JSON is asked for."""
    if show and not session.as_json:
        say(found["accessToken"])
        return
    session.show(found if show else {**found, "accessToken": "***"})
