"""Fields of a request for the parameters of an activity's preview link.

Source: Adobe Target developer guide, "Integrate with QA mode": the links carry `at_preview_token`,
`at_preview_index=1_2` (activity and experience, from 1), and so on; the server-side API takes `qaMode` and `preview`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_INDEX = re.compile(r"([1-9][0-9]{0,2})(?:_([1-9][0-9]{0,2}))?")
_IDS = re.compile(r"[0-9]{1,18}(?:_[0-9]{1,18})*")
_TOKEN_CHARS = 1024


def preview_fields(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body's fields for *parameters*; none if they ask for no preview or end it."""
    fields: dict[str, Any] = {}
    token, link = _preview_token(parameters.get("at_preview_token")), _preview_token(parameters.get("at_preview"))
    if token:
        mode: dict[str, Any] = {"token": token}
        if str(parameters.get("at_preview_listed_activities_only", "")).lower() == "true":
            mode["listedActivitiesOnly"] = True
        for value, field in (("true", "evaluateAsTrueAudienceIds"), ("false", "evaluateAsFalseAudienceIds")):
            ids = parameters.get(f"at_preview_evaluate_as_{value}_audience_ids")
            if isinstance(ids, str) and _IDS.fullmatch(ids):
                mode[field] = [int(number) for number in ids.split("_")]
        indexes = list(_indexes(parameters.get("at_preview_index")))
        if indexes:
            mode["previewIndexes"] = indexes
        fields["qaMode"] = mode
    if link:
        fields["preview"] = {"token": link}
    return fields


def _preview_token(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= _TOKEN_CHARS and value.isprintable() else ""


def _indexes(value: Any) -> Iterator[dict[str, int]]:
    for text in value if isinstance(value, list | tuple) else [value]:
        match = _INDEX.fullmatch(str(text))
        if match:
            experience = {} if match[2] is None else {"experienceIndex": int(match[2])}
            yield {"activityIndex": int(match[1]), **experience}
