"""Delivery of events that a vendor may receive at most once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from flagmw.exceptions import TransportError
from flagmw.types import Ambiguous, Call, Flow, Outcome, Reply, Retry, Suspend


def only_once(flow: Flow[Sequence[Outcome]]) -> Generator[Call, Reply, list[Outcome]]:
    """Run *flow* so that no transport repeats one of its calls, and no outcome does so after a call without an answer.

    A codec that is left without an answer may still say "try again", as after a failed handshake. The event may have
    arrived all the same, so that is in doubt, unless the codec names the aliases that are open.

    Raises:
        TransportError: *flow* did not handle one; it counts as sent if any call of the flow was.
    """
    unanswered: TransportError | None = None
    sent = False
    try:
        call = next(flow)
        while True:
            try:
                reply = yield replace(call, replay_safe=False, hedge_safe=False)
            except TransportError as error:
                if error.sent:
                    unanswered, sent = error, True
                call = flow.throw(error)
            else:
                sent = True
                call = flow.send(reply)
    except StopIteration as stop:
        outcomes: Sequence[Outcome] = stop.value
    except TransportError as error:
        error.sent = error.sent or sent
        raise
    finally:
        flow.close()
    return [outcome if unanswered is None else _doubted(outcome, unanswered) for outcome in outcomes]


def _doubted(outcome: Outcome, error: TransportError) -> Outcome:
    if isinstance(outcome, Suspend) or (isinstance(outcome, Retry) and outcome.aliases is None):
        return Ambiguous(error.code)
    return outcome
