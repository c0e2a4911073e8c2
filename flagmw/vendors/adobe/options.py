"""Options of an Adobe Target account, with their checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flagmw._cookies.rule import CookieRule
from flagmw._support.secret import Secret
from flagmw.exceptions import ConfigError
from flagmw.vendors.adobe.request import MAX_MBOXES, MBOX_NAME, PAGE_LOAD, PARAMETERS, texts
from flagmw.vendors.common.options import (
    checked_base_url,
    checked_decides_by,
    checked_flag,
    checked_prefix,
    leaves_machine_unencrypted,
    one_of,
)

_CLIENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_ORG = re.compile(r"[A-Za-z0-9]{1,64}@AdobeOrg")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_TOKEN = re.compile(r"[!-~]{8,512}")
POLL_MIN_S = 300
ASSETS_URL = "https://assets.adobetarget.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Checked options of one account; their meaning is described at `AdobeTarget`.

    Attributes:
        host: `base_url` as the user gave it; None for Adobe's hosts.
        artifact_url, poll_s: None for decisions by the service alone.
    """

    name: str
    client: str
    mboxes: tuple[str, ...]
    page_load: bool
    aliases: str
    property_token: str | None
    org_id: str | None
    environment_id: int | None
    params: Mapping[str, str]
    profile_params: Mapping[str, str]
    third_party_id: bool
    conversions: Mapping[str, str]
    host: str | None
    exposure: str
    prefix: str
    decisioning: str
    artifact_url: str | None
    poll_s: int | None
    analytics: str
    tracking_server: str | None
    decides_by: str
    at_most_once: bool
    shadow: bool
    debug: bool
    trace_token: Secret | None

    @classmethod
    def checked(
        cls,
        *,
        name: str,
        client: Any,
        mboxes: Any,
        page_load: Any,
        aliases: Any,
        property_token: Any,
        org_id: Any,
        environment_id: Any,
        params: Any,
        profile_params: Any,
        third_party_id: Any,
        conversions: Any,
        base_url: Any,
        exposure: Any,
        prefix: Any,
        decisioning: Any,
        environment: Any,
        artifact_url: Any,
        poll_s: Any,
        analytics: Any,
        tracking_server: Any,
        decides_by: Any,
        at_most_once: Any,
        shadow: Any,
        debug: Any,
        trace_token: Any,
    ) -> Options:
        """Check the options that a user gave.

        Raises:
            ConfigError: an option is wrong; the text names it and says what is right.
        """
        owner = f"vendor {name!r}"
        prefix, client = checked_prefix(owner, prefix), _checked_client(owner, client)
        page_load = checked_flag(owner, "page_load", page_load)
        token = _checked_secret(owner, "trace_token", trace_token)
        debug = checked_flag(owner, "debug", debug)
        if debug and token is None:
            raise ConfigError(f"{owner}: debug needs trace_token, an authorization token for Target's traces")
        property_token = _checked_property_token(owner, property_token)
        decisioning = one_of(owner, "decisioning", decisioning, ("server", "on-device", "hybrid"))
        environment = one_of(owner, "environment", environment, ("production", "staging", "development"))
        folder = "" if property_token is None else f"/{property_token}"
        rules_url = f"{ASSETS_URL}/{client}/{environment}/v1{folder}/rules.json"
        by_rules = decisioning != "server"
        return cls(
            name=name,
            prefix=prefix,
            client=client,
            page_load=page_load,
            mboxes=_checked_mboxes(owner, mboxes, page_load=page_load),
            aliases=one_of(owner, "aliases", aliases, ("mboxes", "attributes")),
            at_most_once=checked_flag(owner, "at_most_once", at_most_once),
            debug=debug,
            shadow=checked_flag(owner, "shadow", shadow),
            third_party_id=checked_flag(owner, "third_party_id", third_party_id),
            params=_checked_parameters(owner, "params", "parameters", params),
            profile_params=_checked_parameters(owner, "profile_params", "profileParameters", profile_params),
            conversions=_checked_conversions(owner, conversions),
            decides_by=checked_decides_by(owner, decides_by),
            analytics=one_of(owner, "analytics", analytics, ("server_side", "client_side")),
            tracking_server=_checked_tracking_server(owner, tracking_server, analytics),
            trace_token=None if token is None else Secret(token),
            host=None if base_url is None else checked_base_url(owner, base_url),
            property_token=property_token,
            environment_id=_checked_environment_id(owner, environment_id),
            org_id=_checked_org_id(owner, org_id),
            decisioning=decisioning,
            exposure=_checked_exposure(owner, exposure, decisioning),
            artifact_url=_checked_artifact_url(owner, artifact_url, rules_url) if by_rules else None,
            poll_s=_checked_poll_s(owner, poll_s) if by_rules else None,
        )

    @property
    def base_url(self) -> str:
        """The address of the service: the user's host, or the account's host at Adobe."""
        return self.host or f"https://{self.client}.tt.omtrdc.net"

    @property
    def asked(self) -> tuple[str, ...]:
        """The mboxes of every decision, the global mbox included if it is asked for."""
        return (*self.mboxes, PAGE_LOAD) if self.page_load else self.mboxes

    @property
    def fixed_fields(self) -> dict[str, Any]:
        """The fields of a request's body that never change."""
        fields: dict[str, Any] = {} if self.environment_id is None else {"environmentId": self.environment_id}
        if self.property_token is not None:
            fields["property"] = {"token": self.property_token}
        return fields

    def fingerprint(self, cookies: CookieRule) -> Mapping[str, Any]:
        """Return the options that decisions depend on.

        The names are part of the format of decision cookies: with other names, visitors lose their decisions once.
        """
        account = {"client": self.client, "org_id": self.org_id, "base_url": self.host, "fixed": self.fixed_fields}
        return {
            "name": self.name,
            "prefix": self.prefix,
            "client": self.client,
            "_page_load": self.page_load,
            "mboxes": self.mboxes,
            "_asked": self.asked,
            "_attributes": self.aliases == "attributes",
            "at_most_once": self.at_most_once,
            "debug": self.debug,
            "shadow": self.shadow,
            "_third_party": self.third_party_id,
            "_params": self.params,
            "_profile": self.profile_params,
            "_conversions": self.conversions,
            "decides_by": self.decides_by,
            "_analytics": self.analytics,
            "_trace": None,
            **({} if self.tracking_server is None else {"_tracking_server": self.tracking_server}),
            "base_url": self.base_url,
            "property_token": self.property_token,
            "environment_id": self.environment_id,
            "_account": account,
            "_own": None,
            "cookies": cookies,
            "decisioning": self.decisioning,
            "local": self.decisioning == "on-device",
            "exposure": self.exposure,
            "_artifact": None,
            **({} if self.decisioning == "server" else {"refresh": None}),
        }


