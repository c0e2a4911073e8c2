"""The clock of one slot, safe against jumps."""

from __future__ import annotations

from flagmw.outbox.sqlite.counters import SlotCounts

# As in memory: only more than this is a jump of the clock that due times must follow.
JUMP_S = 60.0
# How often the time is written while events wait and nothing else is written.
_NOTE_S = 60.0


class Clock:
    """Two times of one file, both in seconds since the epoch.

    What waits is due by `now`. What ages does so by `seen`, which stands still while no process has the file: neither
    a clock that is wrong when a process starts nor a long pause between two processes makes anything old.

    Attributes:
        now: as the last caller said, or as the file says; 0 only in a file in which nothing was ever counted.
        unseen: how far `seen` is behind.
        started: whether a caller has passed a time yet.
    """

    def __init__(self, counts: SlotCounts) -> None:
        self._counts = counts
        self.now = self.unseen = 0.0
        self.started = False

    @property
    def seen(self) -> float:
        return self.now - self.unseen

    def load(self) -> None:
        """Read from the file's counts what is not known yet."""
        if not self.started:
            self.now, self.unseen = float(self._counts.get("", "now")), float(self._counts.get("", "unseen"))

    def look(self, now: float) -> None:
        """Take *now* for what is read or changed beside the process that has the file; its clock goes on as it is."""
        self.started, self.now = True, now

    def advance(self, now: float) -> float:
        """Go on to *now*; return by how many seconds due times and leases must follow a clock that is behind."""
        first, self.started = not self.started, True
        if self.now <= 0:
            self.now = now
        behind_s = self.now - now if now < self.now - JUMP_S else 0.0
        if behind_s or (first and now > self.now):
            # The file keeps whole seconds.
            self.unseen += float(int(now - self.now))
            self.now = now
        self.now = max(self.now, now)
        return behind_s

    def note(self, *, waiting: bool) -> None:
        """Have the time written with what has changed, and now and then while events are *waiting*."""
        if self.now > 0 and (self._counts.dirty or (waiting and self.now - self._counts.get("", "now") >= _NOTE_S)):
            self._counts.put("now", int(self.now))
            if self.unseen or self._counts.get("", "unseen"):
                self._counts.put("unseen", int(self.unseen))
