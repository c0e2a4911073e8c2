"""Versions of experiences: bodies, equal split, kept short uids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flagmw.admin.contentstack.bodies import Joint, Metric, Variant, VersionInput
from flagmw.admin.contentstack.checks import checked_text, checked_uid
from flagmw.admin.errors import InvalidError

SENT = ("status", "variants", "variantSplit", "metrics", "targeting")
_VARIANT = (
    *("__type", "name", "shortUid", "trafficDistribution", "audiences", "lyticsAudiences"),
    *("audienceCombinationType", "target"),
)


def equal_split(parts: int) -> list[float]:
    """Return the shares of *parts* equal parts, rounded to two places as the vendor's: 33.33 of three."""
    if isinstance(parts, bool) or not isinstance(parts, int) or not 1 <= parts <= 50:
        raise InvalidError("must be a number from 1 to 50", field="parts")
    return [round(100 / parts, 2)] * parts


def ab_test(
    names: Sequence[str],
    *,
    metric: str | None = None,
    metric_name: str | None = None,
    further_metrics: Mapping[str, str] | None = None,
    shares: Sequence[float] | None = None,
    audiences: Sequence[str] = (),
    combination: Joint = "AND",
) -> VersionInput:
    """Return the body of an A/B test's version, without its status.

    Args:
        names: of the variants.
        metric: the uid of the event that decides; *metric_name* is shown for it.
        further_metrics: names of secondary metrics by the uid of their event.
        shares: of the traffic, in percent; equal ones where omitted.
        audiences: uids of those who take part; everybody where omitted.
    """
    if isinstance(names, str):
        raise InvalidError("must be a list of names", field="names")
    given = list(shares) if shares is not None else equal_split(len(names))
    if len(given) != len(names):
        raise InvalidError(f"{len(given)} shares for {len(names)} variants", field="shares")
    variants: list[Variant] = [
        {"__type": "ABTestVariant", "name": checked_text(name, "names"), "trafficDistribution": share}
        for name, share in zip(names, given, strict=True)
    ]
    body: VersionInput = {"variants": variants, "variantSplit": "EQUALLY_SPLIT" if shares is None else "CUSTOM"}
    if metric is not None:
        first: Metric = {
            "__type": "Primary",
            "event": checked_uid(metric, "metric"),
            "name": metric_name or "Primary metric",
        }
        more: list[Metric] = [
            {"__type": "Secondary", "event": checked_uid(uid, "further_metrics"), "name": name}
            for uid, name in (further_metrics or {}).items()
        ]
        body["metrics"] = [first, *more]
    elif further_metrics:
        raise InvalidError("a secondary metric needs a primary one", field="metric")
    if audiences:
        body["targeting"] = {"audience": {"audiences": list(audiences), "audienceCombinationType": combination}}
    return body


def segmented(variants: Mapping[str, Sequence[str]], *, combination: Joint = "OR") -> VersionInput:
    """Return the body of a segmented experience's version: the audiences' uids by the variant's name, in order."""
    return {
        "variants": [
            {
                "__type": "SegmentedVariant",
                "name": checked_text(name, "variants"),
                "audiences": list(uids),
                "audienceCombinationType": combination,
            }
            for name, uids in variants.items()
        ]
    }


def sendable(version: Mapping[str, Any], status: str) -> dict[str, Any]:
    """Return what of *version* is sent back, with another status."""
    body = {name: version[name] for name in SENT if version.get(name) not in (None, "")}
    body["status"] = status
    body["variants"] = [
        {name: one[name] for name in _VARIANT if one.get(name) is not None} for one in version.get("variants") or ()
    ]
    return body


def with_short_uids(body: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return *body* with the short uids of variants that *known*, the present ones, have under the same name.

    Without them the vendor counts a variant as new, and every key that names it breaks.
    """
    variants = body.get("variants")
    if not isinstance(variants, list) or not all(isinstance(one, Mapping) for one in variants):
        return dict(body)
    taken = {one.get("shortUid") for one in variants}
    by_name: dict[Any, Any] = {}
    for one in reversed(known):
        if one.get("shortUid") is not None:
            by_name[one.get("name")] = one["shortUid"]
    made = []
    for one in variants:
        short = by_name.get(one.get("name")) if one.get("shortUid") is None else None
        if short is not None and short not in taken:
            taken.add(short)
            one = {**one, "shortUid": short}
        made.append(dict(one))
    return {**body, "variants": made}
