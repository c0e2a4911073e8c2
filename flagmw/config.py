"""The options of flagmw: one frozen dataclass, and the ways to fill it.

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

from flagmw._checks import CHECKS, listed
from flagmw._sources import FILE_VARIABLE, VENDOR_TYPES, apply_environment, make_vendor, nearest, read_file
from flagmw._token import KEY_COMMAND
from flagmw._tracks import checked_data, checked_id
from flagmw.exceptions import ConfigError
from flagmw.outbox import location
from flagmw.types import EMPTY, empty
from flagmw.vendors._options import leaves_machine_unencrypted
from flagmw.vendors.base import Vendor

__all__ = ["FILE_VARIABLE", "VENDOR_TYPES", "Config", "Identity", "build", "from_mapping", "matcher", "nearest"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every option, checked. Times carry their unit in the name.

    Attributes:
        vendors: in order of precedence: the first that decides an alias has it.
        defaults: the variant of an alias that nobody decided.
        deadline_ms: how long a page may wait for all vendors together.
        mode: "eager" decides before the view runs, "lazy" at the view's first read.
        reuse_s: seconds for which a decision is used again instead of asking; 0 asks every time.
        stale_s: seconds for which a decision is used again when the vendor fails.
        hold_s: seconds for which a visitor who got the default because of a failure keeps it.
        late_ms: how long an answer that misses the deadline is still waited for, to be used at the next page; 0 for not
            at all.
        hedge_ms: ask once more when there is no answer after this time and a repeat is harmless; None for never.
        memory_mb: MiB for all that is remembered of visitors, per process.
        signing_keys: what decisions, overrides and visitor ids are signed with, newest first; 32 random bytes or more.
        consent: called with the request; returns what the visitor has agreed to: "full" or True, "functional" (decide
            and set cookies, report nothing), "none" or False. None for a site that needs no consent.
        bots: keep known crawlers away from vendors; or a function of the request that says who is one.
        overrides: let signed tokens choose variants, for quality assurance.
        exposure_ttl_s: seconds within which a visitor's view of a variant is reported once.
        visitor_store: where vendors' cookies are kept instead of in the browser: "sqlite:///directory",
            "valkey://host", or an object with `load` and `save`.
        shadow_report: a file that the comparisons of shadow vendors are written to once a minute.
        outbox: where events wait for delivery: "sqlite:///directory" on disk, "memory://" in this process; None for a
            directory of this application under the user's state folder.
        outbox_required: refuse to start where the outbox cannot be used, instead of keeping events in memory.
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
        max_in_flight: decisions under way at once, per vendor and process. Further ones wait their turn.
        pool_size: threads per vendor that make decisions in blocking servers, where they are to be fewer than that.
        new_visitors_per_s: visitors whom neither the site nor a vendor has named that are decided for, per second and
            process; None for all.
        tracks_per_visitor: how many tracks of one visitor are taken in a minute, per process.
        deliver: "inprocess" delivers in a thread of this process, "off" leaves it to `flagmw deliver` (with Valkey).
        max_rate: events delivered per second and process.
        commit_wait_ms: how long a response waits at most until its events are stored; afterwards they may be lost with
            the process for a moment, which is counted.
        debug: raise on bad `track()` data; allow vendors' debug switches and unencrypted `base_url`.
        transport: what makes the calls: the name of a transport, one of httpx2 or httpx, or a pair: blocking and async.
        trust_env: use proxies named in the environment.
        ca_file: certificates of authorities to trust instead of the system's.
        on_decision, on_event: called with one frozen dataclass for each decision and each delivery attempt.
    """

    vendors: tuple[Vendor, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=empty)
    deadline_ms: int = 300
    mode: str = "eager"
    reuse_s: float = 300.0
    stale_s: float = 86_400.0
    hold_s: float = 0.0
    late_ms: int = 1000
    hedge_ms: int | None = None
    memory_mb: int = 32
    signing_keys: Any = field(default=(), repr=False)
    consent: Callable[[Any], Any] | None = None
    bots: bool | Callable[[Any], bool] = True
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
    client_ip: str = "anonymised"
    referer: str = "origin"
    send_query: tuple[str, ...] = ()
    identify: Callable[[Any], Any] | None = None
    max_in_flight: int = 64
    pool_size: int | None = None
    new_visitors_per_s: float | None = None
    tracks_per_visitor: int = 120
    deliver: str = "inprocess"
    max_rate: float = 50.0
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
            base_url = getattr(vendor, "base_url", None)
            if base_url is not None and leaves_machine_unencrypted(base_url) and not self.debug:
                raise ConfigError(
                    f"vendor {vendor.name!r}: base_url must be https; http goes to this machine only or with debug=True"
                )
            if getattr(vendor, "debug", False) and not self.debug:
                raise ConfigError(f"vendor {vendor.name!r}: debug needs debug=True of Flagmw as well")

    def serving(self) -> Config:
        """Return this configuration without the vendors that only shadow."""
        vendors = tuple(vendor for vendor in self.vendors if not getattr(vendor, "shadow", False))
        if len(vendors) == len(self.vendors):
            return self
        made = copy.copy(self)  # everything in it is checked already
        object.__setattr__(made, "vendors", vendors)
        return made


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
        user_id: 1 to 256 characters; a whole number is taken as its digits, and an empty text is none at all.

    Raises:
        ValueError: *user_id* is no such text, or *data* holds what cannot be sent (see `Flags.track`).
    """

    user_id: str | None = field(default=None, repr=False)
    data: Mapping[str, Any] = field(default_factory=lambda: EMPTY, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "user_id", checked_id("user_id", self.user_id))
        object.__setattr__(self, "data", checked_data("data", self.data))


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
