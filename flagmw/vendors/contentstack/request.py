"""Build requests of the Personalize Edge API: manifest, events, attributes, merge (Contentstack's API reference).

There is no authentication; the project and the visitor are named by headers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from flagmw.types import Call, Scalar, Visit

LIVE_ATTRIBUTES_MAX_BYTES = 8 * 1024

_BROKEN = re.compile(r"[\ud800-\udfff]")
_LINE_SAFE = re.compile(r"[ -~]*")


def manifest(
    base_url: str,
    project_uid: str,
    visit: Visit,
    *,
    uid: str | None,
    tags: Sequence[str],
    attributes: str,
    lytics_id: str | None,
) -> Call:
    """Return the request for the decisions of *visit*.

    Args:
        uid: the visitor; the edge names a new one without it.
        attributes: for this request only, as `live_attributes` writes them.
        lytics_id: the visitor's id at Lytics.
    """
    headers = _headers(project_uid, uid)
    told = {
        "x-page-url": visit.url,
        "referer": visit.referer,
        "user-agent": visit.user_agent,
        # Without it the edge locates the visitor where this server is.
        "x-forwarded-for": visit.client_ip,
        "x-live-attributes": attributes,
    }
    headers.update({name: text for name, text in told.items() if text and _LINE_SAFE.fullmatch(text)})
    if lytics_id:
        headers |= {"x-lytics-id-field": "_uid", "x-lytics-id-value": lytics_id}
    # The brackets stay literal, as the official client leaves them.
    query = "&".join(f"tags[]={quote(tag, safe='')}" for tag in tags)
    return Call(
        method="GET",
        url=f"{base_url}/manifest" + (f"?{query}" if query else ""),
        headers=headers,
        replay_safe=True,
        # Two calls of a visitor without a uid would make two visitors of them.
        hedge_safe=uid is not None,
    )


def live_attributes(data: Mapping[str, Any]) -> tuple[str, bool]:
    """Return *data* as the header `X-Live-Attributes` has it, and whether all of it is in there.

    What the edge takes are texts, numbers and booleans. Characters beyond ASCII are escaped: the header would not
    survive them. Attributes are left out from where they would make it longer than 8 KiB.
    """
    kept: dict[str, Scalar] = {}
    size = len("{}")
    for name, value in data.items():
        if not _sendable(name, value):
            continue
        size += len(_compact({name: value}).encode()) - len("{}") + len(",")
        if size - len(",") > LIVE_ATTRIBUTES_MAX_BYTES:
            return _compact(kept), False
        kept[name] = value
    return (_compact(kept) if kept else ""), len(kept) == len(data)


def events(base_url: str, project_uid: str, uid: str, items: Sequence[Mapping[str, str]]) -> Call:
    """Return the request that reports *items*, impressions and events of one visitor."""
    return _write("POST", f"{base_url}/events", _headers(project_uid, uid), list(items))


def attributes(base_url: str, project_uid: str, uid: str, values: Mapping[str, Scalar]) -> Call:
    """Return the request that stores *values* with the visitor, beside what is stored already."""
    return _write("PATCH", f"{base_url}/user-attributes", _headers(project_uid, uid), dict(values))


def merge(base_url: str, project_uid: str, source: str, target: str) -> Call:
    """Return the request that gives *target* what is stored of *source*, whose values win."""
    body = {"sourceUserUid": source, "targetUserUid": target}
    return _write("POST", f"{base_url}/user-attributes/actions/merge", _headers(project_uid, None), body)


def _headers(project_uid: str, uid: str | None) -> dict[str, str]:
    sent = {
        "x-project-uid": project_uid,
        "x-user-agent": "flagmw",
        "accept": "application/json",
        "accept-encoding": "gzip",
    }
    return sent if uid is None else {**sent, "x-cs-personalize-user-uid": uid}


def _write(method: str, url: str, headers: dict[str, str], body: Any) -> Call:
    return Call(
        method=method, url=url, headers={**headers, "content-type": "application/json"}, body=orjson.dumps(body)
    )


def _sendable(name: str, value: Any) -> bool:
    if not name or _BROKEN.search(name):
        return False
    if isinstance(value, str):
        return not _BROKEN.search(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < 1 << 63


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
