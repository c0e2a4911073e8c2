"""Delivery of conversions and views, and the judgement of answers.

Source: OTS REST API guide, "Interpreting the response".
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from flagmw.codes import ErrorCode, vendor_code
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.types import Ambiguous, Call, Dead, Delivered, Dropped, Event, Flow, Outcome, Reply, Retry, Suspend
from flagmw.vendors.common.outcome import by_status, unanswered
from flagmw.vendors.webtrends import codes
from flagmw.vendors.webtrends.request import RequestBuilder, is_compressed
from flagmw.vendors.webtrends.response import Element, elements

_GZIP_REFUSED = Retry(ErrorCode.ENCODING)


class EventDelivery:
    """Sends events of one account: a track as one request, an exposure as one request for each alias."""

    def __init__(self, requests: RequestBuilder) -> None:
        self._requests = requests

    def deliver(self, batch: Sequence[Event]) -> Flow[list[Outcome]]:
        """Send *batch* in order; return one outcome for each event."""
        outcomes: list[Outcome] = []
        for event in batch:
            outcomes.append((yield from self._view(event) if event.kind == "exposure" else self._track(event)))
        return outcomes

    def _track(self, event: Event) -> Generator[Call, Reply, Outcome]:
        call = self._requests.track(event)
        try:
            reply = yield call
        except TransportError as error:
            return unanswered(error)
        return self._noted(_judged_track(reply, event, compressed=is_compressed(call)))

    def _view(self, event: Event) -> Generator[Call, Reply, Outcome]:
        verdicts: dict[str, Outcome] = {}
        for alias in event.aliases:
            call = self._requests.view(event, alias)
            try:
                reply = yield call
            except TransportError as error:
                verdicts[alias] = unanswered(error)
                # The vendor cannot be reached or the time is over: the others wait for the next attempt.
                rest = event.aliases[len(verdicts) :]
                verdicts.update({other: Retry(error.code) for other in rest})
                break
            verdicts[alias] = self._noted(_judged_view(reply, event, alias, compressed=is_compressed(call)))
        return _joined(verdicts, event)

    def _noted(self, outcome: Outcome) -> Outcome:
        """Return *outcome*; stop compressing if the vendor refuses that."""
        if outcome is _GZIP_REFUSED:
            self._requests.compress = False
        return outcome


def gzip_refused(reply: Reply, elements: Sequence[Element]) -> bool:
    """Say whether *reply* is the answer of a server that cannot read a compressed request."""
    return reply.status in (400, 415) or any(element.code in codes.GZIP_SUSPECTS for element in elements)


def _judged_track(reply: Reply, event: Event, *, compressed: bool) -> Outcome:
    """Return the outcome of the conversion of *event*; `_GZIP_REFUSED` if the vendor probably refuses compression."""
    answered = _elements(reply, event, "conversion", compressed)
    if not isinstance(answered, list):
        return answered
    verdicts = {alias: _verdict(element, event) for alias, element in _by_alias(answered, event.aliases).items()}
    return _joined(verdicts, event)


def _judged_view(reply: Reply, event: Event, alias: str, *, compressed: bool) -> Outcome:
    """Return the outcome for the view of *alias*, from the answer to its repeated decision."""
    answered = _elements(reply, event, "process", compressed)
    if not isinstance(answered, list):
        return answered
    element = _by_alias(answered, (alias,))[alias]
    if element is not None and element.code is None:
        shown = next((variant.experiment_id for variant in event.exposed if variant.alias == alias), None)
        counted = element.params.get("r_experimentID")
        same = shown is None or counted is None or str(counted) == shown
        return Delivered(code=None if same else ErrorCode.VARIANT_CHANGED)
    if element is not None and codes.kind_of(element.code or 0) is codes.Kind.INFORMATIONAL:
        return Dropped(ErrorCode.NOT_IN_TEST)
    return _verdict(element, event)


def _elements(reply: Reply, event: Event, opcode: str, compressed: bool) -> list[Element] | Outcome:
    """Return the elements of *reply* that answer the request; the outcome if there are none."""
    try:
        parsed = elements(reply.body)
    except ProtocolError as error:
        parsed, fault = [], error.code
    else:
        fault = ErrorCode.SHAPE if parsed else ErrorCode.EMPTY
    if compressed and gzip_refused(reply, parsed):
        return _GZIP_REFUSED
    answering = [element for element in parsed if element.code is not None or element.opcode == opcode]
    return answering or by_status(reply, fault, at_most_once=event.at_most_once)


def _by_alias(answered: list[Element], aliases: tuple[str, ...]) -> dict[str, Element | None]:
    """Map aliases to elements: by the alias named in them; those that name none by position where the counts match.

    A single element without an alias counts for all aliases that no element names.
    """
    named = {element.alias: element for element in answered if element.alias is not None}
    unnamed: list[Element | None] = [element for element in answered if element.alias is None]
    rest = [alias for alias in aliases if alias not in named]
    if len(unnamed) == 1:
        unnamed *= len(rest)
    by_place = dict(zip(rest, unnamed, strict=True)) if len(unnamed) == len(rest) else {}
    return {alias: named.get(alias) or by_place.get(alias) for alias in aliases}


def _verdict(element: Element | None, event: Event) -> Outcome:
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
        return Ambiguous(vendor_code(code)) if event.at_most_once else Retry(vendor_code(code))
    return Dead(vendor_code(code), verdict=code not in codes.FOREIGN_COOKIES)


def _joined(verdicts: dict[str, Outcome], event: Event) -> Outcome:
    """Return one outcome for all aliases. Aliases with a final outcome leave the row; open ones stay in it."""
    outcomes = list(verdicts.values())
    open_: dict[str, Retry | Suspend | Ambiguous] = {
        alias: outcome
        for alias, outcome in verdicts.items()
        if isinstance(outcome, Retry | Suspend) or (isinstance(outcome, Ambiguous) and not event.at_most_once)
    }
    if open_:
        first = next(
            (outcome for outcome in open_.values() if isinstance(outcome, Suspend)), next(iter(open_.values()))
        )
        return first if len(open_) == len(verdicts) else Retry(first.code, aliases=tuple(open_))
    delivered = [outcome for outcome in outcomes if isinstance(outcome, Delivered)]
    if delivered:
        code = next((outcome.code for outcome in delivered if outcome.code is not None), None)
        return Delivered(duplicate=all(outcome.duplicate for outcome in delivered), code=code)
    return next((outcome for outcome in outcomes if isinstance(outcome, Dead)), outcomes[0])
