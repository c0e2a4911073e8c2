"""Read answers of the Delivery API: what was decided for each mbox, and the variants that come of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

from flagmw.codes import ErrorCode, Reason
from flagmw.exceptions import ProtocolError
from flagmw.types import Variant
from flagmw.vendors.adobe.request import PAGE_LOAD
from flagmw.vendors.common.json import blank, loads

VALUE_CHARS = 8 * 1024
WORD_CHARS = 256
IDS = 60
# More than any answer has; what is beyond them is left out.
BOXES, OPTIONS, ATTRIBUTES = 200, 400, 1_000
ID_CHARS = 1024
STATE_CHARS = 8 * 1024

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FLAG_TYPES = ("html", "json")


@dataclass(frozen=True, slots=True)
class Offer:
    """One option of an mbox: its content where that can be a flag's, and what the answer tells of it."""

    type: str
    content: Any
    tokens: Mapping[str, str]
    event_token: str | None = field(default=None, repr=False)

    @property
    def usable(self) -> bool:
        """Whether this can be a flag: markup or JSON, or an experience that leaves the page as it is."""
        return self.type in _FLAG_TYPES or (not self.type and self.content is None and bool(self.tokens))


@dataclass(frozen=True, slots=True)
class Box:
    """What an answer says of one mbox.

    Attributes:
        variant: what comes of it, where that was worked out before.
    """

    name: str
    offers: tuple[Offer, ...]
    state: str | None = field(default=None, repr=False)
    click_token: str | None = field(default=None, repr=False)
    analytics: Any = field(default=None, repr=False)
    trace: Any = field(default=None, repr=False)
    variant: Variant | ErrorCode | None = None

    @property
    def for_the_page(self) -> list[Offer]:
        """The offers that only the page can carry out."""
        return [one for one in self.offers if one.type and not one.usable]


def boxes(document: Mapping[str, Any], asked: Collection[str]) -> tuple[list[Box], int]:
    """Return the mboxes of an answer, prefetched ones first, and how many there are that nobody asked for."""
    found: list[Box] = []
    foreign = 0
    room = OPTIONS
    for section in (_dict(document.get("prefetch")), _dict(document.get("execute"))):
        named = [(item.get("name"), item) for item in dicts(section.get("mboxes"))]
        named = named[:BOXES]
        page = section.get("pageLoad")
        if isinstance(page, dict):
            named.append((PAGE_LOAD, page))
        for name, item in named:
            if isinstance(name, str) and name in asked:
                found.append(box(name, item, room))
                room -= len(found[-1].offers)
            else:
                foreign += 1
    return found, foreign


def box(name: str, item: Mapping[str, Any], most: int = OPTIONS) -> Box:
    """Return what *item*, one mbox of an answer or of the on-device rules, says of the mbox *name*.

    Args:
        most: how many of its options are taken.
    """
    clicks = (metric for metric in dicts(item.get("metrics")) if metric.get("type") == "click")
    return Box(
        name,
        tuple(_offer(option) for option in dicts(item.get("options"))[: max(0, most)]),
        _text(item.get("state"), STATE_CHARS),
        next((token for metric in clicks if (token := _text(metric.get("eventToken"), ID_CHARS))), None),
        _dict(item.get("analytics")).get("payload"),
        item.get("trace"),
    )


def _offer(option: Mapping[str, Any]) -> Offer:
    kind, content = option.get("type"), option.get("content")
    kind = kind if isinstance(kind, str) else ""
    if kind == "json" and isinstance(content, str):
        try:
            content = loads(content.encode("utf-8", "replace"))
        except ProtocolError:
            pass  # a JSON offer that is text after all
    if kind == "html":
        content = content.strip() if isinstance(content, str) else None
    tokens = dict(_tokens(_dict(option.get("responseTokens"))))
    return Offer(kind, content, tokens, _text(option.get("eventToken"), ID_CHARS))


def _tokens(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield response tokens as texts: the service writes ids as texts, on-device rules as numbers."""
    for name, value in list(raw.items())[:IDS]:
        values = value if isinstance(value, list) else [value]
        text = ",".join(str(one) for one in values if isinstance(one, str | int | float))
        if 0 < len(text) <= ID_CHARS and not _CONTROLS.search(text):
            yield name, text


def variant(found: Box, vendor: str) -> Variant | ErrorCode:
    """Return the variant of an mbox, or why there is none: `NOT_IN_TEST` where no activity takes the visitor.

    Its key is the experience's name, which an answer has only where the response token is switched on in Target;
    else the offer's name, the experience's id, or the content where that is but a word.
    """
    if not found.offers:
        return ErrorCode.NOT_IN_TEST
    offer = next((one for one in found.offers if one.usable), None)
    if offer is None:
        return ErrorCode.BAD_VARIANT
    names = (offer.tokens.get(token) for token in ("experience.name", "offer.name", "experience.id"))
    key = next(filter(None, names), None) or _word(offer.content)
    if key is None:
        return ErrorCode.BAD_VARIANT
    return _variant(found.name, key, offer.content, offer, found, vendor)


def attributes(found: Iterable[Box], vendor: str) -> tuple[dict[str, Variant], list[ErrorCode]]:
    """Return a variant for each key of the JSON offers, a later mbox's before an earlier one's, and what cannot be.

    That is how the vendor's own clients understand attributes (`getAttributes`).
    """
    variants: dict[str, Variant] = {}
    rejected: list[ErrorCode] = []
    for each in found:
        for offer in each.offers:
            if offer.type != "json" or not isinstance(offer.content, dict):
                continue
            for alias, value in islice(offer.content.items(), ATTRIBUTES):
                if len(variants) + len(rejected) >= ATTRIBUTES:
                    rejected.append(ErrorCode.TOO_MANY)
                    return variants, rejected
                key = _word(value, VALUE_CHARS)
                if not alias or len(alias) > 250 or _CONTROLS.search(alias):
                    rejected.append(ErrorCode.BAD_ALIAS)
                elif key is None:
                    rejected.append(ErrorCode.BAD_VARIANT)
                else:
                    variants[alias] = _variant(alias, key, value, offer, each, vendor)
    return variants, rejected


def _variant(alias: str, key: str, payload: Any, offer: Offer, found: Box, vendor: str) -> Variant:
    own = {"mbox": found.name, "event_token": offer.event_token, "click_token": found.click_token, "state": found.state}
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
        ids={**tokens, **{name: value for name, value in own.items() if value is not None}},
    )


def _word(value: Any, chars: int = WORD_CHARS) -> str | None:
    """Return *value* as the key of a variant, None if it is none: empty, too long, or more than one line."""
    if isinstance(value, str):
        text = value
    elif value is None:
        return None
    else:
        text = orjson.dumps(value).decode()
    return text if 0 < len(text) <= chars and not _CONTROLS.search(text) and not blank(text) else None


def _text(value: Any, chars: int) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= chars and not _CONTROLS.search(value) else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def dicts(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list of JSON; none of what is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
