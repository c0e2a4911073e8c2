"""Bot detection by user agent.

Its 1,500 patterns as one expression cost a millisecond per new user agent. Nearly all are plain texts, so they are
looked up by their first three characters instead; the few real expressions are tried one after the other.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

_START = 3
# Programs of people's own (curl, a mobile app's library) and driven browsers (end-to-end tests) are no crawlers.
_PEOPLES_OWN = frozenset({"http-library", "browser-automation"})
_PLAIN = re.compile(r"(?:[^\\\[\](){}.*+?^$|]|\\[^A-Za-z0-9])+")


@lru_cache(1024)
def is_crawler(user_agent: str) -> bool:
    """Say whether *user_agent* is that of a known crawler, monitor or preview bot."""
    starts, patterns = _table()
    for at in range(len(user_agent) - _START + 1):
        for text in starts.get(user_agent[at : at + _START], ()):
            if user_agent.startswith(text, at):
                return True
    return patterns.search(user_agent) is not None


@cache
def _table() -> tuple[dict[str, tuple[str, ...]], re.Pattern[str]]:
    """Return the plain texts by how they start, and all other patterns as one."""
    import crawleruseragents

    starts: dict[str, tuple[str, ...]] = {}
    others: list[str] = []
    for entry in crawleruseragents.CRAWLER_USER_AGENTS_DATA:
        pattern = entry["pattern"]
        if not _PEOPLES_OWN.isdisjoint(entry.get("tags", ())):
            continue
        text = re.sub(r"\\(.)", r"\1", pattern) if _PLAIN.fullmatch(pattern) else ""
        if len(text) >= _START:
            starts[text[:_START]] = (*starts.get(text[:_START], ()), text)
        else:
            others.append(f"(?:{pattern})")
    return starts, re.compile("|".join(others) or r"(?!)")


def prepare() -> None:
    """Read the list, which takes some 50 ms, so that no visitor waits for it."""
    _table()
