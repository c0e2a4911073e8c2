"""Impressions and conversions by version, for analytics."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from flagmw.sandbox.contentstack.model import Experience, Project

LIMIT = 200_000
Key = tuple[str, str, str]


class Counts:
    """Who saw a variant of a version, and who converted. The oldest fall out."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[Key, str, str], float] = OrderedDict()
        self._converted: OrderedDict[tuple[Key, str, str, str], float] = OrderedDict()

    def impression(self, project: Project, experience: Experience, variant: str, uid: str, now: float) -> None:
        """Count an impression, once per visitor and variant."""
        _keep(self._seen, (_key(project, experience), variant, uid), now)

    def conversion(
        self, project: Project, experience: Experience, variant: str, uid: str, event: str, now: float
    ) -> None:
        """Count a conversion, once per visitor, variant and event, of those who saw this version."""
        key = _key(project, experience)
        if (key, variant, uid) in self._seen:
            _keep(self._converted, (key, variant, uid, event), now)

    def read(self, key: Key, start: float, end: float, event: str | None) -> dict[str, tuple[list[float], list[float]]]:
        """Return, by variant, when impressions and conversions by *event* were counted from *start* to *end*."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        for (own, variant, _), at in self._seen.items():
            if own == key and start <= at < end:
                found.setdefault(variant, ([], []))[0].append(at)
        for (own, variant, _, what), at in self._converted.items():
            if own == key and what == event and start <= at < end:
                found.setdefault(variant, ([], []))[1].append(at)
        return found


def _key(project: Project, experience: Experience) -> Key:
    return project.project_uid, experience.short_uid, experience.version


def _keep(store: OrderedDict[Any, float], key: Any, now: float) -> None:
    if key not in store:
        store[key] = now
        if len(store) > LIMIT:
            store.popitem(last=False)
