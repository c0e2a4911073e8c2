"""Adobe's token service, emulated: OAuth server-to-server and the JWT exchange."""

from __future__ import annotations

import base64
import hmac
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jwt
import orjson

from flagmw.sandbox.adobe_admin.settings import AdminSettings

if TYPE_CHECKING:
    from flagmw.sandbox.adobe.model import TargetAccount
    from flagmw.sandbox.state import Sandbox

ISSUER = "https://ims-na1.adobelogin.com"
METASCOPE = f"{ISSUER}/s/ent_marketing_sdk"
SCOPE = "target_sdk"
LONGEST_PROOF_S = 86_400
Fields = Mapping[str, str]


class Refusal(Exception):
    """A credential that is refused; its text is the description."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error, self.status = error, status

    def document(self) -> dict[str, Any]:
        """Return the answer's body."""
        return {"error": self.error, "error_description": str(self)}


def client_credentials(sandbox: Sandbox, fields: Fields) -> dict[str, Any]:
    """Answer OAuth server-to-server; the life is in seconds.

    Raises:
        Refusal: the credential is refused.
    """
    if fields.get("grant_type") != "client_credentials":
        raise Refusal("unsupported_grant_type", "grant_type must be client_credentials")
    account = _account(sandbox, fields)
    if SCOPE not in fields.get("scope", "").replace(" ", ",").split(","):
        raise Refusal("invalid_scope", f"the scope {SCOPE} is missing")
    life = account.admin.token_life_s
    return {"access_token": _token(sandbox, account), "token_type": "bearer", "expires_in": life}


def exchange(sandbox: Sandbox, fields: Fields) -> dict[str, Any]:
    """Answer the JWT exchange; the life is in milliseconds.

    Raises:
        Refusal: the credential is refused, or the flow has been ended.
    """
    account = _account(sandbox, fields)
    settings = account.admin
    if settings.jwt_retired:
        raise Refusal("bad_request", "Service Account (JWT) credentials have reached their end of life")
    _check_proof(settings, account.org_id, fields.get("jwt_token", ""), sandbox.clock())
    life = settings.token_life_s * 1000
    return {"token_type": "bearer", "access_token": _token(sandbox, account), "expires_in": life}


def account_of(sandbox: Sandbox, token: str) -> str | None:
    """Return the client code that an access token is for; None for one that is not, or no longer, good."""
    client, until = sandbox.target.access_tokens.get(token, ("", 0.0))
    return client if until > sandbox.clock() else None


def _account(sandbox: Sandbox, fields: Fields) -> TargetAccount:
    """Return the account of a client id; several may share one, then it is the first."""
    wanted = fields.get("client_id", "")
    account = next((account for account in sandbox.scenario.adobe if account.admin.client_id == wanted), None)
    if account is None:
        raise Refusal("invalid_client", "invalid client_id parameter")
    if not hmac.compare_digest(fields.get("client_secret", "").encode(), account.admin.client_secret.encode()):
        raise Refusal("invalid_client", "invalid client_secret parameter", 401)
    return account


def _check_proof(settings: AdminSettings, org_id: str | None, proof: str, now: float) -> None:
    if not settings.public_key:
        raise Refusal("invalid_token", "no public key is registered for this integration")
    try:
        # The sandbox's clock decides about the end, not the machine's.
        claims = jwt.decode(
            proof,
            settings.public_key,
            algorithms=["RS256"],
            audience=f"{ISSUER}/c/{settings.client_id}",
            options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iss", "sub", "aud"]},
        )
        end = float(claims["exp"])
    except (jwt.PyJWTError, TypeError, ValueError):
        raise Refusal("invalid_token", "Could not match JWT signature to any of the bindings") from None
    if not now < end <= now + LONGEST_PROOF_S + 60:
        raise Refusal("invalid_token", "JWT token is expired, or for more than 24 hours")
    if org_id is not None and claims["iss"] != org_id:
        raise Refusal("invalid_token", "the organization does not match")
    if claims["sub"] != settings.technical_account:
        raise Refusal("invalid_token", "the technical account does not match")
    if claims.get(METASCOPE) is not True:
        raise Refusal("invalid_scope", "the metascope ent_marketing_sdk is missing")


def _token(sandbox: Sandbox, account: TargetAccount) -> str:
    """Return a new access token in the form of the service's: a JWT without `exp`, its times as texts."""
    now, life = sandbox.clock(), account.admin.token_life_s
    claims = {
        "id": str(uuid.uuid4()), "type": "access_token", "client_id": account.admin.client_id,
        "scope": "openid,AdobeID,target_sdk", "created_at": str(int(now * 1000)), "expires_in": str(life * 1000),
    }  # fmt: skip
    parts = [orjson.dumps({"alg": "RS256"}), orjson.dumps(claims), uuid.uuid4().bytes]
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    kept = {value: entry for value, entry in sandbox.target.access_tokens.items() if entry[1] > now}
    sandbox.target.access_tokens = {**kept, token: (account.client, now + life)}
    return token
