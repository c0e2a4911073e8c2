"""Monetate: decisions and events over its Engine API.

Source of the rules: the vendor's published description of that API and its guide pages (developer.monetate.com,
"Engine API"). Where no public page describes the behaviour of the service, there is an option with a default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Decision, Event, Flow, Outcome, Scalar, Track, Variant, Visit, VisitorState
from flagmw.vendors.base import Participation
from flagmw.vendors.monetate.cart_lines import fit_items, sum_items
from flagmw.vendors.monetate.cookies import COOKIE, Cookies, new_id
from flagmw.vendors.monetate.decide import DecisionBuilder
from flagmw.vendors.monetate.deliver import EventDelivery, impression_tokens
from flagmw.vendors.monetate.options import Options
from flagmw.vendors.monetate.request import Identity, RequestBuilder
from flagmw.vendors.monetate.response import read_answer

BASE_URL = "https://engine.monetate.net/api/engine/v1"
ACTION_TYPES = ("OmnichannelJson", "VariantSelector", "NoAction", "DataCollection")


class Monetate:
    """One account of Monetate.

    A variant's key is the variant's label, and `"control"` in every control group. The visit's data `pageType`,
    `categories` and `breadcrumbs` (texts with `|` between their parts) describes the page. `cart` holds cart
    lines as JSON text, or `cart.1`, `cart.2` and so on hold one line each. All other data is sent as custom
    variables.

    A line of `items` has `sku` or `pid`, `quantity` (1), `currency` (the track's) and `value` (of the line) or
    `price` (of one piece). `key` is the purchase's id. Other data of a track is not sent, and `aliases=` does
    not narrow a page event. The Engine API cannot decide without recording a page view. For visits that must
    not be counted, impressions are left to the caller by a field that the vendor has deprecated, and are not
    reported.

    Args:
        retailer: The retailer's short name, from the paths of the account's API documentation.
        channel: `"account/instance/domain"`, such as `"a-701b337c/p/example.com"`.
        name: The vendor's name in flags, counters and logs. Two accounts of one vendor need two names.
        base_url: Another server of the same API, such as a regional one: https, or http on this machine.
        exposure: `"decide"` lets the engine count an impression of what it decides, except for actions whose
            template leaves that to the caller. `"read"` asks the engine to leave all impressions to flagmw,
            which reports those of flags that the view read. `"off"` asks for the same and reports none.
        prefix: Text that is put before every alias of this vendor.
        slots: Ask for actions in these slots only. Each slot brings one action. Empty asks for all.
        action_types: The types of actions that become flags, with or without `monetate:action:`. Redirects
            never do.
        flag_map: The alias of an experience, by its id or component. Without an entry the alias is its
            component or reporting label.
        data: Custom variables that are sent with every decision, beside the visit's own data.
        user_id_as: The field for the site's user id: `"customer"` (`customerId`, beside the cookie's id),
            `"device"` (`deviceId`, in its place), or `"off"` to send none.
        mint_id_locally: Create the id of a new visitor in flagmw. Parallel first requests of a visitor then
            stay one visitor.
        decides_by: The part of the page's address that audiences use: `"url"`, `"path"`, or `"site"` for no
            part of it. With `"site"` one decision serves all pages within `reuse_s`. Pages that reuse it are no
            page views at Monetate.
        purchase_metric: The metric whose tracks with `items` are purchases.
        cart_metric: The metric whose tracks with `items` are whole carts.
        add_to_cart_metric: The metric whose tracks with `items` are additions to a cart. All other tracks are
            page events.
        page_events: The keys of page events by metric, where Monetate uses another name.
        at_most_once: Never send an event again that the engine may have received. The engine counts every
            repeat.
        shadow: Ask the vendor after the response, only to compare. Its decisions are never served and count
            nothing.

    Raises:
        ConfigError: An option is wrong.
    """

    records_decisions = True  # a page view, which the API cannot leave out
    batch_max = 20

    def __init__(
        self,
        retailer: str,
        channel: str,
        *,
        name: str = "monetate",
        base_url: str = BASE_URL,
        exposure: str = "decide",
        prefix: str = "",
        slots: Sequence[str] = (),
        action_types: Sequence[str] = ACTION_TYPES,
        flag_map: Mapping[str, str] | None = None,
        data: Mapping[str, Scalar] | None = None,
        user_id_as: str = "customer",
        mint_id_locally: bool = False,
        decides_by: str = "url",
        purchase_metric: str = "purchase",
        cart_metric: str = "cart",
        add_to_cart_metric: str = "add_to_cart",
        page_events: Mapping[str, str] | None = None,
        at_most_once: bool = True,
        shadow: bool = False,
    ) -> None:
        self._options = options = Options.checked(
            name=name,
            retailer=retailer,
            channel=channel,
            base_url=base_url,
            exposure=exposure,
            prefix=prefix,
            slots=slots,
            action_types=action_types,
            flag_map=flag_map,
            data=data,
            user_id_as=user_id_as,
            mint_id_locally=mint_id_locally,
            decides_by=decides_by,
            purchase_metric=purchase_metric,
            cart_metric=cart_metric,
            add_to_cart_metric=add_to_cart_metric,
            page_events=page_events,
            at_most_once=at_most_once,
            shadow=shadow,
        )
        self.name, self.prefix, self.base_url = options.name, options.prefix, options.base_url
        self.exposure, self.at_most_once, self.shadow = options.exposure, options.at_most_once, options.shadow
        self.decides_by, self.flag_map = options.decides_by, options.flag_map
        self.retailer, self.channel = options.retailer, options.channel
        self._cookies = Cookies()
        self.cookies = self._cookies.rule()
        self._requests = RequestBuilder(options, self._cookies)
        self._decisions = DecisionBuilder(options, self._cookies)
        self._events = EventDelivery(options, self._requests)

    def __repr__(self) -> str:
        return f"Monetate(name={self.name!r}, retailer={self.retailer!r}, channel={self.channel!r})"

    def __fingerprint__(self) -> Mapping[str, Any]:
        return self._options.fingerprint(self.cookies)

    # Decide

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Report the page view and ask for its decision, in one request."""
        identity = self._requests.identity(visit, state.cookies)
        if self._options.mint_id_locally and not identity.known:
            identity = Identity(monetate_id=new_id(visit), customer_id=identity.customer_id)
        counted = self.exposure == "decide" and visit.record
        try:
            reply = yield self._requests.decision(visit, identity, counted=counted)
        except TransportError as error:
            return Decision(vendor=self.name, error=error.code, trips=True)
        return self._decisions.build(read_answer(reply), visit.fresh_id, identity)

    def identity(self, state: VisitorState) -> str:
        """Return the monetateId in the visitor's cookie."""
        return self._cookies.read(state.cookies) or ""

    # Tracks and exposures

    def spell_list(self, name: str, parts: Sequence[str]) -> Mapping[str, Scalar]:
        """Return the entry of data for a list: one text with `|` between, as for `categories`."""
        return {name: "|".join(parts)}

    def fit_items(self, track: Track) -> tuple[tuple[Mapping[str, Scalar], ...], Sequence[ErrorCode]]:
        """Return lines that the engine takes, and a code for each that was changed or left out."""
        items, codes = fit_items(track.items, track.currency)
        return tuple(items), codes

    def sum_items(self, items: Sequence[Mapping[str, Scalar]], currency: str | None) -> Mapping[str, Scalar] | None:
        """Return one line for all of *items*; None where they have no common currency."""
        return sum_items(items, currency)

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Take every track of a visitor with an id: the engine knows which experiences it counts for.

        Raises:
            ValueError: the vendor does not take a line of `items`.
        """
        self._events.record(track)
        if track.aliases == ():
            return Participation()
        return self._reachable(track.aliases or (track.metric,), state)

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Return the aliases whose impressions the engine leaves to the caller, controls included."""
        if self.exposure == "off":
            return Participation()
        aliases = tuple(variant.alias for variant in variants if impression_tokens([variant]))
        return self._reachable(aliases, state)

    def _reachable(self, aliases: tuple[str, ...], state: VisitorState) -> Participation:
        """Return *aliases* with the cookie that identifies the visitor; nothing if the visitor has no id."""
        monetate_id = self._cookies.read(state.cookies)
        if not aliases or (monetate_id is None and self._options.user_id_as != "device"):
            return Participation()
        return Participation(aliases, {} if monetate_id is None else {COOKIE: monetate_id})

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Send *batch* in as few requests as possible; a refused request is repeated event by event."""
        return (yield from self._events.deliver(batch))
