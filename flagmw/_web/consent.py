"""Consent and bots: requests that may reach the vendors."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from flagmw._support import hooks
from flagmw._web.bots import is_crawler
from flagmw._web.inbound import USER_AGENT_CHARS
from flagmw.codes import ErrorCode
from flagmw.config.config import Config
from flagmw.types import Inbound


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
        answer = hooks.call("consent", config.consent, inbound, config.deadline_ms / 1000)
        if answer is None or isinstance(answer, bool):
            return Consent.FULL if answer else Consent.NONE
        # Another true value is no consent.
        return _CONSENTS[answer]
    except Exception as error:
        failed(error)
        return Consent.NONE


async def answer(inbound: Inbound, config: Config, to_thread: Callable[[hooks.Hook], Any] | None = None) -> None:
    """Ask the site's functions of the request on the running loop, as far as their answers will be needed.

    Args:
        to_thread: makes an async function of a plain one that may block.
    """
    wait_s = config.deadline_ms / 1000
    if config.consent is not None:
        said = await hooks.answer("consent", config.consent, inbound, wait_s, to_thread)
        if said in (None, False, "none"):
            return
    if not isinstance(config.bots, bool) and await hooks.answer("bots", config.bots, inbound, wait_s, to_thread):
        return
    if config.identify is not None:
        await hooks.answer("identify", config.identify, inbound, wait_s, to_thread)


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
            if hooks.call("bots", config.bots, inbound, config.deadline_ms / 1000):
                return ErrorCode.BOT
        except Exception as error:
            failed(error)
    # Sec-Purpose (Fetch, section 3.8) is "prefetch", with parameters for a page that is rendered ahead.
    purpose = inbound.header("sec-purpose") or inbound.header("purpose")
    return ErrorCode.PREFETCH if purpose is not None and purpose.lstrip()[:8].lower() == "prefetch" else None
