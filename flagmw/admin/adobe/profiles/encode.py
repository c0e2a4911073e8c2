"""Rows in the form of a batch file: percent-encoded values between commas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote, unquote

from flagmw.admin.bulk.sources import BadRow
from flagmw.admin.errors import InvalidError

IdKind = Literal["pcId", "thirdPartyId"]
ID_KINDS = ("pcId", "thirdPartyId")
MAX_ID = {"pcId": 128, "thirdPartyId": 256}
MAX_COLUMNS = 2000
MAX_NAME = 128

_is_plain = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch
_is_encoded = re.compile(r"(?:[A-Za-z0-9_.~!*'()@:/;=&$?#\[\]|-]|%[0-9A-Fa-f]{2}|\+)*").fullmatch


def encoded(value: Any) -> str:
    """Return *value* percent-encoded; "" for None, which the vendor ignores.

    Raises:
        BadRow: it is a structure, or text that has no UTF-8 form.
    """
    if isinstance(value, str):
        text = value
    elif value is None:
        return ""
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int | float | Decimal | datetime | date):
        text = value.isoformat() if isinstance(value, date) else str(value)
    else:
        raise BadRow(f"has a {type(value).__name__} as a value; use text, numbers or nothing")
    if _is_plain(text):
        return text
    try:
        return quote(text, safe="-._~")
    except UnicodeEncodeError:
        raise BadRow("has text that is not UTF-8") from None


def check_encoded(value: Any) -> str:
    """Return *value*, a cell of a batch file that is encoded already.

    Raises:
        BadRow: it is not.
    """
    if not isinstance(value, str) or not _is_encoded(value):
        raise BadRow("has a value that is not percent-encoded")
    return value


def id_kind_of(given: str | None, columns: Sequence[str] | None) -> str:
    """Return the kind of id of the rows: as *given*, or as the first column says.

    Raises:
        InvalidError: the first column is neither, or rows have no columns in an order.
    """
    if given is not None:
        return given
    if columns is None:
        raise InvalidError('say what identifies a row: "pcId" or "thirdPartyId"', field="id_kind")
    first = columns[0] if columns else ""
    if first not in ID_KINDS:
        text = f'the first column is "{first}": it must be pcId or thirdPartyId, or give id_kind and id_column'
        raise InvalidError(text, field="id_kind")
    return first


class RowEncoder:
    """Makes lines out of rows.

    Args:
        id_kind: "pcId" (the vendor's tntId) or "thirdPartyId" (the site's own id).
        id_column: the column that holds the id; the one called like *id_kind* by default.
        columns: the names of the values of each row; None for rows that are mappings, whose names are collected.
        already_encoded: whether names and values are percent-encoded.

    Raises:
        InvalidError: the id's column is missing, or a name is empty or stands twice.
    """

    def __init__(
        self,
        id_kind: str,
        id_column: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        already_encoded: bool = False,
    ) -> None:
        if id_kind not in ID_KINDS:
            text = f'"{id_kind}" identifies nobody here: the first column must be pcId or thirdPartyId'
            raise InvalidError(text, field="id_kind")
        self.id_kind = id_kind
        self._id_column = id_column or id_kind
        self._longest_id = MAX_ID[id_kind]
        self._encode = check_encoded if already_encoded else encoded
        self._positions: dict[str, int] = {}
        self._names: list[str] = []
        self.header_bytes = len(f"batch={id_kind}\n")
        self._id_at = 0
        self._fixed = columns is not None
        if columns is not None:
            self._fix(list(columns))

    def _fix(self, columns: list[str]) -> None:
        if self._id_column not in columns:
            listed = ", ".join(columns[:10])
            text = f'there is no column "{self._id_column}" (there are: {listed}); name it with id_column'
            raise InvalidError(text, field="id_column")
        self._id_at = columns.index(self._id_column)
        for name in columns[: self._id_at] + columns[self._id_at + 1 :]:
            self._add(name)

    def header(self) -> bytes:
        """Return the first line of a part, with "batch=" before it."""
        names = [self.id_kind, *(self._encode(name) for name in self._names)]
        return f"batch={','.join(names)}\n".encode()

    def begin_part(self) -> None:
        """Forget the names that were collected; each part has a header of its own."""
        if not self._fixed:
            self.forget_names(0)

    @property
    def name_count(self) -> int:
        """Return the number of collected names."""
        return len(self._names)

    def forget_names(self, keep: int) -> None:
        """Forget the names that were collected after the first *keep*."""
        for name in self._names[keep:]:
            self.header_bytes -= len(self._encode(name)) + 1
        del self._names[keep:]
        self._positions = {name: at for name, at in self._positions.items() if at < keep}

    def row(self, row: Sequence[Any] | Mapping[str, Any]) -> tuple[str, list[str]]:
        """Return the id and the cells after it, both encoded.

        Raises:
            BadRow: the row cannot be sent.
        """
        encode = self._encode
        if isinstance(row, Mapping):
            if self._id_column not in row:
                raise BadRow(f'has no "{self._id_column}"')
            identity = encode(row[self._id_column])
            cells = [""] * len(self._names)
            for name, value in row.items():
                if name == self._id_column or value is None or value == "":
                    continue
                at = self._positions.get(name)
                if at is None:
                    at = self._add(name, BadRow)
                    cells.append("")
                cells[at] = encode(value)
        else:
            if len(row) <= self._id_at:
                raise BadRow(f'has no "{self._id_column}"')
            at = self._id_at
            cells = [value if value.__class__ is str and _is_plain(value) else encode(value) for value in row]
            identity = cells.pop(at)
        if not identity:
            raise BadRow(f'has an empty "{self._id_column}"')
        if len(identity) > self._longest_id and len(unquote(identity)) > self._longest_id:
            raise BadRow(f"has an id of more than {self._longest_id} characters")
        return identity, cells

    def _add(self, name: Any, kind: type[Exception] = InvalidError) -> int:
        if not isinstance(name, str) or not (bare := name.removeprefix("profile.").strip()):
            raise kind("has a column without a name")
        if len(bare) > MAX_NAME:
            raise kind(f"has a column whose name is longer than {MAX_NAME} characters")
        if name in self._positions or bare in ("pcId", "thirdPartyId", "mbox3rdPartyId"):
            raise kind(f'has the column "{name}", which is there already or is an id')
        if len(self._names) >= MAX_COLUMNS:
            raise kind(f"has more than {MAX_COLUMNS} columns")
        try:
            self.header_bytes += len(self._encode(bare)) + 1
        except BadRow as problem:
            raise kind(f"has a column whose name cannot be sent: it {problem}") from None
        self._positions[name] = len(self._names)
        self._names.append(bare)
        return self._positions[name]
