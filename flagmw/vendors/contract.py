"""The contract of a vendor, as checks that any vendor can run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import (
    Ambiguous,
    Call,
    Dead,
    Decision,
    Delivered,
    Dropped,
    Event,
    Flow,
    Outcome,
    Reply,
    Retry,
    Suspend,
    Track,
    Visit,
    VisitorState,
)
from flagmw.vendors.base import Vendor

__all__ = ["check_vendor"]

R = TypeVar("R")
OUTCOMES = (Delivered, Retry, Suspend, Dead, Dropped, Ambiguous)
CALLS_MAX = 20

_NO_REPLY = (ErrorCode.CONNECT, ErrorCode.DNS, ErrorCode.TLS)
_LOST_REPLY = (ErrorCode.RESET, ErrorCode.TRUNCATED, ErrorCode.DEADLINE, ErrorCode.TOO_LARGE, ErrorCode.ENCODING)
_STATUSES = (204, 302, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503)


@dataclass(frozen=True)
class _Fault:
    """A failure of a call: its name in messages, and the result at the yield."""

    name: str
    result: Reply | TransportError


def check_vendor(
    vendor: Vendor,
    *,
    answer: Callable[[Call], Reply],
    visit: Visit | None = None,
    metric: str = "purchase",
) -> Decision:
    """Check that *vendor* keeps the contract of `flagmw.vendors.base.Vendor`; no network is used.

    The checks run its flows with good replies, and then with every failure that a driver can report: lost
    connections, error statuses, empty, broken and misshapen bodies, and a deadline in the middle.

    Args:
        vendor: The vendor to check.
        answer: Returns the reply of a healthy service to a call, for decisions and deliveries.
        visit: The visit to decide for. It should get at least one variant.
        metric: A metric that the vendor takes.

    Returns:
        The decision of the healthy service, for further checks.

    Raises:
        AssertionError: The vendor breaks the contract; the text names the rule and the breach.
    """
    visit = visit or Visit(url="https://www.mysite.com/checkout")
    _check_attributes(vendor)
    decision = _check_decisions(vendor, visit, answer)
    _check_deliveries(vendor, visit, decision, answer, metric)
    return decision


def _check_attributes(vendor: Vendor) -> None:
    for name, kind in (("name", str), ("prefix", str), ("at_most_once", bool)):
        value = getattr(vendor, name, None)
        assert isinstance(value, kind), f"vendor.{name} must be a {kind.__name__}, not {value!r}"
    assert vendor.exposure in ("decide", "read", "off"), f'vendor.exposure must be "decide", "read" or "off": {vendor}'
    assert not vendor.cookies.reads("session") and not vendor.cookies.writes("session"), (
        "vendor.cookies must leave the site's own cookies alone, such as one named session"
    )


def _check_decisions(vendor: Vendor, visit: Visit, answer: Callable[[Call], Reply]) -> Decision:
    decision, calls = _run(vendor.decide(visit, VisitorState()), answer)
    assert isinstance(decision, Decision), f"decide must return a Decision, not {decision!r}"
    assert decision.error is None, f"decide failed with {decision.error} for the reply of a healthy service"
    assert decision.variants, "decide returned no variant for the reply of a healthy service: give a visit that has one"
    _check_decision(vendor, decision, "a healthy service")
    for change in decision.cookies:
        where = f"decide sets the cookie {change.name!r}"
        assert vendor.cookies.writes(change.name), f"{where}, which vendor.cookies.writes refuses"
        assert vendor.cookies.value_ok(change.value), f"{where} to a value that vendor.cookies.value_ok refuses"
        assert vendor.cookies.reads(change.name), f"{where}, which vendor.cookies.reads does not read again"
    state = _state_after(decision)
    assert vendor.identity(state) == vendor.identity(state), "identity must be the same for the same cookies"
    again, _ = _run(vendor.decide(visit, state), answer)
    assert again.error is None, f"decide failed with {again.error} for a visitor who came back with its cookies"
    for fault in _faults() if calls else ():
        failed = _run_failing(lambda: vendor.decide(visit, state), fault, "decide")
        _check_decision(vendor, failed, fault.name)
        if fault.name not in ("status 204", "an empty body", "null", "an empty list", "an empty object"):
            assert failed.error or failed.notice, f"decide reports no error and no notice for {fault.name}"
        assert not (failed.error and failed.variants), f"decide returns an error and variants for {fault.name}"
    if calls:
        _check_close(lambda: vendor.decide(visit, state), "decide")
    return decision


def _check_decision(vendor: Vendor, decision: Decision, where: str) -> None:
    assert decision.vendor == vendor.name, f"Decision.vendor must be {vendor.name!r}, not {decision.vendor!r} ({where})"
    for alias, variant in decision.variants.items():
        assert variant.alias == alias, f"the variant at {alias!r} says that its alias is {variant.alias!r} ({where})"
        assert isinstance(variant.key, str), f"the key of {alias!r} must be text, not {variant.key!r} ({where})"
        assert variant.vendor == vendor.name, f"the variant of {alias!r} must name its vendor ({where})"


def _check_deliveries(
    vendor: Vendor, visit: Visit, decision: Decision, answer: Callable[[Call], Reply], metric: str
) -> None:
    state = _state_after(decision)
    aliases = tuple(decision.variants)
    track = Track(id="0" * 32, metric=metric, aliases=aliases, occurred_at=visit.now)
    part = vendor.participation(track, state)
    event = Event(
        id="1" * 32,
        vendor=vendor.name,
        kind="track",
        track=track,
        aliases=part.aliases or aliases,
        visit=replace(visit, cookies=part.cookies),
        visitor_key="visitor",
        at_most_once=vendor.at_most_once,
    )
    batch = [event]
    outcomes, calls = _run(vendor.deliver(batch), answer)
    _check_outcomes(outcomes, batch, "a healthy service")
    if not calls:
        return
    for fault in _faults():
        outcomes = _run_failing(lambda: vendor.deliver(batch), fault, "deliver")
        _check_outcomes(outcomes, batch, fault.name)
        for outcome in outcomes:
            certain = isinstance(fault.result, TransportError) and not fault.result.sent
            if certain:
                assert isinstance(outcome, Retry | Suspend), f"{fault.name} reached nobody: {outcome} loses the event"
            elif isinstance(fault.result, TransportError):
                assert isinstance(outcome, Ambiguous | Retry), f"{fault.name} may have arrived: {outcome} is too sure"
                assert not (vendor.at_most_once and isinstance(outcome, Retry)), (
                    f"{fault.name} may have arrived, so an at-most-once event must be Ambiguous, not {outcome}"
                )
            elif fault.name in ("status 401", "status 403", "status 500", "status 503", "status 429"):
                assert not isinstance(outcome, Delivered), f"{fault.name} is no delivery"
    _check_close(lambda: vendor.deliver(batch), "deliver")


def _check_outcomes(outcomes: Sequence[Outcome], batch: Sequence[Event], where: str) -> None:
    assert len(outcomes) == len(batch), f"deliver returned {len(outcomes)} outcomes for {len(batch)} events ({where})"
    for outcome in outcomes:
        assert isinstance(outcome, OUTCOMES), f"deliver must return outcomes, not {outcome!r} ({where})"


def _faults() -> Iterator[_Fault]:
    """Yield every failure that a driver can report at a yield."""
    for code in _NO_REPLY:
        yield _Fault(f"{code} before anything was sent", TransportError(code, sent=False))
    for code in _LOST_REPLY:
        yield _Fault(f"{code} after the request was sent", TransportError(code, sent=True))
    for status in _STATUSES:
        headers = {"retry-after": "7"} if status in (429, 503) else {}
        yield _Fault(f"status {status}", Reply(status=status, headers=headers, body=b""))
    html = b"<html><body>Bad gateway</body></html>"
    bodies = {
        "an empty body": b"",
        "an HTML page": html,
        "cut JSON": b'{"a": {"b": [1, ',
        "null": b"null",
        "a number": b"17",
        "a text": b'"ok"',
        "an empty list": b"[]",
        "a list of numbers": b"[1, 2, 3]",
        "an empty object": b"{}",
        "deep JSON": b'{"a":' * 600 + b"1" + b"}" * 600,
        "no UTF-8": b'{"a": "\xff\xfe"}',
    }
    for name, body in bodies.items():
        yield _Fault(name, Reply(status=200, headers={"content-type": "application/json"}, body=body))


def _run(flow: Flow[R], answer: Callable[[Call], Reply]) -> tuple[R, list[Call]]:
    """Run *flow* with the replies of *answer*; return its result and its calls."""
    calls: list[Call] = []
    try:
        call = next(flow)
        while True:
            assert len(calls) < CALLS_MAX, f"the flow made {CALLS_MAX} calls and did not end"
            assert isinstance(call, Call), f"a flow yields Call objects, not {call!r}"
            calls.append(call)
            call = flow.send(answer(call))
    except StopIteration as stop:
        result: R = stop.value
        return result, calls


def _run_failing(begin: Callable[[], Flow[R]], fault: _Fault, method: str) -> R:
    """Run a flow in which every call fails in the same way."""
    flow, sent = begin(), 0
    try:
        next(flow)
        while True:
            sent += 1
            assert sent < CALLS_MAX, f"{method} repeats its call without an end for {fault.name}"
            if isinstance(fault.result, TransportError):
                flow.throw(fault.result)
            else:
                flow.send(fault.result)
    except StopIteration as stop:
        result: R = stop.value
        return result
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{method} raised {type(error).__name__} for {fault.name}: {error}") from error


def _check_close(begin: Callable[[], Flow[Any]], method: str) -> None:
    """Check that a deadline may close the flow while it waits for a reply."""
    flow = begin()
    next(flow)
    try:
        flow.close()
    except Exception as error:
        raise AssertionError(f"{method} raised {type(error).__name__} when the deadline closed it") from error


def _state_after(decision: Decision) -> VisitorState:
    """Return the visitor's cookies as they are after *decision*."""
    cookies: dict[str, str] = {}
    for change in decision.cookies:
        if change.max_age_s == 0:
            cookies.pop(change.name, None)
        else:
            cookies[change.name] = change.value
    return VisitorState(cookies)
