"""Checks of single values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flagmw.admin.errors import InvalidError

MAX_NAME = 250
# Stands for the id of what an earlier operation of a batch creates.
PLACEHOLDER = re.compile(r"\{operationIdResponse:(\d+)\}")
STATES = ("approved", "deactivated", "saved")


def checked_name(value: object, field: str = "name", *, longest: int = MAX_NAME) -> str:
    """Return *value*, a text of 1 to *longest* characters.

    Raises:
        InvalidError: it is not.
    """
    if not isinstance(value, str):
        raise InvalidError(f"must be a text, got {type(value).__name__}", field=field)
    if not value.strip():
        raise InvalidError("must not be empty", field=field)
    if len(value) > longest:
        raise InvalidError(f"has {len(value)} characters; shorten it to {longest}", field=field)
    return value


def checked_state(value: object, field: str = "state") -> str:
    """Return *value*, a state that can be set.

    Raises:
        InvalidError: it is none; "deleted" is reached by deleting alone.
    """
    if value == "deleted":
        raise InvalidError("cannot be set; delete the activity instead", field=field)
    if value not in STATES:
        listed = ", ".join(f'"{state}"' for state in STATES)
        raise InvalidError(f"must be one of {listed} (live, archived, inactive)", field=field)
    return str(value)


def checked_priority(value: object, field: str = "priority") -> int:
    """Return *value* as a number from 0 to 999; a text of digits is taken, as the documentation's sample has one.

    Raises:
        InvalidError: it is no such number.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:6])
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 999:
        raise InvalidError("must be a whole number from 0 to 999; low, medium and high are 0, 5 and 10", field=field)
    return value


def checked_id(value: object, field: str) -> int:
    """Return *value*, a number that Adobe gave to something, or what stands for one in a batch.

    Raises:
        InvalidError: it is no whole number, or negative.
    """
    if isinstance(value, str) and PLACEHOLDER.fullmatch(value):
        return value  # type: ignore[return-value]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidError("must be an id of Adobe Target, a whole number", field=field)
    return value


def check_ids(body: Mapping[str, Any], name: str, field: str = "") -> None:
    """Check the list of ids *name* in *body*, where there is one.

    Raises:
        InvalidError: it is no list, or something in it is no id.
    """
    place = f"{field}.{name}" if field else name
    values = body.get(name)
    if values is None:
        return
    if not isinstance(values, list | tuple):
        raise InvalidError(f"must be a list of ids, got {type(values).__name__}", field=place)
    for number, value in enumerate(values):
        checked_id(value, f"{place}[{number}]")


def one_of(value: object, allowed: Sequence[str], field: str) -> None:
    """Refuse *value* unless it is one of *allowed*.

    Raises:
        InvalidError: it is not; the text lists what is.
    """
    if value not in allowed:
        raise InvalidError(f"must be one of {', '.join(allowed)}", field=field)


def objects(body: Mapping[str, Any], name: str, field: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the objects of the list *name* in *body*, each with its place; nothing where there is no list.

    Raises:
        InvalidError: it is no list, or something in it is no object.
    """
    before = f"{field}." if field else ""
    items = body.get(name)
    if items is None:
        return
    if not isinstance(items, list | tuple):
        raise InvalidError(f"must be a list, got {type(items).__name__}", field=f"{before}{name}")
    for number, item in enumerate(items):
        place = f"{before}{name}[{number}]"
        if not isinstance(item, Mapping):
            raise InvalidError(f"must be an object, got {type(item).__name__}", field=place)
        yield place, item


def unique_ids(body: Mapping[str, Any], name: str, key: str, field: str = "") -> set[int]:
    """Return the local ids of the objects in the list *name*.

    Raises:
        InvalidError: one has none, or two have the same.
    """
    found: set[int] = set()
    for place, item in objects(body, name, field):
        local = item.get(key)
        if isinstance(local, str) and local.isascii() and local.isdigit():
            local = int(local)
        if isinstance(local, bool) or not isinstance(local, int) or local < 0:
            raise InvalidError(
                "must be a whole number from 0, different from all others in the list", field=f"{place}.{key}"
            )
        if local in found:
            raise InvalidError(f"{local} is used twice; give each its own", field=f"{place}.{key}")
        found.add(local)
    return found


def refers(item: Mapping[str, Any], key: str, known: set[int], where: str, field: str) -> None:
    """Refuse a local id that nothing has.

    Raises:
        InvalidError: *item* names no local id, or one that is not among *known*.
    """
    local = item.get(key)
    if isinstance(local, str) and local.isascii() and local.isdigit():
        local = int(local)
    if local not in known:
        listed = ", ".join(str(one) for one in sorted(known)) or "none"
        raise InvalidError(f"refers to nothing in {where}; choose from {listed}", field=f"{field}.{key}")
