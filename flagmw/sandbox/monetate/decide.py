"""Decisions of the emulated engine: audiences, variants, actions. Pure.

Source: developer.monetate.com, the action types, and its guides on filters, redirects and managed impressions.
Undocumented, and decided here: assignment is a hash of visitor and experience; actions come by priority.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import orjson

from flagmw.sandbox.monetate.model import TELLS_CONTROL, Experience, ModelVariant, Retailer, Situation
from flagmw.sandbox.segments import VisitFacts, in_segments

REDIRECT = "monetate:action:OmnichannelRedirect"
_CONTENT = {"OmnichannelJson": "json", "OmnichannelHtml": "html", "OmnichannelRedirect": "url", "OpenAction": "data"}
_SIGNED_BYTES = 8


@dataclass(frozen=True, slots=True)
class ShownAction:
    """One action of an answer, and the impression that goes with it.

    Attributes:
        managed: whether the caller reports the impression; otherwise it is counted at once.
    """

    experience: Experience
    variant: ModelVariant | None
    managed: bool
    action: dict[str, Any]

    @property
    def impression(self) -> dict[str, Any]:
        """The entry in the ledger."""
        label = self.variant.label if self.variant else "Control"
        return {
            "alias": self.experience.alias,
            "experience_id": self.experience.id,
            "variation": label,
            "control": self.variant is None,
        }


@dataclass(frozen=True, slots=True)
class DecisionEvent:
    """One decision event."""

    visitor: str
    situation: Situation
    slots: Sequence[str] = ()
    action_types: Sequence[str] = ()
    reporting: bool = False
    managed: bool = False
    preview: str | None = None


def decide(retailer: Retailer, question: DecisionEvent) -> list[ShownAction]:
    """Return the actions that answer *question*, in the order of their priority."""
    actions = [shown for shown in _candidates(retailer, question) if _passes(shown, question)]
    if not question.slots:
        # A redirect that the visitor qualifies for leaves nothing else, unless a filter has kept it out.
        redirects = [shown for shown in actions if shown.action["actionType"] == REDIRECT]
        return redirects[:1] or actions
    first: dict[str | None, ShownAction] = {}
    for shown in actions:
        first.setdefault(shown.experience.slot, shown)
    return list(first.values())


def _candidates(retailer: Retailer, question: DecisionEvent) -> Iterator[ShownAction]:
    for experience in sorted(retailer.experiences, key=lambda experience: experience.priority):
        forced = next((v for v in experience.variants if v.preview and v.preview == question.preview), None)
        if forced is None and (experience.state != "active" or not qualifies(experience, question.situation)):
            continue
        variant = forced or assigned(experience, question.visitor)
        managed = experience.managed or (question.managed and retailer.manage_impressions)
        action = _action(experience, variant, question, managed=managed)
        if action is not None:
            yield ShownAction(experience, variant, managed, action)


def qualifies(experience: Experience, situation: Situation) -> bool:
    """True when the experience is for this visitor on this page."""
    facts = VisitFacts(situation.url, situation.variables, situation.user_agent, situation.ip, situation.referer)
    return (
        in_segments(experience.segments, facts)
        and (not experience.page_types or situation.page_type in experience.page_types)
        and (not experience.paths or any(fnmatchcase(situation.path, path) for path in experience.paths))
        and (not experience.languages or any(_speaks(situation.language, tag) for tag in experience.languages))
    )


def assigned(experience: Experience, visitor: str) -> ModelVariant | None:
    """Return the variant that *visitor* always gets, None for the control."""
    point = _point(visitor, experience.id, "control")
    if point < experience.control:
        return None
    point = _point(visitor, experience.id, "split") * sum(variant.split for variant in experience.variants)
    for variant in experience.variants:
        point -= variant.split
        if point < 0:
            return variant
    return experience.variants[-1]


def _action(
    experience: Experience, variant: ModelVariant | None, question: DecisionEvent, *, managed: bool
) -> dict[str, Any] | None:
    """Return the action, or None where the visitor is in a control of which nothing is said."""
    kind = experience.action
    if variant is None and not managed:
        if not (question.reporting and experience.type in TELLS_CONTROL):
            return None
        return {"actionType": "monetate:action:NoAction", "impressionReporting": [_report(experience, None)]}
    action: dict[str, Any] = {"actionType": f"monetate:action:{kind}", "actionId": experience.id * 10}
    content = (variant or experience.variants[0]).content
    if kind in _CONTENT:
        action[_CONTENT[kind]] = content if content is not None else {} if kind == "OmnichannelJson" else ""
    if experience.component is not None:
        action["component"] = experience.component
    if kind == "VariantSelector":
        chosen = variant or experience.variants[0]
        action["variantInfo"] = {"experienceId": experience.id, "variantId": chosen.id, "variantGroup": 1}
    if managed:
        label = variant.label if variant else "Control"
        action["impressionId"] = token(experience.id, label, question.visitor)
        action["isControl"] = variant is None
    if question.reporting:
        action["impressionReporting"] = [_report(experience, variant)]
    return action


def _report(experience: Experience, variant: ModelVariant | None) -> dict[str, Any]:
    return {
        "experience_id": experience.id,
        "experience_label": experience.label,
        "experience_name": experience.name,
        "variant_label": variant.label if variant else "Control",
        "is_control": variant is None,
        "control_allocation": experience.control or None,
        "experience_type": experience.type,
        "has_targets": bool(experience.segments),
        "tags": list(experience.tags),
    }


def _passes(shown: ShownAction, question: DecisionEvent) -> bool:
    in_slot = not question.slots or shown.experience.slot in question.slots
    return in_slot and (not question.action_types or shown.action["actionType"] in question.action_types)


def _speaks(language: str, wanted: str) -> bool:
    return language.lower() == wanted.lower() or language.lower().startswith(f"{wanted.lower()}-")


def _point(visitor: str, experience_id: int, what: str) -> float:
    digest = hashlib.blake2b(f"{visitor}\0{experience_id}\0{what}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


# Tokens of managed impressions


def token(experience_id: int, label: str, visitor: str) -> str:
    """Return an opaque token for one impression of one visitor."""
    payload = orjson.dumps([experience_id, label])
    packed = base64.urlsafe_b64encode(_signature(payload, visitor) + payload).decode().rstrip("=")
    return f"3.{packed}"


def open_token(text: str, visitor: str) -> tuple[int, str] | None:
    """Return the experience and the variant's label of a token that is this visitor's; None for any other text."""
    if not text.startswith("3."):
        return None
    try:
        raw = base64.urlsafe_b64decode(text[2:] + "=" * (-len(text[2:]) % 4))
    except ValueError:
        return None
    signature, payload = raw[:_SIGNED_BYTES], raw[_SIGNED_BYTES:]
    if not hmac.compare_digest(signature, _signature(payload, visitor)):
        return None
    experience_id, label = orjson.loads(payload)
    return experience_id, label


def _signature(payload: bytes, visitor: str) -> bytes:
    # It keeps a client from making tokens up by mistake, not by intent: there is nothing here to protect.
    key = f"flagmw sandbox {visitor}".encode()
    return hmac.digest(key, payload, "sha256")[:_SIGNED_BYTES]


def situation(events: Callable[[str], list[Mapping[str, Any]]], ip: str) -> Situation:
    """Return the situation in a request's context *events* (by type); *ip* is its address, if no event has one."""

    def last(kind: str, field: str, otherwise: str = "") -> str:
        matching = events(f"context:{kind}")
        return str(matching[-1].get(field, otherwise)) if matching else otherwise

    pages = events("context:PageView")
    url = last("PageView", "url")
    path = last("PageView", "path") or "/" + url.partition("://")[2].partition("/")[2].partition("?")[0]
    variables = [row for event in events("context:CustomVariables") for row in event["customVariables"]]
    return Situation(
        page_type=pages[-1].get("pageType") if pages else None,
        path=path,
        url=url,
        language=last("Language", "language"),
        user_agent=last("UserAgent", "userAgent"),
        ip=last("IpAddress", "ipAddress", ip),
        referer=last("Referrer", "referrer"),
        variables={row["variable"]: row["value"] for row in variables},
    )
