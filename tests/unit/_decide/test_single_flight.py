"""Calls under way that several may wait for."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from flagmw._decide.single_flight import PendingCall, SingleFlight

KEY = (0, b"visitor")


@pytest.fixture
def flights() -> SingleFlight:
    return SingleFlight()


def asked(
    flights: SingleFlight, key: tuple[int, bytes] | None = KEY, *, late: bool = False, where: object = None
) -> PendingCall:
    return flights.begin(PendingCall(Future(), key, late, where))


def test_join(flights: SingleFlight) -> None:
    """Who asks the same while a call is under way waits for that one."""
    assert flights.join(KEY) is None
    first = asked(flights)
    assert flights.join(KEY) is first
    assert flights.join((1, b"visitor")) is None
    assert flights.join((0, b"other")) is None


def test_nobody_in_particular_never_joins(flights: SingleFlight) -> None:
    """Calls for visitors whom nothing identifies are never shared."""
    asked(flights, None)
    assert flights.join(None) is None


def test_each_loop_has_its_own(flights: SingleFlight) -> None:
    """What one event loop waits for cannot be awaited on another, or in a thread."""
    loop = object()
    first = asked(flights, where=loop)
    assert flights.join(KEY, object()) is None
    assert flights.join(KEY) is None
    assert flights.join(KEY, loop) is first


def test_ended_or_overdue_calls_are_not_joined(flights: SingleFlight) -> None:
    """An answer that is there is found in memory; one that is overdue is not worth waiting for."""
    first = asked(flights)
    first.future.set_result(None)
    assert flights.join(KEY) is None
    second = asked(flights)
    flights.overdue(second)
    assert second.overdue
    assert flights.join(KEY) is None


def test_overdue_after_the_end_is_not_overdue(flights: SingleFlight) -> None:
    """A call that ended at the very moment of the deadline was in time."""
    first = asked(flights)
    first.future.set_result(None)
    flights.overdue(first)
    assert not first.overdue


def test_leave(flights: SingleFlight) -> None:
    """The last who waits is told so."""
    first = asked(flights)
    flights.join(KEY)
    flights.join(KEY)
    assert [flights.leave(first) for _ in range(3)] == [False, False, True]


def test_landed(flights: SingleFlight) -> None:
    """A call that has ended makes room, and leaves alone the one that has begun after it."""
    first, second = asked(flights), asked(flights)
    flights.landed(first)
    assert flights.join(KEY) is second
    flights.landed(second)
    assert flights.join(KEY) is None
    assert flights._under_way == {}


def test_places_for_late_calls(flights: SingleFlight) -> None:
    """So many calls may outlast their deadline at a time; each gives its place back when it ends."""
    calls = [asked(flights, (0, bytes([n])), late=flights.may_be_late(2)) for n in range(4)]
    assert [call.late for call in calls] == [True, True, False, False]
    flights.landed(calls[3])
    assert not flights.may_be_late(2)
    flights.landed(calls[0])
    assert flights.may_be_late(2)
    assert not flights.may_be_late(2)


def test_many_threads_make_one_call(flights: SingleFlight) -> None:
    """Of threads that join or begin at once none waits for a call of another key, and all is tidy at the end."""
    barrier = threading.Barrier(8)

    def serve(n: int) -> bool:
        barrier.wait(5)
        good = True
        for turn in range(300):
            key = (0, bytes([turn % 3]))
            joined = flights.join(key)
            call = joined or asked(flights, key, late=flights.may_be_late(1000))
            good = good and call.key == key
            if joined is None:
                flights.landed(call)
        return good

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(serve, range(8)))
    assert flights._under_way == {}
    assert flights._late == 0
