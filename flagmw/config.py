"""The options of flagmw: one frozen dataclass, and the ways to fill it.

Precedence in `from_mapping`: environment (`FLAGMW_*`) over the mapping given in code over a TOML file.
"""

from __future__ import annotations

import difflib
import inspect
import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flagmw._domains import canonical_domain, is_public_suffix
from flagmw._tracks import checked_data
from flagmw.exceptions import ConfigError
from flagmw.types import EMPTY, empty
from flagmw.vendors._options import leaves_machine_unencrypted, one_of
from flagmw.vendors.base import Vendor
from flagmw.vendors.static import Static
from flagmw.vendors.webtrends import Webtrends

VENDOR_TYPES: Mapping[str, Callable[..., Vendor]] = MappingProxyType({"webtrends": Webtrends, "static": Static})
ENV_PREFIX = "FLAGMW_"
FILE_VARIABLE = "FLAGMW_CONFIG"

_VENDOR_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every option, checked. Times carry their unit in the name.

    Attributes:
        vendors: in order of precedence: the first that decides an alias has it.
        defaults: the variant of an alias that nobody decided.
        deadline_ms: how long a page may wait for all vendors together.
        outbox: where events wait for delivery; "memory://" keeps them in this process.
        paths, exclude: which paths are decided for; `*` stands for anything, slashes too.
        on: for `is_on`, the keys of an alias that mean "on".
        cookie_domain: the Domain of vendors' cookies, instead of the one each vendor names.
        cookie_secure: True, False, or "auto": as the visitor's own connection.
        cookie_budget: bytes that all vendors' cookies may take in a browser.
        hybrid: let the page's scripts read vendors' cookies, as a vendor's own tag has to.
        trusted_proxies: networks whose X-Forwarded-For and X-Forwarded-Proto are believed.
        client_ip: what vendors are told of the visitor's address: "anonymised" (/24, /48), "full" or "off".
        referer: what vendors are told of the Referer: "origin", "full" or "off".
        send_query: query parameters that may be sent on with the page's URL.
        identify: called with the request; returns an `Identity`, or None for a visitor without one.
        max_in_flight: decisions under way at once, per vendor, in async servers.
        pool_size: threads per vendor that make decisions in blocking servers.
        max_rate: events delivered per second and process.
        debug: raise on bad `track()` data; allow vendors' debug switches and unencrypted `base_url`.
        transport: a transport of httpx2 or httpx to make calls with, or a pair: blocking and async.
        trust_env: use proxies named in the environment.
        ca_file: certificates of authorities to trust instead of the system's.
        on_decision, on_event: called with one frozen dataclass for each decision and each settled event.
    """

    vendors: tuple[Vendor, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=empty)
    deadline_ms: int = 300
    outbox: Any = "memory://"
    paths: tuple[str, ...] = ("/*",)
    exclude: tuple[str, ...] = ()
    on: Mapping[str, frozenset[str]] = field(default_factory=empty)
    cookie_domain: str | None = None
    cookie_secure: bool | str = "auto"
    cookie_budget: int = 6144
    hybrid: bool = True
    trusted_proxies: tuple[Any, ...] = ()
    client_ip: str = "anonymised"
    referer: str = "origin"
    send_query: tuple[str, ...] = ()
    identify: Callable[[Any], Any] | None = None
    max_in_flight: int = 64
    pool_size: int = 8
    max_rate: float = 50.0
    debug: bool = False
    transport: Any = None
    trust_env: bool = False
    ca_file: str | None = None
    on_decision: Callable[[Any], None] | None = None
    on_event: Callable[[Any], None] | None = None

    def __post_init__(self) -> None:
        for option, check in _CHECKS.items():
            object.__setattr__(self, option, check(option, getattr(self, option)))
        for vendor in self.vendors:
            base_url = getattr(vendor, "base_url", None)
            if base_url is not None and leaves_machine_unencrypted(base_url) and not self.debug:
                raise ConfigError(
                    f"vendor {vendor.name!r}: base_url must be https (http goes only to this machine, or with debug=True)"
                )
            if getattr(vendor, "debug", False) and not self.debug:
                raise ConfigError(f"vendor {vendor.name!r}: debug needs debug=True of Flagmw as well")


def build(options: Mapping[str, Any]) -> Config:
    """Return the checked configuration.

    Raises:
        ConfigError: an option is unknown (the text names the nearest right one) or wrong.
    """
    known = [option.name for option in fields(Config)]
    for option in options:
        if option not in known:
            raise ConfigError(f"unknown option {option!r}{nearest(option, known)}")
    return Config(**options)


def from_mapping(
    mapping: Mapping[str, Any] | None = None,
    *,
    file: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Return the configuration that environment, *mapping* and *file* make together, in that order of strength.

    Args:
        mapping: options; vendors may be tables such as `{"type": "webtrends", "name": "wt", ...}`.
        file: a TOML file with the options at its top level, or in `[tool.flagmw]` (pyproject.toml). The file that
            `FLAGMW_CONFIG` names when left out.
        environ: where `FLAGMW_DEADLINE_MS` or `FLAGMW_VENDORS__WT__KEY_TOKEN` are looked up; os.environ if None.

    Raises:
        ConfigError: as `build`, or the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    file = file or environ.get(FILE_VARIABLE)
    options: dict[str, Any] = {**(_file(Path(file)) if file is not None else {}), **(mapping or {})}
    vendors = [dict(v) if isinstance(v, Mapping) else v for v in _list("vendors", options.get("vendors", ()))]
    _apply_environment(options, vendors, environ)
    options["vendors"] = [_vendor(entry) if isinstance(entry, dict) else entry for entry in vendors]
    return build(options)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" for a misspelt *name*, or a list of what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names)}"


def _file(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {str(path)!r}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{str(path)!r} is not valid TOML: {error}") from None
    if path.name == "pyproject.toml":
        return dict(document.get("tool", {}).get("flagmw", {}))
    return document


def _apply_environment(options: dict[str, Any], vendors: list[Any], environ: Mapping[str, str]) -> None:
    known = {option.name for option in fields(Config)}
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX) or variable == FILE_VARIABLE:
            continue
        option, _, rest = variable[len(ENV_PREFIX) :].lower().partition("__")
        if option == "vendors" and rest:
            _vendor_variable(variable, rest, text, vendors)
        elif (
            option in known
            and option not in ("vendors", "identify", "transport", "on_decision", "on_event")
            and not rest
        ):
            options[option] = _from_text(variable, text, getattr(Config, option, None), option)
        else:
            raise ConfigError(f"environment variable {variable} names no option{nearest(option, known)}")


def _vendor_variable(variable: str, rest: str, text: str, vendors: list[Any]) -> None:
    name, _, option = rest.partition("__")
    for entry in vendors:
        own = entry.get("name", entry.get("type")) if isinstance(entry, dict) else entry.name
        if str(own).lower().replace("-", "_") != name:
            continue
        if not isinstance(entry, dict):
            raise ConfigError(f"{variable} cannot change vendor {own!r}, which was built in code: give it as a table")
        accepted = _parameters(VENDOR_TYPES[entry["type"]]) if entry.get("type") in VENDOR_TYPES else {}
        if accepted and option not in accepted:
            raise ConfigError(f"{variable} names no option of vendor {own!r}{nearest(option, accepted)}")
        entry[option] = _from_text(variable, text, accepted.get(option), option)
        return
    raise ConfigError(f"{variable} names a vendor {name!r} that is not configured")


def _from_text(variable: str, text: str, default: Any, option: str) -> Any:
    """Read an environment variable as the type that the option's default has."""
    lowered = text.strip().lower()
    if isinstance(default, bool) or (option == "cookie_secure" and lowered != "auto"):
        if lowered in ("1", "true", "yes", "on"):
            return True
        if lowered in ("0", "false", "no", "off"):
            return False
        raise ConfigError(f"{variable} must be true or false")
    try:
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
        if option in ("defaults", "on", "data", "extra_params", "flags"):
            return json.loads(text)
    except ValueError:
        kind = "JSON" if option in ("defaults", "on", "data", "extra_params", "flags") else "a number"
        raise ConfigError(f"{variable} must be {kind}") from None
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _vendor(entry: dict[str, Any]) -> Vendor:
    kind = entry.pop("type", None)
    if kind not in VENDOR_TYPES:
        hint = nearest(str(kind), VENDOR_TYPES) if kind is not None else f"; there are: {', '.join(VENDOR_TYPES)}"
        raise ConfigError(f"a vendor's type is {'missing' if kind is None else f'unknown: {kind!r}'}{hint}")
    make = VENDOR_TYPES[kind]
    accepted = _parameters(make)
    for option in entry:
        if option not in accepted:
            raise ConfigError(
                f"vendor {entry.get('name', kind)!r}: unknown option {option!r}{nearest(option, accepted)}"
            )
    missing = [
        option for option, default in accepted.items() if default is inspect.Parameter.empty and option not in entry
    ]
    if missing:
        raise ConfigError(f"vendor {entry.get('name', kind)!r}: {', '.join(missing)} must be given")
    return make(**entry)


