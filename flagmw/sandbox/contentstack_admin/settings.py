"""What can be set of the emulated Management API, with what the vendor leaves open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Settings:
    """Limits and choices; a reset leaves them as they are.

    Attributes:
        calls_per_second: of the organisation, deletions too; 0 for no limit.
        max_of_a_kind: attributes, audiences, events and experiences of a project, each.
        max_rules: of an audience, at every depth; the vendor extends it to 100.
        max_variants: of a version; the vendor extends it to 50.
        max_audiences: of a variant.
        max_tags: of an experience.
        strict_lock: whether every change of an active version is refused, a pause too. The vendor's description pauses
            by such a change, and there are accounts of refusals.
        pause_drafts: whether a draft can become paused; the vendor does not say.
    """

    calls_per_second: int = 10
    max_of_a_kind: int = 100
    max_rules: int = 50
    max_variants: int = 20
    max_audiences: int = 50
    max_tags: int = 10
    strict_lock: bool = False
    pause_drafts: bool = False
