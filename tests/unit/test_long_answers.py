"""What the longest answers cost to read, vendor by vendor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from flagmw import AdobeTarget, Contentstack, Monetate
from flagmw.types import Decision, Reply, VisitorState
from tests.support.busy import best
from tests.unit.vendors.webtrends.codec import visit, webtrends

ASKED = "0123456789abcdef0123456789abcdef"
MOST = 400_000


def filled(begin: str, part: Callable[[int], str], end: str, most: int = 16_000) -> bytes:
    """Return *begin*, as many numbered parts as there is room for, *most* at most, and *end*."""
    parts = [part(0)]
    count = min(most, MOST // (len(part(most)) + 1))
    parts += [part(n) for n in range(1, count)]
    return (begin + ",".join(parts) + end).encode()


OPTION = '{"type":"json","content":%s,"responseTokens":{"experience.name":"B","experience.id":"1"}}'
BOX = '{"execute":{"mboxes":[{"name":"hero","options":[%s]}]}}'
ACTION = '{"actionType":"monetate:action:OmnichannelJson","component":"c%d","json":{},"impressionReporting":[{}]}'
WT_COOKIE = '"_wt.control-2490593-a%d":{"value":"%s","type":"persisted","timeout":90000}'
WT = '{"body":{"factors":[%s],"cookies":{%s}},"opcode":"process","params":{"testAlias":"a%d"}}'
FACTOR = '{"name":"f","value":"b"}'

ANSWERS: dict[str, tuple[Any, bytes]] = {
    "adobe-options": (AdobeTarget("demo", ["hero"]), (BOX % ",".join([OPTION % "1"] * 4_000)).encode()),
    "adobe-attributes": (
        AdobeTarget("demo", ["hero"], aliases="attributes"),
        (BOX % (OPTION % ("{" + ",".join(f'"k{n}":1' for n in range(30_000)) + "}"))).encode(),
    ),
    "adobe-json-in-a-text": (AdobeTarget("demo", ["hero"]), (BOX % (OPTION % f'"[{"[]," * 120_000}1]"')).encode()),
    "adobe-mboxes": (
        AdobeTarget("demo", ["hero"]),
        ('{"execute":{"mboxes":[' + ",".join(['{"name":"hero","options":[]}'] * 7_000) + "]}}").encode(),
    ),
    "webtrends-cookies": (
        webtrends(),
        filled(
            '{"body":{"factors":[' + FACTOR + '],"cookies":{',
            lambda n: WT_COOKIE % (n, "x" * 9),
            '}},"opcode":"process"}',
            9_000,
        ),
    ),
    "webtrends-accumulated": (
        webtrends(),
        (
            "["
            + ",".join(WT % (FACTOR, ",".join(WT_COOKIE % (k, "x" * 9) for k in range(n)), n) for n in range(95))
            + "]"
        ).encode(),
    ),
    "webtrends-factors": (webtrends(), (WT % (",".join([FACTOR] * 14_000), "", 1)).encode()),
    "monetate-actions": (
        Monetate("acme", "a-701b337c/p/example.com"),
        filled(
            '{"meta":{"code":200},"data":{"responses":[{"requestId":"' + ASKED + '","actions":[',
            lambda n: ACTION % n,
            "]}]}}",
            4_000,
        ),
    ),
    "contentstack-experiences": (
        Contentstack("64c7787b333555469a861224"),
        filled('{"experiences":[', lambda n: f'{{"shortUid":"{n}","activeVariantShortUid":"1"}}', "]}", 9_000),
    ),
    "contentstack-map": (
        Contentstack("64c7787b333555469a861224"),
        filled('{"activeVariants":{', lambda n: f'"{n}":"1"', "}}", 30_000),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_U24_the_longest_answers_cost_ten_milliseconds(name: str) -> None:
    """From the body to the decision, for whatever a vendor may repeat thousands of times."""
    vendor, body = ANSWERS[name]
    assert len(body) < 512 * 1024
    made: list[Decision] = []

    def took() -> float:
        flow = vendor.decide(visit(fresh_id=ASKED), VisitorState())
        next(flow)
        begun = time.thread_time()
        try:
            flow.send(Reply(status=200, headers={}, body=body))
        except StopIteration as stop:
            made.append(stop.value)
        return time.thread_time() - begun

    assert best(took, 0.01, tries=20) < 0.01
    assert made[-1].error is None and len(made[-1].variants) <= 1_000
