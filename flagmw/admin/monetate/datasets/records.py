"""Records as JSON, checked against their schema."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from flagmw.admin.bulk.sources import BadRow
from flagmw.admin.monetate.bodies import Schema

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


class RecordEncoder:
    """Makes JSON objects out of rows.

    Args:
        schema: what the rows are checked against; None to send them as they are.
        columns: the names of the values of each row; None for rows that are mappings.
        texts: whether values are texts, as in a CSV file, and numbers and booleans are read from them.
    """

    def __init__(self, schema: Schema | None, columns: Sequence[str] | None, *, texts: bool = False) -> None:
        fields = (schema or {}).get("fields") or {}
        self._types = {name: str(one.get("data_type", "")) for name, one in fields.items()}
        self._columns, self._texts = columns, texts
        self._needed = [name for name, one in fields.items() if any(one.get(mark) for mark in _NEEDED)]
        self.unique_key = next((name for name, one in fields.items() if one.get("unique_key")), None)
        self._identifier = next((name for name, one in fields.items() if one.get("identifier")), None)

    def encode(self, row: Sequence[Any] | Mapping[str, Any]) -> tuple[str, bytes]:
        """Return what identifies the record, "" where that is not known, and its JSON.

        Raises:
            BadRow: it cannot be sent.
        """
        if not isinstance(row, Mapping):
            row = dict(zip(self._columns or (), row, strict=False))
        record: dict[str, Any] = {}
        for name, value in row.items():
            if not isinstance(name, str) or not name:
                raise BadRow("has a field without a name")
            if value is None or (self._texts and value == ""):
                continue
            record[name] = self._value(name, value)
        if not record:
            raise BadRow("has no value")
        for name in self._needed:
            if name not in record:
                raise BadRow(f'has no "{name}", which the schema requires')
        own = record.get(self.unique_key or self._identifier or "", "")
        try:
            return str(own), orjson.dumps(record)
        except TypeError as problem:
            raise BadRow(f"cannot be written as JSON: {problem}") from None

    def _value(self, name: str, value: Any) -> Any:
        data_type = self._types.get(name)
        if data_type is None and self._types:
            raise BadRow(f'has the field "{name}", which the schema does not have; add it with schemas.add_fields')
        if isinstance(value, Decimal):
            value = float(value)
        if isinstance(value, datetime | date):
            value = value.isoformat()
        if isinstance(value, float) and not math.isfinite(value):
            raise BadRow(f'has no finite number as "{name}"')
        if isinstance(value, str) and not _is_unicode(value):
            raise BadRow(f'has text in "{name}" that is not UTF-8')
        return value if data_type is None else self._typed(name, data_type, value)

    def _typed(self, name: str, data_type: str, value: Any) -> Any:
        if data_type == "NUMBER":
            return self._number(name, value)
        if data_type == "BOOLEAN":
            if isinstance(value, str) and self._texts and value.lower() in (*TRUE, *FALSE):
                return value.lower() in TRUE
            if not isinstance(value, bool):
                raise BadRow(f'has {_shown(value)} as "{name}", which is a BOOLEAN')
            return value
        if data_type == "MULTI_STRING" and isinstance(value, list | tuple):
            if not all(isinstance(one, str) and one.strip() and "," not in one for one in value) or not value:
                raise BadRow(f'has a list in "{name}" that cannot be joined with commas; write the text yourself')
            value = ",".join(value)
        if not isinstance(value, str):
            raise BadRow(f'has {_shown(value)} as "{name}", which is a {data_type}')
        if not value or value != value.strip():
            raise BadRow(f'has a text in "{name}" that is empty or has blanks at its ends')
        if data_type == "DATETIME":
            try:
                datetime.fromisoformat(value)
            except ValueError:
                raise BadRow(f'has {_shown(value)} as "{name}", which is no date of ISO 8601') from None
        return value

    def _number(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and self._texts and _is_number(value):
            value = int(value) if value.lstrip("+-").isdecimal() else float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadRow(f'has {_shown(value)} as "{name}", which is a NUMBER')
        return value


_is_number = re.compile(r"[+-]?(?:[0-9]{1,18}|[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,3})?)").fullmatch
_NEEDED = ("identifier", "unique_key", "required")


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
