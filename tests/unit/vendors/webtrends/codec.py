"""Drive a vendor's flows by hand, with samples from files or answers put together piece by piece."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from flagmw.exceptions import TransportError
from flagmw.types import Call, Event, Flow, Reply, T, Track, Visit, VisitorState
from flagmw.vendors.webtrends import Webtrends

SAMPLES = Path(__file__).parents[3] / "samples" / "webtrends"
DOMAIN_ID = 2490593
TOKEN = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"  # printed in the vendor's public guide
URL = "https://www.mysite.com"

USER, MODE = f"_wt.user-{DOMAIN_ID}", f"_wt.mode-{DOMAIN_ID}"


def control(alias: str) -> str:
    return f"_wt.control-{DOMAIN_ID}-{alias}"


@dataclass(frozen=True)
class Sample:
    """One recorded or documented exchange."""

    call: Mapping[str, Any]
    reply: Reply


def sample(case: str) -> Sample:
    """Return the sample in tests/samples/webtrends/*case*."""
    folder = SAMPLES / case
    reply = json.loads((folder / "reply.json").read_text("utf-8"))
    body = (folder / "body").read_bytes()
    call = json.loads((folder / "call.json").read_text("utf-8"))
    return Sample(call, Reply(status=reply["status"], headers=reply["headers"], body=body))


def webtrends(**options: Any) -> Webtrends:
    """Return the account that the vendor's samples are of."""
    return Webtrends(**{"domain_id": DOMAIN_ID, "key_token": TOKEN, "url": URL, **options})


def run(flow: Flow[T], *replies: Reply | TransportError) -> tuple[T, list[Call]]:
    """Drive *flow* with exactly these *replies*; return its result and the calls it made."""
    calls: list[Call] = []
    waiting = list(replies)
    try:
        calls.append(next(flow))
        while True:
            reply = waiting.pop(0)
            calls.append(flow.throw(reply) if isinstance(reply, TransportError) else flow.send(reply))
    except StopIteration as stop:
        assert not waiting, f"{len(waiting)} replies were not asked for"
        return stop.value, calls


def visit(**more: Any) -> Visit:
    return Visit(**{"url": "https://www.mysite.com/checkout", "now": 1_800_000_000.0, **more})


def decide(vendor: Webtrends, *replies: Reply | TransportError, cookies: Mapping[str, str] | None = None, **more: Any):
    """Return the decision and the calls of one visit."""
    return run(vendor.decide(visit(**more), VisitorState(cookies or {})), *replies)


def body_of(call: Call) -> Any:
    return orjson.loads(call.body)


def reply(document: Any, status: int = 200, **headers: str) -> Reply:
    """Return a reply with *document*: bytes as they are, everything else as JSON."""
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return Reply(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()}, body=body)


def success(alias: str = "ta_Project1", value: Any = "variation", **params: Any) -> dict[str, Any]:
    """Return one element that decides *alias*."""
    return {
        "body": {
            "cookies": {
                control(alias): {"timeout": 7776000000, "type": "persisted", "value": "WT3" + "c" * 20},
                USER: {"timeout": 7776000000, "type": "persisted", "value": "WT3user"},
            },
            "factors": [{"name": "#wt-page-level-js", "operation": 3, "value": value}],
        },
        "opcode": "process",
        "opstatus": "success",
        "params": {"testAlias": alias, "cookieDomain": ".mysite.com", "r_type": "AB", **params},
    }


def error(code: Any, text: str = "", cookies: Mapping[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    """Return one element with an error."""
    return {
        "body": {"cookies": dict(cookies or {}), "message": {"errorCode": code, "errorMessage": text}},
        "guid": "NULL",
        "opstatus": "success",
        "params": params,
    }


def converted(**params: Any) -> dict[str, Any]:
    """Return one element of a track answer that counted."""
    return {"body": {}, "opcode": "conversion", "opstatus": "success", "params": params}


def event(*aliases: str, at_most_once: bool = False, metric: str = "purchase", **track: Any) -> Event:
    """Return an event of a visitor who is in the tests *aliases*."""
    aliases = aliases or ("ta_Project1",)
    cookies = {USER: "WT3u~", MODE: "WT3m~", **{control(alias): "WT3c~" for alias in aliases}}
    return Event(
        id="e1",
        vendor="webtrends",
        kind="track",
        track=Track(id="t1", metric=metric, **track),
        aliases=aliases,
        visit=visit(cookies=cookies),
        visitor_key="v",
        at_most_once=at_most_once,
    )


def deliver(vendor: Webtrends, one: Event, *replies: Reply | TransportError):
    """Return the outcome of one event and the calls made for it."""
    outcomes, calls = run(vendor.deliver([one]), *replies)
    (outcome,) = outcomes
    return outcome, calls
