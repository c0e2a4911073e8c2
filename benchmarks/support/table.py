"""Tables of medians with ratios taken in one run, and goals beside what was measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

# They are numbered from G1; those without a number are "-".
GOALS = 20
# Percent of defaults from which on the times are those of failures.
MOST = 25
Rounds = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Column:
    """A figure of every row: its name, unit, and how many decimals are worth reading."""

    name: str
    unit: str
    digits: int = 1


@dataclass(frozen=True)
class Table:
    """Rows measured in one run.

    Attributes:
        rounds: by row and column, what each round brought.
        base: the row that the others are set against, in the first column and in `ratios`.
    """

    title: str
    columns: Sequence[Column]
    rounds: Rounds
    base: str
    ratios: Sequence[str] = ()
    note: str = ""

    def median(self, row: str, column: str) -> float:
        """Return the median of the rounds that brought a figure; not a number where none did."""
        return statistics.median(_figures(self.rounds[row][column]))

    def has(self, *rows: str) -> bool:
        return all(row in self.rounds for row in rows)

    def ratio(self, row: str, against: str, column: str) -> float:
        """Return the factor by which the first row takes more of *column*."""
        under = self.median(against, column)
        return self.median(row, column) / under if under else math.nan

    def markdown(self) -> str:
        compared = self.ratios or (self.columns[0].name,)
        heads = [f"{each.name} {each.unit}".strip() for each in self.columns]
        heads += [f"min..max {self.columns[0].name}", *(f"x in {name}" for name in compared)]
        lines = [f"### {self.title}", ""]
        lines += [f"| case | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
        for row, columns in self.rounds.items():
            cells = [_shown(self.median(row, each.name), each.digits) for each in self.columns]
            first = self.columns[0]
            taken = _figures(columns[first.name])
            cells.append(f"{_shown(min(taken), first.digits)}..{_shown(max(taken), first.digits)}")
            cells += [_shown(self.ratio(row, self.base, name), 2) for name in compared]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        lines += ["", f'Ratios are to "{self.base}".{" " + self.note if self.note else ""}', ""]
        return "\n".join(lines)


@dataclass(frozen=True)
class Goal:
    """What was asked for, and what came out."""

    id: str
    text: str
    measured: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"

    @property
    def met(self) -> bool:
        return (self.at_most is None or self.measured <= self.at_most) and (
            self.at_least is None or self.measured >= self.at_least
        )

    @property
    def wanted(self) -> str:
        if self.at_most is not None and self.at_most == self.at_least:
            return f"exactly {self.at_most:g} {self.unit}"
        return (
            f"at most {self.at_most:g} {self.unit}"
            if self.at_most is not None
            else f"at least {self.at_least:g} {self.unit}"
        )

    def markdown(self) -> str:
        return (
            f"| {self.id} | {self.text} | {self.wanted} | {_shown(self.measured, 2)} {self.unit} | {_says(self.met)} |"
        )


def _figures(taken: Sequence[float]) -> Sequence[float]:
    return [value for value in taken if not math.isnan(value)] or [math.nan]


def _shown(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:,.{digits}f}"


def _says(met: bool) -> str:
    return "met" if met else "**not met**"


HEAD = ["| goal | what | wanted | measured | |", "|---|---|---|---|---|"]


def summary(goals: Sequence[Goal]) -> str:
    """Return all goals in one table, in the order of their numbers, and those that nothing was measured for."""
    lines = [*HEAD, *(goal.markdown() for goal in sorted(goals, key=_order))]
    measured = {goal.id for goal in goals}
    left = [f"G{number}" for number in range(1, GOALS + 1) if f"G{number}" not in measured]
    if left:
        lines += ["", f"Not measured in this run: {', '.join(left)}."]
    return "\n".join(lines) + "\n"


def _order(goal: Goal) -> int:
    return int(goal.id[1:]) if goal.id[1:].isdigit() else GOALS + 1


@dataclass
class Section:
    """What one module of the benchmarks found."""

    name: str
    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        parts = [f"## {self.name}", "", *(f"{note}\n" for note in self.notes)]
        parts += [table.markdown() for table in self.tables]
        if self.goals:
            parts += HEAD
            parts += [goal.markdown() for goal in self.goals]
            parts.append("")
        return "\n".join(parts)


def void_failures(rounds: Rounds, but: Collection[str] = ()) -> list[str]:
    """Take away the times of rows in which most answers are defaults, and return these rows; no goal is met by them.

    Args:
        but: rows that have nothing else to show.
    """
    failing = []
    for row, columns in rounds.items():
        if row not in but and statistics.median(columns["defaults"]) > MOST:
            failing.append(row)
            for name in columns.keys() - {"defaults", "calls"}:
                columns[name] = [math.nan]
    return failing


def interleave(cases: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int) -> Rounds:
    """Run each case once per round, in turn, so that a busy second hurts all of them alike."""
    found: Rounds = {name: {} for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            for column, value in case().items():
                found[name].setdefault(column, []).append(value)
    return found
