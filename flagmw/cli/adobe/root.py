"""The group `flagmw adobe`, and the arguments that several of its commands have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from flagmw.admin.adobe.filters import Between, Filter, Not
from flagmw.admin.errors import InvalidError
from flagmw.cli.admin.command import Commands
from flagmw.cli.adobe.connect import SETTINGS, VENDOR, connect

app = typer.Typer(no_args_is_help=True)
commands = Commands(VENDOR, SETTINGS, connect, app)

IdArgument = Annotated[int, typer.Argument(metavar="ID")]
SortOption = Annotated[
    list[str] | None, typer.Option("--sort-by", metavar="FIELD", help="Order by this field; -FIELD turns it round.")
]
PageSizeOption = Annotated[int, typer.Option(min=2, help="Rows of one call.")]
FilterOption = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="FIELD=VALUE", help="Any other field: VALUE, !VALUE, or FROM/TO for dates."),
]
NoCheckOption = Annotated[
    bool, typer.Option("--no-check", help="Send what the checks of the body do not know or refuse.")
]

# Arguments of the client's lists that filter nothing.
OPTIONS = frozenset({"limit", "offset", "page_size", "sort_by", "sortBy"})
DATES = frozenset({"startsAt", "endsAt", "modifiedAt", "createdAt", "lastRequestedAt"})


class Kind(StrEnum):
    """A kind of activity."""

    AB = "ab"
    XT = "xt"
    AUTO_ALLOCATE = "auto-allocate"
    AP = "ap"

    @property
    def attribute(self) -> str:
        """Return what the client calls it."""
        return self.value.replace("-", "_")


KindOption = Annotated[Kind, typer.Option("--kind", help="What kind of activity it is.")]


def of_kinds(method: str, kinds: Iterable[Kind] = Kind) -> dict[str, str]:
    """Return the client's methods of several kinds, each with the option that chooses it.

    Args:
        method: "activities.{}.get".
    """
    return {method.format(kind.attribute): "" if kind is Kind.AB else f"--kind {kind.value}" for kind in kinds}


def filters(named: Mapping[str, Iterable[Any] | None], others: Iterable[str] | None) -> dict[str, Any]:
    """Return the filters of a list as the client takes them.

    Args:
        named: by field, texts or numbers; "!" before a value means any other, "from/to" is a range of dates.
        others: "field=value".
    """
    given: dict[str, list[Filter]] = {}
    for field, values in named.items():
        for value in values or ():
            given.setdefault(field, []).append(_filter(field, str(value)))
    for pair in others or ():
        field, equals, value = pair.partition("=")
        if not equals or not field.isidentifier():
            raise InvalidError(f'{pair!r} is not "field=value"', field="--filter")
        if field in OPTIONS:
            raise InvalidError(f"{field} is no field of a row; there is an option for it", field="--filter")
        given.setdefault(field, []).append(_filter(field, value))
    return dict(given)


def pairs(given: Iterable[str] | None, field: str) -> dict[str, str]:
    """Return "name=value" texts as a mapping.

    Raises:
        InvalidError: one has no "=", or a name comes twice.
    """
    found: dict[str, str] = {}
    for pair in given or ():
        # Names of experiences and mboxes may hold "=" themselves; values do not.
        name, equals, value = pair.rpartition("=") if field in ("SHARES", "--share", "--offer") else pair.partition("=")
        if not equals or not name:
            raise InvalidError(f'{pair!r} is not "name=value"', field=field)
        if name in found:
            raise InvalidError(f"names {name!r} twice", field=field)
        found[name] = value
    return found


def numbers(given: Iterable[str] | None, field: str) -> dict[str, int]:
    """Return "name=number" texts as a mapping."""
    found = {}
    for name, value in pairs(given, field).items():
        try:
            found[name] = int(value)
        except ValueError:
            raise InvalidError(f"{value!r} of {name!r} is no whole number", field=field) from None
    return found


def _filter(field: str, value: str) -> Filter:
    if value.startswith("!"):
        return Not(value[1:])
    begin, slash, end = value.partition("/")
    if slash and field in DATES:
        return Between(begin, end)
    return value
