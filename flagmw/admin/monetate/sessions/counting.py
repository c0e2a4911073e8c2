"""Counts over sessions, in memory that does not grow with the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson

from flagmw.admin.monetate.sessions.names import Names
from flagmw.admin.monetate.sessions.reading import LineProblem, SessionFile

# Of one column or one kind of ids; what comes beyond is counted together.
MAX_DISTINCT = 100_000
MAX_TEXT = 200
KEPT_PROBLEMS = 100
OTHERS = "(others)"
NONE = "(none)"


@dataclass(frozen=True, slots=True)
class VariantCount:
    """Sessions with one variant of an experience.

    Attributes:
        part: what follows the experience's id in an offer, as received.
        name: the variant in words, None where neither letter nor id matches.
    """

    part: str
    name: str | None
    sessions: int


@dataclass(frozen=True, slots=True)
class NameCount:
    """Sessions with an experience, a page event or a target.

    Attributes:
        id: as received.
        name: None where nothing has this id.
        variants: of an experience.
    """

    id: str
    name: str | None
    sessions: int
    type: str = ""
    variants: tuple[VariantCount, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionReport:
    """What is in the sessions that were read.

    Attributes:
        sessions: how many there were.
        broken: how many lines were no session; `problems` has the first.
        odd: how many ids were none, and were left out.
        experiences, page_events, targets: most sessions first.
        column: the column of `by`, None without one.
        by: its values and how many sessions each has.
    """

    sessions: int
    broken: int
    problems: tuple[LineProblem, ...]
    odd: int
    experiences: tuple[NameCount, ...]
    page_events: tuple[NameCount, ...]
    targets: tuple[NameCount, ...]
    column: str | None = None
    by: tuple[tuple[str, int], ...] = ()

    @property
    def unmatched(self) -> dict[str, list[str]]:
        """Return the ids that nothing matches, by kind: deleted objects, as a rule."""
        kinds = {"experiences": self.experiences, "page_events": self.page_events, "targets": self.targets}
        return {kind: [one.id for one in rows if one.name is None and one.id != OTHERS] for kind, rows in kinds.items()}


@dataclass(slots=True)
class SessionCounter:
    """Reads files and counts.

    Attributes:
        by: a column of which sessions are counted by value.
        on_session: called with every session, for rows.
        most: different values of one kind; what comes beyond is counted together.
    """

    by: str | None = None
    on_session: Callable[[dict[str, Any]], object] | None = None
    most: int = MAX_DISTINCT
    sessions: int = 0
    broken: int = 0
    odd: int = 0
    problems: list[LineProblem] = field(default_factory=list)
    _experiences: dict[str, int] = field(default_factory=dict)
    _offers: dict[str, int] = field(default_factory=dict)
    _page_events: dict[str, int] = field(default_factory=dict)
    _targets: dict[str, int] = field(default_factory=dict)
    _values: dict[Any, int] = field(default_factory=dict)
    _experience_of: dict[str, str] = field(default_factory=dict)

    def read(self, source: Any, on_bytes: Callable[[int], object] | None = None) -> None:
        """Count the sessions of a path or an open binary stream.

        Raises:
            InvalidError: it cannot be opened.
        """
        opened: str | BinaryIO = source
        file = SessionFile(opened, self._note, on_bytes)
        for lines in file.blocks():
            self._count(file, lines)

    def report(self, names: Names) -> SessionReport:
        """Return the counts with their names."""
        experiences = self._named(self._experiences, names.experiences)
        variants: dict[str, list[VariantCount]] = {}
        for offer, count in sorted(self._offers.items(), key=lambda one: -one[1]):
            own, _, part = offer.partition("-")
            if part and own.isdecimal():
                variants.setdefault(own, []).append(VariantCount(part, names.variant(int(own), part), count))
        with_variants = tuple(
            NameCount(
                one.id,
                one.name,
                one.sessions,
                names.types.get(int(one.id), "") if one.id.isdecimal() else "",
                tuple(variants.get(one.id, ())),
            )
            for one in experiences
        )
        values = sorted(((str(value), count) for value, count in self._values.items()), key=lambda one: -one[1])
        return SessionReport(
            sessions=self.sessions,
            broken=self.broken,
            problems=tuple(self.problems),
            odd=self.odd,
            experiences=with_variants,
            page_events=self._named(self._page_events, names.page_events),
            targets=self._named(self._targets, names.targets),
            column=self.by,
            by=tuple(values),
        )

    def _count(self, file: SessionFile, lines: list[bytes]) -> None:
        loads, on_session, by = orjson.loads, self.on_session, self.by
        experiences, offers_seen, experience_of = self._experiences, self._offers, self._experience_of
        for number, line in enumerate(lines, file.lines + 1):
            try:
                session = loads(line)
                offers = session.get("offers")
            except orjson.JSONDecodeError:
                self._broken(file, number, line)
                continue
            except AttributeError:
                self._note(LineProblem(file.name, number, "is no JSON object"))
                continue
            self.sessions += 1
            if offers is None:
                offers = session.get("offer_ids")
            if offers:
                try:
                    shown = {experience_of[offer] for offer in offers}
                except (KeyError, TypeError):
                    shown = self._new_offers(offers)
                else:
                    for offer in offers:
                        offers_seen[offer] += 1
                for own in shown:
                    experiences[own] += 1
            events = session.get("page_event_ids")
            if events:
                self._ids(self._page_events, events)
            targets = session.get("custom_targets")
            if targets:
                self._ids(self._targets, targets)
            if by is not None:
                self._value(session.get(by))
            if on_session is not None:
                on_session(session)

    def _new_offers(self, offers: Any) -> set[str]:
        """Count offers of which one is new or is none, and return their experiences."""
        shown = set()
        for offer in offers if isinstance(offers, list) else (None,):
            own = experience_part(offer)
            if own is None or offer is None:
                self.odd += 1
                continue
            if offer in self._experience_of or len(self._experience_of) < self.most:
                own = self._experience_of.setdefault(offer, own)
            elif own not in self._experiences:
                own = OTHERS
            self._add(self._offers, offer)
            self._experiences.setdefault(own, 0)
            shown.add(own)
        return shown

    def _ids(self, counts: dict[str, int], found: Any) -> None:
        if isinstance(found, list):
            found = {str(own) for own in found}
        elif not isinstance(found, dict):
            self.odd += 1
            return
        for own in found:
            try:
                counts[own] += 1
            except KeyError:
                if own.isascii() and own.isdecimal() and len(own) < 20:
                    self._add(counts, own)
                else:
                    self.odd += 1

    def _value(self, value: Any) -> None:
        try:
            self._values[value] += 1
        except (KeyError, TypeError):
            if value is None:
                text = NONE
            elif isinstance(value, dict | list):
                text = orjson.dumps(value).decode()
            else:
                text = str(value)
            self._add(self._values, text[:MAX_TEXT])

    def _add(self, counts: dict[Any, int], key: Any) -> None:
        if key not in counts and len(counts) >= self.most:
            key = OTHERS
        counts[key] = counts.get(key, 0) + 1

    def _broken(self, file: SessionFile, number: int, line: bytes) -> None:
        if not line.strip():
            return
        reason = "is no JSON"
        try:
            line.decode()
        except UnicodeDecodeError:
            reason = "is not UTF-8"
        if not line.rstrip().endswith(b"}"):
            reason += ", or is cut off"
        self._note(LineProblem(file.name, number, reason))

    def _note(self, problem: LineProblem) -> None:
        self.broken += 1
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(problem)

    @staticmethod
    def _named(counts: dict[str, int], names: dict[int, str]) -> tuple[NameCount, ...]:
        rows = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        return tuple(NameCount(own, names.get(int(own)) if own.isdecimal() else None, count) for own, count in rows)


def experience_part(offer: Any) -> str | None:
    """Return the experience's id in an offer's; None where there is none."""
    own = offer.partition("-")[0] if isinstance(offer, str) else ""
    return own if own.isascii() and own.isdecimal() and len(own) < 20 and len(offer) <= MAX_TEXT else None


def count_sessions(
    sources: Iterable[Any],
    names: Names,
    *,
    by: str | None = None,
    on_session: Callable[[dict[str, Any]], object] | None = None,
    on_bytes: Callable[[int], object] | None = None,
) -> SessionReport:
    """Read sessions and return what is in them.

    Args:
        sources: paths, or open binary streams; plain or gzip.
        names: of the ids.
        by: a column of which sessions are counted by value.
        on_session: called with every session.
        on_bytes: called with the number of bytes that were read.

    Raises:
        InvalidError: a file cannot be opened.
    """
    counter = SessionCounter(by=by, on_session=on_session)
    for source in sources:
        counter.read(source, on_bytes)
    return counter.report(names)
