"""Options of a Webtrends Optimize account, with their checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from flagmw._cookies.rule import CookieRule
from flagmw._support.secret import Secret
from flagmw.exceptions import ConfigError
from flagmw.vendors.common.options import checked_base_url, checked_flag, checked_prefix, one_of
from flagmw.vendors.webtrends.request import control_url, flatten
from flagmw.vendors.webtrends.response import ALIAS

_METRIC = re.compile(r"[A-Za-z0-9_ ]{1,128}")
_PROTOCOL_FIELDS = frozenset(
    {"keyToken", "url", "_wt.encrypted", "_wt.track", "s_mode", "cookies", "data", "debug", "conversionPoint"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Checked options of one account; their meaning is described at `Webtrends`."""

    name: str
    domain_id: str
    key_token: Secret
    url: str
    decides_by: str
    project: str | None
    base_url: str
    exposure: str
    prefix: str
    staging: bool
    data: Mapping[str, str | int | float]
    encrypted: bool
    session_cookies: str
    serve_paused: bool
    gzip_request: bool
    metric_pattern: re.Pattern[str]
    at_most_once: bool
    shadow: bool
    debug: bool
    extra_params: Mapping[str, Any] = field(repr=False)

    @classmethod
    def checked(
        cls,
        *,
        name: str,
        domain_id: Any,
        key_token: Any,
        url: Any,
        project: Any,
        base_url: Any,
        exposure: Any,
        prefix: Any,
        staging: Any,
        data: Any,
        encrypted: Any,
        session_cookies: Any,
        serve_paused: Any,
        gzip_request: Any,
        metric_pattern: Any,
        at_most_once: Any,
        shadow: Any,
        debug: Any,
        extra_params: Any,
    ) -> Options:
        """Check the options that a user gave.

        Raises:
            ConfigError: an option is wrong; the text names it and says what is right.
        """
        owner = f"vendor {name!r}"
        decimal_id = _checked_domain_id(owner, domain_id)
        token = _checked_key_token(owner, key_token)
        location = _checked_url(owner, url)
        return cls(
            name=name,
            domain_id=decimal_id,
            key_token=token,
            # The visitor's path begins with a slash of its own.
            url=location.replace("/{path}", "{path}"),
            decides_by="path" if "{path}" in location else "site",
            project=_checked_project(owner, project),
            prefix=checked_prefix(owner, prefix),
            base_url=checked_base_url(owner, base_url),
            exposure=one_of(owner, "exposure", exposure, ("decide", "read", "off")),
            at_most_once=checked_flag(owner, "at_most_once", at_most_once),
            shadow=checked_flag(owner, "shadow", shadow),
            debug=checked_flag(owner, "debug", debug),
            staging=checked_flag(owner, "staging", staging),
            data=flatten(_checked_fields(owner, "data", data)),
            extra_params=_checked_extra_params(owner, extra_params),
            metric_pattern=_checked_pattern(owner, metric_pattern),
            encrypted=checked_flag(owner, "encrypted", encrypted),
            gzip_request=checked_flag(owner, "gzip_request", gzip_request),
            session_cookies=one_of(owner, "session_cookies", session_cookies, ("browser", "timeout")),
            serve_paused=checked_flag(owner, "serve_paused", serve_paused),
        )

    def fingerprint(self, cookies: CookieRule) -> Mapping[str, Any]:
        """Return the options that decisions depend on.

        The names are part of the format of decision cookies: with other names, visitors lose their decisions once.
        """
        builder = {
            "vendor": self.name,
            "cookies": None,
            "session_timeouts": self.session_cookies == "timeout",
            "serve_paused": self.serve_paused,
        }
        return {
            "domain_id": self.domain_id,
            "name": self.name,
            "prefix": self.prefix,
            "project": self.project,
            "url": self.url,
            "decides_by": self.decides_by,
            "base_url": self.base_url,
            "_control_url": control_url(self.base_url, self.domain_id, self.project),
            "exposure": self.exposure,
            "at_most_once": self.at_most_once,
            "shadow": self.shadow,
            "debug": self.debug,
            "staging": self.staging,
            "_token": None,
            "_data": self.data,
            "_extra": self.extra_params,
            "_metric": None,
            "_encrypted": self.encrypted,
            "_compress": self.gzip_request,
            "_refused": None,
            "_own": None,
            "cookies": cookies,
            "_settler": builder,
        }


def _checked_domain_id(owner: str, domain_id: Any) -> str:
    text = str(domain_id)
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ConfigError(f"{owner}: domain_id must be the account's decimal Domain ID, such as 2490593")
    return text


def _checked_key_token(owner: str, key_token: Any) -> Secret:
    if not isinstance(key_token, str) or not re.fullmatch(r"[!-~]{8,256}", key_token):
        raise ConfigError(f"{owner}: key_token must be the account's Key Token: 8 to 256 characters, no spaces")
    return Secret(key_token)


def _checked_url(owner: str, url: Any) -> str:
    if not isinstance(url, str) or not 0 < len(url) <= 2048 or re.search(r"[\x00-\x20\x7f-\U0010ffff]", url):
        raise ConfigError(f'{owner}: url must be the URL that locations match, such as "https://www.mysite.com"')
    return url


def _checked_project(owner: str, project: Any) -> str | None:
    if project is not None and not (isinstance(project, str) and ALIAS.fullmatch(project)):
        raise ConfigError(f"{owner}: project must be a project alias: printable ASCII without , ; = and outer spaces")
    return project


def _checked_fields(owner: str, option: str, value: Any) -> dict[str, Any]:
    """Return a copy of a mapping that JSON can carry; an empty one for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{owner}: {option} must be a mapping with texts as keys")
    try:
        orjson.dumps(dict(value), option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS)
    except orjson.JSONEncodeError:
        raise ConfigError(
            f"{owner}: {option} has values that JSON cannot hold; use texts, numbers and booleans"
        ) from None
    return dict(value)


def _checked_extra_params(owner: str, value: Any) -> dict[str, Any]:
    fields = _checked_fields(owner, "extra_params", value)
    reserved = sorted(fields.keys() & _PROTOCOL_FIELDS)
    if reserved:
        raise ConfigError(f"{owner}: extra_params must not set {', '.join(reserved)}: there are options for these")
    return fields


def _checked_pattern(owner: str, metric_pattern: Any) -> re.Pattern[str]:
    if metric_pattern is None:
        return _METRIC
    try:
        pattern = re.compile(metric_pattern)
        pattern.fullmatch("")  # refuses a pattern for bytes
        return pattern
    except (re.error, TypeError):
        raise ConfigError(f"{owner}: metric_pattern must be a regular expression") from None
