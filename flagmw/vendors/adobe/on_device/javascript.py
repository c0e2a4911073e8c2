"""JavaScript's conversions and comparisons of values from JSON.

Source: ECMAScript language specification, "Type Conversion" and "Testing and Comparison Operations". `None` is null;
`UNDEFINED` is an argument that is not there.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, Final


class _Undefined:
    def __bool__(self) -> bool:
        return False


UNDEFINED: Final = _Undefined()

# WhiteSpace and LineTerminator of the language.
SPACES = "\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_STRIP = re.compile(f"^[{SPACES}]+|[{SPACES}]+\\Z")
_DECIMAL = re.compile(r"[+-]?(?:Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
_RADIX = re.compile(r"0(?:[xX]([0-9a-fA-F]+)|[oO]([0-7]+)|[bB]([01]+))")


def is_number(value: Any) -> bool:
    """Say whether *value* is a number; to Python, booleans are numbers too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def truthy(value: Any) -> bool:
    """Return `Boolean(value)`: lists and objects are true, also empty ones."""
    if isinstance(value, list | dict):
        return True
    return bool(value) and value == value


def to_number(value: Any) -> float:
    """Return `Number(value)`."""
    if isinstance(value, str):
        return _number_of(_STRIP.sub("", value))
    if value is None:
        return 0.0
    if value is UNDEFINED:
        return math.nan
    if isinstance(value, list | dict):
        return to_number(to_text(value))
    return _float(value)


def to_text(value: Any) -> str:
    """Return `String(value)`."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if value is UNDEFINED:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return joined(value, ",")
    if isinstance(value, dict):
        return "[object Object]"
    return _number_text(_float(value))


def joined(values: Any, separator: str) -> str:
    """Return `values.join(separator)`, in which null and undefined are empty."""
    return separator.join("" if value is None or value is UNDEFINED else to_text(value) for value in values)


def parse_float(value: Any) -> float:
    """Return `parseFloat(value)`: the number at the beginning of the text."""
    match = _DECIMAL.match(_STRIP.sub("", to_text(value)))
    return math.nan if match is None else float(match[0])


def same(left: Any, right: Any) -> bool:
    """Return `left === right`. Lists and objects are equal to themselves alone."""
    if is_number(left) and is_number(right):
        return _float(left) == _float(right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return left is right


def equal(left: Any, right: Any) -> bool:
    """Return `left == right`."""
    nothing = left is None or left is UNDEFINED
    if nothing or right is None or right is UNDEFINED:
        return nothing and (right is None or right is UNDEFINED)
    objects = isinstance(left, list | dict), isinstance(right, list | dict)
    if all(objects):
        return left is right
    if isinstance(left, bool):
        left = int(left)
    if isinstance(right, bool):
        right = int(right)
    # Of an object and another value, the object counts as its text.
    left, right = to_text(left) if objects[0] else left, to_text(right) if objects[1] else right
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return to_number(left) == to_number(right)


def less(left: Any, right: Any, *, or_equal: bool = False) -> bool:
    """Return `left < right`, or `left <= right`: texts by their UTF-16 units, everything else as numbers."""
    left = to_text(left) if isinstance(left, list | dict) else left
    right = to_text(right) if isinstance(right, list | dict) else right
    if isinstance(left, str) and isinstance(right, str):
        units = units_of(left), units_of(right)
        return units[0] <= units[1] if or_equal else units[0] < units[1]
    numbers = to_number(left), to_number(right)
    return numbers[0] <= numbers[1] if or_equal else numbers[0] < numbers[1]


def units_of(text: str) -> bytes:
    """Return *text* as UTF-16 units, two bytes each, in the order that compares as they do."""
    return text.encode("utf-16-be", "surrogatepass")


def substr(text: str, start: Any, length: Any) -> str:
    """Return `text.substr(start, length)`, in UTF-16 units."""
    units = units_of(text)
    count = len(units) // 2
    first = _whole(start)
    first = max(count + first, 0) if first < 0 else min(first, count)
    most = count - first if length is UNDEFINED else min(max(_whole(length), 0), count - first)
    part = units[int(first) * 2 : int(first + most) * 2]
    return part.decode("utf-16-be", "surrogatepass")


def length(text: str) -> int:
    """Return `text.length`."""
    return len(units_of(text)) // 2


def remainder(left: Any, right: Any) -> float:
    """Return `left % right`."""
    dividend, divisor = to_number(left), to_number(right)
    if divisor == 0 or math.isinf(dividend) or math.isnan(dividend) or math.isnan(divisor):
        return math.nan
    return math.fmod(dividend, divisor)


def quotient(left: Any, right: Any) -> float:
    """Return `left / right`."""
    dividend, divisor = to_number(left), to_number(right)
    if divisor != 0:
        return dividend / divisor
    if dividend == 0 or math.isnan(dividend):
        return math.nan
    return math.copysign(math.inf, dividend) * math.copysign(1.0, divisor)


def extreme(values: list[Any], *, largest: bool) -> float:
    """Return `Math.max(...values)` or `Math.min(...values)`."""
    numbers = [to_number(value) for value in values]
    if any(math.isnan(number) for number in numbers):
        return math.nan
    if largest:
        return max(numbers, default=-math.inf)
    return min(numbers, default=math.inf)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _number_of(text: str) -> float:
    if not text:
        return 0.0
    if _DECIMAL.fullmatch(text):
        return float(text)
    radix = _RADIX.fullmatch(text)
    if radix is None:
        return math.nan
    digits, base = next((digits, base) for digits, base in zip(radix.groups(), (16, 8, 2), strict=True) if digits)
    return _float(int(digits, base))


def _whole(value: Any) -> float:
    """Return *value* as a whole number or an infinity; NaN is 0."""
    number = to_number(value)
    if math.isnan(number):
        return 0
    return number if math.isinf(number) else math.trunc(number)


def _number_text(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + int(exponent)
    if 0 < point <= 21:
        text = text.ljust(point, "0")
        text = text[:point] + ("." + text[point:] if text[point:] else "")
    elif -6 < point <= 0:
        text = "0." + "0" * -point + text
    else:
        text = text[0] + ("." + text[1:] if text[1:] else "") + f"e{point - 1:+d}"
    return f"-{text}" if sign else text
