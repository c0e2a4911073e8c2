"""The queue in memory: lanes, leases, dead letters and settled ids."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from flagmw.codes import ErrorCode
from flagmw.outbox.base import DeadLetter, Lease, Leased, OutboxStats
from flagmw.outbox.memory.business_keys import MemoryKeys, Recent
from flagmw.outbox.memory.lane import LaneRows, MemoryRow
from flagmw.outbox.policy import Bury, Discard, Disposition, Policy, Requeue, Settle
from flagmw.types import Event, Outcome

# A clock may step back a little between two threads; only more than this is a jump that due times must follow.
_JUMP_S = 60.0


@dataclass(slots=True)
class _LeasedRows:
    vendor: str
    lease_s: float
    until: float
    rows: dict[str, MemoryRow]


class MemoryQueue:
    """All the state of one process. The caller holds the lock."""

    def __init__(self, policy: Policy, max_rows: int, max_bytes: int, rng: random.Random) -> None:
        self.lock = threading.Lock()
        self.closed = False
        self.dead: OrderedDict[str, tuple[DeadLetter, int]] = OrderedDict()
        self._policy, self._max_rows, self._max_bytes, self._rng = policy, max_rows, max_bytes, rng
        self._now = 0.0
        self._numbers = itertools.count(1)
        self._rows: dict[str, MemoryRow] = {}
        self._recent = Recent(policy)
        self._keys = MemoryKeys(self._recent)
        self._lanes: dict[str, LaneRows] = {}
        self._held: dict[str, _LeasedRows] = {}
        self._bytes = self._dead_bytes = 0
        self._refused: Counter[ErrorCode] = Counter()

    def advance(self, now: float) -> None:
        """Set the clock, take back what leases that ran out held, and forget what is past its age."""
        if now < self._now - _JUMP_S:
            self._rewind(now)
            self._now = now
        self._now = max(self._now, now)
        for token in [token for token, held in self._held.items() if held.until <= self._now]:
            for id in list(self._held[token].rows):
                row = self.take_back(token, id)
                if row is not None:
                    # Due as before: it was claimed first, so it comes first again.
                    self.settle(row, self._policy.doubt(row.leased(), self._now, due_at=row.due))
        self._recent.advance(self._now)
        while self.dead and next(iter(self.dead.values()))[0].at <= self._now - self._policy.dead_max_age_s:
            self._drop_letter(next(iter(self.dead)), ErrorCode.TOO_OLD)

    def put(self, event: Event) -> bool:
        if event.id in self._rows or event.id in self.dead or event.id in self._recent or self._keys.taken(event):
            self._refused[ErrorCode.DUPLICATE_KEY] += 1
            return True
        size = _size(event)
        share = self._policy.exposure_share if event.kind == "exposure" else 1.0
        if len(self._rows) + 1 > self._max_rows * share or self._bytes + size > self._max_bytes * share:
            self._refused[ErrorCode.QUEUE_FULL] += 1
            return False
        self._admit(event, size)
        self._queue(event.vendor).accepted += 1
        return True

    def reserve(self, event: Event) -> bool:
        """Keep the business key of *event* for it, for a minute; return whether no other event has it."""
        return self._keys.reserve(event, known=event.id in self._rows)

    def enqueue(self, row: MemoryRow) -> None:
        self._queue(row.event.vendor).push(row)

    def claim(self, limit: int, lease_s: float, skip: Collection[str]) -> Lease | None:
        heads = [
            (row.due, row.seq, name)
            for name, lane in self._lanes.items()
            if name not in skip and (row := self._fresh_head(lane)) is not None and row.due <= self._now
        ]
        if not heads or limit < 1:
            return None
        name = min(heads)[2]
        lane, rows = self._lanes[name], list[MemoryRow]()
        while len(rows) < limit and (row := self._fresh_head(lane)) is not None and row.due <= self._now:
            if row.event.at_most_once and rows:
                break
            heapq.heappop(lane.waiting)
            rows.append(row)
            if row.event.at_most_once:
                break
        return self._lease(name, rows, lease_s)

    def claim_newest(self, limit: int, lease_s: float, skip: Collection[str]) -> Lease | None:
        for name, lane in self._lanes.items():
            if name in skip or limit < 1:
                continue
            rows: list[MemoryRow] = []
            for row in lane.newest_first(4 * limit, self._now):
                if self._policy.too_old(row.created, self._now) or (rows and row.event.at_most_once):
                    continue  # left to the claims that go by age, and to one of its own
                rows.append(row)
                if row.event.at_most_once or len(rows) == limit:
                    break
            if rows:
                lane.take(rows)
                return self._lease(name, rows, lease_s)
        return None

    def take_back(self, token: str, id: str) -> MemoryRow | None:
        """Take a row out of the hands of lease *token*; None if that does not hold it."""
        held = self._held.get(token)
        row = held.rows.pop(id, None) if held else None
        if held and not held.rows:
            del self._held[token]
        if held and row:
            self._lanes[held.vendor].free(row.event.visitor_key)
        return row

    def rule(self, row: Leased, outcome: Outcome) -> Disposition:
        return self._policy.rule(outcome, row, self._now, self._rng)

    def settle(self, row: MemoryRow, ruling: Disposition) -> None:
        match ruling:
            case Requeue():
                row.due = self._policy.clamp(ruling.due_at, self._now)
                row.attempts += ruling.counted
                if ruling.refused:
                    row.refusals += 1
                    row.refused_at = self._now if row.refused_at is None else row.refused_at
                if ruling.aliases is not None:
                    row.event = replace(row.event, aliases=ruling.aliases)
                self.enqueue(row)
            case Settle():
                self._remove(row, remember_key=True)
                queue = self._queue(row.event.vendor)
                queue.delivered += 1
                queue.duplicates += ruling.duplicate
            case Discard():
                # The vendor may have the one that is in doubt: its key must not be sent again either.
                self._remove(row, remember_key=ruling.code is ErrorCode.AMBIGUOUS)
                self._queue(row.event.vendor).dropped[ruling.code] += 1
            case Bury():
                row.attempts += 1
                self._bury(row, ruling.code)

    def next_due(self, skip: Collection[str]) -> float | None:
        # A head past the age limit counts as due: the claim that it calls for lays it aside.
        times = [row.due for name, lane in self._lanes.items() if name not in skip and (row := lane.head())]
        times += [held.until for held in self._held.values() if held.vendor not in skip]
        return max(0.0, min(times) - self._now) if times else None

    def revive(self, ids: Collection[str] | None) -> int:
        """Queue dead letters anew, oldest first, as far as there is room and their business key is free."""
        revived = 0
        for id in [id for id in self.dead if ids is None or id in ids]:
            letter, size = self.dead[id]
            full = len(self._rows) + 1 > self._max_rows or self._bytes + size > self._max_bytes
            if full or self._keys.taken(letter.event):
                continue
            self._unbury(id)
            self._admit(letter.event, size, letter.attempts)
            revived += 1
        return revived

    def forget(self, ids: Collection[str] | None) -> int:
        """Drop dead letters for good."""
        gone = [id for id in self.dead if ids is None or id in ids]
        for id in gone:
            self._drop_letter(id, ErrorCode.DISCARDED)
        return len(gone)

    def purge(self, matches: Callable[[Event], bool]) -> int:
        """Drop every event that matches, also those in somebody's hands."""
        gone = [row for queue in self._lanes.values() for row in queue.take_out(matches)]
        for token, held in list(self._held.items()):
            mine = [id for id, row in held.rows.items() if matches(row.event)]
            gone += [row for id in mine if (row := self.take_back(token, id))]
        for row in gone:
            self._remove(row, remember_key=False)
            self._queue(row.event.vendor).dropped[ErrorCode.PURGED] += 1
        letters = [id for id, (letter, _) in self.dead.items() if matches(letter.event)]
        for id in letters:
            self._drop_letter(id, ErrorCode.PURGED)
        return len(gone) + len(letters)

    def stats(self) -> OutboxStats:
        lanes = {name: queue.stats(self._now) for name, queue in self._lanes.items()}
        return OutboxStats.of(lanes, refused=self._refused)

    def close(self) -> None:
        self.closed = True
        for queue in self._lanes.values():
            queue.lose_all()
        for table in (self._rows, self._keys, self._recent, self._held):
            table.clear()
        self._bytes = 0

    def _lease(self, vendor: str, rows: list[MemoryRow], lease_s: float) -> Lease:
        # Only now: events of one visitor may share a lease, whose holder sends them one after the other.
        self._lanes[vendor].busy.update(row.event.visitor_key for row in rows)
        token = str(next(self._numbers))
        self._held[token] = _LeasedRows(vendor, lease_s, self._now + lease_s, {row.event.id: row for row in rows})
        return Lease(token, vendor, tuple(row.leased() for row in rows))

    def _fresh_head(self, lane: LaneRows) -> MemoryRow | None:
        """Return the lane's next row; those that waited past the age limit are buried on the way."""
        while (row := lane.head()) is not None and row.due <= self._now:
            if not self._policy.too_old(row.created, self._now):
                return row
            heapq.heappop(lane.waiting)
            self._bury(row, ErrorCode.TOO_OLD)
        return row

    def _bury(self, row: MemoryRow, code: ErrorCode) -> None:
        self._remove(row, remember_key=False)
        letter = DeadLetter(event=row.event, code=code, attempts=row.attempts, at=self._now)
        self.dead[row.event.id] = (letter, row.size)
        self._dead_bytes += row.size
        self._queue(row.event.vendor).dead += 1
        while len(self.dead) > self._policy.dead_max_rows or self._dead_bytes > self._policy.dead_max_bytes:
            self._drop_letter(next(iter(self.dead)), ErrorCode.QUEUE_FULL)

    def _unbury(self, id: str) -> DeadLetter:
        letter, size = self.dead.pop(id)
        self._dead_bytes -= size
        self._queue(letter.event.vendor).dead -= 1
        return letter

    def _drop_letter(self, id: str, code: ErrorCode) -> None:
        letter = self._unbury(id)
        self._queue(letter.event.vendor).dropped[code] += 1
        self._recent.add(id, self._now)

    def _queue(self, vendor: str) -> LaneRows:
        queue = self._lanes.get(vendor)
        if queue is None:
            queue = self._lanes[vendor] = LaneRows()
        return queue

    def _admit(self, event: Event, size: int, attempts: int = 0) -> None:
        row = MemoryRow(event, next(self._numbers), size, created=self._now, due=self._now, attempts=attempts)
        queue = self._queue(event.vendor)
        self._rows[event.id] = queue.rows[event.id] = row
        self._keys.hold(event)
        self._bytes += size
        queue.push(row)

    def _remove(self, row: MemoryRow, *, remember_key: bool) -> None:
        del self._rows[row.event.id]
        del self._queue(row.event.vendor).rows[row.event.id]
        self._bytes -= row.size
        self._recent.add(row.event.id, self._now)
        self._keys.give_up(row.event, self._now, remember=remember_key)

    def _rewind(self, now: float) -> None:
        """Follow a clock that jumped back to *now*: everything waits as long as it would have."""
        for row in self._rows.values():
            row.created = min(row.created, now)
            row.due = self._policy.clamp(row.due - (self._now - now), now)
            row.refused_at = None if row.refused_at is None else min(row.refused_at, now)
        for lane in self._lanes.values():
            lane.reorder()
        for held in self._held.values():
            held.until = min(held.until, now + held.lease_s)


def _size(event: Event) -> int:
    """Estimate what an event takes, in bytes: its texts, and a flat sum for everything around them."""
    visit, track = event.visit, event.track
    texts = [visit.url, visit.user_agent, visit.referer, visit.user_id, track.metric, track.key, *event.aliases]
    total = 512 + sum(len(text) for text in texts if text)
    for mapping in (visit.cookies, visit.data, track.data, *track.items):
        total += sum(len(name) + len(str(value)) for name, value in mapping.items())
    return total
