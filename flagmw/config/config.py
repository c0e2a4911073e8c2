"""The options of flagmw, and the ways to fill them.

Precedence in `from_mapping`: environment (`FLAGMW_*`) over the mapping given in code over a TOML file.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flagmw._support.log import own_words
from flagmw._support.tokens import KEY_COMMAND
from flagmw.config.checks import CHECKS, listed
from flagmw.config.sources import FILE_VARIABLE, VENDOR_TYPES, apply_environment, make_vendor, nearest, read_file
from flagmw.exceptions import ConfigError
from flagmw.flags.fit import fit_data
from flagmw.flags.fit_value import Changes, fit_id
from flagmw.flags.track import ID_CHARS, checked_data, checked_id
from flagmw.outbox import location
from flagmw.types import EMPTY, empty
from flagmw.vendors.base import Vendor, VendorTraits
from flagmw.vendors.common.options import leaves_machine_unencrypted

__all__ = ["FILE_VARIABLE", "VENDOR_TYPES", "Config", "Identity", "build", "from_mapping", "matcher", "nearest"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every option, checked. Times carry their unit in the name.

    Attributes:
        vendors: The vendors, in order of precedence. The first one that decides an alias answers for it.
        defaults: The variant of an alias that no vendor decided. Without an entry it is `"control"`.
        deadline_ms: Milliseconds that a page may wait for all vendors together.
        mode: `"auto"` decides at the view's first read where a read can wait, else before the view. `"eager"` always
            decides before the view, `"lazy"` always at the first read.
        reuse_s: Seconds for which a decision is used again. 0 asks with every page.
        stale_s: Seconds for which a decision is served again when the vendor fails.
        hold_s: Seconds for which a visitor who got a default because of a failure keeps it.
        late_ms: Milliseconds to wait for an answer after the deadline. It serves the visitor's next page. 0
            does not wait.
        hedge_ms: Milliseconds without an answer after which a call is made once more, where a repeat is
            harmless: Webtrends with another `exposure` than `"decide"`, for visitors in a test. At most one
            call in ten is repeated. None never repeats.
        memory_mb: MiB for everything that is remembered of visitors, per process: decisions, cookies, exposures.
        signing_keys: Keys that sign decisions in cookies, overrides, and visitor ids of `visitor_store`, newest
            first. Each has 32 random bytes or more.
        consent: A function of the request that returns what the visitor agreed to: `"full"` or True,
            `"functional"` (decide and set cookies, report nothing), `"none"` or False. None for a site that
            needs no consent. It, `bots` and `identify` get an `Inbound`, may be async, and may be given by their
            names: `"package.module.function"`.
        keep_cookies: Keep the cookies of a visitor without consent. Otherwise a page without consent deletes those
            of the vendors and of flagmw.
        bots: True keeps known crawlers from vendors. False treats them as visitors. A function of the request
            decides instead of the list.
        overrides: Allow signed tokens that choose variants, for testers.
        exposure_ttl_s: Seconds within which a visitor's exposure to a variant is reported once.
        visitor_store: A store for vendors' cookies on the server, instead of the browser:
            `"sqlite:///directory"`, `"valkey://host"`, or an object with `load` and `save`.
        outbox: The store of events until delivery: `"sqlite:///directory"` on disk,
            `"valkey://host/0?dir=/directory"` for many machines, `"memory://"` in this process. None uses a
            directory of this application under the user's state folder.
        outbox_required: Refuse to start if the outbox cannot be used. Otherwise events stay in memory.
        shadow_report: A file for the comparisons of shadow vendors, written once a minute.
        paths: Patterns of the paths that are decided. `*` stands for any text, slashes too.
        exclude: Patterns of the paths that flagmw leaves alone.
        on: For `is_on`, the variants of an alias that mean "on".
        cookie_domain: The Domain of vendors' cookies. None uses the vendor's, if it fits the host.
        cookie_secure: The `Secure` attribute of cookies: True, False, or `"auto"` for the scheme of the
            visitor's connection.
        cookie_budget: Bytes that all vendors' cookies may take in a browser. The least important ones are given
            up first.
        hybrid: Let the page's scripts read vendors' cookies, as a vendor's own tag has to.
        trusted_proxies: Networks whose X-Forwarded-For and X-Forwarded-Proto are trusted.
        client_ip_header: The header in which the trusted proxies name the visitor's address: `"Forwarded"` (RFC 7239),
            `"CF-Connecting-IP"` and the like. Nobody else's is read.
        client_ip: The visitor's address for vendors: `"anonymised"` (/24 or /48), `"full"` or `"off"`.
        referer: The part of the Referer for vendors: `"origin"`, `"full"` or `"off"`. Webtrends gets none.
        send_query: Query parameters that stay in the page's address for vendors. Webtrends gets none.
        identify: A function of the request that returns an `Identity(user_id, data)`, or None for an anonymous
            visitor.
        max_in_flight: Decisions under way at once, per vendor and process. Further ones wait their turn.
        pool_size: A lower cap on the threads per vendor that decide in blocking servers. None lets them grow to
            `max_in_flight`.
        new_visitors_per_s: New visitors that are decided for, per second and process. Others get defaults
            (`NEW_VISITORS`). A new visitor is one whom neither the site nor a vendor has named. None for no limit.
        tracks_per_visitor: Tracks of one visitor that are accepted in a minute, per process.
        deliver: `"inprocess"` delivers events in threads of this process. `"off"` leaves delivery to `flagmw
            deliver`, and needs an outbox on Valkey.
        max_rate: Events delivered per second and process, at most. None for as many as the vendors take well.
        commit_wait_ms: Milliseconds that a response waits at most until its events are stored. Later events are
            counted as `commit_late`.
        debug: Raise on bad `track()` data. Allow vendors' debug switches, and http to other machines.
        transport: The transport for calls: `"httptools"`, `"httpx2"` or `"aiohttp"`, a transport object of
            httpx2 or httpx, or a pair of them, blocking and async. None is `"httptools"`.
        trust_env: Use the proxies that the environment names.
        ca_file: A file of certificate authorities to trust, instead of the system's.
        on_decision: A function that gets a `DecisionNote` for each decision.
        on_event: A function that gets an `EventNote` for each delivery attempt.
    """

    vendors: tuple[Vendor, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=empty)
    deadline_ms: int = 300
    mode: str = "auto"
    reuse_s: float = 300.0
    stale_s: float = 86_400.0
    hold_s: float = 0.0
    late_ms: int = 1000
    hedge_ms: int | None = None
    memory_mb: int = 32
    signing_keys: Any = field(default=(), repr=False)
    consent: Any = None
    keep_cookies: bool = False
    bots: Any = True
    overrides: bool = False
    exposure_ttl_s: float = 1800.0
    visitor_store: Any = field(default=None, repr=False)
    outbox: Any = field(default=None, repr=False)
    outbox_required: bool = False
    shadow_report: Path | None = None
    paths: tuple[str, ...] = ("/*",)
    exclude: tuple[str, ...] = ()
    on: Mapping[str, frozenset[str]] = field(default_factory=empty)
    cookie_domain: str | None = None
    cookie_secure: bool | str = "auto"
    cookie_budget: int = 6144
    hybrid: bool = True
    trusted_proxies: tuple[Any, ...] = ()
    client_ip_header: str = "x-forwarded-for"
    client_ip: str = "anonymised"
    referer: str = "origin"
    send_query: tuple[str, ...] = ()
    identify: Any = None
    max_in_flight: int = 64
    pool_size: int | None = None
    new_visitors_per_s: float | None = None
    tracks_per_visitor: int = 120
    deliver: str = "inprocess"
    max_rate: float | None = None
    commit_wait_ms: int = 50
    debug: bool = False
    transport: Any = None
    trust_env: bool = False
    ca_file: str | None = None
    on_decision: Callable[[Any], None] | None = None
    on_event: Callable[[Any], None] | None = None

    def __post_init__(self) -> None:
        for option, check in CHECKS.items():
            object.__setattr__(self, option, check(option, getattr(self, option)))
        for option, wanted in (("overrides", self.overrides and not self.debug), ("visitor_store", self.visitor_store)):
            if wanted and not self.signing_keys:
                raise ConfigError(f"{option} needs signing_keys; make one with: {KEY_COMMAND}")
        if self.deliver == "off" and isinstance(self.outbox, str | None) and not location.is_shared(self.outbox):
            raise ConfigError(
                'deliver="off" needs an outbox="valkey://...": another process cannot deliver from this one\'s'
            )
        for vendor in self.vendors:
            traits = VendorTraits.of(vendor)
            base_url = traits.base_url
            if base_url is not None and leaves_machine_unencrypted(base_url) and not self.debug:
                raise ConfigError(
                    f"vendor {vendor.name!r}: base_url must be https; http goes to this machine only or with debug=True"
                )
            if traits.debug and not self.debug:
                raise ConfigError(f"vendor {vendor.name!r}: debug needs debug=True of Flagmw as well")

    @property
    def deletes_cookies(self) -> bool:
        """Whether pages without consent delete cookies."""
        return self.consent is not None and not self.keep_cookies

    def serving(self) -> Config:
        """Return this configuration without the vendors that only shadow."""
        vendors = tuple(vendor for vendor in self.vendors if not VendorTraits.of(vendor).shadow)
        if len(vendors) == len(self.vendors):
            return self
        clone = copy.copy(self)  # everything in it is checked already
        object.__setattr__(clone, "vendors", vendors)
        return clone


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
    options: dict[str, Any] = {**(read_file(Path(file), "flagmw") if file else {}), **(mapping or {})}
    vendors = [dict(v) if isinstance(v, Mapping) else v for v in listed("vendors", options.get("vendors", ()))]
    apply_environment(options, vendors, environ, {option.name: option.default for option in fields(Config)})
    options["vendors"] = [make_vendor(entry) if isinstance(entry, dict) else entry for entry in vendors]
    return build(options)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the visitor is, as `identify=` tells: an id of the site's own, and attributes for segments.

    Args:
        user_id: 1 to 256 characters; a whole number or a UUID is taken as its text, and an empty text is none at all.
            A longer id ends in a digest of all of it.
        data: attributes as `Flags.track` takes them. What cannot be sent is made fit or left out.

    Attributes:
        changes: what was changed or left out: how often, by code and argument.
        refusal: what of it is refused while `debug` is on; None if nothing was changed or left out.
    """

    user_id: str | None = field(default=None, repr=False)
    data: Mapping[str, Any] = field(default_factory=lambda: EMPTY, repr=False)
    changes: Changes | None = field(default=None, init=False, repr=False, compare=False)
    refusal: str | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        user_id, data = self.user_id, self.data
        try:
            user_id, data = checked_id("user_id", user_id), checked_data("data", data)
        except Exception as error:
            changes = Changes()
            user_id = fit_id("user_id", user_id, ID_CHARS, changes)
            data = fit_data("data", data, changes)
            object.__setattr__(self, "changes", changes)
            object.__setattr__(self, "refusal", own_words(error))
        object.__setattr__(self, "user_id", user_id)
        object.__setattr__(self, "data", data)


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a test whether a path matches one of *patterns*; `*` crosses slashes."""
    if "/*" in patterns or "*" in patterns:
        return lambda path: True
    if not patterns:
        return lambda path: False
    compiled = re.compile("|".join(_glob(pattern) for pattern in patterns), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def _glob(pattern: str) -> str:
    """Return the regular expression of *pattern*. Each part is taken where it is found first, for good (an atomic
    group): paths are the visitor's, and trying all combinations of places can take as long as they like.
    """
    first, *parts = (re.escape(part) for part in pattern.split("*"))
    if not parts:
        return first
    return first + "".join(f"(?>.*?{part})" for part in parts[:-1]) + f".*{parts[-1]}"
