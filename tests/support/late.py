"""A header that says whether a response did not wait for its events to be on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flagmw import Flagmw


def saying_late(inner: Any, fm: Flagmw) -> Callable[..., Iterable[bytes]]:
    """Return *inner* with that header: the event of a response that says so is not promised yet."""

    def late() -> int:
        return sum(n for (what, _, _), n in fm.counts().items() if what == "commit_late")

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        before = late()

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, ("X-Commit-Late", str(late() - before))], *more)

        body: Iterable[bytes] = inner(environ, start)
        return body

    return app
