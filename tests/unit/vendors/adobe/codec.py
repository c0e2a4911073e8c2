"""Drive `AdobeTarget` by hand, with samples from files or answers put together piece by piece."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flagmw.exceptions import TransportError
from flagmw.types import Call, Decision, Event, Outcome, Reply, Track, Variant, VisitorState
from flagmw.vendors.adobe import AdobeTarget
from tests.unit.vendors.webtrends.codec import Sample, body_of, reply, run, visit

SAMPLES = Path(__file__).parents[3] / "samples" / "adobe"
NOW = 1_800_000_000
SESSION = "0123456789abcdef0123456789abcdef"
DEVICE = "10abf6304b2714215b1fd39a870f01afc"
PROPERTY = "1ad0b2d0-2f6d-4d3e-8b0e-5f3c0e3a7d11"
MBOX = f"session#{SESSION}#{NOW + 1860}|PC#{DEVICE}.28_20#{NOW + 63_244_800}"
RETURNING = {"mbox": MBOX}


def sample(case: str) -> Sample:
    """Return the sample in tests/samples/adobe/*case*."""
    folder = SAMPLES / case
    told = json.loads((folder / "reply.json").read_text("utf-8"))
    call = json.loads((folder / "call.json").read_text("utf-8"))
    return Sample(call, Reply(status=told["status"], headers=told["headers"], body=(folder / "body").read_bytes()))


def adobe(*mboxes: str, **options: Any) -> AdobeTarget:
    """Return the account that the samples are of."""
    return AdobeTarget("demo", mboxes or ("hero",), **options)


def decide(
    vendor: AdobeTarget,
    *replies: Reply | TransportError,
    cookies: Mapping[str, str] | None = None,
    fresh_id: str = "00112233445566778899aabbccddeeff",
    **more: Any,
) -> tuple[Decision, list[Call]]:
    """Return the decision and the calls of one visit."""
    return run(vendor.decide(visit(fresh_id=fresh_id, **more), VisitorState(cookies or {})), *replies)


def answer(*names: str, device: str | None = f"{DEVICE}.28_20", section: str = "execute", **more: Any) -> Reply:
    """Return an answer that gives the experience B in each of *names*."""
    document: dict[str, Any] = {"status": 200, "client": "demo", section: {"mboxes": [box(name) for name in names]}}
    if device is not None:
        document["id"] = {"tntId": device}
    return reply({**document, **more})


def box(name: str = "hero", **option: Any) -> dict[str, Any]:
    """Return one mbox of an answer."""
    tokens = {"activity.id": "7", "activity.name": "Seven", "experience.id": "1", "experience.name": "B"}
    return {"name": name, "options": [{"type": "json", "content": {"a": 1}, "responseTokens": tokens, **option}]}


def query(call: Call) -> dict[str, str]:
    """Return the parameters in a call's URL, decoded."""
    return {name: values[0] for name, values in parse_qs(urlsplit(call.url).query, strict_parsing=True).items()}


def host(call: Call) -> str:
    return urlsplit(call.url).netloc


def conversion(metric: str = "purchase", id: str = "e1", *, at_most_once: bool = False, **track: Any) -> Event:
    """Return a track of a returning visitor."""
    return Event(
        id=id,
        vendor="adobe_target",
        kind="track",
        track=Track(**{"id": "t1", "metric": metric, "occurred_at": float(NOW), **track}),
        aliases=("hero",),
        visit=visit(cookies=RETURNING),
        visitor_key="v",
        at_most_once=at_most_once,
    )


def exposure(*variants: Variant, id: str = "e1", aliases: Sequence[str] | None = None) -> Event:
    """Return what tells that a returning visitor saw *variants*."""
    return Event(
        id=id,
        vendor="adobe_target",
        kind="exposure",
        track=Track(id="t1", metric="exposure", occurred_at=float(NOW)),
        aliases=tuple(variant.alias for variant in variants) if aliases is None else tuple(aliases),
        visit=visit(cookies=RETURNING),
        visitor_key="v",
        exposed=variants,
    )


def seen(alias: str, token: str | None = "", **ids: str) -> Variant:
    """Return the variant of a mbox that was prefetched with *token* (one made of its name if empty)."""
    given = {"mbox": alias, **ids}
    if token is not None:
        given["event_token"] = token or f"token-{alias}"
    return Variant(alias=alias, key="B", experiment_id="1", ids=given)


def deliver(vendor: AdobeTarget, batch: Sequence[Event], *replies: Reply | TransportError):
    """Return the outcomes of *batch* and the calls made for it."""
    outcomes, calls = run(vendor.deliver(batch), *replies)
    return list[Outcome](outcomes), calls


__all__ = [
    "DEVICE",
    "MBOX",
    "NOW",
    "PROPERTY",
    "RETURNING",
    "SESSION",
    "adobe",
    "answer",
    "body_of",
    "box",
    "conversion",
    "decide",
    "deliver",
    "exposure",
    "host",
    "query",
    "reply",
    "run",
    "sample",
    "seen",
    "visit",
]
