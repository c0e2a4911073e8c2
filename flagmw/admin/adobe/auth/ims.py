"""Adobe's token service (IMS): its answers and what they mean."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flagmw.admin.adobe.wire import fault_of
from flagmw.admin.auth.given import checked_token
from flagmw.admin.auth.token import Token
from flagmw.admin.errors import AnswerError, AuthError, ServerError, ThrottledError
from flagmw.admin.http.fault import cleaned
from flagmw.admin.http.request import ApiRequest
from flagmw.exceptions import ProtocolError
from flagmw.types import Call, Reply
from flagmw.vendors.common.http_status import retry_after
from flagmw.vendors.common.json import loads

IMS = "https://ims-na1.adobelogin.com"
# A life above ten days is in milliseconds: no access token of IMS lives longer than one.
LONGEST_LIFE_S = 864_000.0
LIFE_UNKNOWN_S = 3600.0

_CURES = {
    "invalid_client": "check the client id and the client secret in the Adobe Developer Console",
    "invalid_client_secret": "check the client secret; there may be a newer one",
    "invalid_scope": "the credential has no such scope; check the scopes in the Adobe Developer Console",
    "invalid_grant": "check organisation, technical account, key and scopes, and this machine's clock",
    "invalid_token": "check organisation, technical account, key and scopes, and this machine's clock",
    "bad_request": "check client id, organisation, technical account and metascopes",
    "unauthorized_client": "the credential may not use this flow; make an OAuth server-to-server one",
}


def form_request(operation: str, url: str, fields: Mapping[str, str], *, in_query: bool = False) -> ApiRequest:
    """Return the request that asks for a token; secrets stand in the body unless *in_query*."""
    text = urlencode(fields)
    call = Call(
        method="POST",
        url=f"{url}?{text}" if in_query else url,
        headers={} if in_query else {"Content-Type": "application/x-www-form-urlencoded"},
        body=b"" if in_query else text.encode(),
    )
    return ApiRequest(operation=operation, template="", call=call, changes=False)


def token_of(reply: Reply, now: float, *, milliseconds: bool) -> Token:
    """Return the token in an answer of IMS.

    Args:
        now: seconds since the epoch, when the token was asked for.
        milliseconds: whether this endpoint gives `expires_in` in milliseconds.

    Raises:
        AuthError: IMS refuses the credentials; the text says what to check.
        ThrottledError, ServerError, AnswerError: IMS does not work as it should.
    """
    if reply.status != 200:
        _refuse(reply)
    try:
        document = loads(reply.body)
    except ProtocolError:
        raise AnswerError("Adobe's token service answers no JSON; check token_url and proxies") from None
    if not isinstance(document, dict) or "access_token" not in document:
        raise AnswerError("Adobe's token service answers without access_token; check token_url")
    value = checked_token(document["access_token"])
    return Token(value, now, now + life_s(document.get("expires_in"), value, milliseconds=milliseconds))


def life_s(expires_in: Any, token: str, *, milliseconds: bool) -> float:
    """Return the lifetime of a token in seconds.

    `expires_in` is in milliseconds at one endpoint and in seconds at the other. The token, where it is a JWT, says it
    too, in milliseconds and as text: the reading that fits it better counts.
    """
    claimed = _claimed_s(token)
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float | str):
        return claimed or LIFE_UNKNOWN_S
    try:
        number = float(expires_in)
    except ValueError:
        return claimed or LIFE_UNKNOWN_S
    if claimed is not None:
        return min((number, number / 1000.0), key=lambda seconds: abs(seconds - claimed))
    return number / 1000.0 if milliseconds or number > LONGEST_LIFE_S else number


def _claimed_s(token: str) -> float | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["expires_in"]) / 1000.0
    except (binascii.Error, ProtocolError, KeyError, TypeError, ValueError):
        return None


def _refuse(reply: Reply) -> None:
    fault = cleaned(fault_of(reply))
    says = f'; Adobe says: "{fault.message}"' if fault.message else ""
    details: dict[str, Any] = {"status": reply.status, "code": fault.code, "request_id": fault.request_id}
    if reply.status == 429:
        seconds = retry_after(reply) or 60.0
        text = f"Adobe's token service throttles; come again in {seconds:.0f} s and use a token cache{says}"
        raise ThrottledError(text, seconds=seconds, **details)
    if reply.status >= 500:
        raise ServerError(f"Adobe's token service fails; try again later{says}", **details)
    cure = _CURES.get(fault.code or "", "check the credential in the Adobe Developer Console")
    raise AuthError(f"Adobe's token service refuses the credential: {cure}{says}", **details)
