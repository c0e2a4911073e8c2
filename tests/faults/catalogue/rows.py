"""What the tables of the catalogue share: the account, its cookies, parts of answers, the page that is asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flagmw.types import Variant
from tests.contracts.edges.driver import DOMAIN, Answer, Seen

USER, MODE = f"_wt.user-{DOMAIN}", f"_wt.mode-{DOMAIN}"
DAY_S = 86_400
DAYS_90_MS = 90 * DAY_S * 1000

Counted = Mapping[tuple[str, str, str], int]


def control(alias: str) -> str:
    """Return the name of *alias*'s control cookie."""
    return f"_wt.control-{DOMAIN}-{alias}"


def persisted(value: str, timeout: Any = DAYS_90_MS) -> dict[str, Any]:
    """Return a cookie as the vendor describes one."""
    return {"value": value, "type": "persisted", "timeout": timeout}


def decided(alias: Any = "ta_A", value: Any = "b", *, cookies: Any = None, **params: Any) -> dict[str, Any]:
    """Return one element that decides *alias*; without a domain, so that its cookies are host-only."""
    body: dict[str, Any] = {"factors": [{"name": "f", "operation": 3, "value": value}]}
    if cookies is not None:
        body["cookies"] = cookies
    return {"opcode": "process", "opstatus": "success", "body": body, "params": {"testAlias": alias, **params}}


def refused(code: Any, alias: str | None = None, *, cookies: Any = None) -> dict[str, Any]:
    """Return one element that holds an error."""
    body = {"message": {"errorCode": code, "errorMessage": "no"}, "cookies": cookies or {}}
    return {"opstatus": "success", "body": body, "params": {} if alias is None else {"testAlias": alias}}


def page(aliases: Iterable[str]) -> Any:
    """Return a view that shows *aliases*, each as "key reason code", and converts."""

    def view(seen: Seen) -> Answer:
        shown = {alias: _told(seen.flags.variant(alias)) for alias in aliases}
        seen.flags.track("purchase")
        return Answer(json.dumps(shown).encode())

    return view


def _told(variant: Variant) -> str:
    return f"{variant.key} {variant.reason} {variant.error_code or '-'}"


def without_deliveries(counts: Counted) -> dict[tuple[str, str, str], int]:
    """Return what the request itself made count; deliveries come when they come."""
    return {
        label: n for label, n in counts.items() if not label[0].startswith("delivery_") and label[0] != "commit_late"
    }


def eventually(holds: Callable[[], bool], within_s: float = 15.0) -> bool:
    """Wait until *holds* does; return whether it came to that."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
