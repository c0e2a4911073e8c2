"""Data for client-side bootstrapping and for Contentstack's CMS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

# In a <script> element text ends at "</script", whatever stands around it; "<!--" and "&" are read in other places, and
# the two separators end a line of JavaScript before ES2019 (HTML standard, "Restrictions for contents of script
# elements").
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}

Hints = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ContentstackHints:
    """What Contentstack's CMS takes to deliver the entries of the visitor's variants.

    Attributes:
        variant_param: value of the query parameter `personalize_variants`, such as `b_0,c_1`; empty for none.
        variant_aliases: the same as the delivery API's header `x-cs-variant-uid` takes it, joined by commas.
    """

    variant_param: str = ""
    variant_aliases: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.variant_param)


def contentstack(hints: Hints) -> ContentstackHints:
    """Return the data of the first vendor among *hints* that has any for Contentstack's CMS."""
    for vendor_hints in hints.values():
        if "variant_param" in vendor_hints:
            return ContentstackHints(vendor_hints["variant_param"], tuple(vendor_hints.get("variant_aliases", ())))
    return ContentstackHints()


def bootstrap(hints: Hints, vendor: str | None) -> str:
    """Return the bootstrap of *vendor* as JSON, `null` where it has none; for None those of all vendors by name.

    The text can stand in HTML inside `<script type="application/json">`.
    """
    bootstraps = {name: data["bootstrap"] for name, data in hints.items() if "bootstrap" in data}
    try:
        text = orjson.dumps(bootstraps if vendor is None else bootstraps.get(vendor)).decode()
    except TypeError:  # a vendor written elsewhere gave what JSON cannot carry
        return "{}" if vendor is None else "null"
    return text.translate(_ESCAPES)
