"""Conditions of rules, with their options."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flagmw.admin.errors import InvalidError

TEXT = frozenset({"STRING_EQUALS", "CONTAINS_SUBSTRING"})
NUMBER = frozenset({"NUMBER_LESS_THAN", "NUMBER_GREATER_THAN", "NUMBER_EQUAL_TO"})
PLAIN = frozenset({"HAS_ANY_VALUE", "IS_TRUE", "IS_FALSE"})
TIME = frozenset({"BETWEEN_TIME", "BEFORE_TIME", "AFTER_TIME"})
CONDITIONS = TEXT | NUMBER | PLAIN | TIME | {"JSON_MATCH", "IS_MEMBER_OF", "IS_IN_FLOW_STATE"}

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A condition and what it compares with; a wrong one cannot be made.

    Attributes:
        condition: the vendor's name of it.
        value: a text, a number, or a Lytics audience.
        start, end: local date and time without an offset, "2024-11-29T00:00:00".
        visitor_zone: whether times are the visitor's; else UTC.
        flow: a Lytics flow's id and state.
        pointer: a JSON pointer into the attribute, "/utm_campaign"; *inner* tests what is there.
        invert_inner: whether *inner* must not hold.
    """

    condition: str
    value: str | int | float | None = None
    start: str | None = None
    end: str | None = None
    visitor_zone: bool = False
    flow: tuple[str, str] | None = None
    pointer: str | None = None
    inner: Match | None = None
    invert_inner: bool = False

    def __post_init__(self) -> None:
        name = self.condition
        if not isinstance(name, str) or name not in CONDITIONS:
            raise InvalidError(f"{name!r} is no condition; use one of {', '.join(sorted(CONDITIONS))}", field="rule")
        wanted = _needed(name)
        for part in ("value", "start", "end", "flow", "pointer", "inner"):
            given = getattr(self, part) is not None
            if given and part not in wanted:
                raise InvalidError(f"{name} takes no {part}", field="rule")
            if part in wanted and not given:
                raise InvalidError(f"{name} needs {part}", field="rule")
        for part in ("visitor_zone", "invert_inner"):
            if not isinstance(getattr(self, part), bool):
                raise InvalidError(f"{part} must be true or false", field="rule")
        if self.visitor_zone and name not in TIME:
            raise InvalidError(f"{name} has no time zone", field="rule")
        if self.invert_inner and name != "JSON_MATCH":
            raise InvalidError(f"{name} has no inner condition to invert", field="rule")
        self._check_values()

    def _check_values(self) -> None:
        if self.condition in NUMBER:
            number = self.value
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise InvalidError(f"{self.condition} needs a number, not {number!r}", field="rule")
        elif self.value is not None and (not isinstance(self.value, str) or not self.value):
            raise InvalidError(f"{self.condition} needs a text that is not empty", field="rule")
        if self.flow is not None and not (
            isinstance(self.flow, tuple)
            and len(self.flow) == 2
            and all(isinstance(one, str) and one for one in self.flow)
        ):
            raise InvalidError("a flow is its id and its state", field="rule")
        times = [_moment(text) for text in (self.start, self.end) if text is not None]
        if len(times) == 2 and times[1] < times[0]:
            raise InvalidError(f"the end {self.end} is before the start {self.start}", field="rule")
        if self.pointer is not None and (not isinstance(self.pointer, str) or not _POINTER.fullmatch(self.pointer)):
            raise InvalidError(f'{self.pointer!r} is no JSON pointer; write it as "/utm_campaign"', field="rule")
        if self.inner is not None:
            if not isinstance(self.inner, Match):
                raise InvalidError("the inner condition is no condition", field="rule")
            if self.inner.condition not in TEXT | NUMBER | PLAIN:
                raise InvalidError(f"{self.inner.condition} cannot stand inside JSON_MATCH", field="rule")

    def options(self) -> dict[str, Any] | None:
        """Return `attributeMatchOptions`; None for a condition without any."""
        if self.condition in TEXT:
            return {"__type": "StringMatchOptions", "value": self.value}
        if self.condition in NUMBER:
            return {"__type": "NumberMatchOptions", "value": self.value}
        if self.condition in TIME:
            times = {"startTime": self.start, "endTime": self.end}
            given = {name: text for name, text in times.items() if text is not None}
            return {"__type": "DateTimeMatchOptions", **given, "useVisitorTimezone": self.visitor_zone}
        if self.condition == "IS_MEMBER_OF":
            return {"__type": "AudienceMatchOptions", "value": self.value}
        if self.flow is not None:
            return {"__type": "FlowStateMatchOptions", "flowId": self.flow[0], "flowState": self.flow[1]}
        if self.inner is None:
            return None
        inner = self.inner.options()
        return {
            "__type": "JSONMatchOptions",
            "pointer": self.pointer,
            "matchCondition": self.inner.condition,
            **({} if inner is None else {"matchOptions": inner}),
            "invertCondition": self.invert_inner,
        }


def _needed(condition: str) -> frozenset[str]:
    if condition in TEXT | NUMBER or condition == "IS_MEMBER_OF":
        return frozenset({"value"})
    parts = {
        "BETWEEN_TIME": {"start", "end"},
        "BEFORE_TIME": {"end"},
        "AFTER_TIME": {"start"},
        "JSON_MATCH": {"pointer", "inner"},
        "IS_IN_FLOW_STATE": {"flow"},
    }
    return frozenset(parts.get(condition, ()))


def _moment(text: object) -> datetime:
    try:
        found = datetime.fromisoformat(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InvalidError(f'{text!r} is no date and time; write it as "2024-11-29T00:00:00"', field="rule") from None
    if found.tzinfo is not None or "T" not in str(text):
        raise InvalidError(
            f'{text!r}: write date and time without an offset, "2024-11-29T00:00:00"; the zone is an option',
            field="rule",
        )
    return found
