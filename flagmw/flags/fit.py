"""Details of tracks and identities, made fit to be sent.

`flags.track` checks and refuses. This module is asked after a refusal: it keeps the track or the identity, changes
what cannot be sent as it is, and lists the changes.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from flagmw._support.ids import uuid7
from flagmw._support.list_text import ListText
from flagmw.codes import ErrorCode
from flagmw.flags import track as checks
from flagmw.flags.fit_value import Changes, as_text, cleaned, fit_id, fit_scalar, fit_text, id_text
from flagmw.types import EMPTY, Scalar, Track, Visit

Holder = TypeVar("Holder", Track, Visit)
Line: TypeAlias = Mapping[str, Scalar]

# How many entries of the caller's are looked at: what is beyond can be an endless generator.
ENTRIES_MAX = 10_000
NAME_CHARS = 250
_CURRENCY = re.compile(r"[A-Za-z]{3}")
# A number as a form or a database writes it; no "nan", no "_" between digits.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def fit_track(
    metric: Any,
    changes: Changes,
    *,
    data: Any,
    aliases: Any,
    vendors: Any,
    key: Any,
    value: Any,
    currency: Any,
    items: Any,
    now: float,
) -> Track:
    """Return the track with its details made fit; add to *changes* what was changed.

    `items` may have more lines than can be sent; `fit_items` shortens them as the vendor takes it.

    Raises:
        ValueError: there is no metric.
    """
    return Track(
        id=uuid7(now),
        metric=_metric(metric, changes),
        data=fit_data("data", data, changes),
        aliases=_names("aliases", aliases, changes),
        vendors=_names("vendors", vendors, changes),
        key=fit_id("key", key, checks.ORDER_KEY_CHARS, changes),
        value=_value(value, changes),
        currency=_currency(currency, changes),
        items=_items(items, changes),
        occurred_at=now,
    )


def fit_data(field: str, data: Any, changes: Changes) -> Mapping[str, Scalar]:
    """Return *data* with names and values that can be sent: the first 50 of them, up to 8 KiB."""
    if data is None:
        return EMPTY
    if not isinstance(data, Mapping):
        changes.note(ErrorCode.DETAIL_DROPPED, field)
        return EMPTY
    fit: dict[str, Scalar] = {}
    size = 0
    for given_name, given in _tried(lambda: islice(data.items(), ENTRIES_MAX), changes, field):
        if given is None:
            continue
        name = _name(field, given_name, changes)
        value = None if name is None or name in fit else fit_scalar(field, given, changes)
        if name is None or value is None:
            if name in fit:
                changes.note(ErrorCode.DETAIL_DROPPED, field)
            continue
        length = len(name.encode()) + len(str(value).encode())
        if len(fit) == checks.DATA_KEYS or size + length > checks.DATA_BYTES:
            changes.note(ErrorCode.DETAIL_DROPPED, field)
            continue
        fit[name] = value
        size += length
    return fit


def fit_items(
    track: Track, sum_up: Callable[[Sequence[Line], str | None], Line | None] | None, changes: Changes
) -> Track:
    """Return *track* with no more lines than can be sent.

    Args:
        sum_up: the vendor's function that makes one line of many, and returns None where that cannot be; None for a
            vendor that has no such line.
    """
    if len(track.items) <= checks.ITEMS:
        return track
    kept, rest = track.items[: checks.ITEMS - 1], track.items[checks.ITEMS - 1 :]
    last = None if sum_up is None else sum_up(rest, track.currency)
    changes.note(ErrorCode.ITEMS_CUT if last is None else ErrorCode.ITEMS_SUMMED, "items")
    return replace(track, items=(*kept, rest[0] if last is None else last))


def spelled(holder: Holder, spell: Callable[[str, Sequence[str]], Mapping[str, Scalar]]) -> Holder:
    """Return *holder*, a track or a visit, with lists in its data as *spell* writes them."""
    if not any(type(value) is ListText for value in holder.data.values()):
        return holder
    data: dict[str, Scalar] = {}
    for name, value in holder.data.items():
        data.update(spell(name, value.parts) if isinstance(value, ListText) else {name: value})
    return replace(holder, data=data)


def _metric(value: Any, changes: Changes) -> str:
    try:
        return checks.checked_text("metric", value, checks.METRIC_CHARS)
    except ValueError:
        text = id_text(value) if isinstance(value, str | int | enum.Enum) else None
        text = text and fit_text("metric", text, checks.METRIC_CHARS, changes)
        if not text:
            raise
        return text


def _name(field: str, name: Any, changes: Changes) -> str | None:
    """Return the name of an entry of *field*, None where there is none."""
    text = name if isinstance(name, str) else id_text(name)
    if not text:
        changes.note(ErrorCode.DETAIL_DROPPED, field)
        return None
    if type(name) is not str and not isinstance(name, str):
        changes.note(ErrorCode.DETAIL_CONVERTED, field)
    return fit_text(field, str.__str__(text), checks.KEY_CHARS, changes) or None


def _value(value: Any, changes: Changes) -> float | None:
    if value is None:
        return None
    try:
        return checks.checked_number("value", value)
    except ValueError:
        pass
    text = as_text(value) if isinstance(value, str | enum.Enum) else None
    if text is not None and len(text) <= 64 and _NUMBER.fullmatch(text.strip()):
        number = float(text)
        if number - number == 0:
            changes.note(ErrorCode.VALUE_CONVERTED, "value")
            return number
    changes.note(ErrorCode.VALUE_DROPPED, "value")
    return None


def _currency(value: Any, changes: Changes) -> str | None:
    if value is None:
        return None
    text = as_text(value) if isinstance(value, str | enum.Enum) else None
    text = (text or "").strip()
    if not _CURRENCY.fullmatch(text):
        changes.note(ErrorCode.CURRENCY_DROPPED, "currency")
        return None
    if text != value or type(value) is not str or not text.isupper():
        changes.note(ErrorCode.CURRENCY_CASE, "currency")
    return text.upper()


def _names(field: str, names: Any, changes: Changes) -> tuple[str, ...] | None:
    """Return names of aliases or vendors; one name alone is a list of one. None (all) where *names* is no list."""
    if names is None:
        return None
    if isinstance(names, str):
        changes.note(ErrorCode.DETAIL_CONVERTED, field)
        names = (names,)
    if isinstance(names, bytes | Mapping) or not isinstance(names, Iterable):
        changes.note(ErrorCode.NAMES_DROPPED, field)
        return None
    kept: dict[str, None] = {}
    for name in _tried(lambda: islice(names, ENTRIES_MAX), changes, field):
        try:
            kept[checks.checked_text(field, name, NAME_CHARS)] = None
        except ValueError:
            text = as_text(name) if isinstance(name, enum.Enum) else None
            if text and len(text) <= NAME_CHARS and cleaned(text) == text:
                kept[text] = None
            else:
                changes.note(ErrorCode.NAMES_DROPPED, field)
    # A list that cannot be read names nothing; a list of names that do not exist names none.
    return None if not kept and (ErrorCode.DETAIL_DROPPED, field) in changes else tuple(kept)


def _items(items: Any, changes: Changes) -> tuple[Line, ...]:
    if items is None:
        return ()
    if isinstance(items, Mapping):
        changes.note(ErrorCode.DETAIL_CONVERTED, "items")
        items = (items,)
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        changes.note(ErrorCode.DETAIL_DROPPED, "items")
        return ()
    if not isinstance(items, list | tuple):
        changes.note(ErrorCode.DETAIL_CONVERTED, "items")
    lines: list[Line] = []
    for item in _tried(lambda: islice(items, ENTRIES_MAX), changes, "items"):
        if isinstance(item, Mapping):
            lines.append(fit_data("items", item, changes))
        else:
            changes.note(ErrorCode.ITEM_DROPPED, "items")
    return tuple(lines)


def _tried(begin: Callable[[], Iterable[Any]], changes: Changes, field: str) -> Iterator[Any]:
    """Yield what the caller's own iterable yields, up to where it raises."""
    try:
        yield from begin()
    except Exception:
        changes.note(ErrorCode.DETAIL_DROPPED, field)
