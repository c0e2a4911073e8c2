"""Bodies of requests, from a file or from standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from flagmw.admin.errors import InvalidError

MAX_BYTES = 64 << 20

BodyArgument = Annotated[str, typer.Argument(metavar="FILE", help="A file with JSON, or - for standard input.")]


def text_from(file: str) -> bytes:
    """Return what is in *file*; "-" is standard input.

    Raises:
        InvalidError: it cannot be read, or is larger than 64 MiB.
    """
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1) if sys.stdin is not None else b""
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidError(f"{file} cannot be read: {error.strerror}", field="FILE") from None
    if len(content) > MAX_BYTES:
        raise InvalidError(f"{file} is larger than {MAX_BYTES >> 20} MiB", field="FILE")
    return content


def json_from(file: str) -> Any:
    """Return the JSON in *file*; "-" is standard input.

    Raises:
        InvalidError: it cannot be read, or is no JSON.
    """
    name = "standard input" if file == "-" else file
    try:
        return orjson.loads(text_from(file).removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise InvalidError(f"{name} is no JSON: {error}", field="FILE") from None


def object_from(file: str) -> dict[str, Any]:
    """Return the JSON object in *file*; "-" is standard input."""
    document = json_from(file)
    if not isinstance(document, dict):
        name = "standard input" if file == "-" else file
        raise InvalidError(f"{name} must hold a JSON object, {{...}}", field="FILE")
    return document
