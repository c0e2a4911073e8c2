"""Who is let through to the vendors."""

from __future__ import annotations

from typing import Any

import pytest

from flagmw._web.consent import Consent, consent, nobody
from flagmw.codes import ErrorCode
from flagmw.config import Config
from flagmw.exceptions import ConfigError
from tests.contracts.edges.driver import BROWSER

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


class Asks:
    """A request with nothing but headers."""

    method, scheme, path, raw_path, query, peer = "GET", "https", "/", "/", "", None

    def __init__(self, **headers: str) -> None:
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def headers(self, name: str) -> list[str]:
        return [self._headers[name]] if name in self._headers else []

    def header(self, name: str) -> str | None:
        return self._headers.get(name)


def said(answer: Any) -> tuple[Consent, list[type[Exception]]]:
    errors: list[type[Exception]] = []

    def ask(inbound: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    found = consent(Asks(), Config(consent=ask), lambda error: errors.append(type(error)))
    return found, errors


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (True, Consent.FULL),
        (False, Consent.NONE),
        (None, Consent.NONE),
        ("full", Consent.FULL),
        ("functional", Consent.FUNCTIONAL),
        ("none", Consent.NONE),
    ],
)
def test_consent(answer: Any, level: Consent) -> None:
    """What the application says counts."""
    assert said(answer) == (level, [])


@pytest.mark.parametrize("answer", ["", "FULL", "yes", 1, 2.5, ["full"], object(), KeyError("x"), OSError()])
def test_anything_else_is_no_consent(answer: Any) -> None:
    """An exception, an unknown word, or something that is merely true means none, and is told."""
    level, errors = said(answer)
    assert level is Consent.NONE
    assert len(errors) == 1


async def never(inbound: Any) -> Any:
    raise AssertionError


@pytest.mark.parametrize("option", ["on_decision", "on_event"])
def test_coroutine_functions_are_refused_at_the_start(option: str) -> None:
    """They are called without being awaited, so what they say would never be heard."""
    with pytest.raises(ConfigError, match=f"{option} must be .*not async"):
        Config(**{option: never})


def test_consent_is_not_asked_for_without_a_gate() -> None:
    """A site that needs no consent has all of it."""
    assert consent(Asks(), Config(), lambda error: None) is Consent.FULL


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"user_agent": BROWSER}, None),
        ({}, None),
        ({"user_agent": ""}, None),
        ({"user_agent": GOOGLEBOT}, ErrorCode.BOT),
        ({"user_agent": "facebookexternalhit/1.1"}, ErrorCode.BOT),
        ({"user_agent": "curl/8.5.0"}, None),
        ({"user_agent": "x" * 100_000 + GOOGLEBOT}, None),
        ({"sec_purpose": "prefetch"}, ErrorCode.PREFETCH),
        ({"sec_purpose": "prefetch;prerender"}, ErrorCode.PREFETCH),
        ({"sec_purpose": "  Prefetch"}, ErrorCode.PREFETCH),
        ({"purpose": "prefetch"}, ErrorCode.PREFETCH),
        ({"sec_purpose": "other"}, None),
        ({"sec_purpose": ""}, None),
        ({"user_agent": GOOGLEBOT, "sec_purpose": "prefetch"}, ErrorCode.BOT),
    ],
)
def test_nobody(headers: dict[str, str], code: ErrorCode | None) -> None:
    """Known crawlers, and pages that are fetched before anybody asked for them."""
    assert nobody(Asks(**headers), Config(), lambda error: None) is code
    assert nobody(Asks(**headers), Config(bots=False), lambda error: None) is None


def test_a_function_says_who_is_a_bot() -> None:
    """It is asked instead of the list; where it fails nobody is, which is told."""
    errors: list[Exception] = []

    def by_header(inbound: Any) -> bool:
        return bool(inbound.headers("x-bot")[0])

    assert nobody(Asks(x_bot="1"), Config(bots=by_header), errors.append) is ErrorCode.BOT
    assert nobody(Asks(user_agent=GOOGLEBOT, x_bot=""), Config(bots=by_header), errors.append) is None
    assert errors == []
    assert nobody(Asks(), Config(bots=by_header), errors.append) is None
    assert [type(error) for error in errors] == [IndexError]


def test_answers_that_have_to_be_awaited() -> None:
    """The result counts, not that a coroutine is true."""
    errors: list[Exception] = []

    async def says_no(inbound: Any) -> bool:
        return False

    assert nobody(Asks(), Config(bots=says_no), errors.append) is None
    assert consent(Asks(), Config(consent=says_no), errors.append) is Consent.NONE
    assert errors == []