def _checked_client(owner: str, value: Any) -> str:
    """Return the client code, which becomes a part of host names."""
    if not isinstance(value, str) or not _CLIENT.fullmatch(value):
        raise ConfigError(
            f"{owner}: client must be the client code of the account: letters and digits, as in Target under "
            "Administration, Implementation"
        )
    return value


def _checked_mboxes(owner: str, value: Any, *, page_load: bool) -> tuple[str, ...]:
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
    """Say whether *name* can be the name of an mbox."""
    return MBOX_NAME.fullmatch(name) is not None and not name.endswith("-clicked")


def _checked_org_id(owner: str, value: Any) -> str | None:
    """Return the organization's id."""
    if value is not None and not (isinstance(value, str) and _ORG.fullmatch(value)):
        raise ConfigError(f'{owner}: org_id must be the organization\'s id, such as "1234ABCD@AdobeOrg"')
    return value


def _checked_property_token(owner: str, value: Any) -> str | None:
    """Return the token of a property (`at_property`)."""
    if value is not None and not (isinstance(value, str) and _UUID.fullmatch(value)):
        raise ConfigError(f"{owner}: property_token must be the property's at_property value, a UUID")
    return value


def _checked_environment_id(owner: str, value: Any) -> int | None:
    """Return the number of the environment (host group) whose activities count."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        value = int(value)  # from an environment variable
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63):
        raise ConfigError(f"{owner}: environment_id must be the number of an environment of the account")
    return value


def _checked_tracking_server(owner: str, value: Any, analytics: Any) -> str | None:
    """Return the host that the page sends its Analytics data to."""
    if value is None:
        return None
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        raise ConfigError(f'{owner}: tracking_server must be the host of Adobe Analytics, such as "shop.sc.omtrdc.net"')
    if analytics != "server_side":
        raise ConfigError(f'{owner}: tracking_server needs analytics="server_side"')
    return value


def _checked_secret(owner: str, field: str, value: Any) -> str | None:
    """Return a token that is never shown."""
    if value is not None and not (isinstance(value, str) and _TOKEN.fullmatch(value)):
        raise ConfigError(f"{owner}: {field} must be a token of 8 to 512 characters without spaces")
    return value


def _checked_parameters(owner: str, field: str, limits: str, value: Any) -> dict[str, str]:
    """Return fixed parameters as texts, within the limits of the request's field *limits*."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(scalar, str | int | float) for name, scalar in value.items()
    ):
        raise ConfigError(f"{owner}: {field} must map names to texts, numbers or booleans")
    fit = texts(limits, value)
    unsendable = sorted(value.keys() - fit.keys())
    if unsendable:
        raise ConfigError(
            f"{owner}: {field}: {unsendable[0]!r} cannot be sent: up to {PARAMETERS} names of 128 characters that "
            "Target does not keep for itself (orderId, profile.), with short values"
        )
    return fit


def _checked_conversions(owner: str, value: Any) -> dict[str, str]:
    """Return the mboxes that count metrics, by metric."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(metric, str) and isinstance(name, str) and mbox_ok(name) for metric, name in value.items()
    ):
        raise ConfigError(f'{owner}: conversions must map metrics to mboxes: {{"purchase": "orderConfirmPage"}}')
    return dict(value)


def _checked_exposure(owner: str, value: Any, decisioning: str) -> str:
    """Return how exposures are counted. A decision on this machine counts nothing by itself."""
    if value is None:
        return "decide" if decisioning == "server" else "read"
    if decisioning != "server" and value == "decide":
        raise ConfigError(
            f'{owner}: exposure must be "read" or "off" with on-device decisions, which Target does not count'
        )
    return one_of(owner, "exposure", value, ("decide", "read", "off"))


def _checked_artifact_url(owner: str, value: Any, default: str) -> str:
    """Return the address of the rules. They decide what visitors see, so they must come over https."""
    url = checked_base_url(owner, default if value is None else value, "artifact_url")
    if leaves_machine_unencrypted(url):
        raise ConfigError(f"{owner}: artifact_url must be https; http goes to this machine only")
    return url


def _checked_poll_s(owner: str, value: Any) -> int:
    """Return the seconds between two checks for new rules."""
    if isinstance(value, bool) or not isinstance(value, int) or not POLL_MIN_S <= value <= 86_400:
        raise ConfigError(f"{owner}: poll_s must be from {POLL_MIN_S} to 86400 seconds")
    return value
