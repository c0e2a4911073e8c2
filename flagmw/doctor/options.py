"""Checks of options and of a running process."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping

from flagmw.config.config import Config, matcher
from flagmw.doctor.finding import (
    SitePage,
    Verdicts,
    domain_verdict,
    is_local,
    listed,
)
from flagmw.doctor.outbox import outbox
from flagmw.runtime import Flagmw
from flagmw.vendors.base import VendorTraits

DEADLINE_MS = (50, 1000)
WAITING_S = 60.0

_DIGITS = re.compile(r"[0-9]+")


def _vendors(config: Config, page: SitePage | None) -> Verdicts:
    if not config.vendors:
        yield "FAIL", "there are none, so every flag is its default", "add one to vendors="
        return
    yield "OK", listed(vendor.name for vendor in config.vendors), None
    for vendor in config.vendors:
        traits = VendorTraits.of(vendor)
        if traits.staging and not is_local(vendor):
            yield "WARN", f"{vendor.name} gives visitors tests in staging only", "leave staging=True out"
        if traits.debug:
            yield "WARN", f"{vendor.name} asks for the evaluation log, which is slow", "leave debug=True out"


def _deadline(config: Config, page: SitePage | None) -> Verdicts:
    text, (low, high) = f"a page waits {config.deadline_ms} ms at most", DEADLINE_MS
    if config.deadline_ms < low:
        yield "WARN", f"{text}: hardly any answer is so fast", f"set deadline_ms to {low} or more"
    elif config.deadline_ms > high:
        yield "WARN", f"{text}, and does so while a vendor hangs", f"set deadline_ms to {high} or less"
    else:
        yield "OK", text, None


def _paths(config: Config, page: SitePage | None) -> Verdicts:
    everything = {"/*", "*"}
    if everything & {*config.exclude}:
        yield "FAIL", "exclude leaves out every page", "name in exclude only what needs no flag"
    elif page is not None and (matcher(config.exclude)(page.path) or not matcher(config.paths)(page.path)):
        yield "WARN", "no vendor is asked on the site's page", "compare its path with paths and exclude"
    elif not config.exclude and everything & {*config.paths}:
        text = "vendors are asked on every path, for static files and health checks too"
        yield "WARN", text, 'leave out what needs no flag, such as exclude=["/static/*", "/health"]'
    else:
        yield "OK", f"vendors are asked on {listed(config.paths)}, but not on {listed(config.exclude)}", None


def _cookies(config: Config, page: SitePage | None) -> Verdicts:
    if page is None:
        yield "OK", "not compared with the site, which was not given", None
        return
    if config.cookie_secure is True and not page.secure and page.host != "localhost":
        yield "FAIL", "the site is http, where browsers drop Secure cookies", 'set cookie_secure="auto"'
    elif config.cookie_secure is False and page.secure:
        yield "WARN", "the site is https, but browsers send its cookies over http too", 'set cookie_secure="auto"'
    else:
        yield "OK", f"their Secure fits a site on {'https' if page.secure else 'http'}", None
    if config.cookie_domain is not None:
        yield domain_verdict(
            config.cookie_domain, page, "FAIL", "set cookie_domain to the site's own domain, or leave it out"
        )


def _proxies(config: Config, page: SitePage | None) -> Verdicts:
    if any(network.prefixlen <= 1 for network in config.trusted_proxies):
        text = "trusted_proxies trusts everybody: any visitor can claim any address, and https"
        yield "FAIL", text, "name only the networks of your own proxies"
    elif config.trusted_proxies:
        yield "OK", f"X-Forwarded headers count from {listed(str(net) for net in config.trusted_proxies)}", None
    elif page is None or not page.secure or (config.cookie_secure is True and config.client_ip == "off"):
        yield "OK", "X-Forwarded headers count from nobody", None
    else:
        text = (
            "X-Forwarded headers count from nobody: behind a proxy that ends https, pages look like http, so cookies "
            "lack Secure, and all visitors have the proxy's address"
        )
        cure = "if the application sees http, or the proxy's address, name the proxy's network in trusted_proxies"
        yield "WARN", text, cure


OPTIONS: Mapping[str, Callable[[Config, SitePage | None], Verdicts]] = {
    "vendors": _vendors,
    "deadline": _deadline,
    "paths": _paths,
    "outbox": outbox,
    "cookies": _cookies,
    "proxies": _proxies,
}


def defaults_known(config: Config, aliases: set[str]) -> Verdicts:
    """Compare the aliases in options with those of the vendors; where these named none there is nothing to say."""
    if not aliases:
        return
    strange = sorted((config.defaults.keys() | config.on.keys()) - aliases)
    spare = aliases - config.defaults.keys()
    near = {alias: found[0] for alias in strange if (found := difflib.get_close_matches(alias, spare, 1, 0.85))}
    # A neighbour in a numbered row is another test, not another spelling.
    near = {alias: known for alias, known in near.items() if _DIGITS.sub("", alias) != _DIGITS.sub("", known)}
    for alias, known in near.items():
        yield "WARN", f"no vendor knows {alias}, but {known}", "aliases must be the vendor's to the letter"
    missing, others = sorted(spare), [alias for alias in strange if alias not in near]
    text = f'"control" is the default of {listed(missing)}' if missing else "every test has one"
    yield "OK", text + (f"; no vendor decides {listed(others)} now" if others else ""), None


def lanes(fm: Flagmw) -> Verdicts:
    """Report the vendors that are left alone, where this process has asked any."""
    health = fm.health()
    if health["delivery"] is None:
        return
    for name, lane in health["vendors"].items():
        if lane["breaker"] == "closed":
            yield "OK", f"{name} is asked; {lane['in_flight']} calls are under way", None
        else:
            text = f"{name} failed and is left alone, pages get defaults; next try in {lane['next_probe_s']:.0f} s"
            yield "FAIL", text, "see its connection and answer"


def delivery(fm: Flagmw) -> Verdicts:
    state = fm.health()["delivery"]
    if state is None:
        return
    stats = fm.outbox_stats()
    held = sorted({*state["suspended"], *state["paused_s"], *state["unknown"]})
    text = f"{stats.delivered} events delivered, {stats.queued} waiting, {stats.dead} laid aside"
    if stats.queued and not state["alive"]:
        yield "FAIL", f"no thread delivers: {text}", "see whether this process may start threads"
    elif held or stats.dead or stats.oldest_s > WAITING_S:
        yield "WARN", f"{text}{f'; held up: {listed(held)}' if held else ''}", "see the log of flagmw.outbox"
    else:
        yield "OK", text, None
