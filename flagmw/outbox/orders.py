"""What an operator asks of an outbox: to send dead letters again, to drop them, to forget a visitor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

import orjson

from flagmw._ids import uuid7
from flagmw.outbox.base import Outbox
from flagmw.types import Event, VisitorState
from flagmw.vendors.base import Vendor

Work: TypeAlias = Literal["revive", "forget", "purge"]
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One request of an operator, in a form that may lie on a disk.

    Attributes:
        ids: the dead letters that are meant, None for all.
        marks: of the visitor to be forgotten: salted hashes of what they are known by, never that itself.
    """

    id: str
    work: Work
    ids: tuple[str, ...] | None = None
    salt: str = ""
    marks: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        return orjson.dumps({"v": _VERSION, **asdict(self)})


def from_bytes(data: bytes) -> Order:
    """Return the order that `Order.to_bytes` wrote.

    Raises:
        ValueError: these are no such bytes.
    """
    try:
        document = orjson.loads(data)
        if document.pop("v") != _VERSION or document["work"] not in ("revive", "forget", "purge"):
            raise ValueError
        ids = document.pop("ids")
        marks = tuple(map(str, document.pop("marks")))
        return Order(ids=None if ids is None else tuple(map(str, ids)), marks=marks, **document)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("this is no order, or one of another version") from None


def letters(work: Literal["revive", "forget"], ids: Iterable[str] | None) -> Order:
    """Order something to be done with dead letters."""
    return Order(id=uuid7(), work=work, ids=None if ids is None else tuple(ids))


def forget_visitor(
    vendors: Sequence[Vendor], *, user_ids: Sequence[str], saved: Mapping[str, str], cookies: Mapping[str, str]
) -> Order:
    """Order the events of a visitor to be dropped.

    Args:
        user_ids: the site's own ids of the visitor.
        saved: the vendors' cookies of a visitor; those that tell visitors apart are used.
        cookies: cookies to go by as they are; each must tell visitors apart.

    Raises:
        ValueError: nothing of this tells one visitor from another.
    """
    known = [_user(user_id) for user_id in user_ids]
    known += [_cookie(name, value) for name, value in cookies.items()]
    for vendor in vendors:
        own = {name: value for name, value in saved.items() if vendor.cookies.reads(name)}
        telling = getattr(vendor, "names_visitor", None)
        if telling is not None:
            known += [_cookie(name, value) for name, value in own.items() if telling(name)]
        elif identity := vendor.identity(VisitorState(own)):
            known.append(_identity(vendor.name, identity))
    if not known:
        raise ValueError("nothing here tells one visitor from another")
    id = uuid7()
    return Order(id=id, work="purge", salt=id, marks=tuple(_mark(id, text) for text in known))


def carry_out(order: Order, store: Outbox, vendors: Mapping[str, Vendor], now: float) -> int:
    """Do what *order* says in *store*; return how many events it concerned."""
    if order.work == "revive":
        return store.revive(order.ids, now)
    if order.work == "forget":
        return store.forget(order.ids)
    return store.purge(matcher(order, vendors), now)


def matcher(order: Order, vendors: Mapping[str, Vendor]) -> Callable[[Event], bool]:
    """Return a test whether an event is of the visitor whom *order* means."""
    marks = frozenset(order.marks)

    def matches(event: Event) -> bool:
        return any(_mark(order.salt, text) in marks for text in _known_by(event, vendors))

    return matches


def _known_by(event: Event, vendors: Mapping[str, Vendor]) -> Iterator[str]:
    visit = event.visit
    if visit.user_id is not None:
        yield _user(visit.user_id)
    for name, value in visit.cookies.items():
        yield _cookie(name, value)
    vendor = vendors.get(event.vendor)
    if vendor is not None and (identity := vendor.identity(VisitorState(visit.cookies))):
        yield _identity(vendor.name, identity)


def _user(user_id: str) -> str:
    return f"user\0{user_id}"


def _cookie(name: str, value: str) -> str:
    return f"cookie\0{name}\0{value}"


def _identity(vendor: str, identity: str) -> str:
    return f"identity\0{vendor}\0{identity}"


def _mark(salt: str, text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=salt.encode()[:64]).hexdigest()
