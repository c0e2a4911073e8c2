"""What the shops here share: which vendors they ask, what they show of each, and what is sold.

The environment variable `VENDORS` names the vendors, such as `VENDORS=webtrends,adobe` or `VENDORS=all`; Webtrends
alone where it is not set. Their options are in `shop.toml`, and come from `FLAGMW_VENDORS__<NAME>__...` where these are
set.
"""

from __future__ import annotations

import os
import sys
import tomllib
import uuid
from html import escape
from pathlib import Path

from flagmw import Flagmw, Flags

FILE = Path(__file__).parent / "shop.toml"

# The test of the checkout page at each vendor, by what `VENDORS` calls it: the vendor's name in shop.toml, the alias.
CHECKOUT = {
    "webtrends": ("wt", "ta_Project1"),
    "adobe": ("adobe", "ta_Checkout"),
    "monetate": ("monetate", "Checkout_Content"),
    "contentstack": ("contentstack", "cs_Checkout"),
}
ITEMS = [{"sku": "tea-1", "id": "tea-1", "quantity": 2, "price": 24.95, "currency": "GBP"}]


def chosen() -> tuple[str, ...]:
    """Return the vendors that `VENDORS` names, in their order."""
    named = [name.strip() for name in os.environ.get("VENDORS", "").split(",") if name.strip()] or ["webtrends"]
    if named == ["all"]:
        return tuple(CHECKOUT)
    unknown = [name for name in named if name not in CHECKOUT]
    if unknown:
        sys.exit(f"VENDORS={unknown[0]}: there are {', '.join(CHECKOUT)} and all")
    return tuple(dict.fromkeys(named))


def flagmw(**more: object) -> Flagmw:
    """Return the shop's `Flagmw`, with the vendors that are chosen and *more* options."""
    options = tomllib.loads(FILE.read_text("utf-8"))
    tables = {table["name"]: table for table in options["vendors"]}
    return Flagmw.from_mapping({**options, **more, "vendors": [tables[CHECKOUT[name][0]] for name in chosen()]})


def variants(flags: Flags) -> str:
    """Return what each vendor has for the checkout page, as a list in HTML."""
    rows = []
    for name in chosen():
        variant = flags.variant(CHECKOUT[name][1])
        rows.append(
            f'<li data-vendor="{name}" data-reason="{variant.reason}" data-code="{variant.error_code or ""}">'
            f"{escape(variant.key)}</li>"
        )
    return f'<ul id="vendors">{"".join(rows)}</ul>'


def buy(flags: Flags) -> str | None:
    """Report a purchase to all vendors; return the track's id."""
    return flags.track(
        "purchase",
        aliases=[CHECKOUT[name][1] for name in chosen()],
        data={"revenue": 49.9, "units": 2},
        key=f"o-{uuid.uuid4().hex[:12]}",
        value=49.9,
        currency="GBP",
        items=ITEMS,
    )
