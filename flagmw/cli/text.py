"""Safe terminal output of text from vendors, visitors and files."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

PIPE_WIDTH = 240

# Controls, invisible and direction marks, line separators, halves of surrogate pairs, unassigned and private ones.
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Cn", "Co"})


def shown(text: object, *, lines: bool = False) -> str:
    """Return *text* with everything that a terminal would not simply show written out, as `\\x1b` and the like.

    Args:
        lines: line ends stay; for text of several lines that is made here.
    """
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(char if _is_seen(char) or (lines and char == "\n") else _written_out(char) for char in plain)


class PlainFormatter(logging.Formatter):
    """Formats log records whose texts are no commands to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record), lines=True)


def cell(text: object, *, lines: bool = False) -> Text:
    """Return *text* for a table of rich's, whose brackets are brackets; *lines* as in `shown`."""
    return Text(shown(text, lines=lines))


def say(text: object, file: TextIO | None = None) -> None:
    """Print *text*, which may have several lines."""
    out = sys.stdout if file is None else file
    line = shown(text, lines=True)
    encoding = getattr(out, "encoding", None) or "utf-8"
    # A terminal of another encoding must not make a report fail.
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=out, flush=True)


def say_json(document: Any, indent: int | None = 2) -> None:
    """Print *document* as JSON, in ASCII."""
    print(json.dumps(document, indent=indent).replace("\x7f", "\\u007f"))


def console(*, wide: bool = False) -> Console:
    """Return the console for tables; text that is printed to it is no markup.

    Args:
        wide: whether lines are longer where no terminal says how long they may be.
    """
    width = PIPE_WIDTH if wide and not sys.stdout.isatty() and "COLUMNS" not in os.environ else None
    return Console(markup=False, highlight=False, emoji=False, width=width)


@contextmanager
def mended_streams() -> Iterator[None]:
    """Let no closed stream, and no character that a terminal's encoding lacks, make a command fail."""
    with ExitStack() as stack:
        for stream, redirected in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            if stream is None:
                nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
                stack.enter_context(redirected(nowhere))
            elif isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        yield


def _is_seen(char: str) -> bool:
    return unicodedata.category(char) not in _UNSEEN


def _written_out(char: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char) or ascii(char)[1:-1]
