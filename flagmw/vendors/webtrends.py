"""Webtrends Optimize: control and track requests of its OTS REST API.

Source of the rules: the vendor's "OTS REST API guide" (endpoints, bodies, answers, error codes, cookies).
Where no public page says how the service behaves, the default is an option here.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from flagmw._cookies import octets_ok
from flagmw._secret import Secret
from flagmw.codes import ErrorCode, vendor_code
from flagmw.exceptions import ConfigError, ProtocolError, TransportError
from flagmw.types import Call, CookieChange, Decision, Event, Flow, Outcome, Reply, Track, Variant, Visit, VisitorState
from flagmw.vendors import _webtrends_answer as answers
from flagmw.vendors import _webtrends_codes as codes
from flagmw.vendors import _webtrends_request as requests
from flagmw.vendors._http import status_fault
from flagmw.vendors._options import checked_base_url, one_of
from flagmw.vendors._seen import Seen
from flagmw.vendors._webtrends_track import judge
from flagmw.vendors.base import CookieRule, Participation

BASE_URL = "https://ots.webtrends-optimize.com/ots/api/rest-1.2"
UNTRUSTED_REST_S = 30.0
BAD_COOKIES_S = 60.0

_METRIC = re.compile(r"[A-Za-z0-9_ ]{1,128}")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one control call brought: elements, or the fault that kept them away."""

    elements: list[answers.Element]
    fault: ErrorCode | None = None
    retry_after_s: float | None = None


