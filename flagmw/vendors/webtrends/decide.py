"""Make decisions of the answers to control requests: what they say, what to ask again, what becomes of cookies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flagmw.codes import ErrorCode, vendor_code
from flagmw.exceptions import ProtocolError
from flagmw.types import CookieChange, Decision, Reply, Variant
from flagmw.vendors.common.http_status import status_fault
from flagmw.vendors.webtrends import codes
from flagmw.vendors.webtrends import response as answers
from flagmw.vendors.webtrends.cookies import Cookies

UNTRUSTED_REST_S = 30.0
MAX_COOKIES = answers.MAX_COOKIES
CHANGES = 5_000  # each element of an answer repeats those of the elements before it


@dataclass(frozen=True, slots=True)
class Answer:
    """What one control call brought: elements, or the fault that kept them away.

    Attributes:
        ours: the fault lies in how the vendor is asked, not in its health.
    """

    elements: list[answers.Element]
    fault: ErrorCode | None = None
    retry_after_s: float | None = None
    ours: bool = False

    @property
    def undecided(self) -> bool:
        """Whether every element is an error."""
        return bool(self.elements) and all(element.code is not None for element in self.elements)


def read(reply: Reply) -> Answer:
    """Return what *reply* says. The envelope counts, whatever the status; the status counts where there is none."""
    fault: ErrorCode | None = None
    try:
        found = answers.elements(reply.body)
    except ProtocolError as error:
        found, fault = [], error.code
    if any(element.code is not None or element.opcode for element in found):
        return Answer(found)
    if found:
        fault = ErrorCode.SHAPE
    code, retry_after_s = status_fault(reply)
    refused = 400 <= reply.status < 500 and reply.status not in (408, 425, 429)
    return Answer([], code or fault, retry_after_s, ours=refused)


def stale(answer: Answer, sent: Mapping[str, str], cookies: Cookies) -> set[str]:
    """Return the names in *sent* that keep the vendor from deciding anything; empty when that is not so."""
    if not answer.undecided:
        return set()
    names: set[str] = set()
    for element in answer.elements:
        if element.code is None or codes.kind_of(element.code) is not codes.Kind.COOKIES:
            continue
        if element.code in codes.ONE_PROJECT and element.alias is not None:
            names |= {cookies.control(element.alias)} & sent.keys()
        elif element.code in codes.ONE_PROJECT:
            names |= {name for name in sent if cookies.is_control(name)}
        else:
            names |= sent.keys()
    return names


def refuses_cookies(answer: Answer, *, sent_cookies: bool) -> bool:
    """Say whether the vendor blames cookies for deciding nothing."""
    return answer.undecided and any(
        codes.kind_of(element.code, sent_cookies=sent_cookies) is codes.Kind.COOKIES
        for element in answer.elements
        if element.code is not None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """Turn answers into decisions, as one account's options say."""

    vendor: str
    cookies: Cookies
    session_timeouts: bool
    serve_paused: bool

    def refused(self, answer: Answer, sent: Mapping[str, str]) -> Decision:
        """Return the decision for a visitor whose cookies the vendor refused, and what was left of them too."""
        code = next(element.code for element in answer.elements if element.code is not None)
        return Decision(
            vendor=self.vendor,
            error=vendor_code(code),
            cookies=_deletions(sent, answer),
            advice="the vendor cannot read cookies made under this account: check key_token and domain_id",
        )

    def settle(self, answer: Answer, dropped: Mapping[str, str]) -> Decision:
        """Return the decision that *answer* makes.

        Args:
            dropped: cookies of the visitor's that the vendor could not use and was not sent. They are deleted
                once it has decided without them; an error proves nothing against them.
        """
        if answer.fault is not None:
            return Decision(
                vendor=self.vendor,
                error=answer.fault,
                trips=not answer.ours,
                retry_after_s=answer.retry_after_s,
                advice=_REFUSED if answer.ours else None,
            )
        taken = answer.elements[: answers.MAX_ELEMENTS]
        misses: dict[str, ErrorCode] = {}
        variants: dict[str, Variant] = {}
        rejected: list[ErrorCode] = []
        changes: list[CookieChange] = []
        for element in taken:
            miss = self._miss(element)
            if miss is None:
                made = answers.variant(element, self.vendor)
                if isinstance(made, Variant):
                    variants[made.alias] = made
                elif made is not None:
                    rejected.append(made)
            elif element.alias is not None:
                misses[element.alias] = miss
            if len(changes) <= CHANGES:
                changes += self._changes(element, answer)
        if len(answer.elements) > len(taken):
            rejected.append(ErrorCode.TOO_MANY)
        failures = [e.code for e in taken if e.code is not None and not _informational(e.code)]
        if dropped and len(failures) < len(taken):
            changes = [*_deletions(dropped, answer), *changes]
        wanted = {change.name: change for change in changes}
        if len(wanted) > MAX_COOKIES:
            rejected.append(ErrorCode.TOO_MANY)
        code = failures[0] if failures and not variants else None
        notice, advice = _notice(answer) if not variants else (None, None)
        untrusted = codes.UNTRUSTED in failures
        return Decision(
            vendor=self.vendor,
            variants=variants,
            misses=misses,
            cookies=tuple(wanted.values())[:MAX_COOKIES],
            error=None if code is None else vendor_code(code),
            trips=code is not None and (untrusted or codes.kind_of(code, sent_cookies=False) is codes.Kind.SERVER),
            retry_after_s=UNTRUSTED_REST_S if untrusted else None,
            notice=notice if code is None else None,
            rejected=tuple(rejected),
            advice=_ADVICE.get(code) if code is not None else advice,
            log=next((element.log for element in answer.elements if element.log), None),
        )

    def _miss(self, element: answers.Element) -> ErrorCode | None:
        """Return why the vendor gives no variant, None where it gives one."""
        if element.code is not None:
            return vendor_code(element.code)
        return ErrorCode.VENDOR_318 if answers.paused(element) and not self.serve_paused else None

    def _changes(self, element: answers.Element, answer: Answer) -> list[CookieChange]:
        """Return what *element* does to cookies: those of an error are not taken, those of a mere "no" are."""
        changes: list[CookieChange] = []
        if element.code in codes.ONE_PROJECT and element.alias is not None:
            changes += _deletions({self.cookies.control(element.alias): ""}, answer)
        if element.code is None or _informational(element.code):
            written = None if self.cookies.encrypted else self.cookies.written
            changes += answers.cookie_changes(element, session_timeouts=self.session_timeouts, written=written)
        return changes


