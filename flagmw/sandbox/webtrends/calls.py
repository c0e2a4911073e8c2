"""Control and track calls of the Webtrends emulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from flagmw.sandbox.faults import Rule
from flagmw.sandbox.segments import VisitFacts
from flagmw.sandbox.state import Sandbox
from flagmw.sandbox.webtrends.cookies import BadCookie, CookieCodec
from flagmw.sandbox.webtrends.decide import Control, Hit, Miss, decide, visible
from flagmw.sandbox.webtrends.matching import located
from flagmw.sandbox.webtrends.model import Account, Project
from flagmw.sandbox.webtrends.request import VENDOR, Params, RequestTarget
from flagmw.sandbox.webtrends.response import Answer, Visitor
from flagmw.sandbox.webtrends.track import Converted, judge, metric_ok

# Codes that a client has to act upon; they are answered even where plain misses are left out.
_LOUD = frozenset({104, 300, 305})
# Codes that are about one alias, so that a list of aliases gets one of them each.
_PER_ALIAS = frozenset({*range(302, 319), 417, 418})


class Refused(Exception):
    """The whole call is refused; `code` is the vendor's, `about` what its message is about."""

    def __init__(self, code: int, about: str = "") -> None:
        super().__init__(str(code))
        self.code = code
        self.about = about


@dataclass(slots=True)
class ApiCall:
    """One request whose account and key token are right.

    `results` collects, per alias, what the ledger shows of the answer.
    """

    sandbox: Sandbox
    target: RequestTarget
    params: Params
    facts: VisitFacts
    account: Account
    codec: CookieCodec
    visitor: Visitor
    mode: str
    answer: Answer
    note: Callable[[str], None]
    fault: Rule | None = None
    results: list[dict[str, Any]] = field(default_factory=list)

    def guid(self, alias: str) -> str:
        """Return the guid of a project as paths and messages have it."""
        return f"{self.account.domain_id}-{alias}"

    def held(self, alias: str) -> Control | None:
        """Return the content of the visitor's control cookie; None when none was sent.

        Raises:
            Refused: 104 for a cookie made under a replaced key, 300 for one that cannot be decrypted.
        """
        name = f"_wt.control-{self.account.domain_id}-{alias}"
        value = self.params.cookies.get(name)
        if not value:
            return None
        try:
            return Control.from_payload(self.codec.open(name, value))
        except BadCookie as bad:
            raise Refused(104 if bad.stale else 300, self.guid(alias)) from None
        except ValueError:
            raise Refused(300) from None

    def forced(self, alias: str) -> int | None:
        """Return the error code that a fault rule wants for this alias."""
        return self.fault.code if self.fault and self.fault.kind == "error" and self.fault.alias == alias else None

    def fail(self, alias: str, code: int, about: str = "") -> None:
        """Answer an alias with an error."""
        self.answer.error(code, about or self.guid(alias))
        self.results.append({"alias": alias, "code": code})


def control(call: ApiCall) -> None:
    """Answer a control call for one project or for all of them."""
    if call.target.aliases is not None:
        (alias,) = call.target.aliases
        project = call.account.project(alias)
        if project is None or not visible(project, call.mode):
            call.note(f"no package for {call.guid(alias)} in {call.mode} mode")
            call.fail(alias, call.forced(alias) or 303)
        else:
            code, about, _ = _project(call, project)
            if code:
                call.fail(alias, code, about)
        return
    missed: list[tuple[str, int, str]] = []
    for project in call.account.projects:
        code, about, is_located = _project(call, project)
        if code in _LOUD or (code and (call.account.include_misses or call.forced(project.alias))):
            call.fail(project.alias, code, about)
        elif code and is_located:
            missed.append((project.alias, code, about))
    if call.answer.elements:
        call.results += [{"alias": alias, "code": code} for alias, code, _ in missed]
    elif missed:
        call.fail(*missed[0])
    else:
        raise Refused(501, f"{call.params.url} on domain: {call.account.domain_id}")


def _project(call: ApiCall, project: Project) -> tuple[int, str, bool]:
    """Decide for one project and add the decision; else return (error code, its subject, whether it is located)."""
    alias = project.alias
    forced = call.forced(alias)
    if forced is not None:
        return forced, "", True
    call.note(f"Lookup of {call.guid(alias)}")
    if not located(project.locations or call.account.locations, call.facts):
        call.note("no location matches")
        return 501, f"{call.params.url} on domain: {call.account.domain_id}", False
    try:
        held = call.held(alias)
    except Refused as refused:
        return refused.code, refused.about, True
    rng, again = call.sandbox.rng, call.account.rethrottle
    outcome = decide(project, held, call.facts, call.mode, rng, call.note, rethrottle=again)
    if isinstance(outcome, Miss):
        if outcome.control is not None:
            call.answer.keep(alias, outcome.control)
        return outcome.code, "", True
    _deliver(call, alias, outcome)
    return 0, "", True


def _deliver(call: ApiCall, alias: str, hit: Hit) -> None:
    shown = {"alias": alias, "experiment_id": hit.variation.experiment_id, "variation": hit.variation.key}
    cookie = hit.control
    if call.params.track and cookie.viewed != call.visitor.session:
        cookie = replace(cookie, viewed=call.visitor.session)
        who = {
            "vendor": VENDOR,
            "system_uid": call.visitor.uid,
            "session": call.visitor.session,
            "time": call.sandbox.clock(),
        }
        # The cookie's mark alone would count twice when two requests carry the same old cookie.
        key = (call.visitor.uid, hit.test.run_id, hit.variation.experiment_id, call.visitor.session)
        call.sandbox.ledger.view(key, {**shown, "run_id": hit.test.run_id, **who})
    call.answer.keep(alias, cookie)
    call.answer.decision(alias, hit.test, hit.variation)
    call.results.append({**shown, "code": None})


def track(call: ApiCall) -> None:
    """Answer a track call: one element for each alias."""
    if not call.target.aliases:
        raise Refused(313)
    if not metric_ok(call.params.metric):
        raise Refused(201)
    for alias in call.target.aliases:
        try:
            held = call.held(alias)
        except Refused as refused:
            call.fail(alias, refused.code, refused.about)
            continue
        already = f"_wt.conversion-{call.guid(alias)}" in call.params.cookies
        verdict = call.forced(alias) or judge(call.account, alias, held, already=already)
        if isinstance(verdict, Converted):
            _count(call, alias, verdict)
        else:
            call.fail(alias, verdict)


def _count(call: ApiCall, alias: str, converted: Converted) -> None:
    what = {"experiment_id": converted.variation.experiment_id, "variation": converted.variation.key}
    call.note(f"conversion of {call.guid(alias)} counted")
    call.sandbox.ledger.conversion(
        {
            "vendor": VENDOR,
            "alias": alias,
            "metric": call.params.metric,
            **what,
            "run_id": converted.test.run_id,
            "system_uid": call.visitor.uid,
            "session": call.visitor.session,
            "data": dict(call.params.data),
            "time": call.sandbox.clock(),
        }
    )
    call.answer.conversion(alias, converted.test, converted.variation)
    call.results.append({"alias": alias, **what, "code": None})


def force(call: ApiCall, code: int) -> None:
    """Answer everything with one error code, as a fault rule without an alias wants it."""
    aliases = call.target.aliases or ()
    if aliases and code in _PER_ALIAS:
        for alias in aliases:
            call.fail(alias, code)
    else:
        raise Refused(code, call.target.guid)
