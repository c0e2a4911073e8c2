"""Rules and their combinations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from flagmw.admin.contentstack.rules.match import NUMBER, PLAIN, TEXT, TIME, Match
from flagmw.admin.errors import InvalidError

Kind = Literal["AND", "OR"]
Origin = Literal["PresetAttributeReference", "CustomAttributeReference", "LyticsAttributeReference"]
MAX_RULES, MAX_DEPTH = 100, 20

_WORDS = TEXT | {"HAS_ANY_VALUE"}
PRESETS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("COUNTRY", "REGION", "CITY", "DEVICE_TYPE", "OPERATING_SYSTEM", "REFERRER"), frozenset(_WORDS)),
    "QUERY_PARAMETERS": frozenset({"JSON_MATCH", "HAS_ANY_VALUE"}),
    "DATE_AND_TIME": TIME,
}
LYTICS: dict[str, frozenset[str]] = {
    "LYTICS_AUDIENCE": frozenset({"IS_MEMBER_OF"}),
    "LYTICS_FLOW_STATE": frozenset({"IS_IN_FLOW_STATE"}),
}
_CUSTOM = TEXT | NUMBER | PLAIN | {"JSON_MATCH"}
_UID = re.compile(r"[0-9a-f]{24}")


class Node:
    """A rule or a combination: joined by `&` and `|`, turned into its opposite by `~`."""

    __slots__ = ()

    def __and__(self, other: Node) -> Combination:
        return _joined("AND", self, other)

    def __or__(self, other: Node) -> Combination:
        return _joined("OR", self, other)

    def __invert__(self) -> Node:
        raise NotImplementedError

    def __bool__(self) -> bool:
        # `a and b` would silently drop a.
        raise TypeError("rules are joined by & and |, not by and, or, not")

    def leaves(self, depth: int = 1) -> Iterator[int]:
        """Yield the depth of every rule."""
        raise NotImplementedError

    def node_json(self) -> dict[str, Any]:
        """Return the vendor's JSON of this node."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return the vendor's JSON of an audience's `definition`; a single rule is wrapped."""
        node = self if isinstance(self, Combination) else Combination("AND", (self,))
        return node.node_json()


@dataclass(frozen=True, slots=True)
class Rule(Node):
    """One condition on an attribute.

    Attributes:
        origin: whose attribute it is.
        ref: a preset's name, or the uid of a custom attribute.
        match: the condition.
        invert: whether the condition must not hold.
    """

    origin: Origin
    ref: str
    match: Match
    invert: bool = False

    def __post_init__(self) -> None:
        allowed = self._allowed()
        if not isinstance(self.match, Match):
            raise InvalidError("the condition is missing", field="rule")
        if self.match.condition not in allowed:
            listed = ", ".join(sorted(allowed))
            raise InvalidError(f"{self.ref} cannot be tested by {self.match.condition}; use {listed}", field="rule")
        if not isinstance(self.invert, bool):
            raise InvalidError("invert must be true or false", field="rule")
        if self.ref == "COUNTRY" and self.match.condition == "STRING_EQUALS":
            code = str(self.match.value)
            if not re.fullmatch("[A-Z]{2}", code):
                raise InvalidError(f'{code!r} is no country code; write ISO 3166-1 alpha-2, "US"', field="rule")

    def _allowed(self) -> frozenset[str]:
        if self.origin == "CustomAttributeReference":
            if not isinstance(self.ref, str) or not _UID.fullmatch(self.ref):
                raise InvalidError(f"{self.ref!r} is no attribute's uid; 24 hex digits are", field="rule")
            return frozenset(_CUSTOM)
        known = {"PresetAttributeReference": PRESETS, "LyticsAttributeReference": LYTICS}.get(self.origin)
        if known is None:
            raise InvalidError(f"{self.origin!r} is no kind of attribute", field="rule")
        if self.ref not in known:
            raise InvalidError(f"{self.ref!r} is no attribute; use one of {', '.join(known)}", field="rule")
        return known[self.ref]

    def __invert__(self) -> Rule:
        return replace(self, invert=not self.invert)

    def leaves(self, depth: int = 1) -> Iterator[int]:
        """Yield its depth."""
        yield depth

    def node_json(self) -> dict[str, Any]:
        """Return the vendor's JSON of the rule."""
        options = self.match.options()
        return {
            "__type": "Rule",
            "attribute": {"__type": self.origin, "ref": self.ref},
            "attributeMatchCondition": self.match.condition,
            **({} if options is None else {"attributeMatchOptions": options}),
            "invertCondition": self.invert,
        }


@dataclass(frozen=True, slots=True)
class Combination(Node):
    """Rules of which all ("AND") or any ("OR") must hold."""

    kind: Kind
    rules: tuple[Node, ...]

    def __post_init__(self) -> None:
        if self.kind not in ("AND", "OR"):
            raise InvalidError(f'{self.kind!r} is no combination; use "AND" or "OR"', field="rule")
        if not isinstance(self.rules, tuple) or not self.rules:
            raise InvalidError("a combination needs a rule", field="rule")
        if not all(isinstance(one, Rule | Combination) for one in self.rules):
            raise InvalidError("a combination holds rules and combinations only", field="rule")
        depths = list(self.leaves())
        if len(depths) > MAX_RULES:
            raise InvalidError(f"{len(depths)} rules; an audience has {MAX_RULES} at most", field="rule")
        if max(depths) > MAX_DEPTH:
            raise InvalidError(f"the rules are nested {max(depths)} deep; {MAX_DEPTH} is the most", field="rule")

    def __invert__(self) -> Combination:
        # The vendor inverts rules only: not (a and b) is (not a) or (not b).
        return Combination("OR" if self.kind == "AND" else "AND", tuple(~one for one in self.rules))

    def leaves(self, depth: int = 1) -> Iterator[int]:
        """Yield the depth of every rule in it."""
        for one in self.rules:
            yield from one.leaves(depth + 1)

    def node_json(self) -> dict[str, Any]:
        """Return the vendor's JSON of the combination."""
        return {
            "__type": "RuleCombination",
            "combinationType": self.kind,
            "rules": [one.node_json() for one in self.rules],
        }


def all_of(*rules: Node) -> Combination:
    """Return the rules of which all must hold."""
    return Combination("AND", rules)


def any_of(*rules: Node) -> Combination:
    """Return the rules of which one must hold."""
    return Combination("OR", rules)


def _joined(kind: Kind, left: Node, right: Node) -> Combination:
    if not isinstance(right, Node):
        raise InvalidError(f"rules are joined with rules, not with {type(right).__name__}", field="rule")
    # `a & b & c` is one combination of three.
    before = left.rules if isinstance(left, Combination) and left.kind == kind else (left,)
    return Combination(kind, (*before, right))
