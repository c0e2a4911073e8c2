"""Canaries, and a watch over every place where one could come to light."""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

import flagmw
from tests.contracts.edges.driver import TOKEN

PACKAGE = str(Path(flagmw.__file__).parent)
LINE_CHARS = 5000

# By what they stand for. Each is a text that nothing else here contains.
CANARIES = {
    "key token": TOKEN,
    "user cookie": "WT3canaryuser5f1e~",
    "mode cookie": "WT3canarymode77ab~",
    "control cookie": "WT3canarycontrol09dd~",
    "site cookie": "canarysession4c2b",
    "bad cookie": "canarybad\\cookie",
    "long cookie": "canarylong" * 120,
    "address": "203.0.113.77",
    "e-mail": "canary.person@mail.example",
    "user id": "canary-user-88412",
    "referer's secret": "canaryreferer31aa",
    "query's secret": "canaryquery6e6e",
    "authorization": "canaryauthorization2d2d",
    "order": "canary-order-9917",
}

_LOGGERS = (
    *("flagmw", "flagmw.outbox", "asyncio", "concurrent.futures", "concurrent", "ssl"),
    *("httpx", "httpcore", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy"),
    *("httpx2", "httpcore2", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2", "httpcore2.proxy"),
    *("h11", "h2", "hpack", "urllib3", "requests", "anyio"),
)
_BROKEN_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# What servers and applications hold in their own frames as well, whatever we do.
_THEIRS = frozenset({"scope", "environ"})


class Watch(logging.Handler):
    """Sees every log record, and everything it is shown."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.seen: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.loggers: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self.loggers.add(record.name)
        if record.name.startswith("flagmw"):
            self.lines.append(text)
        if record.exc_info and record.exc_info[1] is not None:
            text += "".join(traceback.TracebackException(*record.exc_info, capture_locals=True).format())
        # The fields of a record go out too where logs are structured; the error itself was looked at above.
        fields = {name: value for name, value in vars(record).items() if name != "exc_info"}
        self.seen.append((f"log {record.name}", f"{text} {fields!r}"))

    def saw(self, *things: object) -> None:
        """Look at the repr and the str of *things*."""
        for thing in things:
            name = type(thing).__name__
            self.seen += [(f"repr of {name}", repr(thing)), (f"str of {name}", str(thing))]
            if isinstance(thing, BaseException):
                self.seen += [(f"args of {name}", repr(thing.args)), (f"notes of {name}", repr(vars(thing)))]

    def caught(self, error: BaseException, *, given: frozenset[str] = frozenset()) -> None:
        """Look at an exception that flagmw let out, with the locals of our frames.

        Args:
            given: names of parameters by which the application itself handed the canary in.
        """
        self.saw(error)
        link: BaseException | None = error
        while link is not None:
            self.saw(link)
            trace: TracebackType | None = link.__traceback__
            while trace is not None:
                frame = trace.tb_frame
                if frame.f_code.co_filename.startswith(PACKAGE):
                    self._locals(frame.f_code.co_qualname, frame.f_locals, given)
                trace = trace.tb_next
            link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)

    def _locals(self, where: str, variables: dict[str, Any], given: frozenset[str]) -> None:
        for name, value in variables.items():
            if name not in _THEIRS | given:
                self.seen.append((f"local {name} of {where}", repr(value)))

    def hits(self) -> set[str]:
        """Return which canary came to light, and where."""
        return {
            f"{kind} in {where}: ...{text[max(0, text.find(canary) - 60) : text.find(canary)]}"
            for where, text in self.seen
            for kind, canary in CANARIES.items()
            if canary in text
        }

    def broken_lines(self) -> list[str]:
        """Return our own log messages that are more than one line, or too long."""
        return [line[:200] for line in self.lines if _BROKEN_LINE.search(line) or len(line) > LINE_CHARS]


@pytest.fixture
def watch(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Watch logs at DEBUG, warnings, both streams and threads' errors; no canary may have come to light at the end."""
    watch, root = Watch(), logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    before = root.level
    root.addHandler(watch)
    root.setLevel(logging.DEBUG)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    monkeypatch.setattr(threading, "excepthook", lambda told: watch.caught(told.exc_value))
    usual = sys.unraisablehook

    def unraisable(told: sys.UnraisableHookArgs) -> None:
        if told.exc_value is not None:
            watch.caught(told.exc_value)
        usual(told)

    monkeypatch.setattr(sys, "unraisablehook", unraisable)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield watch
    finally:
        root.removeHandler(watch)
        root.setLevel(before)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    watch.saw(*(str(warning.message) for warning in warned))
    streams = capfd.readouterr()
    watch.seen += [("stdout", streams.out), ("stderr", streams.err)]
    assert watch.hits() == set()
    assert watch.broken_lines() == []
