"""Drive Monetate's flows by hand; the samples are written from its published API description, none is recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flagmw.exceptions import TransportError
from flagmw.types import Call, Decision, Event, Outcome, Reply, Track, Variant, VisitorState
from flagmw.vendors.monetate import Monetate
from tests.unit.vendors.webtrends.codec import Sample, body_of, reply, run, visit

SAMPLES = Path(__file__).parents[3] / "samples" / "monetate"
CHANNEL = "a-701b337c/p/www.mysite.com"
ID = "2.309132816.1519728587304"  # printed in the vendor's public description
NEW_ID = "2.7.1800000000000"
REQUEST = "r1"
TOKEN = "3.MS4xLjE1MTQ4MDg5MDAuMDAwMDAw"


def sample(case: str) -> Sample:
    """Return the sample in tests/samples/monetate/*case*."""
    folder = SAMPLES / case
    told = json.loads((folder / "reply.json").read_text("utf-8"))
    call = json.loads((folder / "call.json").read_text("utf-8"))
    return Sample(call, Reply(status=told["status"], headers=told["headers"], body=(folder / "body").read_bytes()))


def monetate(**options: Any) -> Monetate:
    return Monetate(**{"retailer": "acme", "channel": CHANNEL, **options})


def decide(
    vendor: Monetate, *replies: Reply | TransportError, cookies: Mapping[str, str] | None = None, **more: Any
) -> tuple[Decision, Call]:
    """Return the decision and the one call of one visit."""
    decision, (call,) = run(
        vendor.decide(visit(**{"fresh_id": REQUEST, **more}), VisitorState(cookies or {})), *replies
    )
    return decision, call


def answer(*actions: Any, request: str = REQUEST, code: Any = 200, status: int = 200, **meta: Any) -> Reply:
    """Return an answer with *actions*."""
    return reply(
        {
            "meta": {"code": code, "errors": [], "warnings": [], **meta},
            "data": {"responses": [{"requestId": request, "actions": list(actions)}]},
        },
        status,
    )


def action(
    component: str | None = "Hero", variant: str | None = "B", kind: str = "OmnichannelJson", **fields: Any
) -> dict[str, Any]:
    """Return an action that gives *component* a variant."""
    made = {"actionType": f"monetate:action:{kind}", "json": {"title": "Hi"}, "component": component, **fields}
    if variant is not None and "impressionReporting" not in fields:
        made["impressionReporting"] = [{"experience_id": 1, "experience_label": "label", "variant_label": variant}]
    return made


def events_of(call: Call, kind: str) -> list[Any]:
    """Return the events of one kind ("context:PageView") in a call."""
    return [event for event in body_of(call)["events"] if event["eventType"] == f"monetate:{kind}"]


def event(metric: str = "signup", cookies: Mapping[str, str] | None = None, **more: Any) -> Event:
    """Return a track of a visitor whom the engine knows."""
    told = {key: more.pop(key) for key in ("key", "value", "currency", "items", "data") if key in more}
    once = more.pop("at_most_once", True)
    return Event(
        id="e1",
        vendor="monetate",
        kind="track",
        track=Track(id="t1", metric=metric, **told),
        aliases=(metric,),
        visit=visit(cookies={"mt.v": ID} if cookies is None else cookies, **more),
        visitor_key="v",
        at_most_once=once,
    )


def exposure(*variants: Variant, **more: Any) -> Event:
    """Return a report that *variants* were seen."""
    return Event(
        id="e2",
        vendor="monetate",
        kind="exposure",
        track=Track(id="t2", metric="exposure"),
        aliases=tuple(variant.alias for variant in variants),
        visit=visit(cookies={"mt.v": ID}, **more),
        visitor_key="v",
        exposed=variants,
        at_most_once=True,
    )


def recorded(**meta: Any) -> Reply:
    """Return the answer to a request without a decision event."""
    return reply({"meta": {"code": 200, "errors": [], "warnings": [], **meta}, "data": {"responses": []}})


def deliver(
    vendor: Monetate, *events: Event, replies: tuple[Reply | TransportError, ...]
) -> tuple[list[Outcome], list[Call]]:
    """Return the outcomes of a batch and the calls made for it."""
    outcomes, calls = run(vendor.deliver(events), *replies)
    return list(outcomes), calls
