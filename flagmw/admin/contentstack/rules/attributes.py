"""Attributes to build rules from: `Country.equals("US")`."""

from __future__ import annotations

from datetime import datetime

from flagmw.admin.contentstack.rules.match import Match
from flagmw.admin.contentstack.rules.tree import Origin, Rule


class _Attribute:
    def __init__(self, ref: str, origin: Origin = "PresetAttributeReference", pointer: str | None = None) -> None:
        self._ref, self._origin, self._pointer = ref, origin, pointer

    def _rule(self, match: Match) -> Rule:
        if self._pointer is not None:
            match = Match(condition="JSON_MATCH", pointer=self._pointer, inner=match)
        return Rule(self._origin, self._ref, match)


class TextAttribute(_Attribute):
    """An attribute that is a text."""

    def equals(self, text: str) -> Rule:
        """Match this text."""
        return self._rule(Match(condition="STRING_EQUALS", value=text))

    def contains(self, text: str) -> Rule:
        """Match texts that contain this one."""
        return self._rule(Match(condition="CONTAINS_SUBSTRING", value=text))

    def has_any_value(self) -> Rule:
        """Match visitors who have the attribute."""
        return self._rule(Match(condition="HAS_ANY_VALUE"))


class _Scalar(TextAttribute):
    def greater_than(self, number: float) -> Rule:
        """Match numbers above this one."""
        return self._rule(Match(condition="NUMBER_GREATER_THAN", value=number))

    def less_than(self, number: float) -> Rule:
        """Match numbers below this one."""
        return self._rule(Match(condition="NUMBER_LESS_THAN", value=number))

    def number_equals(self, number: float) -> Rule:
        """Match this number."""
        return self._rule(Match(condition="NUMBER_EQUAL_TO", value=number))

    def is_true(self) -> Rule:
        """Match true."""
        return self._rule(Match(condition="IS_TRUE"))

    def is_false(self) -> Rule:
        """Match false."""
        return self._rule(Match(condition="IS_FALSE"))


class Custom(_Scalar):
    """A custom attribute of the project, by its uid."""

    def __init__(self, uid: str) -> None:
        super().__init__(uid, "CustomAttributeReference")


class QueryParameter(_Scalar):
    """A parameter of the page's address: its name, or a JSON pointer that begins with "/"."""

    def __init__(self, name: str) -> None:
        escaped = name.replace("~", "~0").replace("/", "~1")
        super().__init__("QUERY_PARAMETERS", pointer=name if name.startswith("/") else f"/{escaped}")


class _DateAndTime(_Attribute):
    """The moment of the visit."""

    def between(self, start: str | datetime, end: str | datetime, *, visitor_zone: bool = False) -> Rule:
        """Match from *start* to *end*, local date and time without an offset."""
        match = Match(condition="BETWEEN_TIME", start=_text(start), end=_text(end), visitor_zone=visitor_zone)
        return self._rule(match)

    def before(self, end: str | datetime, *, visitor_zone: bool = False) -> Rule:
        """Match before *end*."""
        return self._rule(Match(condition="BEFORE_TIME", end=_text(end), visitor_zone=visitor_zone))

    def after(self, start: str | datetime, *, visitor_zone: bool = False) -> Rule:
        """Match after *start*."""
        return self._rule(Match(condition="AFTER_TIME", start=_text(start), visitor_zone=visitor_zone))


class _LyticsAudience(_Attribute):
    """The audiences of Lytics."""

    def contains(self, slug: str) -> Rule:
        """Match members of a Lytics audience."""
        return self._rule(Match(condition="IS_MEMBER_OF", value=slug))


class _LyticsFlow(_Attribute):
    """The flows of Lytics."""

    def is_in(self, flow_id: str, state: str) -> Rule:
        """Match visitors who are in a state of a flow."""
        return self._rule(Match(condition="IS_IN_FLOW_STATE", flow=(flow_id, state)))


def _text(moment: str | datetime) -> str:
    return moment.isoformat(timespec="seconds") if isinstance(moment, datetime) else moment


Country = TextAttribute("COUNTRY")
Region = TextAttribute("REGION")
City = TextAttribute("CITY")
DeviceType = TextAttribute("DEVICE_TYPE")
OperatingSystem = TextAttribute("OPERATING_SYSTEM")
Referrer = TextAttribute("REFERRER")
DateAndTime = _DateAndTime("DATE_AND_TIME")
LyticsAudience = _LyticsAudience("LYTICS_AUDIENCE", "LyticsAttributeReference")
LyticsFlow = _LyticsFlow("LYTICS_FLOW_STATE", "LyticsAttributeReference")
