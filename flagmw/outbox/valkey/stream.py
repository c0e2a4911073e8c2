"""The queue on the Valkey server; one atomic script per call.

One stream per vendor, `flagmw:stream:<vendor>`, with one entry per event, read through the consumer group `deliver`. An
entry stays where it is until it is settled, so the length of the stream is the number of queued events, and what
anybody trims or deletes shows as a difference, which is counted as `LOST`. The stream and its group carry the backlog:
a million waiting events cost no more than their bytes, the next one is found without an index, and XINFO and XPENDING
tell the truth to whoever looks.

A stream knows no due times, no visitors and no leases that end by our clock, so the few entries that have been taken
and not settled have a schedule beside it, in plain hashes and sorted sets: when to try again, which visitor is busy,
which lease holds what. Every operation is one Lua script, which the server runs as a whole: there is no moment at which
an event is in two places or in none, counters move with the events that they count, and a late answer meets the lease's
token and settles nothing (XACK by itself does not look at the owner). It follows that

* no shards are needed to keep a visitor's order: the script that claims looks who is busy;
* no separate "sending" mark is needed: the lease is one, and it is taken and ended atomically;
* the "done" mark of a delivered id is written by the script that removes the event, never before it was sent. It
  stops a machine that comes back after a crash from forwarding the event a second time;
* the lease is timed by its end, not by the group's idle time, so that all backends end leases by the same rule. The
  group is audited once a minute with XAUTOCLAIM, page by page, for entries that other programs read or deleted.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import orjson

from flagmw._support.encryption import Cipher, Unreadable
from flagmw._valkey.connection import Link
from flagmw.outbox.base import DeadLetter, Lease, Leased, OutboxStats
from flagmw.outbox.codec import from_bytes, to_bytes
from flagmw.outbox.policy import Disposition, Policy
from flagmw.outbox.sqlite.rows import key_of
from flagmw.outbox.valkey.codec import code_counts, code_of, lane_stats, ruling_words
from flagmw.types import Event, Outcome

_PAGE = 200
_FOREIGN_S = 30.0  # how long an event rests that this process cannot read
_FIELDS = 7  # what `claim.lua` says of a row
_ROWS_AT = 2  # what it says before the first


class Stream:
    """Streams and what is kept beside them. Times are seconds on the caller's clock, which scripts translate.

    Methods take the time *now* of the caller; None has them read the clock, in a thread that nobody gave a time.

    Every method raises `ServerTrouble` when the server does not answer.

    Args:
        seal: encrypts what is stored.
        poison: an event whose holder died or stalled more often than this is laid aside.
        clock: the callers' clock, seconds since the epoch.
        shared_clock: whether scripts go by the server's clock; else by the callers', which is one for all of them.
    """

    def __init__(
        self,
        link: Link,
        policy: Policy,
        rng: random.Random,
        seal: Cipher,
        poison: int,
        clock: Callable[[], float],
        *,
        shared_clock: bool,
    ) -> None:
        self._link, self._policy, self._rng, self._seal = link, policy, rng, seal
        self._clock = clock
        # A clock that only callers move must not be read by a thread, and used by its script after they have moved it.
        self._turn: AbstractContextManager[object] = nullcontext() if shared_clock else threading.RLock()
        # The last claim of an event that must not be sent twice: epoch and number.
        self._last_claim = (0, 0)
        self._claims: dict[str, tuple[int, int]] = {}
        self._consumer = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        longest_s = max(
            policy.backoff_max_s, policy.retry_after_max_s, policy.suspend_probe_s, 1.2 * policy.refusals_over_s
        )
        settings = {
            # JSON knows no infinity; a thousand years will do.
            "max_age_s": min(policy.max_age_s, 3.2e10),
            "longest_s": longest_s,
            "dead_rows": policy.dead_max_rows,
            "dead_bytes": policy.dead_max_bytes,
            "dead_age_s": policy.dead_max_age_s,
            "recent_rows": policy.recent_max_rows,
            "recent_age_s": policy.recent_max_age_s,
            "poison": poison,
            "shared_clock": shared_clock,
        }
        self._settings = {
            background: orjson.dumps({**settings, "background": background and not shared_clock})
            for background in (False, True)
        }

    def add(self, rows: Sequence[Leased], again: Callable[[Leased], bool], now: float | None) -> list[bool]:
        """Take *rows* over; return for each whether the server has it, which it has not when there is no room.

        Args:
            again: whether the server may have the row from an earlier try.
        """
        arguments: list[str | bytes | int] = [self._link.address.max_rows, *self._watch()]
        for row in rows:
            event = row.event
            arguments += (event.id, event.vendor, event.visitor_key, repr(row.created))
            body = self._seal.encrypt(to_bytes(event))
            arguments += (str(int(event.at_most_once)), self._key_of(event), str(int(again(row))), body)
        with self._turn:
            return [bool(taken) for taken in self._link.forward([*self._head(now), *arguments])]

    def claim(self, now: float, limit: int, lease_s: float, skip: Collection[str]) -> Lease | None:
        # Never a number that counts on: after a flush it would come again, and an old lease with it.
        token = uuid.uuid4().hex
        arguments = (limit, repr(float(lease_s)), token, self._consumer, _names(skip), *self._watch())
        while (answer := self._run("claim", now, *arguments)) == []:
            pass
        if answer is None:
            return None
        if answer[1]:
            epoch, number = answer[1].split()
            self._claims[token] = (int(epoch), int(number))
        rows, foreign = list[Leased](), list[str]()
        for i in range(_ROWS_AT, len(answer), _FIELDS):
            try:
                rows.append(self._leased(*answer[i : i + _FIELDS - 1]))
            except Unreadable:
                foreign.append(answer[i + _FIELDS - 1].decode())
        if foreign:
            # Of a newer version, as in the middle of a deployment: left to processes that can read it.
            later = repr(now + _FOREIGN_S)
            words = [word for id in foreign for word in (id, "requeue", later, "0", "0", "")]
            self._run("settle", now, token, *words)
        if not rows:
            self._claims.pop(token, None)
            return None
        return Lease(token, answer[0].decode(), tuple(rows))

    def sure(self, lease: Lease, *, kept: bool) -> None:
        """Note whether the claim *lease* of an event that must not be sent twice is *kept*, as far as can be known."""
        claim = self._claims.pop(lease.token, None)
        if claim is not None and kept:
            self._last_claim = max(self._last_claim, claim)

    def rulings(self, rows: Sequence[Leased], outcomes: Sequence[Outcome], now: float) -> list[Disposition]:
        return [self._policy.rule(outcome, row, now, self._rng) for row, outcome in zip(rows, outcomes, strict=True)]

    def settle(self, lease: Lease, rulings: Sequence[Disposition], now: float | None) -> None:
        arguments = [
            word for row, ruling in zip(lease.rows, rulings, strict=True) for word in ruling_words(row, ruling)
        ]
        self._run("settle", now, lease.token, *arguments)

    def release(self, lease: Lease, now: float) -> None:
        arguments = [word for row in lease.rows for word in (row.event.id, "release", "", "", "", "")]
        self._run("settle", now, lease.token, *arguments)

    def next_due(self, now: float, skip: Collection[str]) -> float | None:
        answer = self._run("next_due", now, self._consumer, _names(skip))
        return None if answer is None else float(answer)

    def stats(self, now: float) -> OutboxStats:
        reply = orjson.loads(self._run("stats", now))
        return OutboxStats.of(
            {name: lane_stats(lane) for name, lane in reply["lanes"].items()}, code_counts(reply["refused"])
        )

    def dead(self, limit: int) -> list[DeadLetter]:
        entries = (
            self._link.use(lambda client: client.xrevrange(f"{self._prefix}dead", count=limit)) if limit > 0 else []
        )
        return [letter for _, fields in entries if (letter := self._letter(fields)) is not None]  # type: ignore[union-attr]

    def revive(self, ids: Collection[str] | None, now: float) -> int:
        return self._letters("revive", ids, now)

    def forget(self, ids: Collection[str] | None, now: float | None = None) -> int:
        return self._letters("forget", ids, now)

    def purge(self, matches: Callable[[Event], bool], now: float) -> int:
        gone = 0
        for vendor in self.vendors():
            for page in self._pages(f"{self._prefix}stream:{vendor}"):
                matching = [(vendor, number) for number, fields in page if self._matches(matches, fields)]
                gone += self._purge(matching, now)
        for page in self._pages(f"{self._prefix}dead"):
            letters = [("", fields[b"id"].decode()) for _, fields in page if self._matches(matches, fields)]
            gone += self._purge(letters, now)
        return gone

    def audit(self, idle_s: float) -> None:
        """Find what the consumer group holds and nobody knows of, and forget what somebody deleted."""
        for vendor in self.vendors():
            cursor = "0-0"
            while True:
                answer = self._run("audit", None, vendor, self._consumer, cursor, int(idle_s * 1000))
                cursor = answer.decode()
                # An empty page is not the end: the server looks at a limited number of entries per call.
                if cursor == "0-0":
                    break

    def vendors(self) -> list[str]:
        vendors: Any = self._link.use(lambda client: client.smembers(f"{self._prefix}vendors"))
        return sorted(name.decode() for name in vendors)

    @property
    def _prefix(self) -> str:
        return self._link.address.prefix

    def _run(self, script: str, now: float | None, *arguments: str | bytes | int) -> Any:
        with self._turn:
            return self._link.run(script, *self._head(now), *arguments)

    def _head(self, now: float | None) -> tuple[str, bytes]:
        """Return the leading arguments of all scripts; to be called in turn."""
        return repr(float(self._clock() if now is None else now)), self._settings[now is None]

    def _watch(self) -> tuple[str | int, ...]:
        """Return the leading arguments of `server.lua`, which depend on how the server is set up."""
        self._link.use(lambda client: None)
        return ("" if self._link.keeps_all else "r", self._link.address.replicas, *self._last_claim)

    def _letters(self, what: str, ids: Collection[str] | None, now: float | None) -> int:
        """Do *what* to dead letters, in the order of their death."""
        wanted, done = None if ids is None else set(ids), 0
        if wanted is not None and not wanted:
            return 0
        for page in self._pages(f"{self._prefix}dead"):
            page_ids = [id for _, fields in page if (id := fields[b"id"].decode()) in (wanted or {id})]
            if page_ids:
                done += int(self._run("letters", now, what, self._link.address.max_rows, *page_ids))
        return done

    def _purge(self, pairs: Sequence[tuple[str, str]], now: float) -> int:
        if not pairs:
            return 0
        words = [word for pair in pairs for word in pair]
        return int(self._run("letters", now, "purge", 0, *words))

    def _pages(self, stream: str) -> Iterator[list[tuple[str, Mapping[bytes, bytes]]]]:
        """Yield a stream's entries, some at a time: never all of them in memory."""
        start = "-"
        while True:
            page: Any = self._link.use(lambda client, start=start: client.xrange(stream, start, "+", count=_PAGE))  # type: ignore[misc]
            if not page:
                return
            yield [(id.decode().partition("-")[0], fields) for id, fields in page]
            start = f"({page[-1][0].decode()}"

    def _key_of(self, event: Event) -> str:
        return (key_of(event, self._seal) or b"").hex()

    def _event(self, body: bytes, aliases: bytes) -> Event:
        event = from_bytes(self._seal.decrypt(body))
        return replace(event, aliases=tuple(orjson.loads(aliases))) if aliases else event

    def _leased(
        self, body: bytes, attempts: bytes, created: bytes, refusals: bytes, refused_at: bytes, aliases: bytes
    ) -> Leased:
        return Leased(
            event=self._event(body, aliases),
            attempts=int(attempts),
            created=float(created),
            refusals=int(refusals),
            refused_at=float(refused_at) if refused_at else None,
        )

    def _letter(self, fields: Mapping[bytes, bytes]) -> DeadLetter | None:
        try:
            event = self._event(fields[b"body"], fields[b"aliases"])
        except Unreadable:
            return None
        return DeadLetter(
            event=event,
            code=code_of(fields[b"code"].decode()),
            attempts=int(fields[b"attempts"]),
            at=float(fields[b"at"]),
        )

    def _matches(self, matches: Callable[[Event], bool], fields: Mapping[bytes, bytes]) -> bool:
        try:
            return matches(self._event(fields[b"body"], fields[b"aliases"]))
        except (Unreadable, KeyError):
            return False


def _names(vendors: Collection[str]) -> bytes:
    return orjson.dumps(list(vendors))
