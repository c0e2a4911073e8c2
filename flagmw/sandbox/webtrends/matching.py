"""Match of locations and URLs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from flagmw.sandbox.segments import VisitFacts, has_data
from flagmw.sandbox.webtrends.model import ModelLocation

_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?([^/?#]*)(.*)", re.S)


def located(locations: Iterable[ModelLocation], facts: VisitFacts) -> bool:
    """True when any location matches; no locations match everything."""
    locations = tuple(locations)
    return not locations or any(_at(location, facts) for location in locations)


def _at(location: ModelLocation, facts: VisitFacts) -> bool:
    if not has_data(facts.data, location.data):
        return False
    if location.match == "regex":
        return re.search(location.url, facts.url) is not None
    wanted, actual = _without_scheme(location.url), _without_scheme(facts.url)
    if location.match == "prefix":
        return actual.startswith(wanted)
    # Undocumented whether queries count for an exact match; they do only when the location has one.
    return wanted == (actual if "?" in wanted else re.split(r"[?#]", actual, maxsplit=1)[0])


def _without_scheme(url: str) -> str:
    """Drop the scheme and lower the host's case: a location may be written with or without a scheme."""
    match = _URL.fullmatch(url)
    assert match is not None  # the pattern matches every text
    return match[1].lower() + match[2]
