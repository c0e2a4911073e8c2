"""Saved visitors: the bytes of `Flags.save()`, for jobs and webhooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import orjson

from flagmw.types import Visit

VERSION = 1
# Whether the visitor may be counted is kept: a job that tracks for them later has to know.
_LEFT = frozenset({"cookies", "site_cookie_bytes", "preview", "now", "fresh_id"})
_KEPT = tuple(f.name for f in fields(Visit) if f.name not in _LEFT)


def dump(visit: Visit, jars: Sequence[Mapping[str, str]]) -> bytes:
    """Return *visit* with the cookies in *jars* (one per vendor) as bytes."""
    document: dict[str, Any] = {name: getattr(visit, name) for name in _KEPT}
    document["data"] = dict(visit.data)
    document["cookies"] = {name: value for jar in jars for name, value in jar.items()}
    document["v"] = VERSION
    return orjson.dumps(document)


def _texts(document: Any) -> Iterator[Any]:
    """Yield all that must be text for a visit to be of use."""
    yield from (document[name] for name in ("url", "host", "path", "method"))
    for name in ("client_ip", "user_agent", "referer", "language", "user_id"):
        yield document[name] or ""
    for name in ("cookies", "data"):
        yield from document[name].keys()
    yield from document["cookies"].values()


def load(saved: bytes, now: float) -> Visit:
    """Return the visit that `dump` wrote.

    Raises:
        ValueError: these are no such bytes.
    """
    try:
        document = orjson.loads(saved)
        if document["v"] != VERSION:
            raise ValueError
        if not all(isinstance(text, str) for text in _texts(document)):
            raise ValueError
        return Visit(**{name: document[name] for name in _KEPT}, cookies=document["cookies"], now=now)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("visitor must be the bytes that Flags.save() returned, in this version") from None
