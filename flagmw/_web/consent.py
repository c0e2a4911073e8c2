"""Consent and bots: requests that may reach the vendors."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from flagmw._web.bots import is_crawler
from flagmw._web.inbound import USER_AGENT_CHARS, Inbound
from flagmw.codes import ErrorCode
from flagmw.config.config import Config


class Consent(IntEnum):
    """The visitor's consent.

    NONE: no vendor is asked, nothing is set and nothing is reported.
    FUNCTIONAL: flags are decided and cookies set; nothing is counted or reported.
    FULL: everything.
    """

    NONE = 0
    FUNCTIONAL = 1
    FULL = 2


_CONSENTS = {"none": Consent.NONE, "functional": Consent.FUNCTIONAL, "full": Consent.FULL}


def consent(inbound: Inbound, config: Config, failed: Callable[[Exception], None]) -> Consent:
    """Return the result of the application's `consent`; NONE if it raises or returns anything else.

    Args:
        failed: called with the exception.
    """
    if config.consent is None:
        return Consent.FULL
    try:
        answer = config.consent(inbound)
        if answer is None or isinstance(answer, bool):
            return Consent.FULL if answer else Consent.NONE
        # Another true value is no consent: a coroutine that is never awaited is true, too.
        return _CONSENTS[answer]
    except Exception as error:
        failed(error)
        return Consent.NONE


def nobody(inbound: Inbound, config: Config, failed: Callable[[Exception], None]) -> ErrorCode | None:
    """Return why no vendor may be asked about this request: a crawler, or a page that the browser prefetches."""
    if config.bots is False:
        return None
    if config.bots is True:
        agent = inbound.header("user-agent")
        if agent and is_crawler(agent if len(agent) <= USER_AGENT_CHARS else agent[:USER_AGENT_CHARS]):
            return ErrorCode.BOT
    else:
        try:
            answer = config.bots(inbound)
            if hasattr(answer, "__await__"):
                raise TypeError("bots must not be async")
            if answer:
                return ErrorCode.BOT
        except Exception as error:
            failed(error)
    # Sec-Purpose (Fetch, section 3.8) is "prefetch", with parameters for a page that is rendered ahead.
    purpose = inbound.header("sec-purpose") or inbound.header("purpose")
    return ErrorCode.PREFETCH if purpose is not None and purpose.lstrip()[:8].lower() == "prefetch" else None
