"""Rules of both kinds, their combination, and their JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

Joint = Literal["and", "or"]


class Rule:
    """A rule. Join rules of one kind with `&` and `|`, turn one round with `~`."""

    __slots__ = ()

    def json(self) -> dict[str, Any]:
        """Return the rule as the vendor takes it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Joined:
    """Two or more rules of which all, or any, must hold."""

    joint: Joint
    rules: tuple[Rule, ...]

    def json(self) -> dict[str, Any]:
        """Return the rule as the vendor takes it."""
        return {self.joint: [rule.json() for rule in self.rules]}

    @classmethod
    def of(cls, joint: Joint, left: Any, right: Any) -> Self:
        """Return *left* and *right* joined; groups of the same kind on the left grow instead of nesting."""
        first = left.rules if isinstance(left, cls) and left.joint == joint else (left,)
        return cls(joint, (*first, right))


@dataclass(frozen=True, slots=True)
class Inverted:
    """A rule that must not hold."""

    rule: Rule

    def json(self) -> dict[str, Any]:
        """Return the rule as the vendor takes it."""
        return {"not": [self.rule.json()]}
