"""Decisions from answers to control requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import orjson

from flagmw.codes import ErrorCode, Reason, vendor_code
from flagmw.types import EMPTY, CookieChange, Decision, Factor, Variant
from flagmw.vendors.common.json import blank
from flagmw.vendors.common.values import text_or_number
from flagmw.vendors.webtrends import codes
from flagmw.vendors.webtrends.cookies import MAX_COOKIES, Cookies
from flagmw.vendors.webtrends.options import Options
from flagmw.vendors.webtrends.response import MAX_ELEMENTS, VALUE_CHARS, Answer, Element

UNTRUSTED_REST_S = 30.0
CHANGES = 5_000  # each element of an answer repeats those of the elements before it

_BAD_VALUE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LAYOUT = str.maketrans("", "", "\t\n\r")
_PAGE_LEVEL = "#wt-page-level-js"
_ID_PARAMS = ("r_experimentID", "r_runID", "r_testID", "guid", "trackingGuid", "systemUID", "r_type")
_IDS = ("guid", "tracking_guid", "system_uid", "type")
_SHARED_CHARS = 1024


class DecisionBuilder:
    """Builds decisions by the options of one account."""

    def __init__(self, options: Options, cookies: Cookies) -> None:
        self._vendor, self._serve_paused, self._cookies = options.name, options.serve_paused, cookies

    def build(self, answer: Answer, left_out: Mapping[str, str]) -> Decision:
        """Return the decision of *answer*.

        Args:
            left_out: cookies of the visitor that the vendor could not use and was not sent. They are deleted
                once the vendor has decided without them. An error proves nothing against them.
        """
        if answer.fault is not None:
            return self._failed(answer, answer.fault)
        elements = answer.elements[:MAX_ELEMENTS]
        misses: dict[str, ErrorCode] = {}
        variants: dict[str, Variant] = {}
        rejected: list[ErrorCode] = []
        changes: list[CookieChange] = []
        for element in elements:
            miss = self._miss(element)
            if miss is None:
                variant = _variant_of(element, self._vendor)
                if isinstance(variant, Variant):
                    variants[variant.alias] = variant
                elif variant is not None:
                    rejected.append(variant)
            elif element.alias is not None:
                misses[element.alias] = miss
            if len(changes) <= CHANGES:
                changes += self._changes(element, answer)
        if len(answer.elements) > len(elements):
            rejected.append(ErrorCode.TOO_MANY)
        failures = [element.code for element in elements if element.code is not None and not _informs(element.code)]
        if left_out and len(failures) < len(elements):
            changes = [*_deletions(left_out, answer), *changes]
        last_of_name = {change.name: change for change in changes}
        if len(last_of_name) > MAX_COOKIES:
            rejected.append(ErrorCode.TOO_MANY)
        code = failures[0] if failures and not variants else None
        notice, advice = _notice(answer) if not variants else (None, None)
        untrusted = codes.UNTRUSTED in failures
        return Decision(
            vendor=self._vendor,
            variants=variants,
            misses=misses,
            cookies=tuple(last_of_name.values())[:MAX_COOKIES],
            error=None if code is None else vendor_code(code),
            trips=code is not None and (untrusted or codes.kind_of(code, sent_cookies=False) is codes.Kind.SERVER),
            retry_after_s=UNTRUSTED_REST_S if untrusted else None,
            notice=notice if code is None else None,
            rejected=tuple(rejected),
            advice=_ADVICE.get(code) if code is not None else advice,
            log=next((element.log for element in answer.elements if element.log), None),
        )

    def build_refused(self, answer: Answer, sent: Mapping[str, str]) -> Decision:
        """Return the decision for a visitor whose cookies the vendor refused twice."""
        code = next(element.code for element in answer.elements if element.code is not None)
        return Decision(
            vendor=self._vendor,
            error=vendor_code(code),
            cookies=_deletions(sent, answer),
            advice="the vendor cannot read cookies made under this account: check key_token and domain_id",
        )

    def unusable_cookies(self, answer: Answer, sent: Mapping[str, str]) -> set[str]:
        """Return the names in *sent* that keep the vendor from deciding anything; empty if it blames none."""
        if not answer.undecided:
            return set()
        names: set[str] = set()
        for element in answer.elements:
            if element.code is None or codes.kind_of(element.code) is not codes.Kind.COOKIES:
                continue
            if element.code in codes.ONE_PROJECT and element.alias is not None:
                names |= {self._cookies.control(element.alias)} & sent.keys()
            elif element.code in codes.ONE_PROJECT:
                names |= {name for name in sent if self._cookies.is_control(name)}
            else:
                names |= sent.keys()
        return names

    def _failed(self, answer: Answer, fault: ErrorCode) -> Decision:
        return Decision(
            vendor=self._vendor,
            error=fault,
            trips=not answer.request_refused,
            retry_after_s=answer.retry_after_s,
            advice=_REFUSED if answer.request_refused else None,
        )

    def _miss(self, element: Element) -> ErrorCode | None:
        """Return why the element gives no variant; None if it gives one."""
        if element.code is not None:
            return vendor_code(element.code)
        return ErrorCode.VENDOR_318 if element.paused and not self._serve_paused else None

    def _changes(self, element: Element, answer: Answer) -> list[CookieChange]:
        """Return the cookie changes of *element*. An error brings none; an informational code does."""
        changes: list[CookieChange] = []
        if element.code in codes.ONE_PROJECT and element.alias is not None:
            changes += _deletions({self._cookies.control(element.alias): ""}, answer)
        if element.code is None or _informs(element.code):
            changes += self._cookies.changes(element)
        return changes


def refuses_cookies(answer: Answer, *, sent_cookies: bool) -> bool:
    """Say whether the vendor blames cookies for deciding nothing."""
    return answer.undecided and any(
        codes.kind_of(element.code, sent_cookies=sent_cookies) is codes.Kind.COOKIES
        for element in answer.elements
        if element.code is not None
    )


def _variant_of(element: Element, vendor: str) -> Variant | ErrorCode | None:
    """Return the element's variant, why it is left out, or None if the element decides nothing.

    A decision has no message, opcode "process", an alias and at least one factor; `opstatus` proves nothing.
    """
    if element.code is not None or element.opcode != "process":
        return None
    if element.alias is None:
        return ErrorCode.BAD_ALIAS
    factors = element.factors
    if not factors:
        return ErrorCode.BAD_VARIANT
    key = _flag_factor(factors).value
    if not key or len(key) > VALUE_CHARS or blank(key) or not _is_clean(key):
        return ErrorCode.BAD_VARIANT
    ids = tuple([text_or_number(element.params.get(name)) for name in _ID_PARAMS])
    # All visitors of a variation share one object. Long content would fill that memory.
    short = len(factors) <= 4 and sum([len(factor.value) for factor in factors]) <= _SHARED_CHARS
    return (_shared_variant if short else _variant)(vendor, element.alias, key, factors, ids)


def _variant(vendor: str, alias: str, key: str, factors: tuple[Factor, ...], params: tuple[str | None, ...]) -> Variant:
    experiment, run, test, *others = params
    ids = {name: text for name, text in zip(_IDS, others, strict=True) if text}
    return Variant(
        alias=alias,
        key=key,
        vendor=vendor,
        # A target is matched anew on every call; everything else is a share of the traffic.
        reason=Reason.TARGETING_MATCH if ids.get("type", "").lower() == "target" else Reason.SPLIT,
        experiment_id=experiment,
        run_id=run,
        test_id=test,
        factors=factors,
        ids=ids or EMPTY,
    )


_shared_variant = lru_cache(maxsize=1024)(_variant)


def _is_clean(key: str) -> bool:
    """Say whether *key* is free of broken Unicode and control characters; JSON text may have line breaks."""
    if not _BAD_VALUE.search(key):
        return True
    if _BAD_VALUE.search(key.translate(_LAYOUT)):
        return False
    try:
        return isinstance(orjson.loads(key), dict | list)
    except orjson.JSONDecodeError:
        return False


def _flag_factor(factors: tuple[Factor, ...]) -> Factor:
    """Return the factor that is the flag: the page-level script container, else the first that is not empty."""
    if len(factors) > 1:
        for factor in factors:
            if _PAGE_LEVEL in factor.name and factor.value:
                return factor
    return next((factor for factor in factors if factor.value), factors[0])


def _informs(code: int) -> bool:
    return codes.kind_of(code) is codes.Kind.INFORMATIONAL


def _notice(answer: Answer) -> tuple[ErrorCode | None, str | None]:
    if not answer.elements:
        return ErrorCode.EMPTY, None
    code = next((element.code for element in answer.elements if element.code is not None), None)
    return (None, None) if code is None else (vendor_code(code), _ADVICE.get(code))


def _deletions(names: Mapping[str, str], answer: Answer) -> tuple[CookieChange, ...]:
    domain = next((domain for element in answer.elements if (domain := element.cookie_domain) is not None), None)
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
