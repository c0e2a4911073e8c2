"""Checks of an activity's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flagmw.admin.adobe.checks.values import checked_name, objects, one_of, refers, unique_ids
from flagmw.admin.errors import InvalidError

ACTIONS = (
    "count_once", "count_landings", "always_convert", "restart_same_experience", "restart_random_experience",
    "restart_new_experience", "exclude_to_same_experience", "ban_from_campaign", "experience_frequency_capping",
)  # fmt: skip
# Only these two take conditions, and only the second one an action for when they are met.
CONDITIONAL = ("ban_from_campaign", "experience_frequency_capping")
ON_CONDITION = ("onConditionMetAction", "onConditionsMetAction")


def check_metrics(body: Mapping[str, Any], experiences: set[int]) -> None:
    """Check the metrics and the audiences that reports are split by.

    Args:
        experiences: the local ids of the activity's experiences.

    Raises:
        InvalidError: a value is wrong, or not exactly one metric is the conversion.
    """
    metrics = unique_ids(body, "metrics", "metricLocalId")
    conversions = 0
    for place, metric in objects(body, "metrics"):
        if metric.get("name") is not None:
            checked_name(metric["name"], f"{place}.name")
        conversions += metric.get("conversion") is True
        for where, mbox in objects(metric, "mboxes", place):
            checked_name(mbox.get("name"), f"{where}.name")
            if mbox.get("successEvent") is not None:
                one_of(mbox["successEvent"], ("mbox_shown", "mbox_clicked"), f"{where}.successEvent")
        if metric.get("action") is not None:
            _check_action(metric["action"], f"{place}.action", experiences)
    if metrics and conversions != 1:
        raise InvalidError(f'{conversions} metrics have "conversion": true; exactly one must', field="metrics")
    unique_ids(body, "reportingAudiences", "reportingAudienceLocalId")
    for place, audience in objects(body, "reportingAudiences"):
        if audience.get("metricLocalId") is not None:
            refers(audience, "metricLocalId", metrics, "metrics", place)


def _check_action(action: object, place: str, experiences: set[int]) -> None:
    if not isinstance(action, Mapping):
        raise InvalidError('must be an object: {"type": "count_once"}', field=place)
    kind = action.get("type")
    one_of(kind, ACTIONS, f"{place}.type")
    conditions = action.get("conditions")
    if conditions is not None:
        if not isinstance(conditions, Mapping):
            raise InvalidError("must be an object", field=f"{place}.conditions")
        if kind not in CONDITIONAL:
            raise InvalidError(f"only {' and '.join(CONDITIONAL)} take conditions", field=f"{place}.conditions")
        _check_counts(conditions, f"{place}.conditions")
        for where, condition in objects(conditions, "experiences", f"{place}.conditions"):
            refers(condition, "experienceLocalId", experiences, "experiences", where)
            _check_counts(condition, where)
    for spelling in ON_CONDITION:
        if action.get(spelling) is not None:
            one_of(action[spelling], ACTIONS, f"{place}.{spelling}")


def _check_counts(conditions: Mapping[str, Any], place: str) -> None:
    for name in ("maxVisitCount", "maxImpressionCount"):
        count = conditions.get(name)
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
            raise InvalidError("must be a whole number from 0", field=f"{place}.{name}")
