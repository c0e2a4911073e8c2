"""How Contentstack Personalize decides, and what it keeps of its visitors. No I/O, no clock.

Source: Contentstack's Personalize documentation. The function that deals the visitors of an A/B test is not public;
any that keeps a visitor where they are for the life of a version will do.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from flagmw.sandbox.contentstack.audience import Sight, in_audiences
from flagmw.sandbox.contentstack.model import Experience, Project, Variant

CONVERSION_WINDOW_S = 30 * 86400.0
LIMIT = 100_000


class People:
    """What is stored of visitors: attributes, and when they had which impression. The longest unseen are forgotten."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._attributes: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self._seen: OrderedDict[tuple[str, str, str], tuple[str, float]] = OrderedDict()

    def attributes(self, project: Project, uid: str) -> Mapping[str, Any]:
        """Return the stored attributes of a visitor."""
        return self._attributes.get((project.project_uid, uid), {})

    def store(self, project: Project, uid: str, values: Mapping[str, Any]) -> list[str]:
        """Set those of *values* that are attributes of the project; return the keys of the others."""
        known = {key: value for key, value in values.items() if key in project.attributes}
        _keep(self._attributes, (project.project_uid, uid), {**self.attributes(project, uid), **known}, self._limit)
        return [key for key in values if key not in known]

    def merge(self, project: Project, source: str, target: str) -> None:
        """Give *target* the attributes of *source*, whose values win over its own."""
        self.store(project, target, self.attributes(project, source))

    def saw(self, project: Project, uid: str, experience: str, variant: str, now: float) -> None:
        """Note an impression."""
        _keep(self._seen, (project.project_uid, uid, experience), (variant, now), self._limit)

    def converts(self, project: Project, uid: str, event: str, now: float) -> list[tuple[Experience, str]]:
        """Return the experiences that *event* counts for, each with the variant that the visitor saw last."""
        found = []
        for experience in project.experiences:
            variant, at = self._seen.get((project.project_uid, uid, experience.short_uid), ("", -CONVERSION_WINDOW_S))
            if event in experience.metrics and variant and now - at <= CONVERSION_WINDOW_S:
                found.append((experience, variant))
        return found


def manifest(project: Project, uid: str, sight: Sight, tags: Sequence[str]) -> dict[str, Any]:
    """Return the manifest of one visitor: what is not a draft and has one of *tags*, by priority."""
    wanted = {tag.lower() for tag in tags}
    listed = [
        experience
        for experience in project.experiences
        if experience.state != "draft" and (not wanted or wanted & {tag.lower() for tag in experience.tags})
    ]
    active = [(experience.short_uid, _active(project, experience, uid, sight)) for experience in listed]
    return {
        "activeVariants": dict(active),
        "experiences": [{"shortUid": short, "activeVariantShortUid": variant} for short, variant in active],
    }


def _active(project: Project, experience: Experience, uid: str, sight: Sight) -> str | None:
    """Return the short uid of the variant that is active; None when the experience is paused or nothing matches."""
    if experience.state == "paused":
        return None
    if experience.kind == "SEGMENTED":
        matching = (
            variant.short_uid
            for variant in experience.variants
            if in_audiences(project, variant.audiences, variant.combination, sight)
        )
        return next(matching, None)
    targeting = experience.targeting
    if targeting and not in_audiences(project, targeting, experience.combination, sight):
        return None
    return _dealt(experience.variants, f"{project.project_uid} {experience.short_uid} {experience.version} {uid}")


def _dealt(variants: Sequence[Variant], text: str) -> str:
    point = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    # Shares need not add up to 100: the product itself has 3 of 33.33.
    point *= sum(variant.traffic for variant in variants)
    for variant in variants:
        point -= variant.traffic
        if point < 0:
            return variant.short_uid
    return next(variant.short_uid for variant in reversed(variants) if variant.traffic > 0)


def _keep(store: OrderedDict[Any, Any], key: Any, value: Any, limit: int) -> None:
    store[key] = value
    store.move_to_end(key)
    if len(store) > limit:
        store.popitem(last=False)
