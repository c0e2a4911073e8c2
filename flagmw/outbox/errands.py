"""A folder through which an operator's orders reach the processes that own the parts of an outbox.

Only the process that owns a slot writes to it. The command lays an order in the folder for each living owner; the
owner's delivery thread finds it within seconds, carries it out and lays the answer beside it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import orjson

from flagmw.outbox.base import Outbox
from flagmw.outbox.orders import Order, carry_out, from_bytes
from flagmw.vendors.base import Vendor

_ORDER, _ANSWER = ".order", ".answer"
_STALE_S = 3600.0


class _Slotted(Outbox, Protocol):
    """An outbox that is a directory of slots."""

    @property
    def directory(self) -> Path: ...

    def slots(self) -> Sequence[str]:
        """Return the names of the slots that this process has."""


def errand_for(outbox: Outbox, vendors: Mapping[str, Vendor], now: Callable[[], float]) -> Callable[[], object] | None:
    """Return what carries out operators' orders for *outbox*; None where it has no folder for them."""
    files = getattr(outbox, "files", outbox)
    if not hasattr(files, "slots"):
        return None
    slotted = cast(_Slotted, files)
    errands = Errands.of(slotted.directory)

    def errand() -> None:
        if errands.waiting():
            errands.serve(slotted.slots(), lambda _, order: carry_out(order, outbox, vendors, now()))

    return errand


class Errands:
    """Orders and answers in *folder*, which need not exist. Files appear whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, directory: Path) -> Errands:
        """Return the errands of the outbox in *directory*."""
        return cls(directory / "orders")

    def post(self, owner: str, order: Order) -> None:
        """Lay *order* there for *owner*.

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._write(f"{owner}.{order.id}{_ORDER}", order.to_bytes())

    def waiting(self) -> bool:
        """Say whether there are any orders, anybody's."""
        return bool(self._paths(_ORDER))

    def serve(self, owners: Iterable[str], carry_out: Callable[[str, Order], int]) -> int:
        """Have the orders for *owners* carried out, each once; return how many there were.

        *carry_out* is told the owner and the order, and returns how many events it concerned.
        """
        wanted = frozenset(owners)
        served = 0
        for path in self._paths(_ORDER):
            owner = path.name.split(".", 1)[0]
            if owner not in wanted:
                continue
            try:
                order = from_bytes(path.read_bytes())
            except (OSError, ValueError):
                self._remove(path)
                continue
            concerned = carry_out(owner, order)
            with contextlib.suppress(OSError):
                self._write(f"{owner}.{order.id}{_ANSWER}", orjson.dumps({"events": concerned}))
            self._remove(path)
            served += 1
        return served

    def answer(self, owner: str, order: Order, timeout_s: float) -> int | None:
        """Wait for *owner*'s answer; return how many events it concerned, None when none came in time.

        An order without an answer is taken back: its owner has died meanwhile, or does not look.
        """
        path, end = self._folder / f"{owner}.{order.id}{_ANSWER}", time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(OSError, ValueError, KeyError):
                events = int(orjson.loads(path.read_bytes())["events"])
                self._remove(path)
                return events
            if time.monotonic() >= end:
                self._remove(self._folder / f"{owner}.{order.id}{_ORDER}")
                return None
            time.sleep(0.05)

    def sweep(self, now: float) -> None:
        """Remove what was left behind an hour ago and longer; *now* is seconds since the epoch."""
        for path in [*self._paths(_ORDER), *self._paths(_ANSWER)]:
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < now - _STALE_S:
                    self._remove(path)

    def _paths(self, suffix: str) -> list[Path]:
        try:
            return sorted(path for path in self._folder.iterdir() if path.name.endswith(suffix))
        except OSError:
            return []

    def _write(self, name: str, data: bytes) -> None:
        made = self._folder / f"{name}.{os.getpid()}"
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        made.replace(self._folder / name)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
