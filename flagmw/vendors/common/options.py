"""Option checks that all vendors share."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from flagmw._support.addresses import is_loopback
from flagmw.exceptions import ConfigError


def checked_base_url(owner: str, base_url: str, option: str = "base_url") -> str:
    """Return *base_url*, the value of *option*, without a trailing slash.

    Plain http beyond this machine is checked by the configuration, which knows `debug`.

    Raises:
        ConfigError: it is not an http(s) URL, or has user-info, a query or a fragment.
    """
    field = f"{owner}: {option}"
    if not isinstance(base_url, str):
        raise ConfigError(f"{field} must be str, got {type(base_url).__name__}")
    if not re.fullmatch(r"[!-~]*", base_url) or "\\" in base_url:
        raise ConfigError(f"{field} must be printable ASCII without spaces and backslashes")
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f'{field} is not a URL; write it as "https://host/path"') from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f'{field} must begin with "https://" and name a host')
    if host.endswith("."):
        raise ConfigError(f"{field}: write the host without the dot at its end, which certificates do not have")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{field} must not carry a user name or password")
    if "?" in base_url or "#" in base_url:
        raise ConfigError(f"{field} must not have a query or fragment")
    return base_url.rstrip("/")


def leaves_machine_unencrypted(base_url: str) -> bool:
    """Say whether calls to *base_url* would cross a network as plain http."""
    parts = urlsplit(base_url)
    if parts.scheme == "https":
        return False
    return not is_loopback(parts.hostname or "")


def checked_prefix(owner: str, prefix: Any) -> str:
    """Return *prefix*, the text before aliases.

    Raises:
        ConfigError: it is not a text of up to 64 printable characters.
    """
    if not isinstance(prefix, str) or len(prefix) > 64 or not prefix.isprintable():
        raise ConfigError(f'{owner}: prefix must be a text of up to 64 printable characters, such as "shop:"')
    return prefix


def checked_flag(owner: str, field: str, value: Any) -> bool:
    """Return *value* if it is True or False.

    Raises:
        ConfigError: it is not a boolean. A text such as "false" would count as true.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{owner}: {field} must be True or False")
    return value


def one_of(owner: str, field: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Return *value* if it is one of *allowed*.

    Raises:
        ConfigError: it is not; the text lists the allowed values.
    """
    if value not in allowed:
        listed = ", ".join(f'"{choice}"' for choice in allowed)
        raise ConfigError(f"{owner}: {field} must be one of {listed}")
    return str(value)


def checked_decides_by(owner: str, value: Any) -> str:
    """Return *value*, the part of a page's address that decisions depend on.

    Raises:
        ConfigError: it is not "site", "path" or "url".
    """
    return one_of(owner, "decides_by", value, ("site", "path", "url"))
