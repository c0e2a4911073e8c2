"""Events as table rows, and the statements that find them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from flagmw._support.encryption import Cipher, Unreadable
from flagmw.outbox.base import Leased
from flagmw.outbox.codec import filler, from_bytes, to_bytes
from flagmw.outbox.sqlite.clock import Clock
from flagmw.types import Event

# What a row takes beside its body: the other columns and the indexes, in bytes.
ROW_BYTES = 300

_FIELDS = "id, vendor, kind, visitor, key, once, created, due, size, body"
# Of an id, three times.
KNOWN = """
SELECT EXISTS (SELECT 1 FROM event WHERE id = ?) OR EXISTS (SELECT 1 FROM dead WHERE id = ?)
    OR EXISTS (SELECT 1 FROM done WHERE what = ?)
"""
# Of a business key, twice.
KEY_TAKEN = "SELECT EXISTS (SELECT 1 FROM event WHERE key = ?) OR EXISTS (SELECT 1 FROM done WHERE what = ?)"
COLUMNS = "seq, id, vendor, visitor, key, once, created, due, attempts, refusals, refused_at, size, body"
_FREE = "event WHERE vendor = ? AND parked IS NULL AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.seq = event.seq)"
DUE = f"SELECT {COLUMNS} FROM {_FREE} AND due <= ? ORDER BY due, seq LIMIT ?"  # noqa: S608 - our own names
NEWEST = f"SELECT {COLUMNS} FROM {_FREE} AND due <= ? AND attempts = 0 ORDER BY due DESC, seq DESC LIMIT ?"  # noqa: S608
VISITORS_FIRST = f"SELECT {COLUMNS} FROM {_FREE} AND due <= ? AND visitor = ? ORDER BY due, seq LIMIT 1"  # noqa: S608
FIRST = f"SELECT due, seq FROM {_FREE} AND due <= ? ORDER BY due, seq LIMIT 1"  # noqa: S608 - our own names
WAITING = f"SELECT seq, due, visitor FROM {_FREE} ORDER BY due, seq LIMIT ?"  # noqa: S608 - our own names
OLDEST = "SELECT seq, created FROM event WHERE seq > ? AND vendor = ? ORDER BY seq LIMIT 1"
# What `once` says of a row that must not be sent twice. The row itself has the mark that it may have been sent, and not
# the lease alone: a page that is lost must not take the proof and leave the event.
UNSENT, HANDED_OUT = 1, 2
HAND_OUT = f"UPDATE event SET once = {HANDED_OUT} WHERE seq = ?"  # noqa: S608 - our own names
TAKE_BACK = f"UPDATE event SET once = {UNSENT} WHERE seq = ?"  # noqa: S608 - our own names
DOUBT_ALL = f"UPDATE event SET once = {HANDED_OUT} WHERE once"  # noqa: S608 - our own names
# Why a row is not among those that claims look at.
BUSY, UNREADABLE = 1, 2
PARK = "UPDATE event SET parked = ? WHERE seq = ?"
UNPARK = "UPDATE event SET parked = NULL WHERE parked = 1 AND vendor = ? AND visitor = ?"

_leased_of = filler(Leased)

# Rows that one statement inserts at most. Each statement lets other threads run and must wait for them afterwards, so
# that a group in one statement is done several times sooner.
CHUNK = 64


@cache
def insert(rows: int) -> str:
    """Return the statement that inserts *n* rows, those of them that are new."""
    values = ", ".join([f"({', '.join('?' * 10)})"] * rows)
    return f"""
        INSERT INTO event ({_FIELDS})
        SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10
        FROM (VALUES {values})
        WHERE NOT EXISTS (SELECT 1 FROM done WHERE what = column1)
            AND NOT EXISTS (SELECT 1 FROM dead WHERE id = column1)
            AND (column5 IS NULL OR NOT EXISTS (SELECT 1 FROM done WHERE what = column5))
        ON CONFLICT DO NOTHING
        """  # noqa: S608 - our own names


@dataclass(slots=True)
class PackedEvent:
    """An event in the form of the table."""

    id: str
    vendor: str
    kind: str
    visitor: str
    key: bytes | None
    once: bool
    size: int
    body: bytes = field(repr=False)

    def values(self, seen: float, now: float) -> tuple[object, ...]:
        """Return the values to insert at *now*, which is *seen* for ages, in the order of the statement."""
        return (self.id, self.vendor, self.kind, self.visitor, self.key, self.once, seen, now, self.size, self.body)


def key_of(event: Event, seal: Cipher) -> bytes | None:
    """Return the digest of a business key: an order may be started and paid, so the metric is part of it."""
    if event.track.key is None:
        return None
    return seal.digest(f"{event.vendor}\0{event.track.metric}\0{event.track.key}")


def pack(event: Event, seal: Cipher) -> PackedEvent:
    """Return *event* in the form of the table.

    Raises:
        ValueError: it holds what cannot be stored.
    """
    key = key_of(event, seal)
    body = seal.encrypt(to_bytes(event))
    size = len(body) + ROW_BYTES
    return PackedEvent(event.id, event.vendor, event.kind, event.visitor_key, key, event.at_most_once, size, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotLimits:
    """The room of one slot."""

    max_rows: int
    max_bytes: int


@dataclass(slots=True)
class SlotRow:
    """A row as it is in the file: *created* and *refused_at* are in time that was seen, *due* is not."""

    seq: int
    id: str
    vendor: str
    visitor: str
    key: bytes | None
    once: int
    created: float
    due: float
    attempts: int
    refusals: int
    refused_at: float | None
    size: int
    body: bytes

    def read(self, seal: Cipher, clock: Clock) -> Leased:
        """Return the row with its event, as old as the time makes it that was seen since.

        Raises:
            Unreadable: the body is no event, or another row's.
        """
        event = from_bytes(seal.decrypt(self.body))
        if event.id != self.id or event.vendor != self.vendor:
            raise Unreadable("of another row")
        created = self.created + clock.unseen if self.created > 0 else clock.now
        refused_at = None if self.refused_at is None else self.refused_at + clock.unseen
        return _leased_of(event, self.attempts, created, self.refusals, refused_at)
