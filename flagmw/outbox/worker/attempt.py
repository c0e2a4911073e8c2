"""One attempt to deliver events of one visitor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Protocol, TypeAlias

from flagmw._support.deadline import Deadline
from flagmw._support.log import Throttle
from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.outbox.base import Leased
from flagmw.outbox.worker.once import only_once
from flagmw.types import Ambiguous, Dead, Event, Flow, Outcome, Retry


class Delivers(Protocol):
    """The part of a vendor that delivery needs."""

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]: ...


Run: TypeAlias = Callable[[str, Flow[Sequence[Outcome]], Deadline], Sequence[Outcome]]
"""Drives a flow of the named vendor to its result in the calling thread; raises `TransportError` when the deadline,
a point on the monotonic clock, ends it."""


def outcomes_of(
    run: Run, name: str, vendor: Delivers, rows: Sequence[Leased], deadline: Deadline, throttle: Throttle
) -> list[Outcome]:
    """Return the outcome of one attempt for each of *rows*; raise nothing, whatever the vendor's code does."""
    try:
        flow = vendor.deliver([row.event for row in rows])
        if any(row.event.at_most_once for row in rows):
            flow = only_once(flow)
        outcomes = list(run(name, flow, deadline))
        if len(outcomes) != len(rows) or not all(isinstance(outcome, Outcome) for outcome in outcomes):
            raise TypeError("not one outcome for each event")
    except TransportError as error:
        return [Ambiguous(error.code) if error.sent else Retry(error.code)] * len(rows)
    except ProtocolError as error:
        return [Ambiguous(error.code)] * len(rows)
    except Exception as error:
        # The text of the error may quote what the visitor sent: its type and place must do.
        throttle.log(
            logging.ERROR,
            ErrorCode.INTERNAL,
            "a delivery broke, its event is kept",
            vendor=name,
            error=type(error).__name__,
            at=_place(error),
        )
        # It may have broken after the vendor had answered, so it is not repeated for long: a few tries, then aside.
        return [
            Ambiguous(ErrorCode.INTERNAL) if row.event.at_most_once else Dead(ErrorCode.INTERNAL, verdict=False)
            for row in rows
        ]
    return outcomes


def _place(error: BaseException) -> str:
    """Return file and line where *error* was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
