"""Stored attributes and impressions of Contentstack's visitors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from flagmw.sandbox.contentstack.model import Experience, Project

CONVERSION_WINDOW_S = 30 * 86400.0
LIMIT = 100_000


class Visitors:
    """Stored attributes and impressions, by visitor. The least recently used are forgotten."""

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
        counted = []
        for experience in project.experiences:
            variant, at = self._seen.get((project.project_uid, uid, experience.short_uid), ("", -CONVERSION_WINDOW_S))
            if event in experience.metrics and variant and now - at <= CONVERSION_WINDOW_S:
                counted.append((experience, variant))
        return counted


def _keep(store: OrderedDict[Any, Any], key: Any, value: Any, limit: int) -> None:
    store[key] = value
    store.move_to_end(key)
    if len(store) > limit:
        store.popitem(last=False)
