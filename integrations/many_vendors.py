"""The demo with several vendors on one page: `make demo VENDORS=webtrends,adobe`, or `make demo VENDORS=all`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from re import findall
from typing import Any, NamedTuple

import common
import httpx2

from flagmw.sandbox import SandboxServer

# How a fault rule names the requests by which a vendor decides, and what is asked of it as its base_url.
DECIDES = {
    "webtrends": "webtrends.control",
    "adobe": "adobe.delivery",
    "monetate": "monetate.decide",
    "contentstack": "contentstack.manifest",
}
# What a shop may need on a busy machine beside the deadline for its vendors.
PAGE_S = 0.3 + 0.3

Say = Callable[[str], None]


class Shown(NamedTuple):
    """What the page shows of one vendor."""

    variant: str
    reason: str
    code: str


def base_urls(vendor: SandboxServer) -> dict[str, str]:
    """Return the variables that send the chosen vendors' requests to the sandbox."""
    urls = {
        "webtrends": vendor.webtrends_url,
        "adobe": vendor.adobe_url,
        "monetate": vendor.monetate_url,
        "contentstack": vendor.contentstack_url,
    }
    return {f"FLAGMW_VENDORS__{common.CHECKOUT[name][0].upper()}__BASE_URL": urls[name] for name in common.chosen()}


def walk(shop: str, vendor: SandboxServer, browser: str, title: Say, say: Say) -> dict[str, bool]:
    """Visit, return, buy, and visit while half of the vendors hang; return what was checked."""
    chosen = common.chosen()
    title(f"Sandbox of {', '.join(chosen)} on {vendor.url}, shop on {shop}")
    checks: dict[str, bool] = {}

    title(f"1. First visit: {len(chosen)} vendors are asked at once, and the page has a variant of each")
    visitor = _browser(shop, browser)
    first, _ = _visit(visitor, say)
    for _ in range(20):
        if not any(shown.code for shown in first.values()):
            break
        first, _ = _visit(visitor, say)  # the first pages of a process may come too late for its vendors
    checks["every vendor's variant is on the page"] = not any(shown.code for shown in first.values())
    say(f"    cookies: {', '.join(sorted(visitor.cookies))}")

    title("2. Second visit: the same variants, and nobody is asked")
    second, _ = _visit(visitor, say)
    checks["the same variants on the second visit"] = all(second[n].variant == first[n].variant for n in chosen)
    checks["nobody was asked for them again"] = all(shown.reason == "CACHED" for shown in second.values())

    title("3. The visitor buys: one flags.track(...), and each vendor hears of it in its own form")
    visitor.post("/buy").raise_for_status()
    sales = _wait(lambda: _sales(vendor), lambda found: set(found) == set(chosen))
    for name in chosen:
        say(f"{name}: {json.dumps(sales.get(name, 'nothing'), ensure_ascii=False)}")
    checks["the purchase arrived at every vendor"] = set(sales) == set(chosen)
    views = _wait(lambda: {view["vendor"] for view in vendor.ledger()["views"]}, set(chosen).issubset)
    checks["every vendor counted a view of the checkout"] = set(chosen) <= views

    hung = chosen[len(chosen) // 2 :]
    title(f"4. {' and '.join(hung)} hang: a new visitor's page is there in time, and the others are whole")
    vendor.faults([{"route": DECIDES[name], "kind": "hang"} for name in hung])
    page, elapsed_s = _visit(_browser(shop, browser), say)
    vendor.faults([])
    checks[f"the page came inside the deadline ({elapsed_s * 1000:.0f} ms)"] = elapsed_s < PAGE_S
    checks["those that hang have their default"] = all(page[name].code == "DEADLINE" for name in hung)
    checks["the others are whole"] = not any(page[name].code for name in chosen if name not in hung)
    return checks


def _browser(shop: str, agent: str) -> httpx2.Client:
    return httpx2.Client(base_url=shop, headers={"user-agent": agent}, timeout=10)


def _visit(visitor: httpx2.Client, say: Say) -> tuple[dict[str, Shown], float]:
    """Open the checkout; return what it shows of each vendor, and the seconds it took."""
    started = time.perf_counter()
    page = visitor.get("/checkout")
    elapsed_s = time.perf_counter() - started
    page.raise_for_status()
    rows = findall(r'<li data-vendor="(.*?)" data-reason="(.*?)" data-code="(.*?)">(.*?)</li>', page.text)
    shown = {name: Shown(variant, reason, code) for name, reason, code, variant in rows}
    told = [f"{name} {one.variant!r} ({' '.join(filter(None, (one.reason, one.code)))})" for name, one in shown.items()]
    say(f"GET /checkout -> {page.status_code} in {elapsed_s * 1000:.0f} ms; {', '.join(told)}")
    return shown, elapsed_s


def _sales(vendor: SandboxServer) -> dict[str, Any]:
    """Return the purchase by vendor, without what says who and when."""
    hidden = {"vendor", "time", "system_uid", "session", "client", "project_uid", "domain_id"}
    return {
        sale["vendor"]: {name: value for name, value in sale.items() if name not in hidden}
        for sale in vendor.ledger()["conversions"]
        if sale["metric"] in ("purchase", "orderConfirmPage")
    }


def _wait(read: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    for _ in range(100):
        found = read()
        if good(found):
            break
        time.sleep(0.1)
    return found
