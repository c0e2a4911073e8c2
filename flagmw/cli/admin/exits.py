"""Exit codes of the management commands, and errors as one line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from flagmw.admin.errors import (
    AdminError,
    AmbiguousError,
    AuthError,
    ConflictError,
    InvalidError,
    NotFoundError,
    ServerError,
    ThrottledError,
    UnreachableError,
)
from flagmw.cli.text import PlainFormatter, say, shown
from flagmw.exceptions import FlagmwError

FAILED, WRONG, NOT_FOUND, NO_ACCESS, THROTTLED, AMBIGUOUS, CONFLICT, NO_ANSWER = range(1, 9)

EXIT_CODES = {
    0: "done",
    FAILED: "the vendor refused it, or a part of it failed",
    WRONG: "a wrong argument, option, setting or value; nothing was sent",
    NOT_FOUND: "there is no such resource",
    NO_ACCESS: "the vendor does not accept the credentials, or they may not do this",
    THROTTLED: "too many calls; nothing was changed",
    AMBIGUOUS: "a write may or may not have been done: read before you write again",
    CONFLICT: "it exists already, or somebody else changed it meanwhile",
    NO_ANSWER: "the vendor cannot be reached or failed; nothing was changed",
}
"""What each exit code means; the documentation is written from this."""

_BY_KIND = (
    (AuthError, NO_ACCESS),
    (NotFoundError, NOT_FOUND),
    (ConflictError, CONFLICT),
    (ThrottledError, THROTTLED),
    (AmbiguousError, AMBIGUOUS),
    ((UnreachableError, ServerError), NO_ANSWER),
)


def exit_code_of(error: FlagmwError) -> int:
    """Return the exit code for *error*."""
    if isinstance(error, InvalidError):
        return WRONG if error.status is None else FAILED
    if not isinstance(error, AdminError):
        return WRONG
    return next((code for kind, code in _BY_KIND if isinstance(error, kind)), FAILED)


@contextmanager
def explained() -> Iterator[None]:
    """End the command with one line and its exit code when something known goes wrong inside."""
    try:
        yield
    except ImportError as error:
        stop(f"{error}; install everything for the commands: pip install 'flagmw[cli,admin]'")
    except FlagmwError as error:
        stop(str(error), exit_code_of(error))


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Print what the client warns of, such as a call that is made again, as lines on standard error."""
    logger, handler = logging.getLogger("flagmw.admin"), logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(PlainFormatter("flagmw: %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def stop(message: str, code: int = WRONG) -> NoReturn:
    """End the command with *message*, which says what to do."""
    say(f"flagmw: {shown(message)}", sys.stderr)
    raise typer.Exit(code)
