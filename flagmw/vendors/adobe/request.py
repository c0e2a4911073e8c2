"""Requests of the Delivery API.

Source: Adobe Target Delivery API, `POST /rest/v1/delivery`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from flagmw.types import Call, Scalar, Visit
from flagmw.vendors.adobe.cookies import Known
from flagmw.vendors.common.json import BROKEN, sound

if TYPE_CHECKING:
    from flagmw.vendors.adobe.options import Options

MAX_MBOXES = 50
MBOX_NAME = re.compile(r"[A-Za-z0-9\-,._/=`:;&!@#$%^*()+|?~\[\]{}]{1,250}")
PAGE_LOAD = "target-global-mbox"

PARAMETERS = 50
_NAME_CHARS = 128
_VALUE_CHARS = {"parameters": 5_000, "profileParameters": 256}
_RESERVED = frozenset({"orderId", "orderTotal", "productPurchasedIds"})
_GEO = {"countryCode": str, "stateCode": str, "city": str, "zip": str, "latitude": float, "longitude": float}
_HINTS = {
    "mobile": bool, "model": str, "platform": str, "platformVersion": str, "browserUAWithMajorVersion": str,
    "browserUAWithFullVersion": str, "architecture": str, "bitness": str,
}  # fmt: skip
# The API takes neither of the two signs in a thirdPartyId.
_THIRD_PARTY = re.compile(r"[^+/\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,256}")
_PRODUCT = {"id": str, "categoryId": str}


@dataclass(frozen=True, slots=True)
class Facts:
    """A visit's attributes, by the fields of the API.

    Names that begin with `profile.`, `product.`, `geo.` or `clientHints.` go to the profile, the product and the
    context; all others are parameters of every mbox.
    """

    parameters: dict[str, str] = field(default_factory=dict)
    profile: dict[str, str] = field(default_factory=dict)
    product: dict[str, Any] = field(default_factory=dict)
    geo: dict[str, Any] = field(default_factory=dict)
    hints: dict[str, Any] = field(default_factory=dict)

    def detail(self) -> dict[str, Any]:
        """Return the fields that every mbox of a request carries."""
        detail = {"parameters": self.parameters, "profileParameters": self.profile, "product": self.product}
        return {name: value for name, value in detail.items() if value}


def facts(data: Mapping[str, Scalar], fixed: Mapping[str, str], profile: Mapping[str, str]) -> Facts:
    """Sort *data* by the fields of the API; it overrides the configured parameters *fixed* and *profile*."""
    sorted_: dict[str, dict[str, Scalar]] = {"profile": {}, "product": {}, "geo": {}, "clientHints": {}}
    plain: dict[str, Scalar] = {}
    for name, value in data.items():
        place, dot, rest = name.partition(".")
        if dot and rest and place in sorted_:
            sorted_[place][rest] = value
        else:
            plain[name] = value
    return Facts(
        texts("parameters", {**fixed, **plain}),
        texts("profileParameters", {**profile, **sorted_["profile"]}),
        _typed(_PRODUCT, sorted_["product"]),
        _typed(_GEO, sorted_["geo"]),
        _typed(_HINTS, sorted_["clientHints"]),
    )


def texts(field: str, data: Mapping[str, Scalar]) -> dict[str, str]:
    """Return the part of *data* that *field* can carry: up to 50 texts, without reserved names."""
    fit: dict[str, str] = {}
    for name, value in data.items():
        text = _as_text(value)
        valid = 0 < len(name) <= _NAME_CHARS and name not in _RESERVED and not name.startswith("profile.")
        if valid and text is not None and len(text) <= _VALUE_CHARS[field] and not BROKEN.search(name + text):
            fit[name] = text
    return dict(list(fit.items())[:PARAMETERS])


def _as_text(value: Any) -> str | None:
    """Return *value* as text; None for other types and for numbers beyond 64 bits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and abs(value) < 1 << 63 else None


def _typed(fields: Mapping[str, type], data: Mapping[str, Scalar]) -> dict[str, Any]:
    typed: dict[str, Any] = {}
    for name, value in data.items():
        kind = fields.get(name)
        text = _as_text(value)
        if kind is None or text is None or len(text) > 256 or BROKEN.search(text):
            continue
        if kind is str:
            typed[name] = text
        elif isinstance(value, int | float) and isinstance(value, bool) is (kind is bool):
            typed[name] = value
    return typed


