"""JsonLogic conditions, compiled to functions.

Source: jsonlogic.com, "Supported Operations", with the values of JavaScript, in which Adobe's clients evaluate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType
from typing import Any, TypeAlias

from flagmw.vendors.adobe.on_device import javascript as js
from flagmw.vendors.adobe.on_device.javascript import UNDEFINED

# Entries of lists that one evaluation may go through; real conditions go through some dozens.
BUDGET = 10_000
TEXT_MAX, ENTRIES_MAX = 100_000, 10_000


class LogicError(Exception):
    """A condition that cannot be evaluated."""


class Budget:
    """The entries of lists that an evaluation may still go through."""

    __slots__ = ("left",)

    def __init__(self, entries: int = BUDGET) -> None:
        self.left = entries

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise LogicError("a condition goes through too many entries")


Node: TypeAlias = Callable[[Any, Budget], Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition.

    Attributes:
        reads: the first steps of the paths that it reads; None if they are only known when it is evaluated.
    """

    node: Node
    reads: frozenset[str] | None

    def value(self, facts: Mapping[str, Any]) -> Any:
        """Return the value of the condition.

        Raises:
            LogicError, TypeError: it cannot be evaluated.
        """
        return self.node(facts, Budget())

    def holds(self, facts: Mapping[str, Any]) -> bool:
        """Say whether the condition holds; one that cannot be evaluated does not."""
        try:
            return js.truthy(self.value(facts))
        except (LogicError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            return False


def compiled(logic: Any) -> Condition:
    """Return *logic* as a function.

    Raises:
        LogicError: it has an operation that JsonLogic does not have.
    """
    reads: set[str] = set()
    complete = _reads(logic, reads)
    return Condition(_node(logic), frozenset(reads) if complete else None)


def true(value: Any) -> bool:
    """Return the truth of *value* in JsonLogic, in which an empty list is false."""
    return bool(value) if isinstance(value, list) else js.truthy(value)


def _reads(logic: Any, found: set[str]) -> bool:
    """Add the first steps of the paths in *logic* to *found*; return whether these are all."""
    if isinstance(logic, list):
        complete = True
        for part in logic:  # each of them, also after one that is not known
            complete &= _reads(part, found)
        return complete
    if not isinstance(logic, dict) or len(logic) != 1:
        return True
    ((operator, argument),) = logic.items()
    if operator in ("missing", "missing_some"):
        return False
    if operator != "var":
        return _reads(argument, found)
    path, *rest = argument if isinstance(argument, list) and argument else [argument]
    if not isinstance(path, str | int | float) or path == "":
        return False
    found.add(js.to_text(path).partition(".")[0])
    return _reads(rest, found)


def _node(logic: Any) -> Node:
    if isinstance(logic, list):
        parts = [_node(part) for part in logic]
        return lambda data, budget: [part(data, budget) for part in parts]
    if not isinstance(logic, dict) or len(logic) != 1:
        return lambda data, budget: logic
    ((operator, argument),) = logic.items()
    arguments = argument if isinstance(argument, list) else [argument]
    special = _SPECIAL.get(operator)
    if special is not None:
        return special(arguments)
    operation = _OPERATIONS.get(operator)
    if operation is None:
        raise LogicError("a condition has an operation that JsonLogic does not have")
    nodes = [_node(part) for part in arguments]
    if len(nodes) == 2:
        first, second = nodes
        return lambda data, budget: operation([first(data, budget), second(data, budget)])
    return lambda data, budget: operation([node(data, budget) for node in nodes])


# Operations that choose what they evaluate, or read data.


def _if(arguments: list[Any]) -> Node:
    nodes = [_node(part) for part in arguments]

    def run(data: Any, budget: Budget) -> Any:
        for place in range(0, len(nodes) - 1, 2):
            if true(nodes[place](data, budget)):
                return nodes[place + 1](data, budget)
        return nodes[-1](data, budget) if len(nodes) % 2 else None

    return run


def _first(arguments: list[Any], *, wanted: bool) -> Node:
    """Return `and` or `or`: the first value whose truth is *wanted*, else the last."""
    nodes = [_node(part) for part in arguments]

    def run(data: Any, budget: Budget) -> Any:
        value: Any = UNDEFINED
        for node in nodes:
            value = node(data, budget)
            if true(value) is wanted:
                break
        return value

    return run


def _var(arguments: list[Any]) -> Node:
    if arguments and isinstance(arguments[0], str) and arguments[0] and len(arguments) == 1:
        steps = arguments[0].split(".")
        return lambda data, budget: _found(data, steps, None)
    nodes = [_node(part) for part in arguments]

    def run(data: Any, budget: Budget) -> Any:
        values = [node(data, budget) for node in nodes]
        default = _at(values, 1)
        path = _at(values, 0)
        if path is UNDEFINED or path is None or path == "":
            return data
        return _found(data, js.to_text(path).split("."), None if default is UNDEFINED else default)

    return run


def _found(data: Any, steps: Iterable[str], default: Any) -> Any:
    for step in steps:
        if isinstance(data, Mapping):
            data = data.get(step, UNDEFINED)
        elif isinstance(data, list) and step.isascii() and step.isdigit() and str(int(step)) == step:
            data = _at(data, int(step))
        elif isinstance(data, list | str) and step == "length":
            data = len(data) if isinstance(data, list) else js.length(data)
        else:
            return default
        if data is UNDEFINED:
            return default
    return data


def _at(values: list[Any], place: int) -> Any:
    return values[place] if place < len(values) else UNDEFINED


def _missing(arguments: list[Any]) -> Node:
    nodes = [_node(part) for part in arguments]

    def run(data: Any, budget: Budget) -> Any:
        values = [node(data, budget) for node in nodes]
        return _missed(data, values[0] if values and isinstance(values[0], list) else values)

    return run


def _missed(data: Any, names: list[Any]) -> list[Any]:
    empty = (UNDEFINED, None, "")
    found = [data if name in empty else _found(data, js.to_text(name).split("."), None) for name in names]
    return [name for name, value in zip(names, found, strict=True) if value is None or value == ""]


def _missing_some(arguments: list[Any]) -> Node:
    nodes = [_node(part) for part in arguments]

    def run(data: Any, budget: Budget) -> Any:
        values = [node(data, budget) for node in nodes]
        names = _at(values, 1)
        if not isinstance(names, list):
            raise LogicError("missing_some needs a list of names")
        missed = _missed(data, names)
        return [] if js.less(_at(values, 0), len(names) - len(missed), or_equal=True) else missed

    return run


def _over(finish: Callable[[Iterable[Any], Callable[[Any], Any]], Any], otherwise: Any) -> Callable[[list[Any]], Node]:
    """Return an operation on each entry of a list; *otherwise* is its value where there is no list."""

    def build(arguments: list[Any]) -> Node:
        source = _node(_at(arguments, 0))
        body = _node(_at(arguments, 1))

        def run(data: Any, budget: Budget) -> Any:
            entries = source(data, budget)
            if not isinstance(entries, list):
                return [] if otherwise is None else otherwise

            def value_for(entry: Any) -> Any:
                budget.take()
                return body(entry, budget)

            return finish(entries, value_for)

        return run

    return build


def _reduce(arguments: list[Any]) -> Node:
    source, body = _node(_at(arguments, 0)), _node(_at(arguments, 1))
    # As in the clients, the initial value is no logic.
    initial = None if _at(arguments, 2) is UNDEFINED else arguments[2]

    def run(data: Any, budget: Budget) -> Any:
        entries, value = source(data, budget), initial
        for entry in entries if isinstance(entries, list) else ():
            budget.take()
            value = body({"current": entry, "accumulator": value}, budget)
        return value

    return run


_SPECIAL: Mapping[str, Callable[[list[Any]], Node]] = MappingProxyType(
    {
        "if": _if,
        "?:": _if,
        "and": lambda arguments: _first(arguments, wanted=False),
        "or": lambda arguments: _first(arguments, wanted=True),
        "var": _var,
        "missing": _missing,
        "missing_some": _missing_some,
        "map": _over(lambda entries, of: [of(entry) for entry in entries], None),
        "filter": _over(lambda entries, of: [entry for entry in entries if true(of(entry))], None),
        "all": _over(lambda entries, of: bool(entries) and all(true(of(entry)) for entry in entries), False),
        "some": _over(lambda entries, of: any(true(of(entry)) for entry in entries), False),
        "none": _over(lambda entries, of: not any(true(of(entry)) for entry in entries), True),
        "reduce": _reduce,
    }
)


# Operations on values.


def _in(values: list[Any]) -> bool:
    part, whole = _at(values, 0), _at(values, 1)
    if isinstance(whole, str):
        return bool(whole) and js.to_text(part) in whole
    return isinstance(whole, list) and any(js.same(entry, part) for entry in whole)


def _between(values: list[Any], *, or_equal: bool) -> bool:
    first, second, third = (_at(values, place) for place in range(3))
    below = js.less(first, second, or_equal=or_equal)
    return below if third is UNDEFINED else below and js.less(second, third, or_equal=or_equal)


def _substr(values: list[Any]) -> str:
    source, start, end = js.to_text(_at(values, 0)), _at(values, 1), _at(values, 2)
    if end is not UNDEFINED and js.less(end, 0):
        rest = js.substr(source, start, UNDEFINED)
        return js.substr(rest, 0, js.length(rest) + js.to_number(end))
    return js.substr(source, start, end)


def _minus(values: list[Any]) -> float:
    first, second = _at(values, 0), _at(values, 1)
    return -js.to_number(first) if second is UNDEFINED else js.to_number(first) - js.to_number(second)


def _times(values: list[Any]) -> Any:
    if not values:
        raise LogicError("a product needs a factor")
    return reduce(lambda product, value: js.parse_float(product) * js.parse_float(value), values)


def _merge(values: list[Any]) -> list[Any]:
    if sum(len(value) if isinstance(value, list) else 1 for value in values) > ENTRIES_MAX:
        raise LogicError("a condition makes too long a list")
    return [entry for value in values for entry in (value if isinstance(value, list) else [value])]


def _cat(values: list[Any]) -> str:
    text = js.joined(values, "")
    if len(text) > TEXT_MAX:
        raise LogicError("a condition makes too long a text")
    return text


_OPERATIONS: Mapping[str, Callable[[list[Any]], Any]] = MappingProxyType(
    {
        "==": lambda values: js.equal(_at(values, 0), _at(values, 1)),
        "!=": lambda values: not js.equal(_at(values, 0), _at(values, 1)),
        "===": lambda values: js.same(_at(values, 0), _at(values, 1)),
        "!==": lambda values: not js.same(_at(values, 0), _at(values, 1)),
        "<": lambda values: _between(values, or_equal=False),
        "<=": lambda values: _between(values, or_equal=True),
        ">": lambda values: js.less(_at(values, 1), _at(values, 0)),
        ">=": lambda values: js.less(_at(values, 1), _at(values, 0), or_equal=True),
        "!": lambda values: not true(_at(values, 0)),
        "!!": lambda values: true(_at(values, 0)),
        "in": _in,
        "cat": _cat,
        "substr": _substr,
        "+": lambda values: sum((js.parse_float(value) for value in values), 0.0),
        "*": _times,
        "-": _minus,
        "/": lambda values: js.quotient(_at(values, 0), _at(values, 1)),
        "%": lambda values: js.remainder(_at(values, 0), _at(values, 1)),
        "min": lambda values: js.extreme(values, largest=False),
        "max": lambda values: js.extreme(values, largest=True),
        "merge": _merge,
        "log": lambda values: _at(values, 0),
    }
)
