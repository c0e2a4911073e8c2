"""Rules on what is known of a visitor (`targetRule`).

The documentation shows `profile`, `geo` and `page` attributes with `equals` and `matches`, joined by `and`. Whatever
else is here follows from its words ("logical target statements using operators such as AND, OR, EQUALS") and is marked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flagmw.admin.adobe.rules.rule import Inverted, Joined, Rule
from flagmw.admin.errors import InvalidError

MAX_VALUES = 1000


class TargetRule(Rule):
    """A rule on what is known of a visitor."""

    __slots__ = ()

    def __and__(self, other: TargetRule) -> TargetRule:
        return _TargetJoined.of("and", self, _target(other))

    def __or__(self, other: TargetRule) -> TargetRule:
        return _TargetJoined.of("or", self, _target(other))

    def __invert__(self) -> TargetRule:
        return _TargetInverted(self)


class _TargetJoined(Joined, TargetRule):
    __slots__ = ()


class _TargetInverted(Inverted, TargetRule):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Condition(TargetRule):
    """An attribute compared with values; one of them must fit."""

    kind: str
    name: str
    operator: str
    values: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Return the rule as the vendor takes it."""
        return {self.kind: self.name, self.operator: list(self.values)}


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something that is known of a visitor."""

    kind: str
    name: str

    def equals(self, *values: str | int | float | bool) -> TargetRule:
        """Hold when the attribute is one of *values*."""
        return self.compare("equals", *values)

    def matches(self, *values: str | int | float | bool) -> TargetRule:
        """Hold when the attribute matches one of *values*, without regard to case."""
        return self.compare("matches", *values)

    def not_equals(self, *values: str | int | float | bool) -> TargetRule:
        """Hold when the attribute is none of *values*; by inference from the documentation."""
        return self.compare("notEquals", *values)

    def contains(self, *values: str | int | float | bool) -> TargetRule:
        """Hold when the attribute contains one of *values*; by inference from the documentation."""
        return self.compare("contains", *values)

    def compare(self, operator: str, *values: str | int | float | bool) -> TargetRule:
        """Hold by an operator of the vendor's that has no method here.

        Raises:
            InvalidError: the operator is no name, or there is no value.
        """
        if not operator.isidentifier() or operator in ("and", "or", "not", self.kind):
            raise InvalidError(f'"{operator}" is no operator', field="operator")
        if not values or len(values) > MAX_VALUES:
            raise InvalidError(f"give 1 to {MAX_VALUES} values", field=f"{self.kind}.{self.name}")
        return Condition(self.kind, self.name, operator, tuple(_text(value) for value in values))


def profile(name: str) -> Attribute:
    """Return a profile attribute, named without "profile."."""
    return attribute("profile", name.removeprefix("profile."))


def geo(name: str) -> Attribute:
    """Return a place of the visitor: "country", "region", "city", ..."""
    return attribute("geo", name)


def page(name: str) -> Attribute:
    """Return something of the page: "url", "domain", "query", ..."""
    return attribute("page", name)


def mbox(name: str) -> Attribute:
    """Return a parameter of the mbox; by inference from the documentation."""
    return attribute("mbox", name)


def attribute(kind: str, name: str) -> Attribute:
    """Return an attribute of a kind that has no function here.

    Raises:
        InvalidError: one of the two is no name.
    """
    if not isinstance(kind, str) or not kind.isidentifier() or kind in ("and", "or", "not"):
        raise InvalidError("is no kind of attribute", field="kind")
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidError("must be printable text", field=f"{kind} attribute")
    return Attribute(kind, name)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise InvalidError(f"must be text or a number, got {type(value).__name__}", field="value")
    return str(value)


def _target(other: object) -> TargetRule:
    if not isinstance(other, TargetRule):
        raise TypeError("join it with a rule on visitors; put rules on audiences into another audience")
    return other
