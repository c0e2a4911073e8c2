"""Drive the Contentstack codec by hand, with samples from files or answers put together piece by piece."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from flagmw.exceptions import TransportError
from flagmw.types import Call, Decision, Event, Outcome, Reply, Track, Variant, VisitorState
from flagmw.vendors.contentstack import Contentstack
from tests.unit.vendors.webtrends.codec import SAMPLES, Sample, run, visit

PROJECT = "64c7787b333555469a861224"  # printed in the vendor's guides
UID = "11111111-2222-4333-8444-555555555555"
USER, MANIFEST = "cs-personalize-user-uid", "cs-personalize-manifest"
BASE = "https://personalize-edge.contentstack.com"


def sample(case: str) -> Sample:
    """Return the sample in tests/samples/contentstack/*case*."""
    folder = SAMPLES.parent / "contentstack" / case
    told = json.loads((folder / "reply.json").read_text("utf-8"))
    call = json.loads((folder / "call.json").read_text("utf-8"))
    return Sample(call, Reply(status=told["status"], headers=told["headers"], body=(folder / "body").read_bytes()))


def contentstack(**options: Any) -> Contentstack:
    return Contentstack(**{"project_uid": PROJECT, **options})


def manifest(*pairs: tuple[Any, Any], uid: str | None = UID, **more: Any) -> Reply:
    """Return an answer with these (experience, active variant), in order of priority."""
    document = {
        "activeVariants": dict(pairs),
        "experiences": [{"shortUid": short, "activeVariantShortUid": variant} for short, variant in pairs],
        **more,
    }
    return answer(document, uid=uid)


def answer(document: Any, status: int = 200, uid: str | None = UID, **headers: str) -> Reply:
    """Return a reply with *document*: bytes as they are, everything else as JSON."""
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    named = {} if uid is None else {"x-cs-personalize-user-uid": uid}
    return Reply(status=status, headers={**named, **{k.replace("_", "-"): v for k, v in headers.items()}}, body=body)


def decide(
    vendor: Contentstack, reply: Reply | TransportError, cookies: Mapping[str, str] | None = None, **more: Any
) -> tuple[Decision, Call]:
    """Return the decision of one visit and the one call made for it."""
    decision, (call,) = run(vendor.decide(visit(**more), VisitorState(cookies or {})), reply)
    return decision, call


def cookies_of(decision: Decision) -> dict[str, str]:
    return {change.name: change.value for change in decision.cookies if change.max_age_s != 0}


def track(metric: str = "clickCTA", *, uid: str | None = UID, at_most_once: bool = False, **fields: Any) -> Event:
    """Return the event of a track by the visitor *uid*."""
    return Event(
        id="e1",
        vendor="contentstack",
        kind="track",
        track=Track(id="t1", metric=metric, **fields),
        aliases=("*",),
        visit=visit(cookies={} if uid is None else {USER: uid}),
        visitor_key="v",
        at_most_once=at_most_once,
    )


def exposure(*pairs: tuple[str, str], uid: str = UID) -> Event:
    """Return the event that the visitor saw these (experience, variant)."""
    seen = tuple(
        Variant(alias=f"exp:{short}", key=variant, ids={"experience": short, "variant": variant})
        for short, variant in pairs
    )
    return Event(
        id="e2",
        vendor="contentstack",
        kind="exposure",
        track=Track(id="t2", metric="exposure"),
        aliases=tuple(variant.alias for variant in seen),
        visit=visit(cookies={USER: uid}),
        visitor_key="v",
        exposed=seen,
    )


def deliver(
    vendor: Contentstack, batch: Sequence[Event], *replies: Reply | TransportError
) -> tuple[Sequence[Outcome], list[Call]]:
    return run(vendor.deliver(batch), *replies)


def matches(call: Call, wanted: Mapping[str, Any]) -> None:
    """Check that *call* is the documented one; it may have more headers."""
    assert (call.method, call.url) == (wanted["method"], wanted["url"])
    assert wanted["headers"].items() <= dict(call.headers).items()
    if "body" in wanted:
        assert json.dumps(orjson.loads(call.body)) == json.dumps(wanted["body"])
    else:
        assert call.body == b""
