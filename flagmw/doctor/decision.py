"""One decision for an unknown visitor, and the verdict on it, for vendors of every kind."""

from __future__ import annotations

import time

from flagmw._cookies.domains import in_url
from flagmw._drivers.blocking import BlockingDriver
from flagmw._support.deadline import Deadline
from flagmw._transports.body import Limits
from flagmw.codes import ErrorCode
from flagmw.config.config import Config
from flagmw.doctor.finding import Finding, SitePage, Verdicts, listed, run_check, shown_ms, unchecked
from flagmw.doctor.network import CURES, STEP_S
from flagmw.types import Decision, Visit, VisitorState
from flagmw.vendors.base import Vendor, VendorTraits


def driver_for(config: Config) -> BlockingDriver:
    """Return a driver that calls as the site's would, with the time of a check instead of a page's."""
    return BlockingDriver(
        pool_size=1,
        limits=Limits(connect_s=STEP_S),
        transport=config.transport[0],
        trust_env=config.trust_env,
        ca_file=config.ca_file,
    )


def visit_of(page: SitePage | None) -> Visit:
    """Return an unknown visitor's visit of *page*, which no vendor shall count."""
    if page is None:
        return Visit(url="https://localhost/", record=False, now=time.time())
    url = f"{'https' if page.secure else 'http'}://{in_url(page.host)}{page.path}"
    return Visit(url=url, host=page.host, path=page.path, secure=page.secure, record=False, now=time.time())


def examine_decision(
    vendor: Vendor, config: Config, page: SitePage | None, end: Deadline, aliases: set[str]
) -> list[Finding]:
    """Ask *vendor* once; put the aliases of its answer into *aliases*."""
    driver = driver_for(config)
    try:
        driver.prepare()
        fault = _rules_fault(vendor, driver, end)
        began = time.monotonic()
        decision = driver.run(vendor.decide(visit_of(page), VisitorState()), _step(end))
        elapsed_s = time.monotonic() - began
    except Exception as error:
        return [unchecked(f"{vendor.name} answer", error)]
    finally:
        driver.close()
    aliases |= {vendor.prefix + alias for alias in (*decision.variants, *decision.misses)}
    findings = [] if fault is None else [fault]
    return findings + run_check(f"{vendor.name} answer", _verdicts(vendor, decision, elapsed_s, config))


def _rules_fault(vendor: Vendor, driver: BlockingDriver, end: Deadline) -> Finding | None:
    """Fetch the rules of a vendor that decides on this machine; return why they cannot be had."""
    rules = VendorTraits.of(vendor).refresh
    if rules is None:
        return None
    driver.run(rules.refresh(time.time()), _step(end))
    code = rules.refresh_fault
    if code is None:
        return None
    cure = _cure(code) or "check artifact_url, client and property_token, and that the rules are enabled there"
    return Finding("FAIL", f"{vendor.name} rules", f"they cannot be fetched: {code}", cure)


def _cure(code: ErrorCode | None) -> str | None:
    # The general cure of a refusal names the credentials of another vendor.
    return None if code is None or code is ErrorCode.UNAUTHORIZED else CURES.get(code)


def _step(end: Deadline) -> Deadline:
    now = time.monotonic()
    return Deadline.after(min(STEP_S, end.left(now)), now)


def _verdicts(vendor: Vendor, decision: Decision, elapsed_s: float, config: Config) -> Verdicts:
    code = decision.error or decision.notice
    cure = decision.advice or _cure(code)
    if decision.error is not None:
        yield "FAIL", f"no decision: {code}", cure or "compare the options of this vendor with its account"
        return
    recorded = "; it has counted a page view, as with every decision" if records_decisions(vendor) else ""
    if decision.variants:
        flags = listed(vendor.prefix + alias for alias in decision.variants)
        yield "OK", f"a new visitor is in {flags}{recorded}", None
    elif code is None or code is ErrorCode.NOT_IN_TEST:
        yield "WARN", f"no test takes a new visitor{recorded}", cure or "see that a test is live on this page"
    else:
        yield "WARN", f"nothing in its answer can be a flag: {code}{recorded}", cure
    missed = [f"{vendor.prefix}{alias} ({why})" for alias, why in decision.misses.items()]
    if missed and decision.variants:
        yield "OK", f"no variant for this visitor: {listed(missed)}", None
    if decision.rejected:
        yield (
            "WARN",
            f"parts cannot be used: {listed(sorted({*decision.rejected}))}",
            "look at these tests in the account",
        )
    if elapsed_s * 1000 > config.deadline_ms:
        text = f"its decision took {shown_ms(elapsed_s)} on a new connection; deadline_ms is {config.deadline_ms}"
        yield "WARN", text, "raise deadline_ms, or run nearer to the vendor"


def records_decisions(vendor: Vendor) -> bool:
    """True when *vendor* keeps a record of every decision, whatever the visit asks."""
    return VendorTraits.of(vendor).records_decisions
