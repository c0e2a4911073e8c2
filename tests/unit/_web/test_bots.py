"""Crawlers are told from people, as the package's own expressions tell them."""

from __future__ import annotations

import re

import crawleruseragents
import pytest

from flagmw._web.bots import is_crawler

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
        "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    ],
)
def test_crawlers(agent: str) -> None:
    assert is_crawler(agent)


@pytest.mark.parametrize(
    "agent", [CHROME, "", "ab", "curl/8.5.0", "python-httpx/0.28.1", "okhttp/4.12.0", f"{CHROME} HeadlessChrome/131.0"]
)
def test_people_and_their_programs(agent: str) -> None:
    """A browser, a script of one's own, a driven browser in an end-to-end test."""
    assert not is_crawler(agent)


def test_same_as_the_list_says() -> None:
    """For every sample in the list, and each with a browser's text before it."""
    kept = [
        e
        for e in crawleruseragents.CRAWLER_USER_AGENTS_DATA
        if not {"http-library", "browser-automation"} & {*e["tags"]}
    ]
    whole = re.compile("|".join(f"(?:{entry['pattern']})" for entry in kept))
    samples = [agent for entry in crawleruseragents.CRAWLER_USER_AGENTS_DATA for agent in entry["instances"][:3]]
    assert len(samples) > 1000
    for agent in samples:
        assert is_crawler(agent) == (whole.search(agent) is not None), agent
