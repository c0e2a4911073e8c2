"""Build requests of the Delivery API (Adobe Target Delivery API, `POST /rest/v1/delivery`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from flagmw.types import Call, Scalar, Visit
from flagmw.vendors.adobe.cookies import Known

MAX_MBOXES = 50
MBOX_NAME = re.compile(r"[A-Za-z0-9\-,._/=`:;&!@#$%^*()+|?~\[\]{}]{1,250}")
PAGE_LOAD = "target-global-mbox"

PARAMETERS = 50
_NAME_CHARS = 128
_VALUE_CHARS = {"parameters": 5_000, "profileParameters": 256}
_TAKEN = frozenset({"orderId", "orderTotal", "productPurchasedIds"})
_BROKEN = re.compile(r"[\ud800-\udfff]")
_GEO = {"countryCode": str, "stateCode": str, "city": str, "zip": str, "latitude": float, "longitude": float}
_HINTS = {
    "mobile": bool, "model": str, "platform": str, "platformVersion": str, "browserUAWithMajorVersion": str,
    "browserUAWithFullVersion": str, "architecture": str, "bitness": str,
}  # fmt: skip
_PRODUCT = {"id": str, "categoryId": str}


@dataclass(frozen=True, slots=True)
class Facts:
    """A visit's attributes, each where the API takes it.

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
    """Sort *data* into its places; *fixed* and *profile* are the configured parameters, which it overrides."""
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
    """Return what of *data* may stand in *field*: up to 50 texts, without names that the API keeps for itself."""
    fit: dict[str, str] = {}
    for name, value in data.items():
        text = _text(value)
        good = 0 < len(name) <= _NAME_CHARS and name not in _TAKEN and not name.startswith("profile.")
        if good and text is not None and len(text) <= _VALUE_CHARS[field] and not _BROKEN.search(name + text):
            fit[name] = text
    return dict(list(fit.items())[:PARAMETERS])


def _text(value: Any) -> str | None:
    """Return *value* as a text, None for what is neither a text nor a number of a size that can be sent."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and abs(value) < 1 << 63 else None


def _typed(fields: Mapping[str, type], data: Mapping[str, Scalar]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in data.items():
        kind = fields.get(name)
        text = _text(value)
        if kind is None or text is None or len(text) > 256 or _BROKEN.search(text):
            continue
        if kind is str:
            found[name] = text
        elif isinstance(value, int | float) and isinstance(value, bool) is (kind is bool):
            found[name] = value
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What every request of one account says.

    Attributes:
        base_url: where to ask; None for Adobe's own hosts, of which a visitor's cluster picks one.
        fixed: fields of the body that never change.
    """

    client: str
    org_id: str | None
    base_url: str | None
    fixed: Mapping[str, Any]

    def host(self, edge: str | None) -> str:
        """Return the address to ask; *edge* is one to three digits."""
        if self.base_url is not None:
            return self.base_url
        return f"https://mboxedge{edge}.tt.omtrdc.net" if edge else f"https://{self.client}.tt.omtrdc.net"

    def call(
        self,
        edge: str | None,
        session: str,
        body: Mapping[str, Any],
        *,
        replay_safe: bool = False,
        hedge_safe: bool = False,
    ) -> Call:
        """Return the request with *body*. A cluster gets half of the time, the account's own host the other half."""
        url = f"{self.host(edge)}/rest/v1/delivery?client={self.client}&sessionId={quote(session, safe='')}"
        if self.org_id is not None:
            url += f"&imsOrgId={quote(self.org_id, safe='')}"
        return Call(
            method="POST",
            url=url,
            headers={"content-type": "application/json", "accept": "application/json", "accept-encoding": "gzip"},
            body=orjson.dumps(body),
            replay_safe=replay_safe,
            hedge_safe=hedge_safe,
            share=0.5 if edge is not None and self.base_url is None else 1.0,
        )


def ids(known: Known, third_party_id: str | None) -> dict[str, Any]:
    """Return who the visitor is, as far as anybody knows."""
    named = {
        "tntId": known.device,
        "thirdPartyId": third_party_id,
        "marketingCloudVisitorId": known.ecid,
    }
    return {name: value for name, value in named.items() if value is not None}


def context(visit: Visit, given: Facts) -> dict[str, Any]:
    """Return what audiences are made of: browser, page, place. Target reads no header of the request for it."""
    address = {"url": _sound(visit.url)[:4096]}
    if visit.referer:
        address["referringUrl"] = _sound(visit.referer)[:4096]
    said: dict[str, Any] = {"channel": "web", "address": address}
    if visit.host:
        said["browser"] = {"host": _sound(visit.host)}
    if visit.user_agent:
        said["userAgent"] = _sound(visit.user_agent)
    if given.hints:
        said["clientHints"] = given.hints
    # Without an address Target takes the one that asks: the place would be this server's.
    geo = {**given.geo, **({"ipAddress": _sound(visit.client_ip)} if visit.client_ip else {})}
    if geo:
        said["geo"] = geo
    return said


def cloud(known: Known, logging: str) -> dict[str, Any]:
    """Return what Analytics and Audience Manager need."""
    said: dict[str, Any] = {"analytics": {"logging": logging}}
    manager = {"locationHint": known.region, "blob": known.blob}
    manager = {name: value for name, value in manager.items() if value is not None}
    if manager:
        said["audienceManager"] = manager
    return said


def mboxes(names: Iterable[str], detail: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the questions for *names*, numbered."""
    return [{"index": n, "name": name, **detail} for n, name in enumerate(names)]


def _sound(text: str) -> str:
    return text if text.isascii() else _BROKEN.sub("", text)
