"""Versions of experiences: draft, active, paused, archived."""

from __future__ import annotations

from typing import Any

from flagmw.sandbox.contentstack_admin.call import AdminCall
from flagmw.sandbox.contentstack_admin.definitions import check_rules, rules_of
from flagmw.sandbox.contentstack_admin.errors import ApiError, invalid, missing
from flagmw.sandbox.contentstack_admin.serving import LIVE
from flagmw.sandbox.contentstack_admin.store import Document

SPLITS = ("EQUALLY_SPLIT", "CUSTOM", "MULTI_ARMED_BANDIT")
_CODE = "personalize.EXPERIENCES.VERSIONS."


def list_versions(call: AdminCall) -> list[Document]:
    """List versions, the newest first."""
    return list(reversed(call.store.versions[call.experience()["uid"]]))


def create_version(call: AdminCall) -> Document:
    """Create a version as DRAFT or ACTIVE."""
    experience = call.experience()
    versions = call.store.versions[experience["uid"]]
    if any(one["status"] == "DRAFT" for one in versions):
        raise invalid("status", f"{_CODE}CANNOT_CREATE_VERSION_AS_DRAFT_ALREADY_EXISTS", "a draft exists already")
    status = _status(call, ("DRAFT", "ACTIVE"))
    fields = _configuration(call, experience, status)
    made = call.store.new(call.now, status="DRAFT", **fields)
    versions.append(made)
    experience["latestVersion"] = made["uid"]
    return _moved(call, versions, made, status)


def update_version(call: AdminCall) -> Document:
    """Change a draft, or the status of a version that is active or paused."""
    experience = call.experience()
    versions, found = _found(call)
    status = _status(call, ("DRAFT", "ACTIVE", "PAUSED"))
    before = found["status"]
    if before == "ARCHIVED" or (before == "ACTIVE" and call.limits.strict_lock):
        raise _locked()
    if before == "DRAFT":
        if status == "PAUSED" and not call.limits.pause_drafts:
            raise invalid("status", "INVALID_STATUS", "a draft cannot be paused")
        fields = _configuration(call, experience, status)
        for name in ("variantSplit", "metrics", "targeting"):
            found.pop(name, None)
        found.update(fields)
        return _moved(call, versions, found, status)
    _variants(call, status)
    if status == "DRAFT":
        raise invalid("status", f"{_CODE}CANNOT_MARK_VERSION_AS_DRAFT", "this version cannot be a draft again")
    if not _same(found, call.body):
        raise _locked()
    return _moved(call, versions, found, status)


def delete_version(call: AdminCall) -> None:
    """Delete a draft that is not the only version."""
    versions, found = _found(call)
    if found["status"] != "DRAFT":
        raise invalid("status", f"{_CODE}CANNOT_DELETE_NON_DRAFT_VERSION", "only a draft can be deleted")
    if len(versions) == 1:
        raise invalid("status", f"{_CODE}CANNOT_DELETE_ONLY_DRAFT", "the only version cannot be deleted")
    versions.remove(found)
    call.experience()["latestVersion"] = versions[-1]["uid"]
    call.store.revision += 1


def _moved(call: AdminCall, versions: list[Document], version: Document, status: str) -> Document:
    if status in LIVE and version["status"] == "DRAFT":
        for one in versions:
            if one["status"] in LIVE:
                call.changed(one, status="ARCHIVED")
    if status == "ACTIVE":
        call.store.activated.setdefault(version["uid"], call.now)
    return call.changed(version, status=status)


def _found(call: AdminCall) -> tuple[list[Document], Document]:
    versions = call.store.versions[call.experience()["uid"]]
    found = next((one for one in versions if one["uid"] == call.values["version"]), None)
    if found is None:
        raise missing("VERSIONS")
    return versions, found


def _locked() -> ApiError:
    return invalid("status", f"{_CODE}CANNOT_UPDATE_LOCKED_VERSION", "this version is locked")


def _status(call: AdminCall, allowed: tuple[str, ...]) -> str:
    status = call.body.get("status")
    if status is None:
        raise invalid("status", "STATUS_REQUIRED", "status is required")
    if status not in allowed:
        raise invalid("status", "INVALID_STATUS", f"status must be one of {', '.join(allowed)}")
    return str(status)


def _variants(call: AdminCall, status: str) -> list[Document]:
    variants, most = call.body.get("variants"), call.limits.max_variants
    if not isinstance(variants, list) or not all(isinstance(one, dict) for one in variants):
        raise invalid("variants", "VARIANTS_NOT_ARRAY", "variants must be an array")
    if not variants and status != "DRAFT":
        raise invalid("variants", "EMPTY_ARRAY", "variants must not be empty")
    if len(variants) > most:
        raise invalid("variants", "TOO_MANY_VARIANTS", f"at most {most} variants")
    return variants


