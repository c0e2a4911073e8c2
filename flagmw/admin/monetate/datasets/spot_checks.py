"""The limit of checks of single records: by hand, one a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from flagmw._support.forksafe import Lock
from flagmw.admin.errors import InvalidError
from flagmw.admin.flow.effects import Flow
from flagmw.admin.limits.window import Window

# More than a person looks at in five minutes.
MOST, WITHIN_S = 30, 300.0


class SpotChecks:
    """Hold checks to one a second, and refuse so many that they must be a program's.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._window = Window(1, 1.0, clock=clock)
        self._lock = Lock()
        self._made: deque[float] = deque(maxlen=MOST)

    def acquire(self, max_wait_s: float) -> Flow[None]:
        """Wait for the next check.

        Raises:
            InvalidError: there were too many.
        """
        now = self._clock()
        with self._lock:
            if len(self._made) == MOST and now - self._made[0] < WITHIN_S:
                raise InvalidError(
                    f"{MOST} records in {WITHIN_S:.0f} s are more than a check by hand: Monetate forbids reading many "
                    "records and automated tests this way. What was taken is in the results of data.upsert",
                    field="record_id",
                )
            self._made.append(now)
        yield from self._window.acquire(1, max_wait_s)
