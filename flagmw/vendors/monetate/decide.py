"""Decisions from the actions of an answer.

Source: the vendor's published description of the Engine API (the `monetate:action:` types, `ImpressionReporting`,
`VariantInfo`) and its guide on managed impressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeGuard

from flagmw.codes import ErrorCode, Reason
from flagmw.types import EMPTY, Decision, Variant
from flagmw.vendors.common.json import blank
from flagmw.vendors.common.values import text_or_number
from flagmw.vendors.monetate.cookies import Cookies
from flagmw.vendors.monetate.options import Options
from flagmw.vendors.monetate.request import Identity
from flagmw.vendors.monetate.response import ACTION_CONTENT, ACTION_PREFIX, Answer

MAX_ACTIONS = 200
KEY_CHARS = 8 * 1024
ALIAS_CHARS = 250
TOKEN_CHARS = 4096
CONTROL, SHOWN = "control", "variation"

_BAD_KEY = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class DecisionBuilder:
    """Builds decisions by the options of one account."""

    def __init__(self, options: Options, cookies: Cookies) -> None:
        self._vendor, self._flag_map, self._cookies = options.name, options.flag_map, cookies
        self._action_types = frozenset(options.action_types)

    def build(self, answer: Answer, request_id: str, identity: Identity) -> Decision:
        """Return the decision of *answer* for the visitor with *identity*."""
        actions = answer.actions(request_id)
        if actions is None and answer.from_engine and answer.no_responses:
            actions = []  # the engine took the request and decided nothing
        if answer.fault is not None or actions is None or (answer.has_errors and not actions):
            return self._failed(answer)
        variants: dict[str, Variant] = {}
        rejected: list[ErrorCode] = []
        for action in actions[:MAX_ACTIONS]:
            variant = self._variant(action)
            if isinstance(variant, Variant):
                # The engine's order is its priority: the first action of a flag counts.
                variants.setdefault(variant.alias, variant)
            elif variant is not None:
                rejected.append(variant)
        if len(actions) > MAX_ACTIONS:
            rejected.append(ErrorCode.TOO_MANY)
        if answer.has_warnings or answer.has_errors:
            rejected.append(ErrorCode.WARNED)
        if isinstance(answer.monetate_id, ErrorCode):
            rejected.append(answer.monetate_id)
        monetate_id = identity.monetate_id
        # A visitor with a device id gets no second identity.
        if (
            identity.device_id is None
            and isinstance(answer.monetate_id, str)
            and not isinstance(answer.monetate_id, ErrorCode)
        ):
            monetate_id = answer.monetate_id
        return Decision(
            vendor=self._vendor,
            variants=variants,
            cookies=self._cookies.changes(monetate_id),
            notice=None if variants else ErrorCode.EMPTY,
            rejected=tuple(rejected),
            hints=EMPTY if monetate_id is None else {"monetateId": monetate_id},
        )

    def _failed(self, answer: Answer) -> Decision:
        fault = answer.fault
        if fault is None:
            # A success without an answer: the request was refused, or this answers another request.
            fault = ErrorCode.REFUSED if answer.has_errors else ErrorCode.SHAPE
        request_refused = answer.request_refused or fault is ErrorCode.REFUSED
        return Decision(
            vendor=self._vendor,
            error=fault,
            trips=not request_refused,
            retry_after_s=answer.retry_after_s,
            advice=_ADVICE.get(answer.reply.status, _REFUSED) if request_refused else None,
        )

    def _variant(self, action: Mapping[str, Any]) -> Variant | ErrorCode | None:
        """Return the action's variant, why it is left out, or None if it is no flag."""
        kind = action.get("actionType")
        if not isinstance(kind, str) or kind not in self._action_types:
            return None
        reporting, info = _reporting(action), action.get("variantInfo")
        info = info if isinstance(info, dict) else EMPTY
        experience = text_or_number(info.get("experienceId")) or text_or_number(reporting.get("experience_id"))
        alias = self._alias(action, reporting, experience)
        if alias is None:
            return ErrorCode.BAD_ALIAS
        label = text_or_number(reporting.get("variant_label"))
        control = (
            kind == f"{ACTION_PREFIX}NoAction"
            or _is_true(action.get("isControl"))
            or _is_true(reporting.get("is_control"))
        )
        key = CONTROL if control else label or text_or_number(info.get("variantId")) or SHOWN
        if len(key) > KEY_CHARS or _BAD_KEY.search(key) or blank(key):
            return ErrorCode.BAD_VARIANT
        content = ACTION_CONTENT[kind.removeprefix(ACTION_PREFIX)]
        everyone = reporting.get("experience_type") == "100% Experience"
        ids = {
            "action": kind.removeprefix(ACTION_PREFIX),
            "action_id": text_or_number(action.get("actionId")),
            "label": label,
            "type": text_or_number(reporting.get("experience_type")),
            "variant_id": text_or_number(info.get("variantId")),
            "impression": _impression_token(action.get("impressionId")),
        }
        return Variant(
            alias=alias,
            key=key,
            payload=None if control or content is None else action.get(content),
            vendor=self._vendor,
            reason=Reason.TARGETING_MATCH if everyone else Reason.SPLIT,
            name=text_or_number(reporting.get("experience_name")),
            experiment_id=experience,
            ids={name: value for name, value in ids.items() if value is not None},
        )

    def _alias(self, action: Mapping[str, Any], reporting: Mapping[str, Any], experience: str | None) -> str | None:
        """Return the flag's name. The experience's label never changes once it is live; its name may."""
        component, label = action.get("component"), reporting.get("experience_label")
        mapped = [self._flag_map[name] for name in (experience, component) if _is_name(name) and name in self._flag_map]
        numbered = f"experience-{experience}" if experience is not None else None
        return next((name for name in (*mapped, component, label, numbered) if _is_name(name)), None)


def _reporting(action: Mapping[str, Any]) -> Mapping[str, Any]:
    reports = action.get("impressionReporting")
    return reports[0] if isinstance(reports, list) and reports and isinstance(reports[0], dict) else EMPTY


def _is_true(value: Any) -> bool:
    """Say whether *value* means true, written as a boolean or as text."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _impression_token(value: Any) -> str | None:
    """Return the token of a managed impression; the engine refuses blank ones."""
    valid = isinstance(value, str) and len(value) <= TOKEN_CHARS and value.isprintable() and value.strip()
    return value if valid else None


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 1 <= len(value) <= ALIAS_CHARS and value.isprintable() and not value.isspace()


_REFUSED = "the engine refuses this request: compare retailer and channel with the account"
_ADVICE: Mapping[int, str] = MappingProxyType(
    {
        400: 'the engine cannot use this request: compare channel ("account/instance/domain") with the account',
        404: "no such retailer: compare retailer with the short name in the account's API documentation",
    }
)
