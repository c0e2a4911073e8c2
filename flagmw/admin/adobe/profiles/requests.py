"""Requests of the Profile API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict
from urllib.parse import quote

from flagmw.admin.adobe.profiles.encode import encoded
from flagmw.admin.adobe.wire import quoted, segment
from flagmw.admin.bulk.sources import BadRow
from flagmw.admin.errors import InvalidError
from flagmw.admin.http.call import FileCall
from flagmw.admin.http.request import ApiRequest
from flagmw.types import Call

# 8 kB and 60 kB by the documentation.
MAX_GET, MAX_POST = 8 * 1024, 60 * 1024
FORM = "application/x-www-form-urlencoded"


class ProfileAttribute(TypedDict, total=False):
    value: str
    modifiedAt: str


class Profile(TypedDict, total=False):
    """What Adobe Target knows of a visitor."""

    client: str
    visitorId: str
    modifiedAt: str
    profileAttributes: dict[str, ProfileAttribute]


def fetch_request(root: str, client: str, kind: str, identity: str) -> ApiRequest:
    """Return the request for a profile.

    Args:
        kind: "" for the vendor's id, "thirdPartyId", "marketingCloudVisitorId".
    """
    before = f"{kind}/" if kind else ""
    url = f"{root}/rest/v1/profiles/{before}{segment(identity, kind or 'tnt_id')}?client={quote(client, safe='')}"
    return ApiRequest(
        operation="profiles.fetch",
        template=f"/rest/v1/profiles/{before}{{id}}",
        call=Call(method="GET", url=url, headers={"Accept": "application/json"}, replay_safe=True),
        changes=False,
    )


def update_request(
    root: str, client: str, ids: Mapping[str, str | None], attributes: Mapping[str, Any], method: Literal["GET", "POST"]
) -> ApiRequest:
    """Return the request that updates one profile.

    Raises:
        InvalidError: not exactly one id is given, an attribute cannot be sent, or it is too much.
    """
    given = [(name, value) for name, value in ids.items() if value is not None]
    if len(given) != 1 or not given[0][1]:
        raise InvalidError("give one of tnt_id and third_party_id", field="tnt_id")
    if not attributes:
        raise InvalidError("there is nothing to set", field="attributes")
    pairs = [f"{name}={quoted(str(value), name)}" for name, value in given]
    for name, value in attributes.items():
        bare = name.removeprefix("profile.") if isinstance(name, str) else ""
        if not bare.strip():
            raise InvalidError("has no name", field="attributes")
        try:
            pairs.append(f"profile.{encoded(bare)}={encoded(value)}")
        except BadRow as problem:
            raise InvalidError(str(problem), field=f"attributes[{name!r}]") from None
    text = "&".join(pairs)
    path = f"{root}/m2/{quote(client, safe='')}/profile/update"
    if method not in ("GET", "POST"):
        raise InvalidError('must be "GET" or "POST"', field="method")
    most = MAX_GET if method == "GET" else MAX_POST
    size = len(path) + 1 + len(text) if method == "GET" else len(text)
    if size > most:
        cure = "use POST" if size <= MAX_POST else "use bulk_update, or split the attributes"
        raise InvalidError(f"makes {size} bytes, the vendor takes {most} with {method}; {cure}", field="attributes")
    if method == "GET":
        call = Call(method="GET", url=f"{path}?{text}", headers={})
    else:
        call = Call(method="POST", url=path, headers={"Content-Type": FORM}, body=text.encode())
    return ApiRequest(operation="profiles.update", template="/m2/{client}/profile/update", call=call)


def upload_request(root: str, client: str, version: int, file: Path, header: bytes, size: int) -> ApiRequest:
    """Return the request that uploads a part."""
    before = "v2/" if version == 2 else ""
    call = FileCall(
        method="POST",
        url=f"{root}/m2/{quote(client, safe='')}/{before}profile/batchUpdate",
        headers={"Content-Type": FORM, "Content-Length": str(size)},
        file=file,
        prefix=header,
    )
    template = f"/m2/{{client}}/{before}profile/batchUpdate"
    return ApiRequest(operation="profiles.bulk_update", template=template, call=call)


def status_request(url: str, *, details: bool) -> ApiRequest:
    """Return the request for the state of an upload."""
    if details and "showDetails" not in url:
        url += ("&" if "?" in url else "?") + "showDetails=true"
    call = Call(method="GET", url=url, headers={}, replay_safe=True)
    return ApiRequest(operation="profiles.bulk_status", template="batchStatus", call=call, changes=False)


def checked_client(client_code: str | None) -> str:
    """Return the client code.

    Raises:
        InvalidError: the client was made without one.
    """
    if not client_code:
        raise InvalidError("pass client_code= to the client: it names the Profile API's host", field="client_code")
    return client_code
