"""Check of a vendor: one decision that counts no exposure."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path

from flagmw._drivers.blocking import BlockingDriver
from flagmw._support.deadline import Deadline
from flagmw.codes import ErrorCode
from flagmw.config.config import Config
from flagmw.doctor.decision import driver_for, examine_decision, records_decisions, visit_of
from flagmw.doctor.finding import (
    Finding,
    SitePage,
    Verdicts,
    domain_verdict,
    exit_code,
    is_local,
    listed,
    run_check,
    shown_ms,
    shown_span,
    shown_url,
    unchecked,
)
from flagmw.doctor.network import CURES, STEP_S, connection
from flagmw.exceptions import TransportError
from flagmw.types import Decision, Flow, Reply, Visit, VisitorState
from flagmw.vendors.base import Vendor, VendorTraits
from flagmw.vendors.common.options import leaves_machine_unencrypted
from flagmw.vendors.static import Static
from flagmw.vendors.webtrends.vendor import Webtrends, uncounted

VENDOR_S = 5.0
CLOCK_WARN_S, CLOCK_FAIL_S = 5.0, 300.0

# Printed in the vendor's public guide: right for a sandbox, of no use with the real service.
SAMPLE_ACCOUNT = "2490593"
SAMPLE_TOKEN = "7a32f9364bd1ea68668a0e50bd815e79109a03720951"  # noqa: S105

_TOKEN = re.compile(r"[0-9A-Fa-f]{32,128}")
_NOT_THIS_VISITOR = frozenset(ErrorCode(f"VENDOR_{n}") for n in (302, 308, 318, 417, 418))
_NO_GZIP = frozenset(ErrorCode(f"VENDOR_{n}") for n in (200, 202, 300))


@dataclass(frozen=True, slots=True)
class _Said:
    """What a vendor's answer came to. `reply` is None where there was none; `at` is our clock when it was over."""

    decision: Decision
    reply: Reply | None
    at: float

    @property
    def by_api(self) -> bool:
        """Whether it was the vendor's API that answered, be it with an error."""
        code = self.decision.error
        return self.reply is not None and (code is None or code.startswith("VENDOR_"))


def examine_vendor(
    vendor: Vendor, config: Config, page: SitePage | None, *, recorded: bool = True
) -> tuple[list[Finding], set[str]]:
    """Return the findings about *vendor*, and the aliases it knows.

    Args:
        recorded: ask for a decision also where the vendor keeps a record of it.
    """
    aliases: set[str] = set()
    base_url = VendorTraits.of(vendor).base_url
    if isinstance(vendor, Static):
        return run_check(vendor.name, _static(vendor, aliases)), aliases
    if base_url is None:
        return [Finding("OK", vendor.name, f"{type(vendor).__name__} calls no service")], aliases
    end = Deadline.after(VENDOR_S, time.monotonic())
    reached = run_check(f"{vendor.name} connection", connection(base_url, config, end))
    if not isinstance(vendor, Webtrends):
        if exit_code(reached):
            return reached, aliases
        if records_decisions(vendor) and not recorded:
            return [
                *reached,
                Finding("OK", f"{vendor.name} answer", "not asked for, since it would be recorded"),
            ], aliases
        return reached + examine_decision(vendor, config, page, end, aliases), aliases
    found = run_check(f"{vendor.name} credentials", _credentials(vendor)) + reached
    if not exit_code(reached):
        found += _conversation(vendor, config, page, end, aliases)
    # A server may send back whatever it was sent, as a name of something.
    token = vendor.key_token.reveal()
    hidden = [replace(finding, text=finding.text.replace(token, "***")) for finding in found]
    return hidden, {alias for alias in aliases if token not in alias}


def _static(vendor: Static, aliases: set[str]) -> Verdicts:
    decision = _run_locally(vendor.decide(Visit(url="https://localhost/"), VisitorState()))
    aliases |= {vendor.prefix + alias for alias in decision.variants}
    path = getattr(vendor, "path", None)
    age = f"; its file is {shown_span(time.time() - Path(path).stat().st_mtime)} old" if path is not None else ""
    if aliases:
        yield "OK", f"flags: {listed(sorted(aliases))}{age}", None
    else:
        yield "WARN", f"it has no flags{age}", "add an entry per alias to its table"


def _credentials(vendor: Webtrends) -> Verdicts:
    again, public = "copy Domain ID and Key Token from the account overview", not is_local(vendor)
    token = vendor.key_token.reveal()
    if leaves_machine_unencrypted(vendor.base_url):
        yield "WARN", "key_token crosses a network unencrypted", "give base_url as https"
    if public and token == SAMPLE_TOKEN:
        yield "WARN", "key_token is the sample of the vendor's public guide", again
    elif public and vendor.domain_id == SAMPLE_ACCOUNT:
        yield "WARN", "domain_id is the sample of the vendor's public guide", again
    elif not _TOKEN.fullmatch(token):
        yield "WARN", "key_token does not look like one, which is a long hexadecimal number", again
    elif not 5 <= len(vendor.domain_id) <= 9:
        yield "WARN", "domain_id does not look like one, which has six or seven digits", again
    else:
        yield "OK", "domain_id and key_token look as they should", None


