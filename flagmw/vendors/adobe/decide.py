"""Decisions from the mboxes of an answer or of the on-device rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import orjson

from flagmw.codes import ErrorCode, Reason
from flagmw.types import CookieChange, Decision, Variant
from flagmw.vendors.adobe.cookies import bare
from flagmw.vendors.adobe.options import Options
from flagmw.vendors.adobe.response import CONTROLS, Answer, AnsweredMbox, AnsweredOffer, asked_mboxes
from flagmw.vendors.common.json import blank

VALUE_CHARS = 8 * 1024
WORD_CHARS = 256
ATTRIBUTES = 1_000
REJECTED_MAX = 100
HINT_BYTES = 4 * 1024
LOG_CHARS = 64 * 1024


class DecisionBuilder:
    """Builds decisions by the options of one account."""

    def __init__(self, options: Options) -> None:
        self._vendor, self._asked, self._by_attributes = options.name, options.asked, options.aliases == "attributes"

    def build(self, answer: Answer, cookies: tuple[CookieChange, ...]) -> Decision:
        """Return the decision of *answer*; it sets *cookies* unless it failed."""
        if answer.fault is not None:
            return Decision(
                vendor=self._vendor,
                error=answer.fault,
                trips=not answer.request_refused,
                retry_after_s=answer.retry_after_s,
                advice=_ADVICE.get(answer.fault) if answer.request_refused else None,
            )
        mboxes, foreign = asked_mboxes(answer.document, self._asked)
        if not mboxes:
            # Target returns every mbox that it was asked for, with no options where no activity takes the visitor.
            return Decision(
                vendor=self._vendor,
                error=ErrorCode.SHAPE,
                trips=True,
                rejected=tuple([ErrorCode.BAD_ALIAS] * min(foreign, REJECTED_MAX)),
            )
        return self.build_from(mboxes, cookies, rejected=[ErrorCode.BAD_ALIAS] * foreign)

    def build_from(
        self, mboxes: Sequence[AnsweredMbox], cookies: tuple[CookieChange, ...], *, rejected: Sequence[ErrorCode] = ()
    ) -> Decision:
        """Return the decision of *mboxes*."""
        codes = list(rejected)
        misses: dict[str, ErrorCode] = {}
        if self._by_attributes:
            variants, refused = attribute_variants(mboxes, self._vendor)
            codes += refused
        else:
            variants = {}
            misses = dict.fromkeys(self._asked, ErrorCode.NOT_IN_TEST)
            for mbox in mboxes:
                variant = mbox.variant or variant_of(mbox, self._vendor)
                if isinstance(variant, Variant):
                    variants[mbox.name] = variant
                else:
                    misses[mbox.name] = variant
                    if variant is ErrorCode.BAD_VARIANT:
                        codes.append(variant)
            misses = {name: code for name, code in misses.items() if name not in variants}
        notice = None
        if not variants:
            notice = ErrorCode.BAD_VARIANT if ErrorCode.BAD_VARIANT in codes else ErrorCode.NOT_IN_TEST
        return Decision(
            vendor=self._vendor,
            variants=variants,
            misses=misses,
            cookies=cookies,
            notice=notice,
            rejected=tuple(codes),
            advice=None if notice is None else _ADVICE[notice],
            log=_log(mboxes),
            hints=_hints(mboxes),
        )


def is_others(answer: Answer, sent: str | None, *, merges: bool) -> bool:
    """Say whether *answer* may belong to another visitor: it names another device than was sent, and not the request.

    An answer that names the request gives a new id to a visitor whose id Target has forgotten.

    Args:
        merges: an id besides the device's was sent, for which Target may join two profiles under one device.
    """
    device = answer.device
    return not merges and not answer.echoed and sent is not None and device is not None and bare(device) != bare(sent)


def variant_of(mbox: AnsweredMbox, vendor: str) -> Variant | ErrorCode:
    """Return the variant of an mbox, or why there is none: `NOT_IN_TEST` if no activity takes the visitor.

    Its key is the experience's name, which an answer has only if the response token is on in Target. Otherwise the key
    is the offer's name, the experience's id, or the content if that is one word.
    """
    if not mbox.offers:
        return ErrorCode.NOT_IN_TEST
    offer = next((offer for offer in mbox.offers if offer.usable), None)
    if offer is None:
        return ErrorCode.BAD_VARIANT
    names = (offer.tokens.get(token) for token in ("experience.name", "offer.name", "experience.id"))
    key = next(filter(None, names), None) or _as_key(offer.content)
    if key is None:
        return ErrorCode.BAD_VARIANT
    return _variant(mbox.name, key, offer.content, offer, mbox, vendor)


def attribute_variants(mboxes: Iterable[AnsweredMbox], vendor: str) -> tuple[dict[str, Variant], list[ErrorCode]]:
    """Return a variant for each key of the JSON offers, and why keys are left out. A later mbox wins.

    The vendor's own clients read attributes in the same way (`getAttributes`).
    """
    variants: dict[str, Variant] = {}
    rejected: list[ErrorCode] = []
    for mbox in mboxes:
        for offer in mbox.offers:
            if offer.type != "json" or not isinstance(offer.content, dict):
                continue
            for alias, value in islice(offer.content.items(), ATTRIBUTES):
                if len(variants) + len(rejected) >= ATTRIBUTES:
                    rejected.append(ErrorCode.TOO_MANY)
                    return variants, rejected
                key = _as_key(value, VALUE_CHARS)
                if not alias or len(alias) > 250 or CONTROLS.search(alias):
                    rejected.append(ErrorCode.BAD_ALIAS)
                elif key is None:
                    rejected.append(ErrorCode.BAD_VARIANT)
                else:
                    variants[alias] = _variant(alias, key, value, offer, mbox, vendor)
    return variants, rejected


def _variant(alias: str, key: str, payload: Any, offer: AnsweredOffer, mbox: AnsweredMbox, vendor: str) -> Variant:
    extra = {"mbox": mbox.name, "event_token": offer.event_token, "click_token": mbox.click_token, "state": mbox.state}
    tokens = offer.tokens
    return Variant(
        alias=alias,
        key=key,
        payload=payload,
        vendor=vendor,
        reason=Reason.TARGETING_MATCH if tokens.get("activity.type", "").lower() == "xt" else Reason.SPLIT,
        name=tokens.get("activity.name"),
        experiment_id=tokens.get("experience.id"),
        test_id=tokens.get("activity.id"),
        ids={**tokens, **{name: value for name, value in extra.items() if value is not None}},
    )


def _as_key(value: Any, chars: int = WORD_CHARS) -> str | None:
    """Return *value* as the key of a variant; None if it is empty, too long, or more than one line."""
    if isinstance(value, str):
        text = value
    elif value is None:
        return None
    else:
        text = orjson.dumps(value).decode()
    return text if 0 < len(text) <= chars and not CONTROLS.search(text) and not blank(text) else None


def _hints(mboxes: Iterable[AnsweredMbox]) -> dict[str, Any]:
    """Return what only the page can carry out: redirects, visual changes, and data for Analytics."""
    by_mbox: dict[str, Any] = {}
    for mbox in mboxes:
        offers = [{"type": offer.type, "content": offer.content} for offer in mbox.for_the_page]
        if not offers and not mbox.analytics:
            continue
        parts = {"offers": offers, "analytics": mbox.analytics}
        small = {name: value for name, value in parts.items() if value and len(orjson.dumps(value)) <= HINT_BYTES}
        if small:
            by_mbox[mbox.name] = small
    return {"bootstrap": by_mbox} if by_mbox else {}


def _log(mboxes: Iterable[AnsweredMbox]) -> str | None:
    traces = {mbox.name: mbox.trace for mbox in mboxes if mbox.trace is not None}
    return orjson.dumps(traces).decode()[:LOG_CHARS] if traces else None


_ADVICE: dict[ErrorCode, str] = {
    ErrorCode.VENDOR_400: "Target refuses the request: compare client, property_token and params with the account",
    ErrorCode.UNAUTHORIZED: "the server at base_url refuses us: compare base_url and client with the account",
    ErrorCode.HTTP_STATUS: "the server at base_url refuses the request: compare base_url and client with the account",
    ErrorCode.RATE_LIMITED: "too many requests of one session at once: leave paths without flags out with exclude=",
    ErrorCode.NOT_IN_TEST: (
        "no activity matched: compare mboxes and property_token with the activities; a property that is missing or "
        "another one's is answered like this too"
    ),
    ErrorCode.BAD_VARIANT: (
        "no offer can be a flag: use JSON or HTML offers, and switch the response token experience.name on in Target"
    ),
}
