"""Settings of the emulated management APIs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flagmw.exceptions import ConfigError

Right = Literal["Observer", "Editor", "Approver"]
RIGHTS: tuple[Right, ...] = ("Observer", "Editor", "Approver")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """The management side of an account.

    Attributes:
        tenant: the first part of the Admin API's path; the client code where omitted.
        client_id: of the integration; also the API key.
        technical_account: that signs proofs for the JWT exchange.
        public_key: PEM of the key that proofs are checked with; without it the exchange refuses every proof.
        jwt_retired: refuse the JWT exchange, as the service does since it was ended.
        token_life_s: how long an access token lives.
        profile_token_life_s: how long tokens for profiles and traces live.
        profile_auth: whether the Profile API demands such a token.
        calls_per_minute: more are answered 503; 0 for no limit.
        strict_versions: answer 406 to a version that an endpoint does not have.
        legacy_200: answer 200 to a creation, as the documentation page has it, instead of 201.
        batch_bodies: how a batch's answer holds the bodies of its operations.
        right: what the integration may do.
        bulk_s: how long a bulk update of profiles takes.
        edge_status: name an edge host for the state of a bulk update, as the service does; else the sandbox itself.
        workspace: the id of the default workspace.
        environments: names of the environments.
        client_secret: the secret of the service account.
    """

    tenant: str = ""
    client_id: str = "sandbox-client"
    client_secret: str = "sandbox-secret"  # noqa: S105 - the emulator's, known to everybody
    technical_account: str = "sandbox@techacct.adobe.com"
    public_key: str = ""
    jwt_retired: bool = False
    token_life_s: int = 86_399
    profile_token_life_s: int = 7_775_999
    profile_auth: bool = False
    calls_per_minute: int = 50
    strict_versions: bool = True
    legacy_200: bool = False
    batch_bodies: Literal["text", "object"] = "text"
    right: Right = "Approver"
    bulk_s: float = 1.0
    edge_status: bool = False
    workspace: str = "1234567"
    environments: tuple[str, ...] = ("Development", "Production", "Staging")

    def __post_init__(self) -> None:
        for name in ("token_life_s", "profile_token_life_s", "calls_per_minute", "bulk_s"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative")
        if not self.environments:
            raise ConfigError("environments: name at least one")
