"""Options of a Monetate account, with their checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flagmw._cookies.rule import CookieRule
from flagmw.exceptions import ConfigError
from flagmw.types import Scalar
from flagmw.vendors.common.options import checked_base_url, checked_decides_by, checked_flag, checked_prefix, one_of
from flagmw.vendors.monetate.response import ACTION_CONTENT, ACTION_PREFIX

_RETAILER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CHANNEL = re.compile(r"[!-.0-~]+/[!-.0-~]+/[!-.0-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Checked options of one account; their meaning is described at `Monetate`."""

    name: str
    retailer: str
    channel: str
    base_url: str
    exposure: str
    prefix: str
    slots: tuple[str, ...]
    action_types: tuple[str, ...]
    flag_map: Mapping[str, str]
    data: Mapping[str, Scalar]
    user_id_as: str
    mint_id_locally: bool
    decides_by: str
    purchase_metric: str
    cart_metric: str
    add_to_cart_metric: str
    page_events: Mapping[str, str]
    at_most_once: bool
    shadow: bool

    @classmethod
    def checked(
        cls,
        *,
        name: str,
        retailer: Any,
        channel: Any,
        base_url: Any,
        exposure: Any,
        prefix: Any,
        slots: Any,
        action_types: Any,
        flag_map: Any,
        data: Any,
        user_id_as: Any,
        mint_id_locally: Any,
        decides_by: Any,
        purchase_metric: Any,
        cart_metric: Any,
        add_to_cart_metric: Any,
        page_events: Any,
        at_most_once: Any,
        shadow: Any,
    ) -> Options:
        """Check the options that a user gave.

        Raises:
            ConfigError: an option is wrong; the text names it and says what is right.
        """
        owner = f"vendor {name!r}"
        retailer, channel = _checked_retailer(owner, retailer), _checked_channel(owner, channel)
        metrics = _checked_metrics(owner, (purchase_metric, cart_metric, add_to_cart_metric))
        return cls(
            name=name,
            retailer=retailer,
            channel=channel,
            prefix=checked_prefix(owner, prefix),
            base_url=checked_base_url(owner, base_url),
            exposure=one_of(owner, "exposure", exposure, ("decide", "read", "off")),
            at_most_once=checked_flag(owner, "at_most_once", at_most_once),
            shadow=checked_flag(owner, "shadow", shadow),
            slots=_checked_texts(owner, "slots", slots),
            action_types=_checked_action_types(owner, action_types),
            data=_checked_data(owner, data),
            user_id_as=one_of(owner, "user_id_as", user_id_as, ("customer", "device", "off")),
            mint_id_locally=checked_flag(owner, "mint_id_locally", mint_id_locally),
            decides_by=checked_decides_by(owner, decides_by),
            purchase_metric=metrics[0],
            cart_metric=metrics[1],
            add_to_cart_metric=metrics[2],
            page_events=_checked_name_map(owner, "page_events", page_events),
            flag_map=_checked_name_map(owner, "flag_map", flag_map),
        )

    @property
    def decide_url(self) -> str:
        """The address of all requests."""
        return f"{self.base_url}/decide/{self.retailer}"

    def fingerprint(self, cookies: CookieRule) -> Mapping[str, Any]:
        """Return the options that decisions depend on.

        The names are part of the format of decision cookies: with other names, visitors lose their decisions once.
        """
        metrics = {
            "purchase": self.purchase_metric,
            "cart": self.cart_metric,
            "add_to_cart": self.add_to_cart_metric,
            "page_events": self.page_events,
        }
        builder = {"vendor": self.name, "accepted": frozenset(self.action_types), "flag_map": self.flag_map}
        return {
            "name": self.name,
            "prefix": self.prefix,
            "retailer": self.retailer,
            "channel": self.channel,
            "base_url": self.base_url,
            "exposure": self.exposure,
            "at_most_once": self.at_most_once,
            "shadow": self.shadow,
            "_url": self.decide_url,
            "_slots": self.slots,
            "_action_types": self.action_types,
            "_data": self.data,
            "_user_id_as": self.user_id_as,
            "_mint": self.mint_id_locally,
            "decides_by": self.decides_by,
            "_names": metrics,
            "flag_map": self.flag_map,
            "_settler": builder,
            "cookies": cookies,
        }


def _checked_retailer(owner: str, retailer: Any) -> str:
    if not isinstance(retailer, str) or not _RETAILER.fullmatch(retailer):
        raise ConfigError(f"{owner}: retailer must be the retailer's short name: letters, digits, - _ .")
    return retailer


def _checked_channel(owner: str, channel: Any) -> str:
    if not isinstance(channel, str) or len(channel) > 256 or not _CHANNEL.fullmatch(channel):
        raise ConfigError(f'{owner}: channel must be "account/instance/domain", such as "a-701b337c/p/example.com"')
    return channel


def _checked_texts(owner: str, option: str, value: Any) -> tuple[str, ...]:
    """Return *value* as texts of 1 to 250 printable characters."""
    is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    texts = tuple(value) if is_list else (None,)
    if not all(isinstance(text, str) and 0 < len(text) <= 250 and text.isprintable() for text in texts):
        raise ConfigError(f"{owner}: {option} must be texts of 1 to 250 printable characters")
    return texts


def _checked_metrics(owner: str, metrics: tuple[Any, Any, Any]) -> tuple[str, ...]:
    names = _checked_texts(owner, "purchase_metric, cart_metric and add_to_cart_metric", metrics)
    if len(set(names)) < len(names):
        raise ConfigError(f"{owner}: purchase_metric, cart_metric and add_to_cart_metric must differ")
    return names


def _checked_name_map(owner: str, option: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{owner}: {option} must map names to names, all of them texts")
    # An experience's id may be given as a number.
    table = {str(name) if type(name) is int else name: text for name, text in value.items()}
    _checked_texts(owner, option, (*table, *table.values()))
    return table


def _checked_action_types(owner: str, value: Any) -> tuple[str, ...]:
    """Return the types with their prefix."""
    kinds = tuple(
        dict.fromkeys(kind.removeprefix(ACTION_PREFIX) for kind in _checked_texts(owner, "action_types", value))
    )
    unknown = [kind for kind in kinds if kind not in ACTION_CONTENT]
    if unknown or not kinds:
        fault = f"{unknown[0]!r} makes no flag" if unknown else "an empty list lets one redirect replace all flags"
        raise ConfigError(f"{owner}: action_types: {fault}; choose from {', '.join(ACTION_CONTENT)}")
    return tuple(ACTION_PREFIX + kind for kind in kinds)


def _checked_data(owner: str, value: Any) -> dict[str, Scalar]:
    valid = value is None or (
        isinstance(value, Mapping)
        and all(isinstance(name, str) and isinstance(scalar, str | int | float) for name, scalar in value.items())
    )
    if not valid:
        raise ConfigError(f"{owner}: data must be a mapping of texts to texts, numbers and booleans")
    return dict(value or {})
