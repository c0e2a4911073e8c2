"""Monetate: decisions and recordings by its Engine API.

Source of the rules: the vendor's published description of that API and its guide pages (developer.monetate.com,
"Engine API"). Where no public page says how the service behaves, the default is an option here.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from flagmw._cookies.rule import CookieRule
from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError, TransportError
from flagmw.types import (
    EMPTY,
    Call,
    Dead,
    Decision,
    Dropped,
    Event,
    Flow,
    Outcome,
    Reply,
    Retry,
    Scalar,
    Track,
    Variant,
    Visit,
    VisitorState,
)
from flagmw.vendors.base import Participation
from flagmw.vendors.common.options import checked_base_url, checked_decides_by, checked_flag, checked_prefix, one_of
from flagmw.vendors.common.outcome import unanswered
from flagmw.vendors.monetate import deliver as tracks
from flagmw.vendors.monetate import request as requests
from flagmw.vendors.monetate import response as answers
from flagmw.vendors.monetate.decide import CONTENT, PREFIX, Settler

BASE_URL = "https://engine.monetate.net/api/engine/v1"
ACTION_TYPES = ("OmnichannelJson", "VariantSelector", "NoAction", "DataCollection")

_CHANNEL = re.compile(r"[!-.0-~]+/[!-.0-~]+/[!-.0-~]+")


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
        owner = f"vendor {name!r}"
        if not isinstance(retailer, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", retailer):
            raise ConfigError(f"{owner}: retailer must be the retailer's short name: letters, digits, - _ .")
        if not isinstance(channel, str) or len(channel) > 256 or not _CHANNEL.fullmatch(channel):
            raise ConfigError(f'{owner}: channel must be "account/instance/domain", such as "a-701b337c/p/example.com"')
        self.name, self.prefix = name, checked_prefix(owner, prefix)
        self.retailer, self.channel = retailer, channel
        self.base_url = checked_base_url(owner, base_url)
        self.exposure = one_of(owner, "exposure", exposure, ("decide", "read", "off"))
        self.at_most_once = checked_flag(owner, "at_most_once", at_most_once)
        self.shadow = checked_flag(owner, "shadow", shadow)
        self._url = f"{self.base_url}/decide/{retailer}"
        self._slots = _texts(owner, "slots", slots)
        self._action_types = _action_types(owner, action_types)
        self._data: Mapping[str, Scalar] = _scalars(owner, data)
        self._user_id_as = one_of(owner, "user_id_as", user_id_as, ("customer", "device", "off"))
        self._mint = checked_flag(owner, "mint_id_locally", mint_id_locally)
        self.decides_by = checked_decides_by(owner, decides_by)
        metrics = _texts(owner, "purchase_metric, cart_metric and add_to_cart_metric",
                         (purchase_metric, cart_metric, add_to_cart_metric))  # fmt: skip
        if len(set(metrics)) < 3:
            raise ConfigError(f"{owner}: purchase_metric, cart_metric and add_to_cart_metric must differ")
        self._names = tracks.Names(
            purchase=purchase_metric,
            cart=cart_metric,
            add_to_cart=add_to_cart_metric,
            page_events=_names(owner, "page_events", page_events),
        )
        self.flag_map = _names(owner, "flag_map", flag_map)
        self._settler = Settler(
            vendor=name,
            accepted=frozenset(self._action_types),
            flag_map=self.flag_map,
        )
        self.cookies = CookieRule(
            prefixes=(requests.COOKIE,),
            reads=lambda found: found == requests.COOKIE,
            writes=lambda wanted: wanted == requests.COOKIE,
            value_ok=requests.id_ok,
            max_bytes=requests.ID_CHARS + 2,
        )

    def __repr__(self) -> str:
        return f"Monetate(name={self.name!r}, retailer={self.retailer!r}, channel={self.channel!r})"

    # Decide

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Tell of the page view and ask what it brings, in one request."""
        who = self._who(visit, state.cookies)
        if self._mint and not who.known:
            who = requests.Who(monetate_id=requests.minted_id(visit), customer_id=who.customer_id)
        counted = self.exposure == "decide" and visit.record
        preview = visit.preview.get(self.name, EMPTY).get("preview")
        events = [
            *requests.context(visit, {**self._data, **visit.data}),
            requests.question(visit.fresh_id, action_types=self._action_types, slots=self._slots, managed=not counted),
        ]
        try:
            reply = yield requests.call(
                self._url,
                self.channel,
                who,
                events,
                preview=preview if isinstance(preview, str) and preview else None,
                again=not counted,
            )
        except TransportError as error:
            return Decision(vendor=self.name, error=error.code, trips=True)
        return self._settler.settle(answers.read(reply), visit.fresh_id, who)

    def identity(self, state: VisitorState) -> str:
        """Return the id in the visitor's cookie."""
        return requests.known_id(state.cookies) or ""

    def _who(self, visit: Visit, cookies: Mapping[str, str]) -> requests.Who:
        return requests.who(visit, cookies, self._user_id_as)

    # Track and view

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Take every track of a visitor whom the engine knows: it finds itself which experiences it counts for.

        Raises:
            ValueError: a line of `items` is nothing that the vendor takes.
        """
        self._names.record(track)
        if track.aliases == ():
            return Participation()
        return self._told(track.aliases or (track.metric,), state)

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Return the aliases whose impressions the engine left to us; controls are among them like all others."""
        if self.exposure == "off":
            return Participation()
        return self._told(tuple(variant.alias for variant in variants if tracks.tokens([variant])), state)

    def _told(self, aliases: tuple[str, ...], state: VisitorState) -> Participation:
        known = requests.known_id(state.cookies)
        if not aliases or (known is None and self._user_id_as != "device"):
            return Participation()
        return Participation(aliases, {} if known is None else {requests.COOKIE: known})

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Tell of *batch* in as few requests as can be; one that is refused is made again, event by event."""
        outcomes: dict[int, Outcome] = {}
        entries = []
        for place, event in enumerate(batch):
            who = self._who(event.visit, event.visit.cookies)
            try:
                record = self._record(event)
            except ValueError:  # kept from before the options changed
                outcomes[place] = Dead(ErrorCode.BAD_DATA)
                continue
            if record is None or not who.known:
                outcomes[place] = Dropped(ErrorCode.NOT_IN_TEST)
            else:
                entries.append((place, who, requests.client(event.visit), record))
        waiting = tracks.packed(entries)
        while waiting:
            parcel = waiting.pop(0)
            try:
                reply = yield from self._send(parcel)
            except TransportError as error:
                outcomes |= dict.fromkeys(parcel.places, unanswered(error))
                # There is no more time, or nobody there: the others wait for the next attempt.
                outcomes |= {place: Retry(error.code) for later in waiting for place in later.places}
                break
            alone = len(parcel.places) == 1
            verdicts = {
                place: tracks.judge(reply, alone=alone, at_most_once=batch[place].at_most_once)
                for place in parcel.places
            }
            if not alone and tracks.refused(verdicts.values()):
                waiting = [*parcel.split(), *waiting]
            else:
                outcomes |= verdicts
        return [outcomes[place] for place in range(len(batch))]

    def _record(self, event: Event) -> dict[str, Any] | None:
        return tracks.impressions(event) if event.kind == "exposure" else self._names.record(event.track)

    def _send(self, parcel: tracks.Parcel) -> Generator[Call, Reply, Reply]:
        events = [*parcel.client, *parcel.records]
        reply: Reply = yield requests.call(self._url, self.channel, parcel.who, events, again=False)
        return reply


def _texts(owner: str, field: str, value: Any) -> tuple[str, ...]:
    good = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    texts = tuple(value) if good else (None,)
    if not all(isinstance(text, str) and 0 < len(text) <= 250 and text.isprintable() for text in texts):
        raise ConfigError(f"{owner}: {field} must be texts of 1 to 250 printable characters")
    return texts


def _names(owner: str, field: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{owner}: {field} must map names to names, all of them texts")
    # An experience's id may be given as the number that it is.
    table = {str(name) if type(name) is int else name: text for name, text in value.items()}
    _texts(owner, field, (*table, *table.values()))
    return table


def _action_types(owner: str, value: Any) -> tuple[str, ...]:
    short = tuple(dict.fromkeys(each.removeprefix(PREFIX) for each in _texts(owner, "action_types", value)))
    unknown = [each for each in short if each not in CONTENT]
    if unknown or not short:
        what = f"{unknown[0]!r} makes no flag" if unknown else "an empty list lets one redirect replace all flags"
        raise ConfigError(f"{owner}: action_types: {what}; choose from {', '.join(CONTENT)}")
    return tuple(PREFIX + each for each in short)


def _scalars(owner: str, value: Any) -> dict[str, Scalar]:
    good = value is None or (
        isinstance(value, Mapping)
        and all(isinstance(name, str) and isinstance(each, str | int | float) for name, each in value.items())
    )
    if not good:
        raise ConfigError(f"{owner}: data must be a mapping of texts to texts, numbers and booleans")
    return dict(value or {})
