"""Admission of a request: consent, bots, and a tester's override."""

from __future__ import annotations

from dataclasses import dataclass
from logging import WARNING

from flagmw._cookies.own import ASKED, RULE
from flagmw._exchange.context import Context
from flagmw._exchange.visitor import RequestVisitor
from flagmw._support.link_token import OVERRIDE
from flagmw._web import consent as consent_gate
from flagmw._web import link_page
from flagmw._web import overrides as override_tokens
from flagmw._web.consent import Consent
from flagmw._web.overrides import Override
from flagmw.codes import ErrorCode
from flagmw.types import Inbound


@dataclass(frozen=True, slots=True)
class Admission:
    """The outcome, besides the visitor's own attributes.

    Attributes:
        override_ended: whether a tester has just switched the override off.
        asks: whether vendors may be asked; not while a page about an override's link is shown.
        page: sent in place of the application's response; None for all but an override's link.
    """

    override_ended: bool = False
    asks: bool = True
    page: link_page.Page | None = None


# The outcome for nearly all requests, made once.
ADMITTED = Admission()


def admit(context: Context, visitor: RequestVisitor) -> Admission:
    """Check consent, bots and overrides; set the visitor's `consent`, `kept_from` and `override`."""
    config, inbound = context.config, visitor.inbound
    assert inbound is not None
    if config.consent is not None:
        failures: list[Exception] = []
        visitor.consent = consent_gate.consent(inbound, config, failures.append)
        if visitor.consent is Consent.NONE:
            visitor.kept_from = ErrorCode.NO_CONSENT
            for failure in failures:
                context.gate_failed("consent", failure)
            # A failure is no withdrawal of consent.
            if not failures and not config.keep_cookies:
                visitor.delete_cookies()
            return ADMITTED
    if config.bots is not False:
        visitor.kept_from = consent_gate.nobody(inbound, config, context.bots_failed)
        if visitor.kept_from is ErrorCode.BOT:
            return ADMITTED
    if config.overrides:
        return _read_override(context, visitor, inbound)
    return ADMITTED


def _read_override(context: Context, visitor: RequestVisitor, inbound: Inbound) -> Admission:
    config, cookie = context.config, visitor.own_cookie(OVERRIDE)
    token, by_link = override_tokens.sent(inbound.query, inbound.header(override_tokens.HEADER), cookie)
    if token is None:
        return ADMITTED
    if token == override_tokens.OFF:
        if cookie is None:
            return ADMITTED
        visitor.add_own_line(visitor.own_line(OVERRIDE, "", 0))
        return Admission(override_ended=True)
    override = override_tokens.read(token, config.signing_keys, visitor.host, visitor.now, unsigned=config.debug)
    if isinstance(override, ErrorCode):
        context.counts.add("override_rejected", "", override)
        context.throttle.log(WARNING, override, "an override was not accepted")
        return ADMITTED
    visitor.override = override
    # An unsigned override may have characters that a cookie cannot hold; then it is for this page only.
    if by_link and RULE.value_ok(token):
        return _open_link(visitor, inbound, token, override)
    return ADMITTED


def _open_link(visitor: RequestVisitor, inbound: Inbound, token: str, override: Override) -> Admission:
    """Set the override cookie once the visitor has confirmed the link; until then it is for this request only."""
    line = visitor.own_line(OVERRIDE, token, int(override.until - visitor.now))
    if not override.signed:
        visitor.add_own_line(line)
        return ADMITTED
    if visitor.kept_from is not None or not link_page.is_opened(inbound):
        return ADMITTED
    asked = visitor.own_cookie(ASKED)
    if visitor.own_cookie(OVERRIDE) == token:
        page = link_page.redirect(inbound)
    elif link_page.said_yes(inbound, token, asked):
        visitor.own_lines += (line, visitor.own_line(ASKED, "", 0))
        page = link_page.redirect(inbound)
    else:
        nonce = link_page.nonce_of(asked)
        visitor.add_own_line(visitor.own_line(ASKED, nonce, link_page.ASKED_S))
        page = link_page.question(inbound, token, override, visitor.host, nonce)
    return Admission(asks=False, page=page)
