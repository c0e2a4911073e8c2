"""Judge the answer to a track request, alias by alias (OTS REST API guide, "Interpreting the response")."""

from __future__ import annotations

from collections.abc import Generator

from flagmw.codes import ErrorCode, vendor_code
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.types import Ambiguous, Call, Dead, Delivered, Dropped, Event, Outcome, Reply, Retry, Suspend
from flagmw.vendors import _webtrends_answer as answers
from flagmw.vendors import _webtrends_codes as codes
from flagmw.vendors._http import status_fault


def judge(call: Call, event: Event) -> Generator[Call, Reply, Outcome]:
    """Make the *call* that tells the vendor of *event* and return what came of it."""
    try:
        reply = yield call
    except TransportError as error:
        if error.code is ErrorCode.TLS:
            return Suspend(error.code)
        return Ambiguous(error.code) if error.sent else Retry(error.code)
    try:
        elements = answers.elements(reply.body)
    except ProtocolError as error:
        elements, fault = [], error.code
    else:
        fault = ErrorCode.EMPTY
    elements = [element for element in elements if element.code is not None or element.opcode == "conversion"]
    if not elements:
        return _by_status(reply, fault)
    return _together({alias: _verdict(element) for alias, element in _by_alias(elements, event.aliases).items()}, event)


def _by_status(reply: Reply, fault: ErrorCode) -> Outcome:
    code, rest_s = status_fault(reply)
    if code is None:
        return Ambiguous(fault)  # a success that says nothing: perhaps counted, perhaps not
    if code is ErrorCode.UNAUTHORIZED:
        return Suspend(code)
    if reply.status >= 500 or reply.status in (408, 425, 429):
        return Retry(code, rest_s)
    return Dead(code, verdict=False)


def _by_alias(elements: list[answers.Element], aliases: tuple[str, ...]) -> dict[str, answers.Element | None]:
    """Map aliases to elements: by the alias named in them, else by position where the counts match.

    One element that names nothing speaks for all.
    """
    named = {element.alias: element for element in elements if element.alias is not None}
    if not named and len(elements) == 1:
        return dict.fromkeys(aliases, elements[0])
    if not named and len(elements) == len(aliases):
        return dict(zip(aliases, elements, strict=True))
    return {alias: named.get(alias) for alias in aliases}


def _verdict(element: answers.Element | None) -> Outcome:
    if element is None:
        return Ambiguous(ErrorCode.SHAPE)
    code = element.code
    if code is None:
        return Delivered()
    if code == codes.ALREADY_CONVERTED:
        return Delivered(duplicate=True)
    if code in codes.NOT_IN_TEST:
        return Dropped(ErrorCode.NOT_IN_TEST)
    if code in codes.REFUSES_ACCOUNT:
        return Suspend(vendor_code(code))
    if code == codes.GENERAL_TRACKING_ERROR:
        return Ambiguous(vendor_code(code))
    if codes.kind_of(code) is codes.Kind.SERVER:
        return Retry(vendor_code(code))
    return Dead(vendor_code(code))


def _together(verdicts: dict[str, Outcome], event: Event) -> Outcome:
    """Make one outcome of the aliases': what is settled leaves the row, what is open stays in it."""
    outcomes = list(verdicts.values())
    for outcome in outcomes:
        if isinstance(outcome, Suspend):
            return outcome
    settled = [outcome for outcome in outcomes if isinstance(outcome, Delivered)]
    open_ = {
        alias: outcome
        for alias, outcome in verdicts.items()
        if isinstance(outcome, Retry) or (isinstance(outcome, Ambiguous) and not event.at_most_once)
    }
    if open_:
        first = next(iter(open_.values()))
        if len(open_) == len(verdicts):
            return first
        assert isinstance(first, Retry | Ambiguous)
        return Retry(first.code, aliases=tuple(open_))
    if settled:
        return Delivered(duplicate=all(outcome.duplicate for outcome in settled))
    return next((outcome for outcome in outcomes if isinstance(outcome, Dead)), outcomes[0])
