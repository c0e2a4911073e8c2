"""Rules on other audiences (`audienceRule`).

The documentation says that such a rule joins audiences by their ids and shows none; the form is by inference from that
of `targetRule`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flagmw.admin.adobe.rules.rule import Inverted, Joined, Rule
from flagmw.admin.errors import InvalidError


class AudienceRule(Rule):
    """A rule on other audiences."""

    __slots__ = ()

    def __and__(self, other: AudienceRule) -> AudienceRule:
        return _AudienceJoined.of("and", self, _audience(other))

    def __or__(self, other: AudienceRule) -> AudienceRule:
        return _AudienceJoined.of("or", self, _audience(other))

    def __invert__(self) -> AudienceRule:
        return _AudienceInverted(self)


class _AudienceJoined(Joined, AudienceRule):
    __slots__ = ()


class _AudienceInverted(Inverted, AudienceRule):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Membership(AudienceRule):
    """Being in an audience."""

    audience_id: int

    def json(self) -> dict[str, Any]:
        """Return the rule as the vendor takes it."""
        return {"audienceId": self.audience_id}


def audience(audience_id: int) -> AudienceRule:
    """Return the rule that holds for the members of an audience.

    Raises:
        InvalidError: the id is no whole number.
    """
    if isinstance(audience_id, bool) or not isinstance(audience_id, int) or audience_id < 0:
        raise InvalidError("must be an id of Adobe Target, a whole number", field="audience_id")
    return Membership(audience_id)


def _audience(other: object) -> AudienceRule:
    if not isinstance(other, AudienceRule):
        raise TypeError("join it with a rule on audiences; put rules on visitors into another audience")
    return other