def _conversation(
    vendor: Webtrends, config: Config, page: SitePage | None, end: Deadline, aliases: set[str]
) -> list[Finding]:
    """Ask for a decision, and for another with a compressed request where the API answered the first."""
    name = vendor.name
    driver = driver_for(config)
    try:
        driver.prepare()
        said = _ask(driver, vendor, page, end, compress=False)
        packed = _ask(driver, vendor, page, end, compress=True) if said.by_api else None
    except Exception as error:
        return [unchecked(f"{name} answer", error)]
    finally:
        driver.close()
    decision, reply = said.decision, said.reply
    aliases |= {vendor.prefix + alias for alias in (*decision.variants, *decision.misses)}
    findings = run_check(f"{name} answer", _answer(vendor, decision))
    if reply is not None and packed is not None:
        findings += run_check(f"{name} speed", _speed(reply, packed.reply, config))
        findings += run_check(f"{name} gzip", _gzip(said, packed, reply, wanted=vendor.gzip_request))
    if reply is not None:
        findings += run_check(f"{name} clock", _clock(reply, said.at))
    if page is not None and decision.error is None and config.cookie_domain is None:
        findings += run_check(f"{name} cookie domain", _vendor_domain(decision, page))
    return findings


def _ask(driver: BlockingDriver, vendor: Webtrends, page: SitePage | None, end: Deadline, *, compress: bool) -> _Said:
    # A copy, so that nothing it learns changes how pages are decided. No view is counted.
    silent = uncounted(vendor, compress=compress)
    visit = visit_of(page)
    replies: list[Reply] = []
    now = time.monotonic()
    deadline = Deadline.after(min(STEP_S, end.left(now)), now)
    decision = driver.run(_kept(silent.decide(visit, VisitorState()), replies), deadline)
    return _Said(decision, replies[-1] if replies else None, time.time())


def _kept(flow: Flow[Decision], replies: list[Reply]) -> Flow[Decision]:
    """Run *flow* and keep the replies that it is sent."""
    try:
        call = next(flow)
        while True:
            try:
                reply = yield call
            except TransportError as error:
                call = flow.throw(error)
            else:
                replies.append(reply)
                call = flow.send(reply)
    except StopIteration as stop:
        decision: Decision = stop.value
        return decision


def _run_locally(flow: Flow[Decision]) -> Decision:
    """Return the decision of a flow that makes no call."""
    try:
        next(flow)
    except StopIteration as stop:
        decision: Decision = stop.value
        return decision
    raise TypeError("it makes a call")


def _answer(vendor: Webtrends, decision: Decision) -> Verdicts:
    code = decision.error or decision.notice
    cure = decision.advice or (None if code is None else CURES.get(code))
    url = f"url {shown_url(vendor.url)}"
    if decision.variants:
        tests = [vendor.prefix + alias for alias in decision.variants]
        yield "OK", f"{url} matches a location; a new visitor is in {listed(tests)}", None
    elif decision.error is not None:
        yield "FAIL", f"no decision: {code}{f' after {STEP_S:.0f} s' if code is ErrorCode.DEADLINE else ''}", cure
    elif code is ErrorCode.VENDOR_501:
        # With the page's path in it, it may match on other pages.
        yield "WARN" if "{path}" in vendor.url else "FAIL", f"{url} matches no location: {code}", cure
    elif code in _NOT_THIS_VISITOR:
        yield "OK", f"{url} matches a location, but no test takes this visitor: {code}", None
    else:
        yield "WARN", f"there is no live test here: {code or 'nothing that can be used'}", cure
    missed = [f"{vendor.prefix}{alias} ({why})" for alias, why in decision.misses.items()]
    if missed and decision.variants:
        yield "OK", f"no variant for this visitor: {listed(missed)}", None
    if decision.rejected:
        yield (
            "WARN",
            f"parts cannot be used: {listed(sorted({*decision.rejected}))}",
            "look at these tests' variations",
        )


def _speed(fresh: Reply, again: Reply | None, config: Config) -> Verdicts:
    first_s, next_s = fresh.elapsed_s, again.elapsed_s if again is not None else fresh.elapsed_s
    limit_s, cure = config.deadline_ms / 1000, "raise deadline_ms, or run nearer to the vendor"
    spans = f"{shown_ms(first_s)} on a new connection, {shown_ms(next_s)} on one in use"
    text = f"{spans}; deadline_ms is {config.deadline_ms}"
    if min(first_s, next_s) >= limit_s:
        yield "FAIL", f"too slow, pages get defaults: {text}", cure
    elif max(first_s, next_s) > limit_s / 2:
        yield "WARN", f"little time is left: {text}", cure
    else:
        yield "OK", text, None


def _gzip(said: _Said, packed: _Said, reply: Reply, *, wanted: bool) -> Verdicts:
    answers = reply.headers.get("content-encoding", "").strip().lower() == "gzip"
    refused = packed.decision.error in _NO_GZIP and packed.decision.error != said.decision.error
    takes = packed.by_api and not refused
    text = f"answers are {'' if answers else 'not '}compressed; compressed requests are {'' if takes else 'not '}taken"
    if wanted and not takes:
        yield "WARN", text, "leave gzip_request=True out"
    else:
        yield "OK", text, None


def _clock(reply: Reply, now: float) -> Verdicts:
    try:
        theirs = parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        yield "OK", "not compared: the answer has no date that can be read", None
        return
    # The header has whole seconds, and was written at some time during the call.
    behind_s, ahead_s = theirs - now, now - reply.elapsed_s - (theirs + 1)
    apart_s = max(behind_s, ahead_s)
    if apart_s <= CLOCK_WARN_S:
        yield "OK", "this machine's agrees with the vendor's", None
    else:
        text = f"this machine's is {shown_span(apart_s)} {'behind' if behind_s > 0 else 'ahead of'} the vendor's"
        yield "FAIL" if apart_s > CLOCK_FAIL_S else "WARN", text, "set it from the network (NTP)"


def _vendor_domain(decision: Decision, page: SitePage) -> Verdicts:
    wish = next((change.domain for change in decision.cookies if change.domain), None)
    if wish is None:
        yield "OK", "the vendor names none, so cookies are for the one host", None
    else:
        yield domain_verdict(
            wish, page, "WARN", "compare it in the vendor's account with the site, or set cookie_domain"
        )
