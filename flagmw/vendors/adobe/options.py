"""Checks of the options of `AdobeTarget`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flagmw.exceptions import ConfigError
from flagmw.vendors.adobe.request import MAX_MBOXES, MBOX_NAME, PAGE_LOAD, PARAMETERS, texts
from flagmw.vendors.common.options import checked_base_url, leaves_machine_unencrypted, one_of

_CLIENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_ORG = re.compile(r"[A-Za-z0-9]{1,64}@AdobeOrg")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_TOKEN = re.compile(r"[!-~]{8,512}")
POLL_MIN_S = 300


def client(owner: str, value: Any) -> str:
    """Return the client code, which becomes a part of host names."""
    if not isinstance(value, str) or not _CLIENT.fullmatch(value):
        raise ConfigError(
            f"{owner}: client must be the client code of the account: letters and digits, as in Target under "
            "Administration, Implementation"
        )
    return value


def mboxes(owner: str, value: Any, *, page_load: bool) -> tuple[str, ...]:
    """Return the names of the mboxes to ask for."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ConfigError(f'{owner}: mboxes must be a list of names, such as ["hero", "checkout"]')
    names = tuple(dict.fromkeys(value))
    for name in names:
        if not isinstance(name, str) or not mbox_ok(name) or name == PAGE_LOAD:
            raise ConfigError(
                f"{owner}: mboxes: {name!r} is no name that can be asked for: 1 to 250 letters, digits and punctuation "
                f"without spaces and quotes, not ending in -clicked; {PAGE_LOAD} is page_load=True"
            )
    if not names and not page_load:
        raise ConfigError(f"{owner}: mboxes must name at least one mbox, or page_load be True")
    if len(names) > MAX_MBOXES:
        raise ConfigError(f"{owner}: mboxes has {len(names)} names; one request takes {MAX_MBOXES}")
    return names


def mbox_ok(name: str) -> bool:
    return MBOX_NAME.fullmatch(name) is not None and not name.endswith("-clicked")


def org_id(owner: str, value: Any) -> str | None:
    """Return the organization's id."""
    if value is not None and not (isinstance(value, str) and _ORG.fullmatch(value)):
        raise ConfigError(f'{owner}: org_id must be the organization\'s id, such as "1234ABCD@AdobeOrg"')
    return value


def property_token(owner: str, value: Any) -> str | None:
    """Return the token of a property (`at_property`)."""
    if value is not None and not (isinstance(value, str) and _UUID.fullmatch(value)):
        raise ConfigError(f"{owner}: property_token must be the property's at_property value, a UUID")
    return value


def environment_id(owner: str, value: Any) -> int | None:
    """Return the number of the environment (host group) whose activities count."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        value = int(value)  # of a variable of the environment
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63):
        raise ConfigError(f"{owner}: environment_id must be the number of an environment of the account")
    return value


def secret(owner: str, field: str, value: Any) -> str | None:
    """Return a token that is never shown."""
    if value is not None and not (isinstance(value, str) and _TOKEN.fullmatch(value)):
        raise ConfigError(f"{owner}: {field} must be a token of 8 to 512 characters without spaces")
    return value


def parameters(owner: str, field: str, limits: str, value: Any) -> dict[str, str]:
    """Return fixed parameters as texts; *limits* names the request's field whose limits they have to keep."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(one, str | int | float) for name, one in value.items()
    ):
        raise ConfigError(f"{owner}: {field} must map names to texts, numbers or booleans")
    fit = texts(limits, value)
    lost = sorted(value.keys() - fit.keys())
    if lost:
        raise ConfigError(
            f"{owner}: {field}: {lost[0]!r} cannot be sent: up to {PARAMETERS} names of 128 characters that Target "
            "does not keep for itself (orderId, profile.), with short values"
        )
    return fit


def conversions(owner: str, value: Any) -> dict[str, str]:
    """Return which mbox counts a metric."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(metric, str) and isinstance(name, str) and mbox_ok(name) for metric, name in value.items()
    ):
        raise ConfigError(f'{owner}: conversions must map metrics to mboxes: {{"purchase": "orderConfirmPage"}}')
    return dict(value)


def exposure(owner: str, value: Any, decisioning: str) -> str:
    """Return how Target learns what was seen; a decision that is made without it cannot count."""
    if value is None:
        return "decide" if decisioning == "server" else "read"
    if decisioning != "server" and value == "decide":
        raise ConfigError(f'{owner}: exposure must be "read" or "off" where this machine decides: that counts nothing')
    return one_of(owner, "exposure", value, ("decide", "read", "off"))


def artifact_url(owner: str, value: Any, default: str) -> str:
    """Return where the rules are; what comes from there decides what visitors see, so it comes encrypted."""
    url = checked_base_url(owner, default if value is None else value, "artifact_url")
    if leaves_machine_unencrypted(url):
        raise ConfigError(f"{owner}: artifact_url must be https; http goes to this machine only")
    return url


def poll_s(owner: str, value: Any) -> int:
    """Return how many seconds lie between two looks for new rules."""
    if isinstance(value, bool) or not isinstance(value, int) or not POLL_MIN_S <= value <= 86_400:
        raise ConfigError(f"{owner}: poll_s must be from {POLL_MIN_S} to 86400 seconds; Adobe asks for no less")
    return value
