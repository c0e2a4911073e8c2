"""Names for Session Stream, read over the Metadata API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flagmw.admin.flow.effects import Flow
from flagmw.admin.flow.operation import M, operation
from flagmw.admin.monetate.resources.base import PAGE_SIZE, MonetateResource
from flagmw.admin.monetate.sessions.names import Names


class Sessions(MonetateResource[M]):
    """Session Stream. Its files are read by `flagmw.admin.monetate.sessions.counting.count_sessions`."""

    @operation
    def names(self) -> Flow[Names]:
        """Return the names of all experiences with their variants, page events and custom targets."""
        names = Names()
        add: tuple[tuple[str, Callable[[Iterable[Mapping[str, Any]]], None]], ...] = (
            ("variants.list", names.add_variants),
            ("experiences.list", names.add_experiences),
            ("page_events.list", names.add_page_events),
            ("custom_targets.list", names.add_targets),
        )
        for name, take in add:
            pager = self._pager(name, page_size=PAGE_SIZE, limit=None)
            while (rows := (yield from pager.next_page())) is not None:
                take(rows)
        return names
