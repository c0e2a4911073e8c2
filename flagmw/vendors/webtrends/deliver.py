"""Judge the answers to track requests and to reports of views (OTS REST API guide, "Interpreting the response")."""

from __future__ import annotations

from flagmw.codes import ErrorCode, vendor_code
from flagmw.exceptions import ProtocolError
from flagmw.types import Ambiguous, Dead, Delivered, Dropped, Event, Outcome, Reply, Retry, Suspend
from flagmw.vendors.common.outcome import by_status
from flagmw.vendors.webtrends import codes
from flagmw.vendors.webtrends import response as answers

GZIP_REFUSED = Retry(ErrorCode.ENCODING)


def judge(reply: Reply, event: Event, *, compressed: bool = False) -> Outcome:
    """Return what *reply* means for *event*; `GZIP_REFUSED` when it is likely the compression that the vendor minds."""
    found = _read(reply, event, "conversion", compressed)
    if not isinstance(found, list):
        return found
    judged = {alias: _verdict(element, event) for alias, element in _by_alias(found, event.aliases).items()}
    return together(judged, event)


def judge_view(reply: Reply, event: Event, alias: str, *, compressed: bool = False) -> Outcome:
    """Return what the answer to a repeated decision means for the view of *alias* in *event*."""
    found = _read(reply, event, "process", compressed)
    if not isinstance(found, list):
        return found
    element = _by_alias(found, (alias,))[alias]
    if element is not None and element.code is None:
        seen = next((variant.experiment_id for variant in event.exposed if variant.alias == alias), None)
        counted = element.params.get("r_experimentID")
        same = seen is None or counted is None or str(counted) == seen
        return Delivered(code=None if same else ErrorCode.VARIANT_CHANGED)
    if element is not None and codes.kind_of(element.code or 0) is codes.Kind.INFORMATIONAL:
        return Dropped(ErrorCode.NOT_IN_TEST)
    return _verdict(element, event)


def _read(reply: Reply, event: Event, opcode: str, compressed: bool) -> list[answers.Element] | Outcome:
    """Return the elements of *reply* that say something, or what their lack means."""
    try:
        elements = answers.elements(reply.body)
    except ProtocolError as error:
        elements, fault = [], error.code
    else:
        fault = ErrorCode.SHAPE if elements else ErrorCode.EMPTY
    if compressed and gzip_refused(reply, elements):
        return GZIP_REFUSED
    elements = [element for element in elements if element.code is not None or element.opcode == opcode]
    return elements or by_status(reply, fault, at_most_once=event.at_most_once)


def gzip_refused(reply: Reply, elements: list[answers.Element]) -> bool:
    """Say whether *reply* is what a server gives that cannot read a compressed request."""
    return reply.status in (400, 415) or any(element.code in codes.GZIP_SUSPECTS for element in elements)


def _by_alias(elements: list[answers.Element], aliases: tuple[str, ...]) -> dict[str, answers.Element | None]:
    """Map aliases to elements: by the alias named in them; those that name none by position where the counts match.

    A single element that names nothing speaks for all that are not named.
    """
    named = {element.alias: element for element in elements if element.alias is not None}
    unnamed: list[answers.Element | None] = [element for element in elements if element.alias is None]
    rest = [alias for alias in aliases if alias not in named]
    if len(unnamed) == 1:
        unnamed *= len(rest)
    by_place = dict(zip(rest, unnamed, strict=True)) if len(unnamed) == len(rest) else {}
    return {alias: named.get(alias) or by_place.get(alias) for alias in aliases}


def _verdict(element: answers.Element | None, event: Event) -> Outcome:
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


def together(verdicts: dict[str, Outcome], event: Event) -> Outcome:
    """Make one outcome of the aliases': what is settled leaves the row, what is open stays in it."""
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
        odd = next((outcome.code for outcome in delivered if outcome.code is not None), None)
        return Delivered(duplicate=all(outcome.duplicate for outcome in delivered), code=odd)
    return next((outcome for outcome in outcomes if isinstance(outcome, Dead)), outcomes[0])
