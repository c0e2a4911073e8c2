"""The body of a request for QA links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flagmw.admin.adobe.checks.values import checked_id
from flagmw.admin.errors import InvalidError


def qa_body(url: str, only: bool, true_ids: Sequence[int], false_ids: Sequence[int]) -> dict[str, Any]:
    """Return the body.

    Raises:
        InvalidError: the page is no address, or an audience is said to match and not to match.
    """
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise InvalidError('must be the address of a page: "https://www.example.com/"', field="url")
    for field, ids in (("true_audience_ids", true_ids), ("false_audience_ids", false_ids)):
        for number, audience in enumerate(ids):
            checked_id(audience, f"{field}[{number}]")
    if both := set(true_ids) & set(false_ids):
        raise InvalidError(f"audience {min(both)} is in true_audience_ids too", field="false_audience_ids")
    return {
        "url": url,
        "currentActivityOnly": only,
        "audienceIdsEvaluatedAsTrue": list(true_ids),
        "audienceIdsEvaluatedAsFalse": list(false_ids),
    }