def _parameters(make: Callable[..., Vendor]) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in inspect.signature(make).parameters.items()}


# Checks of single options: each returns the value in its final form or raises.


def _list(option: str, value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ConfigError(f"{option} must be a list")
    return list(value)


def _vendors(option: str, value: Any) -> tuple[Vendor, ...]:
    vendors = tuple(_list(option, value))
    names: set[str] = set()
    for vendor in vendors:
        name = getattr(vendor, "name", None)
        if not all(hasattr(vendor, part) for part in ("name", "cookies", "decide", "deliver", "participation")):
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
    if not isinstance(value, Mapping):
        raise ConfigError(f"{option} must map aliases to lists of variants")
    return MappingProxyType({alias: frozenset(_texts(f"{option}[{alias!r}]", keys)) for alias, keys in value.items()})


def _texts(option: str, value: Any) -> tuple[str, ...]:
    texts = tuple(_list(option, value)) if not isinstance(value, frozenset | set) else tuple(value)
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


def _rate(option: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100_000:
        raise ConfigError(f"{option} must be a number above 0, in events per second")
    return float(value)


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
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise ConfigError(f'{option}: {text!r} is no network; write "10.0.0.0/8" or one address') from None
    return tuple(networks)


def _choice(*allowed: str) -> Callable[[str, Any], str]:
    return lambda option, value: one_of("flagmw", option, value, allowed)


def _callable(option: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise ConfigError(f"{option} must be a function")
    return value


def _outbox(option: str, value: Any) -> Any:
    if isinstance(value, str) and value != "memory://":
        raise ConfigError(f'{option} must be "memory://" or an outbox object: this version has no other backend')
    return value


def _transport(option: str, value: Any) -> tuple[Any, Any]:
    """Return (blocking, async); a client is refused by the drivers, which know the libraries."""
    blocking = asynchronous = None
    for one in value if isinstance(value, tuple) else (value,):
        if one is None:
            continue
        if hasattr(one, "handle_request"):
            blocking = one
        if hasattr(one, "handle_async_request"):
            asynchronous = one
        if not hasattr(one, "handle_request") and not hasattr(one, "handle_async_request"):
            raise ConfigError(
                f"{option} must be a transport of httpx2 or httpx, such as httpx2.HTTPTransport(), "
                f"not {type(one).__name__}"
            )
    return blocking, asynchronous


def _path_text(option: str, value: Any) -> str | None:
    if value is not None and not Path(value).is_file():
        raise ConfigError(f"{option} {str(value)!r} is not a file")
    return None if value is None else str(value)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "vendors": _vendors,
    "defaults": _defaults,
    "deadline_ms": _whole(10, 60_000),
    "outbox": _outbox,
    "paths": _patterns,
    "exclude": _patterns,
    "on": _on,
    "cookie_domain": _domain,
    "cookie_secure": _secure,
    "cookie_budget": _whole(512, 65_536),
    "hybrid": _flag,
    "trusted_proxies": _networks,
    "client_ip": _choice("anonymised", "full", "off"),
    "referer": _choice("origin", "full", "off"),
    "send_query": _texts,
    "identify": _callable,
    "max_in_flight": _whole(1, 10_000),
    "pool_size": _whole(1, 1_000),
    "max_rate": _rate,
    "debug": _flag,
    "transport": _transport,
    "trust_env": _flag,
    "ca_file": _path_text,
    "on_decision": _callable,
    "on_event": _callable,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the visitor is, as `identify=` tells: an id of the site's own, and attributes for segments.

    Raises:
        ValueError: *data* holds what cannot be sent (see `Flags.track`).
    """

    user_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=lambda: EMPTY, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", checked_data("data", self.data))


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a test whether a path matches one of *patterns*; `*` crosses slashes."""
    if "/*" in patterns or "*" in patterns:
        return lambda path: True
    if not patterns:
        return lambda path: False
    joined = "|".join(".*".join(re.escape(part) for part in pattern.split("*")) for pattern in patterns)
    compiled = re.compile(joined, re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None
