"""A header that says whether a response did not wait for its events to be on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flagmw import Flagmw
from flagmw.outbox.factory import trouble


def saying_late(inner: Any, fm: Flagmw) -> Callable[..., Iterable[bytes]]:
    """Return *inner* with that header: the event of a response that says so is not promised yet.

    Nor is one that is kept in memory because the process has no file, which its health says at that time.
    """

    def late() -> int:
        return sum(n for (what, _, _), n in fm.counts().items() if what == "commit_late")

    def in_memory() -> bool:
        running = fm._delivery._running
        text = (running and trouble(running.outbox)) or ""
        # Another's slot that cannot be opened, or a server that is away, keeps no event from the disk.
        return bool(text) and not text.startswith(("slot-", "the Valkey server"))

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        before = late()

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, ("X-Commit-Late", str(late() - before + in_memory()))], *more)

        body: Iterable[bytes] = inner(environ, start)
        return body

    return app