class Webtrends:
    """One account of Webtrends Optimize.

    Args:
        domain_id: the account's id, decimal ("Domain ID" in the account overview).
        key_token: the account's token ("Key Token"); never shown or logged.
        url: the real or virtual URL that locations are matched against, sent verbatim. `{path}` stands for
            the path of the visitor's page.
        name: tells this vendor from others in flags, counters and logs.
        project: ask for this one project only; all projects of the account when left out.
        base_url: another server of the same API; https, or http on this machine.
        exposure: "decide" counts a view with every decision, "off" counts none.
        prefix: put before every alias.
        staging: ask for tests in staging only.
        data: attributes for locations and segments, sent with every decision beside the visit's own.
        encrypted: have cookie values encrypted; plain ones are percent-encoded at the visitor.
        session_cookies: "browser" keeps session cookies until the browser ends, "timeout" for the time named.
        serve_paused: give visitors of a paused test the variant the vendor still names; else the default.
        gzip_request: compress request bodies; given up for good when the vendor does not take it.
        metric_pattern: what a metric's name may be (letters, digits, spaces and underscores are documented).
        at_most_once: never send a conversion again that the vendor may have received already.
        debug: ask for the vendor's evaluation log; needs `debug=True` of `Flagmw` too, and is slow.
        extra_params: further fields for the body of every request, sent as they are.

    Raises:
        ConfigError: an option is wrong.
    """

    def __init__(
        self,
        domain_id: int | str,
        key_token: str,
        url: str,
        *,
        name: str = "webtrends",
        project: str | None = None,
        base_url: str = BASE_URL,
        exposure: str = "decide",
        prefix: str = "",
        staging: bool = False,
        data: Mapping[str, Any] | None = None,
        encrypted: bool = True,
        session_cookies: str = "browser",
        serve_paused: bool = False,
        gzip_request: bool = False,
        metric_pattern: str | None = None,
        at_most_once: bool = False,
        debug: bool = False,
        extra_params: Mapping[str, Any] | None = None,
    ) -> None:
        owner = f"vendor {name!r}"
        self.domain_id = str(domain_id)
        if not re.fullmatch(r"[0-9]{1,12}", self.domain_id):
            raise ConfigError(f"{owner}: domain_id must be the account's decimal Domain ID, such as 2490593")
        if not isinstance(key_token, str) or not re.fullmatch(r"[!-~]{8,256}", key_token):
            raise ConfigError(f"{owner}: key_token must be the account's Key Token: 8 to 256 characters, no spaces")
        if not isinstance(url, str) or not 0 < len(url) <= 2048 or re.search(r"[\x00-\x20\x7f-\U0010ffff]", url):
            raise ConfigError(f'{owner}: url must be the URL that locations match, such as "https://www.mysite.com"')
        if project is not None and not answers.ALIAS.fullmatch(project):
            raise ConfigError(
                f"{owner}: project must be a project alias: printable ASCII without , ; = and outer spaces"
            )
        self.name, self.prefix, self.project, self.url = name, prefix, project, url
        self.base_url = checked_base_url(owner, base_url)
        self.exposure = one_of(owner, "exposure", exposure, ("decide", "off"))
        self.at_most_once, self.debug, self.staging = at_most_once, debug, staging
        self._token = Secret(key_token)
        self._data = requests.flatten(data or {})
        self._extra = dict(extra_params or {})
        self._encrypted, self._serve_paused = encrypted, serve_paused
        self._session_timeouts = one_of(owner, "session_cookies", session_cookies, ("browser", "timeout")) == "timeout"
        self._metric = re.compile(metric_pattern) if metric_pattern is not None else _METRIC
        self._compress = gzip_request
        # Visitors whose cookies the vendor refused twice just now: not asked about again at once.
        self._refused = Seen(BAD_COOKIES_S)
        self._user, self._mode = f"_wt.user-{self.domain_id}", f"_wt.mode-{self.domain_id}"
        self._control = f"_wt.control-{self.domain_id}-"
        self.cookies = CookieRule(
            prefixes=(self._user, self._mode, self._control),
            reads=self._is_own,
            writes=self._is_own,
            value_ok=octets_ok,
            max_bytes=1024,
            priority=lambda cookie: 0 if cookie == self._user else 1 if cookie == self._mode else 2,
            alias_of=self._alias_of,
        )

    def __repr__(self) -> str:
        return f"Webtrends(name={self.name!r}, domain_id={self.domain_id}, key_token=***)"

    # Cookies

    def _is_own(self, cookie: str) -> bool:
        return cookie in (self._user, self._mode) or self._alias_of(cookie) is not None

    def _alias_of(self, cookie: str) -> str | None:
        alias = cookie[len(self._control) :] if cookie.startswith(self._control) else ""
        return alias if answers.ALIAS.fullmatch(alias) else None

    def _read(self, cookies: Mapping[str, str]) -> dict[str, str]:
        """Return cookies as the vendor gave them: some clients add quotes; plain values were encoded by us."""
        bare = {
            name: value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
            for name, value in cookies.items()
        }
        return bare if self._encrypted else {name: unquote(value) for name, value in bare.items()}

    # Decide

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask for all projects (or the one configured).

        When the vendor cannot use the visitor's cookies it is asked once more without them, and they are
        deleted at the visitor.
        """
        sent = self._read(state.cookies)
        kept = {} if sent and self._refused.has(sent, visit.now) else sent
        answer = yield from self._ask(visit, kept)
        stale = self._stale(answer, kept)
        if stale:
            kept = {name: value for name, value in kept.items() if name not in stale}
            answer = yield from self._ask(visit, kept)
            if answer.fault is None and self._stale(answer, sent):
                self._refused.add(sent, visit.now)
                code = next(element.code for element in answer.elements if element.code is not None)
                return Decision(
                    vendor=self.name,
                    error=vendor_code(code),
                    cookies=self._deletions(sent, answer),
                    advice="the vendor cannot read cookies made under this account: check key_token and domain_id",
                )
        if answer.fault is not None:
            return Decision(
                vendor=self.name,
                error=answer.fault,
                trips=True,
                retry_after_s=answer.retry_after_s,
            )
        return self._settle(answer, dropped={name: value for name, value in sent.items() if name not in kept})

    def _ask(self, visit: Visit, cookies: Mapping[str, str]) -> Generator[Call, Reply, _Answer]:
        call = requests.call(
            requests.endpoint(self.base_url, "control", self.domain_id, (self.project,) if self.project else ()),
            visit,
            self._body(visit, cookies, {**self._data, **requests.flatten(visit.data)}),
            compress=self._compress,
            # Repeating it counts a second view where it counts one at all.
            replay_safe=self.exposure == "off",
        )
        try:
            reply = yield call
        except TransportError as error:
            return _Answer([], error.code)
        found: list[answers.Element] = []
        fault: ErrorCode | None = None
        try:
            found = answers.elements(reply.body)
            if found and not any(element.code is not None or element.opcode for element in found):
                fault = ErrorCode.SHAPE
        except ProtocolError as error:
            fault = error.code
        if self._compress and (reply.status in (400, 415) or any(e.code in codes.GZIP_SUSPECTS for e in found)):
            self._compress = False
        # The envelope counts, whatever the status line says; the status counts where there is none.
        if fault is not None or not found:
            status_code, retry_after_s = status_fault(reply)
            return _Answer([], status_code or fault, retry_after_s)
        return _Answer(found)

    def _body(self, visit: Visit, cookies: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "keyToken": self._token.reveal(),
            "url": self.url.replace("{path}", visit.path),
            "_wt.encrypted": self._encrypted,
            "_wt.track": "true" if self.exposure == "decide" else "false",
        }
        if self.staging or visit.staging:
            body["s_mode"] = "staging"
        if cookies:
            body["cookies"] = requests.cookie_object(cookies)
        if data:
            body["data"] = data
        if self.debug:
            body["debug"] = "true"
        return {**body, **self._extra}

    def _stale(self, answer: _Answer, sent: Mapping[str, str]) -> set[str]:
        """Return the names of cookies that keep the vendor from deciding anything; empty when that is not so."""
        if not sent or any(element.code is None for element in answer.elements):
            return set()
        stale: set[str] = set()
        for element in answer.elements:
            if element.code is None or codes.kind_of(element.code) is not codes.Kind.COOKIES:
                continue
            if element.code in codes.ONE_PROJECT and element.alias is not None:
                stale |= {self._control + element.alias} & sent.keys()
            elif element.code in codes.ONE_PROJECT:
                stale |= {name for name in sent if name.startswith(self._control)}
            else:
                stale |= sent.keys()
        return stale

    def _settle(self, answer: _Answer, dropped: Mapping[str, str]) -> Decision:
        variants: dict[str, Variant] = {}
        misses: dict[str, ErrorCode] = {}
        changes = list(self._deletions(dropped, answer))
        rejected: list[ErrorCode] = []
        failures: list[int] = []
        for element in answer.elements:
            applies = True
            if element.code is not None:
                kind = codes.kind_of(element.code, sent_cookies=False)
                applies = kind is codes.Kind.INFORMATIONAL
                if not applies:
                    failures.append(element.code)
                if element.alias is not None:
                    misses[element.alias] = vendor_code(element.code)
                    if element.code in codes.ONE_PROJECT:
                        name = self._control + element.alias
                        changes.append(CookieChange(name=name, value="", max_age_s=0))
            elif answers.paused(element) and element.alias is not None and not self._serve_paused:
                misses[element.alias] = ErrorCode.VENDOR_318
            else:
                found = answers.variant(element, self.name)
                if isinstance(found, Variant):
                    variants[found.alias] = found
                elif found is not None:
                    rejected.append(found)
            if applies:
                changes += self._written(element)
        if len(answer.elements) >= answers.MAX_ELEMENTS:
            rejected.append(ErrorCode.TOO_MANY)
        code = failures[0] if failures and not variants else None
        notice, advice = self._notice(answer) if not variants else (None, None)
        untrusted = codes.UNTRUSTED in failures
        return Decision(
            vendor=self.name,
            variants=variants,
            misses=misses,
            cookies=tuple({change.name: change for change in changes}.values()),
            error=None if code is None else vendor_code(code),
            trips=code is not None and (untrusted or codes.kind_of(code, sent_cookies=False) is codes.Kind.SERVER),
            retry_after_s=UNTRUSTED_REST_S if untrusted else None,
            notice=notice if code is None else None,
            rejected=tuple(rejected),
            advice=_ADVICE.get(code) if code is not None else advice,
            log=next((element.log for element in answer.elements if element.log), None),
        )

    def _notice(self, answer: _Answer) -> tuple[ErrorCode | None, str | None]:
        if not answer.elements:
            return ErrorCode.EMPTY, None
        code = next((element.code for element in answer.elements if element.code is not None), None)
        return (None, None) if code is None else (vendor_code(code), _ADVICE.get(code))

    def _written(self, element: answers.Element) -> list[CookieChange]:
        changes = answers.cookie_changes(element, session_timeouts=self._session_timeouts)
        if self._encrypted:
            return changes
        return [
            CookieChange(name=c.name, value=quote(c.value, safe=""), max_age_s=c.max_age_s, domain=c.domain)
            for c in changes
        ]

    def _deletions(self, names: Mapping[str, str], answer: _Answer) -> tuple[CookieChange, ...]:
        domain = next((d for e in answer.elements if isinstance(d := e.params.get("cookieDomain"), str)), None)
        return tuple(CookieChange(name=name, value="", max_age_s=0, domain=domain) for name in names)

    # Track

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Return the projects that *track* counts for: those the visitor has a control cookie of.

        Raises:
            ValueError: the metric's name is nothing that the vendor takes.
        """
        if not self._metric.fullmatch(track.metric):
            raise ValueError(f"metric must match {self._metric.pattern} for {self.name}: letters, digits, spaces, _")
        enrolled = {alias: name for name in state.cookies if (alias := self._alias_of(name)) is not None}
        wanted = track.aliases if track.aliases is not None else tuple(enrolled)
        aliases = tuple(alias for alias in wanted if alias in enrolled)
        if not aliases:
            return Participation()
        names = (self._user, self._mode, *(enrolled[alias] for alias in aliases))
        return Participation(aliases, {name: state.cookies[name] for name in names if name in state.cookies})

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Send each event as one track request for all its aliases; judge each alias on its own."""
        outcomes: list[Outcome] = []
        for event in batch:
            track = event.track
            data = requests.flatten(track.data)
            if track.value is not None:
                data.setdefault("revenue", track.value)
            if track.currency is not None:
                data.setdefault("currency", track.currency)
            body = self._body(event.visit, self._read(event.visit.cookies), data)
            # A view is counted by decisions only; the field has no meaning here but is part of every body.
            body["_wt.track"] = "true"
            body["conversionPoint"] = track.metric
            url = requests.endpoint(self.base_url, "track", self.domain_id, event.aliases)
            outcomes.append((yield from judge(requests.call(url, event.visit, body, compress=self._compress), event)))
        return outcomes


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
