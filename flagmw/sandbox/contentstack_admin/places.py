"""Places that the emulated service knows: those of the decision side's addresses, and a few more."""

from __future__ import annotations

from collections.abc import Callable

from flagmw.sandbox.contentstack_admin.call import AdminCall
from flagmw.sandbox.contentstack_admin.errors import invalid
from flagmw.sandbox.contentstack_admin.store import Document

COUNTRIES = [
    {"code": code, "name": name}
    for code, name in (
        *(("AT", "Austria"), ("AU", "Australia"), ("CH", "Switzerland"), ("DE", "Germany"), ("FR", "France")),
        *(("GB", "United Kingdom"), ("US", "United States")),
    )
]
REGIONS = [
    {"code": code, "name": name, "countryCode": code[:2]}
    for code, name in (
        ("AU-NSW", "New South Wales"),
        ("DE-BE", "Berlin"),
        ("US-CA", "California"),
        ("US-NY", "New York"),
    )
]
CITIES = [
    {"code": code, "name": name, "regionCode": region, "countryCode": region[:2]}
    for code, name, region in (
        ("2147714", "Sydney", "AU-NSW"),
        ("2950159", "Berlin", "DE-BE"),
        ("5128581", "New York City", "US-NY"),
        ("5391959", "San Francisco", "US-CA"),
    )
]


def listed(what: str, rows: list[dict[str, str]]) -> Callable[[AdminCall], list[Document]]:
    """Return the handler of a list."""

    def handler(call: AdminCall) -> list[Document]:
        name = call.query.get("name", "").lower()
        codes = {code for code in call.query.get("codes", "").split(",") if code}
        found = [one for one in rows if name in one["name"].lower() and (not codes or one["code"] in codes)]
        skip, limit = _number(call, "skip", 0), _number(call, "limit", len(found))
        return [dict(one) for one in found[skip : skip + limit]]

    handler.__name__ = f"list_{what}"
    return handler


def _number(call: AdminCall, name: str, default: int) -> int:
    text = call.query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise invalid(name, "NOT_A_NUMBER", f"{name} must be a number")
    return int(text)
