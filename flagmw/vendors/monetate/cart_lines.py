"""Cart and purchase lines of the Monetate Engine API.

Source: developer.monetate.com, `CartLine` and `PurchaseLine`.

A line's value is the total of the line and a text with at most nine digits before the point and two behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, TypeAlias

from flagmw.codes import ErrorCode
from flagmw.types import Scalar
from flagmw.vendors.common.json import BROKEN

Line: TypeAlias = dict[str, Scalar]

_CENT = Decimal("0.01")
_LIMIT = Decimal(10) ** 9
_QUANTITY_MAX = 1_000_000
# The product of a line that stands for many: the protocol knows no line without a product.
SUM_SKU = "further-lines"


def lines_of(items: Iterable[Any], currency: str | None = None) -> list[dict[str, Any]]:
    """Return *items* as lines.

    An item has `sku` or `pid` (one stands for the other), `quantity` (1), `currency` (*currency*), and either
    `value`, the total of the line, or `price`, that of one piece.

    Raises:
        ValueError: a line cannot be made; the text names the field.
    """
    return [_line(f"items[{index}]", item, currency) for index, item in enumerate(items)]


def fit_items(
    items: Iterable[Mapping[str, Scalar]], currency: str | None
) -> tuple[list[Mapping[str, Scalar]], list[ErrorCode]]:
    """Return *items* such that `lines_of` takes them, and a code for each that was changed or left out."""
    fit: list[Mapping[str, Scalar]] = []
    codes: list[ErrorCode] = []
    for item in items:
        try:
            _line("", item, currency)
        except ValueError:
            changed = _fit_item(item, currency)
            codes.append(ErrorCode.ITEM_DROPPED if changed is None else ErrorCode.ITEM_CHANGED)
            if changed is not None:
                fit.append(changed)
        else:
            fit.append(item)
    return fit, codes


def sum_items(items: Sequence[Mapping[str, Scalar]], currency: str | None) -> Line | None:
    """Return one line with the pieces and the value of all *items*; None where they have no common currency."""
    fit, _ = fit_items(items, currency)
    lines = lines_of(fit, currency)
    total = sum((Decimal(line["value"]) for line in lines), Decimal(0))
    if len({line["currency"] for line in lines}) != 1 or total >= _LIMIT:
        return None
    quantity = min(sum(line["quantity"] for line in lines), _QUANTITY_MAX)
    return {"sku": SUM_SKU, "quantity": quantity, "currency": lines[0]["currency"], "value": str(total)}


def _fit_item(item: Mapping[str, Scalar], currency: str | None) -> Line | None:
    """Return *item* with another currency or quantity, if it is fit then: what it is worth is never made up."""
    changed = dict(item)
    try:
        _currency("", item, currency)
    except ValueError:
        changed.pop("currency", None)
    try:
        _quantity("", item.get("quantity", 1))
    except ValueError:
        try:
            pieces = _amount("", "quantity", item["quantity"])
            if not pieces:  # a line of nothing
                return None
            if "value" not in item:
                changed["value"] = _rounded("", _amount("", "price", item.get("price")) * pieces)
            changed["quantity"] = min(max(int(pieces.to_integral_value(ROUND_HALF_UP)), 1), _QUANTITY_MAX)
        except ValueError:
            if "value" not in item:
                return None
            changed["quantity"] = 1
    if "price" in changed and "value" in changed:
        try:
            _amount("", "value", changed["value"])
        except ValueError:
            del changed["value"]
    try:
        _line("", changed, currency)
    except ValueError:
        return None
    return changed


def _line(where: str, item: Any, currency: str | None) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise ValueError(f"{where} must be a table with sku, pid, quantity, currency and value")
    sku, pid = _product_id(item.get("sku")), _product_id(item.get("pid"))
    if not (sku or pid):
        raise ValueError(f"{where} needs a sku or a pid for Monetate")
    quantity = _quantity(where, item.get("quantity", 1))
    unit = _currency(where, item, currency)
    if "value" in item:
        total = _amount(where, "value", item["value"])
    elif "price" in item:
        total = _amount(where, "price", item["price"]) * quantity
    else:
        raise ValueError(f"{where} needs a value (of the whole line) or a price (of one piece) for Monetate")
    return {
        "sku": sku or pid,
        "pid": pid or sku,
        "quantity": quantity,
        "currency": unit.upper(),
        "value": _rounded(where, total),
    }


def _currency(where: str, item: Mapping[str, Any], currency: str | None) -> str:
    unit = item.get("currency", currency)
    if not isinstance(unit, str) or len(unit) != 3 or not (unit.isascii() and unit.isalpha()):
        raise ValueError(f'{where} needs a currency for Monetate, such as "EUR"; track(currency=) serves all lines')
    return unit


def _product_id(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and not BROKEN.search(value) else ""


def _quantity(where: str, value: Any) -> int:
    number = _amount(where, "quantity", value)
    if number != number.to_integral_value() or not 1 <= number <= _QUANTITY_MAX:
        raise ValueError(f"{where}.quantity must be a whole number from 1")
    return int(number)


def _amount(where: str, field: str, value: Any) -> Decimal:
    try:
        # By way of its text, a float means what it shows: 39.8, not 39.7999...
        number = Decimal("NaN") if isinstance(value, bool) else Decimal(str(value).strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number < _LIMIT:
        raise ValueError(f"{where}.{field} must be a number from 0 to 999999999.99")
    return number


def _rounded(where: str, total: Decimal) -> str:
    rounded = total.quantize(_CENT, ROUND_HALF_UP)
    if rounded >= _LIMIT:
        raise ValueError(f"{where} is more than 999999999.99")
    return str(rounded)
