"""Checks of what is sent to the Personalize Management API."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from flagmw.admin.contentstack.rules.reading import rules_from_json
from flagmw.admin.contentstack.rules.tree import Node
from flagmw.admin.errors import InvalidError

UID = re.compile(r"[0-9a-f]{24}")
_TAG = re.compile(r"[A-Za-z0-9_:-]{1,32}")
MAX_VARIANTS, MAX_TAGS = 50, 10
STATUSES = ("DRAFT", "ACTIVE", "PAUSED")
KINDS = ("SEGMENTED", "AB_TEST")


def checked_uid(value: object, field: str) -> str:
    """Return *value*, a uid of 24 hex digits.

    Raises:
        InvalidError: it is none, a short uid for example.
    """
    if not isinstance(value, str) or not UID.fullmatch(value):
        shown = value[:40] if isinstance(value, str) else type(value).__name__
        raise InvalidError(
            f"{shown!r} is no uid; it has 24 hex digits in lower case (a short uid is none)", field=field
        )
    return value


def checked_text(value: object, field: str) -> str:
    """Return *value*, a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidError("must be a text that is not empty", field=field)
    return value


def checked_definition(value: Node | Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of an audience's definition."""
    if isinstance(value, Node):
        return value.to_json()
    return rules_from_json(value).to_json()


def checked_tags(tags: Sequence[str]) -> list[str]:
    """Return *tags* as the vendor keeps them: lower case, each once."""
    if isinstance(tags, str):
        raise InvalidError("must be a list of texts", field="tags")
    for tag in tags:
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise InvalidError(f"{tag!r}: use 1 to 32 letters, digits, _ : and -", field="tags")
    found = list(dict.fromkeys(tag.lower() for tag in tags))
    if len(found) > MAX_TAGS:
        raise InvalidError(f"{len(found)} tags; {MAX_TAGS} is the most", field="tags")
    return found


def checked_version(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return *body*, a version as it can be sent.

    Raises:
        InvalidError: the vendor would refuse it, or deal visitors in another way than it says.
    """
    status = body.get("status")
    if status not in STATUSES:
        raise InvalidError(f"{status!r} is no status; use one of {', '.join(STATUSES)}", field="status")
    variants = body.get("variants")
    if not isinstance(variants, list) or not all(isinstance(one, Mapping) for one in variants):
        raise InvalidError("must be a list of variants, also to change nothing but the status", field="variants")
    if not variants and status != "DRAFT":
        raise InvalidError("a version that is not a draft needs variants", field="variants")
    if len(variants) > MAX_VARIANTS:
        raise InvalidError(f"{len(variants)} variants; {MAX_VARIANTS} is the most", field="variants")
    kinds = {one.get("__type") for one in variants}
    if len(kinds) > 1 or not kinds <= {"SegmentedVariant", "ABTestVariant"}:
        raise InvalidError("must all be SegmentedVariant, or all ABTestVariant", field="variants")
    shorts = [one["shortUid"] for one in variants if one.get("shortUid") is not None]
    if len(set(map(str, shorts))) != len(shorts):
        raise InvalidError("a shortUid stands twice", field="variants")
    for number, one in enumerate(variants):
        checked_text(one.get("name"), f"variants[{number}].name")
        if "SegmentedVariant" in kinds and not one.get("target"):
            _check_audiences(one, f"variants[{number}]")
    if "ABTestVariant" in kinds:
        _check_test(variants, status, body)
    targeting = body.get("targeting")
    if targeting is not None:
        if not isinstance(targeting, Mapping):
            raise InvalidError("must be an object", field="targeting")
        if isinstance(targeting.get("audience"), Mapping):
            _check_audiences(targeting["audience"], "targeting.audience")
    for number, metric in enumerate(body.get("metrics") or ()):
        field = f"metrics[{number}]"
        if not isinstance(metric, Mapping) or metric.get("__type") not in ("Primary", "Secondary"):
            raise InvalidError("must be an object of type Primary or Secondary", field=field)
        if (metric["__type"] == "Primary") is not (number == 0):
            raise InvalidError("the first metric is Primary, the others are Secondary", field=field)
        checked_uid(metric.get("event"), f"{field}.event")
    return dict(body)


def _check_test(variants: Sequence[Mapping[str, Any]], status: str, body: Mapping[str, Any]) -> None:
    if len(variants) < 2 and status != "DRAFT":
        raise InvalidError("an A/B test needs two variants", field="variants")
    shares = []
    for number, one in enumerate(variants):
        share = one.get("trafficDistribution")
        good = not isinstance(share, bool) and isinstance(share, int | float) and math.isfinite(share)
        if not good or not 0 <= share <= 100:  # type: ignore[operator]
            raise InvalidError("must be a number from 0 to 100", field=f"variants[{number}].trafficDistribution")
        shares.append(float(share))  # type: ignore[arg-type]
    # Equal parts are rounded to two places, up or down: three of 33.33 make 99.99.
    even = all(abs(share - 100 / len(shares)) < 0.01 - 1e-9 for share in shares)
    if shares and not even and abs(sum(shares) - 100) > 1e-6:
        raise InvalidError(f"the shares make {sum(shares):g}, not 100", field="variants")
    if body.get("variantSplit") == "EQUALLY_SPLIT" and not even:
        raise InvalidError("EQUALLY_SPLIT needs equal shares", field="variantSplit")


def _check_audiences(part: Mapping[str, Any], field: str) -> None:
    audiences = part.get("audiences") or []
    lytics = part.get("lyticsAudiences") or []
    if not isinstance(audiences, list) or not isinstance(lytics, list) or not (audiences or lytics):
        raise InvalidError("needs audiences", field=field)
    for number, uid in enumerate(audiences):
        checked_uid(uid, f"{field}.audiences[{number}]")
    if part.get("audienceCombinationType") not in ("AND", "OR"):
        raise InvalidError('must be "AND" or "OR"', field=f"{field}.audienceCombinationType")
