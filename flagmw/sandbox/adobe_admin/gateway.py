"""The gateway: access token, API key, tenant, limit of calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flagmw.sandbox.adobe_admin.errors import ApiError, GatewayError
from flagmw.sandbox.adobe_admin.ims import account_of

if TYPE_CHECKING:
    from flagmw.sandbox.adobe.model import TargetAccount
    from flagmw.sandbox.state import Sandbox


def admitted(sandbox: Sandbox, tenant: str, headers: Mapping[str, str]) -> TargetAccount:
    """Return the account that a call is for.

    Raises:
        GatewayError: token or key are missing or wrong.
        ApiError: the credential is for another tenant.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise GatewayError(401, "401010", "Oauth token is missing")
    client = account_of(sandbox, token.strip())
    account = next((account for account in sandbox.scenario.adobe if account.client == client), None)
    if account is None:
        raise GatewayError(401, "401013", "Oauth token is not valid")
    key = headers.get("x-api-key")
    if key is None:
        raise GatewayError(403, "403000", "Api Key is required")
    if key != account.admin.client_id:
        raise GatewayError(403, "403003", "Api Key is invalid")
    # Accounts with one integration are told apart by their tenant.
    for sibling in sandbox.scenario.adobe:
        if sibling.admin.client_id == account.admin.client_id and tenant == (sibling.admin.tenant or sibling.client):
            return sibling
    raise ApiError(403, "Forbidden", f"the credentials are not for the tenant {tenant}")


def count(sandbox: Sandbox, account: TargetAccount, cost: int = 1) -> None:
    """Count calls against the limit.

    Raises:
        GatewayError: there are too many; 503, as the vendor has it, not 429.
    """
    if not sandbox.target.rate.take(account.client, account.admin.calls_per_minute, sandbox.clock(), cost):
        raise GatewayError(503, "503001", "Service is temporarily unavailable: too many requests")