def _informational(code: int) -> bool:
    return codes.kind_of(code) is codes.Kind.INFORMATIONAL


def _notice(answer: Answer) -> tuple[ErrorCode | None, str | None]:
    if not answer.elements:
        return ErrorCode.EMPTY, None
    code = next((element.code for element in answer.elements if element.code is not None), None)
    return (None, None) if code is None else (vendor_code(code), _ADVICE.get(code))


def _deletions(names: Mapping[str, str], answer: Answer) -> tuple[CookieChange, ...]:
    domain = next((d for e in answer.elements if isinstance(d := e.params.get("cookieDomain"), str)), None)
    return tuple(CookieChange(name=name, value="", max_age_s=0, domain=domain) for name in names)


_REFUSED = "the server at base_url refuses this request: compare base_url, domain_id and key_token with the account"
_ADVICE: dict[int, str] = {
    101: "no site under this domain_id: compare it with the account overview",
    103: "the account has no environment for url: compare url with the project's locations",
    104: "key_token is not this account's, or was changed: copy it again from the account overview",
    105: "key_token is not this account's, or was changed: copy it again from the account overview",
    102: "the vendor cannot read this request: check key_token and domain_id",
    207: "the vendor has blocked the account: ask its support",
    303: "no live test with this alias: check its spelling, and whether it is live, staging or paused",
    501: "url matches no location of any project: compare url with the locations in Optimize",
    604: "domain_id must be the account's decimal Domain ID",
}