def _configuration(call: AdminCall, experience: Document, status: str) -> Document:
    body, test = call.body, experience["__type"] == "AB_TEST"
    variants = _variants(call, status)
    if test and status != "DRAFT" and len(variants) < 2:
        raise invalid("variants", "TOO_FEW_VARIANTS", "an A/B test needs two variants")
    for one in variants:
        if one.get("__type") != ("ABTestVariant" if test else "SegmentedVariant"):
            raise invalid("variants", "NOT_VALID_ENUM", "the variant's type does not fit the experience")
        if not isinstance(one.get("name"), str) or not one["name"]:
            raise invalid("variants", "NAME_REQUIRED", "a variant needs a name")
        if not test:
            _check_audiences(call, one, "variants")
    fields: Document = {"variants": _with_short_uids(call, experience, variants)}
    if test:
        _check_shares(variants, body.get("variantSplit"))
    if body.get("variantSplit") is not None:
        fields["variantSplit"] = body["variantSplit"]
    if body.get("metrics"):
        fields["metrics"] = _metrics(call, body["metrics"])
    targeting = body.get("targeting")
    if targeting:
        if not isinstance(targeting, dict):
            raise invalid("targeting", "NOT_AN_OBJECT", "targeting must be an object")
        _check_audiences(call, targeting if "target" in targeting else targeting.get("audience"), "targeting")
        fields["targeting"] = targeting
    return fields


def _check_shares(variants: list[Document], split: object) -> None:
    if split is not None and split not in SPLITS:
        raise invalid("variantSplit", "NOT_VALID_ENUM", f"variantSplit must be one of {', '.join(SPLITS)}")
    shares = [one.get("trafficDistribution") for one in variants]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one <= 100 for one in shares):
        raise invalid("variants", "TRAFFIC_DISTRIBUTION", "trafficDistribution must be from 0 to 100")
    numbers = [float(one) for one in shares if one is not None]
    # Equal parts are rounded: 3 of 33.33 are whole.
    slack = 0.01 * len(numbers) if len(numbers) and max(numbers) - min(numbers) < 0.015 else 1e-6
    if numbers and abs(sum(numbers) - 100) > slack:
        raise invalid("variants", "TRAFFIC_DISTRIBUTION", "trafficDistribution must make 100")


def _check_audiences(call: AdminCall, part: Any, field: str) -> None:
    if not isinstance(part, dict):
        raise invalid(field, "AUDIENCES_REQUIRED", "audiences are required")
    if isinstance(part.get("target"), dict):
        check_rules(rules_of(part["target"], {}), call.limits.max_rules)
        return
    audiences, lytics = part.get("audiences") or [], part.get("lyticsAudiences") or []
    if not isinstance(audiences, list) or not isinstance(lytics, list) or not (audiences or lytics):
        raise invalid(field, "EMPTY_ARRAY", "audiences must not be empty")
    if len(audiences) > call.limits.max_audiences:
        raise invalid(field, "TOO_MANY_AUDIENCES", f"at most {call.limits.max_audiences} audiences")
    for uid in audiences:
        if not isinstance(uid, str) or len(uid) != 24:
            raise invalid(field, "NOT_VALID_OBJECT_ID", f"{str(uid)[:64]} is not a valid ObjectId")
        if uid not in call.store.audiences:
            raise invalid(field, "personalize.AUDIENCES.NOT_FOUND", f"audience {uid} not found")
    if part.get("audienceCombinationType") not in ("AND", "OR"):
        raise invalid(field, "NOT_VALID_ENUM", "audienceCombinationType must be AND or OR")


def _metrics(call: AdminCall, metrics: Any) -> list[Document]:
    if not isinstance(metrics, list) or not all(isinstance(one, dict) for one in metrics):
        raise invalid("metrics", "METRICS_NOT_ARRAY", "metrics must be an array")
    for number, one in enumerate(metrics):
        if one.get("__type") != ("Secondary" if number else "Primary"):
            raise invalid("metrics", "NOT_VALID_ENUM", "the first metric is Primary, the others are Secondary")
        if one.get("event") not in call.store.events:
            raise invalid("metrics", "personalize.EVENTS.NOT_FOUND", "the metric's event is not there")
    return [*metrics]


def _with_short_uids(call: AdminCall, experience: Document, variants: list[Document]) -> list[Document]:
    own = experience["uid"]
    known = {one["shortUid"] for version in call.store.versions[own] for one in version["variants"]}
    named = [one["shortUid"] for one in variants if one.get("shortUid") is not None]
    for short in named:
        if short not in known:
            raise invalid("variants", "UNKNOWN_SHORT_UID", f"the experience has no variant {str(short)[:16]!r}")
    if len(set(named)) != len(named):
        raise invalid("variants", "DUPLICATE_SHORT_UID", "a shortUid stands twice")
    return [
        {
            **one,
            "shortUid": one["shortUid"] if one.get("shortUid") is not None else call.store.new_short_uid(own, known),
        }
        for one in variants
    ]


def _same(version: Document, body: Document) -> bool:
    """Say whether *body* leaves the version's configuration as it is; a missing short uid is found by name."""
    by_name = {one["name"]: one["shortUid"] for one in version["variants"]}
    variants = [
        {**one, "shortUid": by_name.get(one.get("name")) if one.get("shortUid") is None else one["shortUid"]}
        for one in body["variants"]
    ]
    others = all((body.get(name) or None) == (version.get(name) or None) for name in ("metrics", "targeting"))
    return others and variants == version["variants"] and body.get("variantSplit") == version.get("variantSplit")
