"""Make a decision of the engine's actions: which flag an action is, which variant, and whether it is the control.

Source: the vendor's published description of the Engine API (the `monetate:action:` types, `ImpressionReporting`,
`VariantInfo`) and its guide on managed impressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeGuard

from flagmw.codes import ErrorCode, Reason
from flagmw.types import EMPTY, CookieChange, Decision, Variant
from flagmw.vendors.common.json import blank
from flagmw.vendors.monetate.request import COOKIE, Who
from flagmw.vendors.monetate.response import Envelope, text, truth

MAX_ACTIONS = 200
KEY_CHARS = 8 * 1024
ALIAS_CHARS = 250
TOKEN_CHARS = 4096
COOKIE_LIFE_S = 365 * 86400
CONTROL, SHOWN = "control", "variation"

PREFIX = "monetate:action:"
# What an action of each type carries for the page. Redirects are none of these: they make no flag, and one of them
# would take the place of every other action. Neither are triggers of other systems.
CONTENT: Mapping[str, str | None] = MappingProxyType(
    {
        "OmnichannelJson": "json",
        "VariantSelector": None,
        "NoAction": None,
        "DataCollection": None,
        "OmnichannelHtml": "html",
        "OmnichannelRecommendation": "items",
        "OpenAction": "data",
        "CmsAction": "data",
        "ContentstackCMSAction": "data",
        "ApiAction": "data",
        "GlobalApiAction": "data",
    }
)

_BAD_KEY = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """Turn answers into decisions, as one account's options say.

    Attributes:
        accepted: the types of actions that were asked for; others are ignored.
        flag_map: flags by the id or the component of an experience, before all other names.
    """

    vendor: str
    accepted: frozenset[str]
    flag_map: Mapping[str, str] = field(default_factory=dict)

    def settle(self, envelope: Envelope, request_id: str, who: Who) -> Decision:
        """Return the decision that *envelope* makes for the visitor *who*."""
        actions = envelope.actions(request_id)
        if actions is None and envelope.spoken and envelope.unanswered:
            actions = []  # taken, and nothing decided
        if envelope.fault is not None or actions is None or (envelope.complaints and not actions):
            return self._failed(envelope)
        variants: dict[str, Variant] = {}
        rejected: list[ErrorCode] = []
        for action in actions[:MAX_ACTIONS]:
            found = self._variant(action)
            if isinstance(found, Variant):
                # The engine's order is its priority: the first action for a flag is the one that counts.
                variants.setdefault(found.alias, found)
            elif found is not None:
                rejected.append(found)
        if len(actions) > MAX_ACTIONS:
            rejected.append(ErrorCode.TOO_MANY)
        if envelope.warnings or envelope.complaints:
            rejected.append(ErrorCode.WARNED)
        if isinstance(envelope.minted, ErrorCode):
            rejected.append(envelope.minted)
        known = who.monetate_id
        # A visitor who is known as a device gets no second identity.
        if who.device_id is None and envelope.minted is not None and not isinstance(envelope.minted, ErrorCode):
            known = envelope.minted
        return Decision(
            vendor=self.vendor,
            variants=variants,
            cookies=() if known is None else (CookieChange(name=COOKIE, value=known, max_age_s=COOKIE_LIFE_S),),
            notice=None if variants else ErrorCode.EMPTY,
            rejected=tuple(rejected),
            hints=EMPTY if known is None else {"monetateId": known},
        )

    def _failed(self, envelope: Envelope) -> Decision:
        status, fault = envelope.reply.status, envelope.fault
        if fault is None:
            # Taken, and yet nothing that answers: refused, or the answer to somebody else's question.
            fault = ErrorCode.REFUSED if envelope.complaints else ErrorCode.SHAPE
        ours = envelope.ours or fault is ErrorCode.REFUSED
        return Decision(
            vendor=self.vendor,
            error=fault,
            trips=not ours,
            retry_after_s=envelope.retry_after_s,
            advice=_ADVICE.get(status, _REFUSED) if ours else None,
        )

    def _variant(self, action: Mapping[str, Any]) -> Variant | ErrorCode | None:
        """Return the action's variant, why it has to be left out, or None for what is no flag."""
        kind = action.get("actionType")
        if not isinstance(kind, str) or kind not in self.accepted:
            return None
        reporting, info = _reporting(action), action.get("variantInfo")
        info = info if isinstance(info, dict) else EMPTY
        experience = text(info.get("experienceId")) or text(reporting.get("experience_id"))
        alias = self._alias(action, reporting, experience)
        if alias is None:
            return ErrorCode.BAD_ALIAS
        label = text(reporting.get("variant_label"))
        control = kind == f"{PREFIX}NoAction" or truth(action.get("isControl")) or truth(reporting.get("is_control"))
        key = CONTROL if control else label or text(info.get("variantId")) or SHOWN
        if len(key) > KEY_CHARS or _BAD_KEY.search(key) or blank(key):
            return ErrorCode.BAD_VARIANT
        content = CONTENT[kind.removeprefix(PREFIX)]
        everyone = reporting.get("experience_type") == "100% Experience"
        ids = {
            "action": kind.removeprefix(PREFIX),
            "action_id": text(action.get("actionId")),
            "label": label,
            "type": text(reporting.get("experience_type")),
            "variant_id": text(info.get("variantId")),
            "impression": _token(action.get("impressionId")),
        }
        return Variant(
            alias=alias,
            key=key,
            payload=None if control or content is None else action.get(content),
            vendor=self.vendor,
            reason=Reason.TARGETING_MATCH if everyone else Reason.SPLIT,
            name=text(reporting.get("experience_name")),
            experiment_id=experience,
            ids={name: value for name, value in ids.items() if value is not None},
        )

    def _alias(self, action: Mapping[str, Any], reporting: Mapping[str, Any], experience: str | None) -> str | None:
        """Return the flag's name. The experience's label never changes once it is live; its name may."""
        component, label = action.get("component"), reporting.get("experience_label")
        mapped = [self.flag_map[name] for name in (experience, component) if _is_name(name) and name in self.flag_map]
        numbered = f"experience-{experience}" if experience is not None else None
        return next((name for name in (*mapped, component, label, numbered) if _is_name(name)), None)


def _reporting(action: Mapping[str, Any]) -> Mapping[str, Any]:
    found = action.get("impressionReporting")
    return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else EMPTY


def _token(value: Any) -> str | None:
    """Return the token of a managed impression; the engine refuses blank ones."""
    good = isinstance(value, str) and len(value) <= TOKEN_CHARS and value.isprintable() and value.strip()
    return value if good else None


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 1 <= len(value) <= ALIAS_CHARS and value.isprintable() and not value.isspace()


_REFUSED = "the engine refuses this request: compare retailer and channel with the account"
_ADVICE: Mapping[int, str] = MappingProxyType(
    {
        400: 'the engine cannot use this request: compare channel ("account/instance/domain") with the account',
        404: "no such retailer: compare retailer with the short name in the account's API documentation",
    }
)
