"""Checks of single options. Errors name the option and the cure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flagmw._cookies.domains import canonical_domain, is_public_suffix
from flagmw._support import addresses, hooks
from flagmw._support.tokens import Keys
from flagmw.exceptions import ConfigError
from flagmw.outbox import location
from flagmw.vendors.base import Vendor
from flagmw.vendors.common.options import one_of

_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_VENDOR_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_VENDOR_PARTS = ("name", "prefix", "cookies", "at_most_once", "decide", "deliver", "participation")
BLOCKING_TRANSPORTS = ("httpx2", "httptools")
ASYNC_TRANSPORTS = ("httpx2", "httptools", "aiohttp")
_OUTBOX_METHODS = ("put_many", "claim", "ack", "release", "next_due", "stats", "close")


def listed(option: str, value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ConfigError(f"{option} must be a list")
    return list(value)


def _vendors(option: str, value: Any) -> tuple[Vendor, ...]:
    vendors = tuple(listed(option, value))
    names: set[str] = set()
    for vendor in vendors:
        name = getattr(vendor, "name", None)
        if not all(hasattr(vendor, part) for part in _VENDOR_PARTS):
            raise ConfigError(f"{option}: {type(vendor).__name__} is no vendor; use Webtrends(...) or Static(...)")
        if not isinstance(name, str) or not _VENDOR_NAME.fullmatch(name):
            raise ConfigError(f"vendor name {name!r} must be 1 to 64 lower-case letters, digits, - or _")
        if name in names:
            raise ConfigError(f"two vendors are named {name!r}: give one of them another name=")
        names.add(name)
    return vendors


def _defaults(option: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        raise ConfigError(f"{option} must map aliases to variants, both text")
    return MappingProxyType(dict(value))


def _on(option: str, value: Any) -> Mapping[str, frozenset[str]]:
    if not isinstance(value, Mapping) or not all(isinstance(alias, str) for alias in value):
        raise ConfigError(f"{option} must map aliases to lists of variants")
    return MappingProxyType({alias: frozenset(_texts(f"{option}[{alias!r}]", keys)) for alias, keys in value.items()})


def _texts(option: str, value: Any) -> tuple[str, ...]:
    texts = tuple(listed(option, value))
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{option} must be a list of texts")
    return texts


def _patterns(option: str, value: Any) -> tuple[str, ...]:
    patterns = _texts(option, value)
    for pattern in patterns:
        if not pattern.startswith(("/", "*")):
            raise ConfigError(f'{option}: the pattern {pattern!r} must begin with "/", such as "/static/*"')
    return patterns


def _whole(low: int, high: int) -> Callable[[str, Any], int]:
    def check(option: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"{option} must be a whole number from {low} to {high}")
        return value

    return check


def _seconds(most: float) -> Callable[[str, Any], float]:
    def check(option: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise ConfigError(f"{option} must be a number of seconds from 0 to {most:.0f}")
        return float(value)

    return check


def _optional_whole(low: int, high: int) -> Callable[[str, Any], int | None]:
    return lambda option, value: None if value is None else _whole(low, high)(option, value)


def _keys(option: str, value: Any) -> Keys:
    if isinstance(value, Keys):
        return value
    keys = listed(option, (value,) if isinstance(value, str | bytes) else value)
    if not all(isinstance(key, str | bytes) for key in keys):
        raise ConfigError(f"{option} must be a list of keys, newest first")
    return Keys(keys)


def _bots(option: str, value: Any) -> Any:
    value = hooks.resolved(option, value)
    if not isinstance(value, bool) and not callable(value):
        raise ConfigError(f"{option} must be True, False or a function of the request")
    return value


def _visitor_store(option: str, value: Any) -> Any:
    if value is None or all(callable(getattr(value, method, None)) for method in ("load", "save")):
        return value
    if isinstance(value, str) and (value.startswith("sqlite://") or location.is_shared(value)):
        return value
    raise ConfigError(f'{option} must be "sqlite:///directory", "valkey://host" or an object with load and save')


def _rate(option: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100_000:
        raise ConfigError(f"{option} must be a number above 0, in events per second")
    return float(value)


def _optional_rate(option: str, value: Any) -> float | None:
    return None if value is None else _rate(option, value)


def _flag(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{option} must be True or False")
    return value


def _secure(option: str, value: Any) -> bool | str:
    if value not in (True, False, "auto"):
        raise ConfigError(f'{option} must be True, False or "auto"')
    return value if isinstance(value, str) else bool(value)


def _domain(option: str, value: Any) -> str | None:
    if value is None:
        return None
    domain = canonical_domain(value) if isinstance(value, str) else None
    if domain is None:
        raise ConfigError(f'{option} must be a domain name such as "mysite.com"')
    if is_public_suffix(domain):
        raise ConfigError(f"{option} {domain!r} is a public suffix: browsers refuse cookies for it")
    return domain


def _networks(option: str, value: Any) -> tuple[Any, ...]:
    networks = []
    for text in _texts(option, value):
        try:
            networks.append(addresses.network(text))
        except ValueError:
            raise ConfigError(f'{option}: {text!r} is no network; write "10.0.0.0/8" or one address') from None
    return tuple(networks)


def _header(option: str, value: Any) -> str:
    if not isinstance(value, str) or not _HEADER.fullmatch(value):
        raise ConfigError(f'{option} must be the name of a header, such as "CF-Connecting-IP" or "Forwarded"')
    return value.lower()


def _choice(*allowed: str) -> Callable[[str, Any], str]:
    return lambda option, value: one_of("flagmw", option, value, allowed)


def _callable(option: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise ConfigError(f"{option} must be a function")
    if inspect.iscoroutinefunction(value):
        raise ConfigError(f"{option} must be a plain function, not async: nothing awaits it")
    return value


def _hook(option: str, value: Any) -> Any:
    value = hooks.resolved(option, value)
    if value is not None and not callable(value):
        raise ConfigError(f'{option} must be a function of the request, or its name such as "package.module.function"')
    return value


def _outbox(option: str, value: Any) -> Any:
    if isinstance(value, str):
        location.parse(value)
    elif value is not None and not all(hasattr(value, method) for method in _OUTBOX_METHODS):
        raise ConfigError(f'{option} must be "sqlite:///directory", "memory://", a Valkey URL or an outbox object')
    return value


def _transport(option: str, value: Any) -> tuple[Any, Any]:
    """Return (blocking, async). The drivers refuse clients and missing packages, since they know the libraries.

    A name alone is taken by each colour that has such a transport; the other one keeps the default.
    """
    if isinstance(value, str):
        if value not in (*BLOCKING_TRANSPORTS, *ASYNC_TRANSPORTS):
            raise ConfigError(_transport_names(option, value))
        return (value if value in BLOCKING_TRANSPORTS else None, value if value in ASYNC_TRANSPORTS else None)
    blocking = asynchronous = None
    for position, item in enumerate(value if isinstance(value, tuple | list) else (value,)):
        if item is None:
            continue
        if isinstance(item, str):
            if position > 1 or item not in (BLOCKING_TRANSPORTS, ASYNC_TRANSPORTS)[position]:
                raise ConfigError(_transport_names(option, item))
            blocking, asynchronous = (item, asynchronous) if position == 0 else (blocking, item)
            continue
        if hasattr(item, "handle_request"):
            blocking = item
        if hasattr(item, "handle_async_request"):
            asynchronous = item
        if not hasattr(item, "handle_request") and not hasattr(item, "handle_async_request"):
            raise ConfigError(
                f"{option} must be a transport's name or a transport of httpx2 or httpx, such as "
                f"httpx2.HTTPTransport(), not {type(item).__name__}"
            )
    return blocking, asynchronous


def _transport_names(option: str, value: str) -> str:
    return (
        f"{option}: no such transport {value!r}; for blocking calls there are {', '.join(BLOCKING_TRANSPORTS)}, "
        f"for async ones {', '.join(ASYNC_TRANSPORTS)}; a pair names both, blocking first"
    )


def _path_text(option: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | Path) or not Path(value).is_file():
        raise ConfigError(f"{option} must name a file, with one or more certificates in PEM form")
    return str(value)


def _report_path(option: str, value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | Path) or not str(value) or not Path(value).parent.is_dir() or Path(value).is_dir():
        raise ConfigError(f"{option} must name a file in an existing directory")
    return Path(value)


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "vendors": _vendors,
    "defaults": _defaults,
    "deadline_ms": _whole(10, 60_000),
    "mode": _choice("auto", "eager", "lazy"),
    "reuse_s": _seconds(86_400),
    "stale_s": _seconds(30 * 86_400),
    "hold_s": _seconds(86_400),
    "late_ms": _whole(0, 30_000),
    "hedge_ms": _optional_whole(1, 60_000),
    "memory_mb": _whole(1, 65_536),
    "signing_keys": _keys,
    "consent": _hook,
    "bots": _bots,
    "overrides": _flag,
    "keep_cookies": _flag,
    "exposure_ttl_s": _seconds(30 * 86_400),
    "visitor_store": _visitor_store,
    "shadow_report": _report_path,
    "outbox": _outbox,
    "outbox_required": _flag,
    "paths": _patterns,
    "exclude": _patterns,
    "on": _on,
    "cookie_domain": _domain,
    "cookie_secure": _secure,
    "cookie_budget": _whole(512, 65_536),
    "hybrid": _flag,
    "trusted_proxies": _networks,
    "client_ip_header": _header,
    "client_ip": _choice("anonymised", "full", "off"),
    "referer": _choice("origin", "full", "off"),
    "send_query": _texts,
    "identify": _hook,
    "max_in_flight": _whole(1, 10_000),
    "pool_size": _optional_whole(1, 1_000),
    "new_visitors_per_s": _optional_rate,
    "tracks_per_visitor": _whole(1, 1_000_000),
    "deliver": _choice("inprocess", "off"),
    "max_rate": _optional_rate,
    "commit_wait_ms": _whole(1, 60_000),
    "debug": _flag,
    "transport": _transport,
    "trust_env": _flag,
    "ca_file": _path_text,
    "on_decision": _callable,
    "on_event": _callable,
}
