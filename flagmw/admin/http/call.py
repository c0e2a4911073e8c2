"""A call whose body is a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flagmw.types import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCall(Call):
    """A request that sends a file in pieces, so that memory stays small however large the file is.

    Attributes:
        prefix: what is sent before the file.
        file: what is sent; it is opened for each attempt.
    """

    file: Path = field(repr=False)
    prefix: bytes = field(default=b"", repr=False)
