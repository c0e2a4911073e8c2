"""Names and rule of flagmw's own cookies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from flagmw._cookies.rule import CookieRule
from flagmw._support.link_token import OVERRIDE
from flagmw._support.tokens import MAX_CHARS, Purpose

DECISION, VISITOR = "flagmw", "flagmw_visitor"
# Binds the question whether an override's link is to be kept to the browser that was asked.
ASKED = f"{OVERRIDE}_asked"
# What the signed ones are signed for.
PURPOSES: Mapping[str, Purpose] = MappingProxyType({DECISION: "decision", OVERRIDE: "override", VISITOR: "visitor"})
_OWN = frozenset({DECISION, OVERRIDE, ASKED, VISITOR})
RULE = CookieRule(
    prefixes=(DECISION,),
    reads=_OWN.__contains__,
    writes=_OWN.__contains__,
    value_ok=lambda value: re.fullmatch(r"[A-Za-z0-9._~:,=-]+", value) is not None,
    max_bytes=MAX_CHARS,
    http_only=True,
)
