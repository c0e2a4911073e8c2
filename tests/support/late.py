"""A header that says whether a response's events may not be on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flagmw import Flagmw
from flagmw.outbox.factory import trouble


def counted(fm: Flagmw) -> int:
    """Return how many events of this process came late to the disk, or were refused, as on a full one."""
    return sum(n for (what, _, _), n in fm.counts().items() if what in ("commit_late", "event_dropped"))


def in_memory(fm: Flagmw) -> bool:
    """Say whether this process has no file at the moment, so that events are kept in memory."""
    running = fm._delivery._running
    text = (running and trouble(running.outbox)) or ""
    # Another's slot that cannot be opened, or a server that is away, keeps no event from the disk.
    return bool(text) and not text.startswith(("slot-", "the Valkey server"))


def saying_late(inner: Any, fm: Flagmw) -> Callable[..., Iterable[bytes]]:
    """Return *inner* with that header: the event of a response that says so is not promised."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        before = counted(fm)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            late = counted(fm) - before + in_memory(fm)
            return start_response(status, [*headers, ("X-Commit-Late", str(late))], *more)

        body: Iterable[bytes] = inner(environ, start)
        return body

    return app
