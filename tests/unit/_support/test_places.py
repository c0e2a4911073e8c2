"""Places for calls under way: first come, first served; hopeless waits end at once; no place is ever lost."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_all

import pytest

from flagmw._support.places import Places, Turn, in_turn


class Line:
    """Who was called up, in order; some decline."""

    def __init__(self, *declining: str) -> None:
        self.called: list[str] = []
        self._declining = declining

    def start(self, name: str) -> bool:
        self.called.append(name)
        return name not in self._declining


def stand(places: Places, line: Line, name: str, *, now: float = 0.0, until: float = 9.0) -> Turn:
    turn = places.line_up(now, until, lambda _: line.start(name))
    assert turn is not None
    return turn


def test_first_come_first_served() -> None:
    """A place that becomes free goes to who waits longest, and to nobody who comes later."""
    places, line = Places(1), Line()
    turn = places.enter(0.0)
    assert turn is not None and not turn.waited
    waiting = [stand(places, line, name) for name in "abc"]
    assert places.enter(0.0) is None
    assert (places.inside, places.waiting) == (1, 3)
    for each in (turn, *waiting):
        places.leave(each, 1.0)
    assert line.called == ["a", "b", "c"]
    assert (places.inside, places.waiting) == (0, 0)


@pytest.mark.parametrize("declining", [("a",), ("a", "b", "c"), ("b",)])
def test_who_declines_passes_it_on(declining: tuple[str, ...]) -> None:
    """A place that nobody wants any more is free again."""
    places, line = Places(1), Line(*declining)
    first = places.enter(0.0)
    assert first is not None
    turns = {name: stand(places, line, name) for name in "abc"}
    places.leave(first, 1.0)
    for name in [name for name in "abc" if name not in declining]:
        places.leave(turns[name], 2.0)
    assert line.called == ["a", "b", "c"]
    assert (places.inside, places.waiting) == (0, 0)


def test_giving_up() -> None:
    """Who gives up is not called; giving up a place that was handed over already says so, and leaving it frees it."""
    places, line = Places(1), Line()
    first = places.enter(0.0)
    assert first is not None
    a, b = stand(places, line, "a"), stand(places, line, "b")
    assert places.give_up(a) and not places.give_up(a)
    places.leave(first, 1.0)
    assert line.called == ["b"]
    assert not places.give_up(b)
    places.leave(b, 2.0)
    places.leave(b, 2.0)
    assert places.inside == 0


def test_hopeless_waits_are_refused_at_once() -> None:
    """Two places and calls of 1 s: with 2 s left there is hope for the first in line and none for those far behind."""
    places, line = Places(2), Line()
    for _ in range(4):
        turn = places.enter(0.0)
        assert turn is not None
        places.leave(turn, 1.0)
    assert places.quickest(1.0) == 1.0
    assert [places.enter(1.0) is not None for _ in range(3)] == [True, True, False]
    assert places.line_up(1.0, 1.9, lambda _: True) is None  # less time than the quickest call took
    admitted = [places.line_up(1.0, 3.0, lambda _: line.start("x")) is not None for _ in range(5)]
    assert admitted == [True, True, False, False, False]


def test_nothing_known_means_hope() -> None:
    """While nobody knows how long calls take, everybody may wait; what was long ago counts no more."""
    places = Places(1)
    turn = places.enter(0.0)
    assert turn is not None
    places.leave(turn, 5.0)
    assert places.enter(60.0) is not None
    assert all(places.line_up(60.0, 60.1, lambda _: True) for _ in range(1000))


def test_calls_that_were_called_off_teach_nothing() -> None:
    """A visitor who goes away after 5 s of waiting does not make calls look slow."""
    places = Places(1)
    turn = places.enter(0.0)
    assert turn is not None
    places.leave(turn, 5.0, learn=False)
    assert places.quickest(5.0) == 0.0


def test_a_long_line_of_decliners_does_not_recurse() -> None:
    """Ten thousand that gave up in their own way cost no stack."""
    places = Places(1)
    first = places.enter(0.0)
    assert first is not None

    def decline(turn: Turn) -> bool:
        turn.declined = True
        places.leave(turn, 1.0)  # as a future does whose end frees the place
        return False

    for _ in range(10_000):
        assert places.line_up(0.0, 9.0, decline) is not None
    places.leave(first, 1.0)
    assert (places.inside, places.waiting) == (0, 0)


def test_threads_that_come_wait_and_go_lose_no_place() -> None:
    """Eight threads with four places, half of whom give up at any moment: at the end every place is free."""
    places = Places(4)
    most = [0]

    def work(seed: int) -> int:
        random_, done = random.Random(seed), 0
        for _ in range(300):
            gone = threading.Event()

            def start(_: Turn, gone: threading.Event = gone) -> bool:
                gone.set()
                return True

            turn = places.enter(time.monotonic()) or places.line_up(time.monotonic(), time.monotonic() + 9, start)
            assert turn is not None
            if turn.waited and not gone.wait(random_.random() / 5000) and places.give_up(turn):
                continue
            most[0] = max(most[0], places.inside)
            done += 1
            places.leave(turn, time.monotonic())
        return done

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(8))) > 0
    assert (places.inside, places.waiting) == (0, 0)
    assert most[0] <= 4


def test_in_turn() -> None:
    """Work is begun in order, at most as much at once as there are places; what is cancelled in line is never begun."""
    places, begun = Places(2), list[Future[int]]()

    def submit() -> Future[int]:
        begun.append(Future())
        return begun[-1]

    futures = [in_turn(places, submit, time.monotonic() + 9, time.monotonic) for _ in range(5)]
    asked = [future for future in futures if future is not None]
    assert (len(asked), len(begun), places.waiting) == (5, 2, 3)
    assert asked[2].cancel() and not asked[0].cancel()
    for n in range(4):
        begun[n].set_result(n)
    wait_for_all([future for future in asked if not future.cancelled()], 1)
    assert [future.result() for future in asked if not future.cancelled()] == [0, 1, 2, 3]
    assert (len(begun), places.inside, places.waiting) == (4, 0, 0)


def test_in_turn_without_threads() -> None:
    """Where work cannot be begun, whoever waits hears of it, and no place is lost."""
    places, made = Places(1), Future[int]()
    first = in_turn(places, lambda: made, time.monotonic() + 9, time.monotonic)

    def refuse() -> Future[int]:
        raise RuntimeError("no thread")

    others = [in_turn(places, refuse, time.monotonic() + 9, time.monotonic) for _ in range(500)]
    made.set_result(1)
    assert first is not None and first.result() == 1
    assert all(isinstance(other and other.exception(1), RuntimeError) for other in others)
    assert (places.inside, places.waiting) == (0, 0)