class RequestBuilder:
    """Requests of one account."""

    def __init__(self, options: Options) -> None:
        self._options, self._fixed = options, options.fixed_fields

    def facts(self, visit: Visit) -> Facts:
        """Return the attributes of *visit*, over the configured parameters."""
        return facts(visit.data, self._options.params, self._options.profile_params)

    def third_party_id(self, visit: Visit) -> str | None:
        """Return the site's user id if the options allow it and the API takes it."""
        user_id = visit.user_id if self._options.third_party_id else None
        return user_id if user_id is not None and _THIRD_PARTY.fullmatch(user_id) else None

    def refuses_user_id(self, visit: Visit) -> bool:
        """Say whether *visit* has a user id that should be sent but cannot be."""
        wanted = self._options.third_party_id and visit.user_id is not None
        return wanted and self.third_party_id(visit) is None

    def decision_body(
        self,
        visit: Visit,
        known: Known,
        given: Facts,
        preview: Mapping[str, Any],
        request_id: str,
        *,
        counted: bool,
    ) -> dict[str, Any]:
        """Return the body of a request for all mboxes; *counted* lets it count an impression."""
        options, details = self._options, given.detail()
        wanted: dict[str, Any] = {}
        if options.mboxes:
            wanted["mboxes"] = mboxes(options.mboxes, details)
        if options.page_load:
            wanted["pageLoad"] = details
        shared = self.body(visit, known, given, request_id)
        analytics = shared_analytics(options.tracking_server, visit)
        if analytics:
            shared["experienceCloud"]["analytics"] |= analytics
        body = {
            **shared,
            **preview,
            "execute" if counted else "prefetch": wanted,
        }
        if options.debug and options.trace_token is not None:
            body["trace"] = {"authorizationToken": options.trace_token.reveal()}
        return body

    def body(self, visit: Visit, known: Known, given: Facts, request_id: str) -> dict[str, Any]:
        """Return the fields that all requests share."""
        body: dict[str, Any] = {
            "requestId": request_id,
            "impressionId": request_id,
            "context": context(visit, given),
            "experienceCloud": cloud(known, self._options.analytics),
            **self._fixed,
        }
        visitor = ids(known, self.third_party_id(visit))
        if visitor:
            body["id"] = visitor
        return body

    def call(
        self,
        edge: str | None,
        session: str,
        body: Mapping[str, Any],
        *,
        replay_safe: bool = False,
        hedge_safe: bool = False,
    ) -> Call:
        """Return the request with *body*. A cluster gets half of the time, the account's own host the other half.

        Args:
            edge: the cluster to ask, one to three digits; None for the account's own host.
        """
        options = self._options
        at_edge = edge is not None and options.host is None
        host = f"https://mboxedge{edge}.tt.omtrdc.net" if at_edge else options.base_url
        url = f"{host}/rest/v1/delivery?client={options.client}&sessionId={quote(session, safe='')}"
        if options.org_id is not None:
            url += f"&imsOrgId={quote(options.org_id, safe='')}"
        return Call(
            method="POST",
            url=url,
            headers={"content-type": "application/json", "accept": "application/json", "accept-encoding": "gzip"},
            body=orjson.dumps(body),
            replay_safe=replay_safe,
            hedge_safe=hedge_safe,
            share=0.5 if at_edge else 1.0,
        )


def ids(known: Known, third_party_id: str | None) -> dict[str, Any]:
    """Return the known ids of the visitor."""
    named = {
        "tntId": known.device,
        "thirdPartyId": third_party_id,
        "marketingCloudVisitorId": known.ecid,
    }
    return {name: value for name, value in named.items() if value is not None}


def context(visit: Visit, given: Facts) -> dict[str, Any]:
    """Return browser, page and place for audiences. Target does not read them from headers."""
    address = {"url": sound(visit.url)[:4096]}
    if visit.referer:
        address["referringUrl"] = sound(visit.referer)[:4096]
    fields: dict[str, Any] = {"channel": "web", "address": address}
    if visit.host:
        fields["browser"] = {"host": sound(visit.host)}
    if visit.user_agent:
        fields["userAgent"] = sound(visit.user_agent)
    if given.hints:
        fields["clientHints"] = given.hints
    # Without an address Target takes the caller's: the place would be this server's.
    geo = {**given.geo, **({"ipAddress": sound(visit.client_ip)} if visit.client_ip else {})}
    if geo:
        fields["geo"] = geo
    return fields


def shared_analytics(tracking_server: str | None, visit: Visit) -> dict[str, str]:
    """Return the fields that Target and the page both send to Analytics, so that their data joins; none without both.

    The id is 16 hex digits twice, as Adobe's clients make it.
    """
    if tracking_server is None or not visit.record:
        return {}
    digits = hashlib.blake2b(f"sdid {visit.fresh_id}".encode(), digest_size=16).hexdigest().upper()
    return {"supplementalDataId": f"{digits[:16]}-{digits[16:]}", "trackingServer": tracking_server}


def cloud(known: Known, logging: str) -> dict[str, Any]:
    """Return the fields for Analytics and Audience Manager."""
    fields: dict[str, Any] = {"analytics": {"logging": logging}}
    manager = {"locationHint": known.region, "blob": known.blob}
    manager = {name: value for name, value in manager.items() if value is not None}
    if manager:
        fields["audienceManager"] = manager
    return fields


def mboxes(names: Iterable[str], detail: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the mboxes *names* as a request asks for them, numbered."""
    return [{"index": index, "name": name, **detail} for index, name in enumerate(names)]
