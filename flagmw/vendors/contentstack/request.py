"""Requests of the Personalize Edge API: manifest, events, attributes, merge.

Source: Contentstack's API reference. There is no authentication; headers name the project and the visitor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from flagmw.types import Call, Scalar, Visit
from flagmw.vendors.common.json import BROKEN
from flagmw.vendors.common.values import is_json_scalar
from flagmw.vendors.contentstack.cookies import Cookies, usable_uid

if TYPE_CHECKING:
    from flagmw.vendors.contentstack.options import Options

LIVE_ATTRIBUTES_MAX_BYTES = 8 * 1024

_AUDIENCES = "__lytics_audiences"
_LINE_SAFE = re.compile(r"[ -~]*")


class RequestBuilder:
    """Requests of one project."""

    def __init__(self, options: Options, cookies: Cookies) -> None:
        self._options, self._cookies = options, cookies

    def uid(self, visit: Visit, cookies: Mapping[str, str]) -> str | None:
        """Return the uid of the visitor of *visit*: the site's user id if the options allow it, else the cookie's.

        A cookie with the id of a user who has logged out names nobody.
        """
        user_id = self.user_id(visit)
        return user_id or (None if self._cookies.names_user(cookies) else self._cookies.read(cookies))

    def user_id(self, visit: Visit) -> str | None:
        """Return the site's user id, if it is used as a uid."""
        return usable_uid(visit.user_id) if self._options.known_users else None

    def manifest(self, visit: Visit, uid: str | None, cookies: Mapping[str, str]) -> tuple[Call, bool]:
        """Return the request for the decisions of *visit*, and whether it holds all attributes of the visit.

        Args:
            uid: the visitor; the edge names a new one without it.
        """
        audiences = self._cookies.lytics_audiences(cookies)
        lytics = {_AUDIENCES: audiences} if audiences else {}
        attributes, whole = live_attributes({**lytics, **self._options.data, **visit.data})
        headers = _headers(self._options.project_uid, uid)
        facts = {
            "x-page-url": visit.url,
            "referer": visit.referer,
            "user-agent": visit.user_agent,
            # Without it the edge locates the visitor at the place of this server.
            "x-forwarded-for": visit.client_ip,
            "x-live-attributes": attributes,
        }
        headers.update({name: text for name, text in facts.items() if text and _LINE_SAFE.fullmatch(text)})
        lytics_id = self._cookies.lytics_id(cookies)
        if lytics_id:
            headers |= {"x-lytics-id-field": "_uid", "x-lytics-id-value": lytics_id}
        # The brackets stay literal, as in the official client.
        query = "&".join(f"tags[]={quote(tag, safe='')}" for tag in self._options.tags)
        call = Call(
            method="GET",
            url=f"{self._options.base_url}/manifest" + (f"?{query}" if query else ""),
            headers=headers,
            replay_safe=True,
            # Two calls of a visitor without a uid would make two visitors.
            hedge_safe=uid is not None,
        )
        return call, whole

    def events(self, uid: str, items: Sequence[Mapping[str, str]]) -> Call:
        """Return the request that reports *items*, impressions and events of one visitor."""
        return self._write("POST", "/events", uid, list(items))

    def attributes(self, uid: str, values: Mapping[str, Scalar]) -> Call:
        """Return the request that stores *values* with the visitor, beside the stored attributes."""
        return self._write("PATCH", "/user-attributes", uid, dict(values))

    def merge(self, source: str, target: str) -> Call:
        """Return the request that copies the attributes of *source* to *target*, where they replace its own."""
        body = {"sourceUserUid": source, "targetUserUid": target}
        return self._write("POST", "/user-attributes/actions/merge", None, body)

    def _write(self, method: str, path: str, uid: str | None, body: Any) -> Call:
        headers = {**_headers(self._options.project_uid, uid), "content-type": "application/json"}
        return Call(method=method, url=self._options.base_url + path, headers=headers, body=orjson.dumps(body))


def live_attributes(data: Mapping[str, Any]) -> tuple[str, bool]:
    """Return *data* in the form of the header `X-Live-Attributes`, and whether it holds all of *data*.

    The edge takes texts, numbers and booleans. Characters beyond ASCII are escaped, because headers cannot carry them.
    Attributes beyond 8 KiB are left out.
    """
    attributes: dict[str, Scalar] = {}
    size = len("{}")
    for name, value in data.items():
        if not name or BROKEN.search(name) or not is_json_scalar(value):
            continue
        size += len(_compact({name: value}).encode()) - len("{}") + len(",")
        if size - len(",") > LIVE_ATTRIBUTES_MAX_BYTES:
            return _compact(attributes), False
        attributes[name] = value
    return (_compact(attributes) if attributes else ""), len(attributes) == len(data)


def _headers(project_uid: str, uid: str | None) -> dict[str, str]:
    headers = {
        "x-project-uid": project_uid,
        "x-user-agent": "flagmw",
        "accept": "application/json",
        "accept-encoding": "gzip",
    }
    return headers if uid is None else {**headers, "x-cs-personalize-user-uid": uid}


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
