"""Match a visitor's events, for purging."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flagmw.types import Event, VisitorState
from flagmw.vendors.base import Vendor, VendorTraits


def is_of(
    vendors: Sequence[Vendor], *, user_ids: Sequence[str], saved: Mapping[str, str], cookies: Mapping[str, str]
) -> Callable[[Event], bool]:
    """Return a test whether an event is of the visitor who is known by any of these.

    Args:
        user_ids: the site's own ids of the visitor.
        saved: the vendors' cookies of a visitor; those that identify a visitor are used.
        cookies: cookies to compare unchanged; each must identify a visitor.

    Raises:
        ValueError: nothing of this identifies a visitor.
    """
    users, telling, identities = frozenset(user_ids), set(cookies.items()), dict[str, str]()
    for vendor in vendors:
        cookies = {name: value for name, value in saved.items() if vendor.cookies.reads(name)}
        names_visitor = VendorTraits.of(vendor).names_visitor
        if names_visitor is not None:
            telling.update((name, value) for name, value in cookies.items() if names_visitor(name))
        elif identity := vendor.identity(VisitorState(cookies)):
            identities[vendor.name] = identity
    if not users and not telling and not identities:
        raise ValueError("this identifies no visitor")
    by_name = {vendor.name: vendor for vendor in vendors}

    def matches(event: Event) -> bool:
        visit = event.visit
        if visit.user_id in users or not telling.isdisjoint(visit.cookies.items()):
            return True
        identity = identities.get(event.vendor)
        return identity is not None and by_name[event.vendor].identity(VisitorState(visit.cookies)) == identity

    return matches
