"""Monetate's Auth API, emulated."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jwt

from flagmw.sandbox.monetate_admin.errors import Refusal, envelope

if TYPE_CHECKING:
    from flagmw.sandbox.monetate.model import Retailer
    from flagmw.sandbox.monetate_admin.settings import ApiUser
    from flagmw.sandbox.state import Sandbox

ALGORITHMS = ["RS256", "RS384", "RS512"]
LEEWAY_S = 60
LONGEST_TTL_S = 43_200
USUAL_TTL_S = 3600


def refreshed(sandbox: Sandbox, headers: Mapping[str, str], query: Mapping[str, str]) -> dict[str, Any]:
    """Answer with a new token.

    Raises:
        Refusal: the JWT is wrong, its key was deactivated, or the life that is asked for is out of range.
    """
    scheme, _, proof = headers.get("authorization", "").partition(" ")
    if scheme != "JWT" or not proof:
        raise Refusal(401, "The Authorization header must be 'JWT <token>'.")
    retailer, user = _user(sandbox, proof)
    claims = _claims(proof, user)
    issued = claims.get("iat")
    if isinstance(issued, bool) or not isinstance(issued, int | float) or not math.isfinite(issued):
        raise Refusal(401, "The iat claim is missing or is no number.")
    now = sandbox.clock()
    if abs(now - issued) > LEEWAY_S:
        raise Refusal(401, f"The iat claim is more than {LEEWAY_S} seconds off.")
    if user.revoked:
        raise Refusal(403, "The key has been deactivated.")
    ttl = _ttl(query.get("ttl"), retailer.admin.shortest_ttl_s)
    token = f"1.{uuid.uuid4().hex}.{uuid.uuid4().hex}"
    tokens = sandbox.monetate.tokens
    kept = {value: entry for value, entry in tokens.items() if entry[2] > now}
    sandbox.monetate.tokens = {**kept, token: (retailer.retailer, user.username, now + ttl)}
    return envelope({"token": token, "issued_at": now, "expires_in": ttl, "expires_at": now + ttl})


def admitted(sandbox: Sandbox, headers: Mapping[str, str], named: str) -> tuple[Retailer, str]:
    """Return the retailer that a call's token is for, and the token.

    Args:
        named: the retailer in the path.

    Raises:
        Refusal: there is none, it is over, or its key was deactivated.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    for one in sandbox.scenario.monetate:
        if one.retailer == named and scheme == "Token" and one.admin.token and token == one.admin.token:
            return one, token
    name, username, until = sandbox.monetate.tokens.get(token, ("", "", 0.0))
    retailer = next((one for one in sandbox.scenario.monetate if one.retailer == name), None)
    if scheme != "Token" or retailer is None or until <= sandbox.clock():
        raise Refusal(401)
    user = next((one for one in retailer.admin.users if one.username == username), None)
    if user is None:
        raise Refusal(401)
    if user.revoked:
        raise Refusal(403)
    return retailer, token


def _user(sandbox: Sandbox, proof: str) -> tuple[Retailer, ApiUser]:
    try:
        named = jwt.decode(proof, options={"verify_signature": False}).get("username")
    except jwt.PyJWTError:
        raise Refusal(401, "The token is no JWT.") from None
    for retailer in sandbox.scenario.monetate:
        for user in retailer.admin.users:
            if user.username == named:
                return retailer, user
    raise Refusal(401, "The username claim is missing, or names no API user with a public key.")


def _claims(proof: str, user: ApiUser) -> dict[str, Any]:
    # The sandbox's clock decides about the time, not the machine's.
    options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
    try:
        claims: dict[str, Any] = jwt.decode(proof, user.public_key, algorithms=ALGORITHMS, options=options)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise Refusal(401, "The signature does not match the public key, or uses another algorithm.") from None
    return claims


def _ttl(text: str | None, shortest: int) -> int:
    if text is None:
        return USUAL_TTL_S
    if not (text.isascii() and text.isdigit()) or not shortest <= int(text) <= LONGEST_TTL_S:
        raise Refusal(400, f"must be a whole number from {shortest} to {LONGEST_TTL_S}", "ttl")
    return int(text)
