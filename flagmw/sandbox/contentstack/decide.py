"""Decisions of the emulated Contentstack Personalize. No I/O, no clock.

Source: Contentstack's Personalize documentation. The function that deals the visitors of an A/B test is not public;
any that keeps a visitor where they are for the life of a version will do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from flagmw.sandbox.contentstack.audience import AudienceFacts, in_audiences
from flagmw.sandbox.contentstack.model import Experience, ModelVariant, Project


def manifest(project: Project, uid: str, facts: AudienceFacts, tags: Sequence[str]) -> dict[str, Any]:
    """Return the manifest of one visitor: what is not a draft and has one of *tags*, by priority."""
    wanted = {tag.lower() for tag in tags}
    listed = [
        experience
        for experience in project.experiences
        if experience.state != "draft" and (not wanted or wanted & {tag.lower() for tag in experience.tags})
    ]
    active = [(experience.short_uid, _active(project, experience, uid, facts)) for experience in listed]
    return {
        "activeVariants": dict(active),
        "experiences": [{"shortUid": short, "activeVariantShortUid": variant} for short, variant in active],
    }


def _active(project: Project, experience: Experience, uid: str, facts: AudienceFacts) -> str | None:
    """Return the short uid of the variant that is active; None when the experience is paused or nothing matches."""
    if experience.state == "paused":
        return None
    if experience.kind == "SEGMENTED":
        matching = (
            variant.short_uid
            for variant in experience.variants
            if in_audiences(project, variant.audiences, variant.combination, facts)
        )
        return next(matching, None)
    targeting = experience.targeting
    if targeting and not in_audiences(project, targeting, experience.combination, facts):
        return None
    return _dealt(experience.variants, f"{project.project_uid} {experience.short_uid} {experience.version} {uid}")


def _dealt(variants: Sequence[ModelVariant], text: str) -> str:
    point = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    # Shares need not add up to 100: the product itself has 3 of 33.33.
    point *= sum(variant.traffic for variant in variants)
    for variant in variants:
        point -= variant.traffic
        if point < 0:
            return variant.short_uid
    return next(variant.short_uid for variant in reversed(variants) if variant.traffic > 0)
