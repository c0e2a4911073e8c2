"""Checks of the structure of datasets, before it is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from flagmw.admin.errors import InvalidError
from flagmw.admin.monetate.bodies import DataType

DATA_TYPES: tuple[str, ...] = get_args(DataType)
MAX_FIELDS, MAX_NAME = 40, 64
TYPES = (
    "agil_one", "attribute", "behavioral_trigger", "custom_list", "customer_data_privacy", "email_metadata", "event",
    "inventory", "product", "product_recommendation", "purchase",
)  # fmt: skip
_MARKS = ("required", "identifier", "unique_key", "event_time")


def check_schema(body: Mapping[str, Any]) -> None:
    """Refuse a structure that Monetate would not take.

    Raises:
        InvalidError: a part of it is missing or wrong; the error names the field.
    """
    name, type_, fields = body.get("name"), body.get("type", "attribute"), body.get("fields")
    if not isinstance(name, str) or len(name) > MAX_NAME or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        text = f"must begin with a letter and have letters, digits and underscores, at most {MAX_NAME}"
        raise InvalidError(text, field="name")
    if type_ not in TYPES:
        raise InvalidError(f"must be one of {', '.join(TYPES)}", field="type")
    check_fields(fields)
    if len(fields or ()) > MAX_FIELDS:
        raise InvalidError(f"a schema has at most {MAX_FIELDS} fields", field="fields")
    marked = {mark: [own for own, one in (fields or {}).items() if one.get(mark)] for mark in _MARKS}
    if type_ != "product" and len(marked["identifier"]) != 1:
        raise InvalidError("mark exactly one field as identifier", field="fields")
    if len(marked["unique_key"]) > 1:
        raise InvalidError("mark at most one field as unique_key", field="fields")
    if type_ == "event" and len(marked["event_time"]) != 1:
        raise InvalidError("an event needs exactly one field with event_time", field="fields")
    if body.get("named_identifier") is not None:
        check_identifier(body["named_identifier"])


def check_fields(fields: Any) -> None:
    """Refuse columns that Monetate would not take.

    Raises:
        InvalidError: there are none, or one is wrong.
    """
    if not isinstance(fields, Mapping) or not fields:
        raise InvalidError('must be a mapping of names to {"data_type": ...} with at least one', field="fields")
    for name, one in fields.items():
        where = f"fields.{name}"
        if not isinstance(name, str) or not name or name != name.strip():
            raise InvalidError("has a field without a name", field="fields")
        if not isinstance(one, Mapping) or one.get("data_type") not in DATA_TYPES:
            raise InvalidError(f"needs a data_type: {', '.join(DATA_TYPES)}", field=where)
        for mark in _MARKS:
            if not isinstance(one.get(mark, False), bool):
                raise InvalidError("must be True or False", field=f"{where}.{mark}")
        if (one.get("identifier") or one.get("unique_key")) and one["data_type"] != "STRING":
            raise InvalidError("identifier and unique key must be STRING", field=where)
        if one.get("event_time") and one["data_type"] != "DATETIME":
            raise InvalidError("the time of an event must be DATETIME", field=where)


def check_identifier(name: Any) -> None:
    """Refuse an Identifier Name that Monetate would not take.

    Raises:
        InvalidError: it has other characters than letters, digits and underscores.
    """
    if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
        raise InvalidError("must be letters, digits and underscores", field="named_identifier")
