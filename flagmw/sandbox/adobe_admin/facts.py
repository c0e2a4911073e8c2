"""Facts about a visitor for the audiences of a managed account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flagmw.sandbox.adobe_admin.rules import Facts

if TYPE_CHECKING:
    from flagmw.sandbox.adobe.request import DeliveryRequest
    from flagmw.sandbox.state import Sandbox


def meet(sandbox: Sandbox, client: str, device: str, delivery: DeliveryRequest) -> dict[str, str]:
    """Note what a request says of its visitor and mboxes; return the visitor's profile attributes."""
    now, target = sandbox.clock(), sandbox.target
    values: dict[str, str] = {}
    for wanted in delivery.wanted:
        values.update(wanted.detail.get("profileParameters") or {})
        target.mboxes.note(client, wanted.name, wanted.detail.get("parameters") or (), now)
    for notification in delivery.notifications:
        values.update(notification.get("profileParameters") or {})
        mbox = notification.get("mbox")
        name = mbox.get("name") if isinstance(mbox, dict) else None
        if isinstance(name, str):
            target.mboxes.note(client, name, notification.get("parameters") or (), now)
    profile = target.profiles.met(client, device, delivery.ids, values, now)
    return {name: value for name, (value, _) in profile.attributes.items()}


def facts_of(attributes: Mapping[str, str], context: Mapping[str, Any], parameters: Mapping[str, str]) -> Facts:
    """Return the facts that rules compare: profile, place, page, referrer, mbox, browser."""
    from flagmw.sandbox.adobe.decide import browser_of

    address = context.get("address") if isinstance(context.get("address"), dict) else {}
    geo = context.get("geo") if isinstance(context.get("geo"), dict) else {}
    texts = {name: str(value) for name, value in (geo or {}).items() if isinstance(value, str | int | float)}
    places = {"country": texts.get("countryCode", ""), "region": texts.get("stateCode", "")}
    return {
        "profile": attributes,
        "geo": {**places, **texts},
        "page": _page((address or {}).get("url")),
        "referring": _page((address or {}).get("referringUrl")),
        "mbox": parameters,
        "user": {"browser": browser_of(str(context.get("userAgent") or ""))},
    }


def _page(url: object) -> dict[str, str]:
    if not isinstance(url, str):
        return {}
    try:
        parts = urlsplit(url)
        domain = parts.hostname or ""
    except ValueError:
        return {"url": url}
    return {"url": url, "domain": domain, "path": parts.path, "query": parts.query, "fragment": parts.fragment}
