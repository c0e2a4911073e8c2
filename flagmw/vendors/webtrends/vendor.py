"""Webtrends Optimize: control and track requests of its OTS REST API.

Source of the rules: the vendor's "OTS REST API guide" (endpoints, bodies, answers, error codes, cookies).
Where no public page says how the service behaves, the default is an option here.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from flagmw._support.secret import Secret
from flagmw.exceptions import ConfigError, TransportError
from flagmw.types import Call, Decision, Event, Flow, Outcome, Reply, Retry, Track, Variant, Visit, VisitorState
from flagmw.vendors.base import Participation
from flagmw.vendors.common.json import sound
from flagmw.vendors.common.options import checked_base_url, checked_prefix, flag, one_of
from flagmw.vendors.common.outcome import unanswered
from flagmw.vendors.webtrends import decide as decisions
from flagmw.vendors.webtrends import deliver as tracks
from flagmw.vendors.webtrends import request as requests
from flagmw.vendors.webtrends.cookies import Cookies
from flagmw.vendors.webtrends.refused import Seen
from flagmw.vendors.webtrends.response import ALIAS

BASE_URL = "https://ots.webtrends-optimize.com/ots/api/rest-1.2"
BAD_COOKIES_S = 60.0

_METRIC = re.compile(r"[A-Za-z0-9_ ]{1,128}")


_PROTOCOL_FIELDS = frozenset(
    {"keyToken", "url", "_wt.encrypted", "_wt.track", "s_mode", "cookies", "data", "debug", "conversionPoint"}
)


class Webtrends:
    """One account of Webtrends Optimize.

    Args:
        domain_id: The account's decimal "Domain ID", from the account overview.
        key_token: The account's "Key Token", from the account overview. It is never shown or logged.
        url: The real or virtual URL that the account's locations match, sent verbatim. `{path}` stands for the
            path of the visitor's page.
        name: The vendor's name in flags, counters and logs. Two accounts of one vendor need two names.
        project: The alias of one project to ask for. None asks for all projects of the account.
        base_url: Another server of the same API: https, or http on this machine.
        exposure: `"decide"` counts a view with every decision. `"read"` counts one for each project whose flag
            the view read. `"off"` counts none.
        prefix: Text that is put before every alias of this vendor.
        staging: Ask for tests in staging only.
        data: Attributes for locations and segments. They are sent with every decision, beside the visit's own.
        encrypted: Ask the vendor to encrypt cookie values. Plain values are percent-encoded in the browser.
        session_cookies: `"browser"` ends session cookies with the browser, `"timeout"` after the time that the
            vendor names.
        serve_paused: Serve the variant that the vendor still names for a paused test. Otherwise the visitor
            gets the default.
        gzip_request: Compress request bodies. flagmw stops compressing when the vendor refuses it.
        metric_pattern: A regular expression for valid metric names. None allows the documented form: letters,
            digits, spaces and underscores.
        at_most_once: Never send an event again that the vendor may have received.
        shadow: Ask the vendor after the response, only to compare. Its decisions are never served and count
            nothing.
        debug: Ask for the vendor's evaluation log, which is slow. It also needs `debug=True` of `Flagmw`.
        extra_params: More fields for the body of every request, sent unchanged. A field that has an option
            cannot be set by it.

    Raises:
        ConfigError: An option is wrong.
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
        shadow: bool = False,
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
        if project is not None and not (isinstance(project, str) and ALIAS.fullmatch(project)):
            raise ConfigError(
                f"{owner}: project must be a project alias: printable ASCII without , ; = and outer spaces"
            )
        self.name, self.prefix, self.project = name, checked_prefix(owner, prefix), project
        # A path begins with a slash of its own.
        self.url = url.replace("/{path}", "{path}")
        self.decides_by = "path" if "{path}" in url else "site"
        self.base_url = checked_base_url(owner, base_url)
        self._control_url = requests.endpoint(self.base_url, "control", self.domain_id, (project,) if project else ())
        self.exposure = one_of(owner, "exposure", exposure, ("decide", "read", "off"))
        self.at_most_once = flag(owner, "at_most_once", at_most_once)
        self.shadow = flag(owner, "shadow", shadow)
        self.debug, self.staging = flag(owner, "debug", debug), flag(owner, "staging", staging)
        self._token = Secret(key_token)
        self._data = requests.flatten(_fields(owner, "data", data))
        self._extra = _fields(owner, "extra_params", extra_params)
        taken = sorted(self._extra.keys() & _PROTOCOL_FIELDS)
        if taken:
            raise ConfigError(f"{owner}: extra_params must not set {', '.join(taken)}: there are options for these")
        self._metric = _pattern(owner, metric_pattern)
        self._encrypted, self._compress = flag(owner, "encrypted", encrypted), flag(owner, "gzip_request", gzip_request)
        lives = one_of(owner, "session_cookies", session_cookies, ("browser", "timeout"))
        # Visitors whose cookies the vendor refused twice just now: not asked about again at once.
        self._refused = Seen(BAD_COOKIES_S)
        self._own = Cookies(self.domain_id, encrypted=self._encrypted)
        self.cookies = self._own.rule()
        self._settler = decisions.Settler(
            vendor=name,
            cookies=self._own,
            session_timeouts=lives == "timeout",
            serve_paused=flag(owner, "serve_paused", serve_paused),
        )

    def __repr__(self) -> str:
        return f"Webtrends(name={self.name!r}, domain_id={self.domain_id}, key_token=***)"

    # Decide

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask for all projects (or the one configured).

        When the vendor cannot use the visitor's cookies it is asked once more without them. They are deleted
        at the visitor if that helped, and also if it blames what was left.
        """
        sent = self._own.read(state.cookies)
        kept = {} if sent and self._refused.has(sent, visit.now) else sent
        answer = yield from self._ask(visit, kept)
        stale = decisions.stale(answer, kept, self._own)
        if stale:
            kept = {name: value for name, value in kept.items() if name not in stale}
            answer = yield from self._ask(visit, kept)
            if decisions.refuses_cookies(answer, sent_cookies=bool(kept)):
                self._refused.add(sent, visit.now)
                return self._settler.refused(answer, sent)
        decision = self._settler.settle(answer, {name: value for name, value in sent.items() if name not in kept})
        if visit.staging and not self.staging:
            # The mode cookie would keep a tester in staging when their override is over.
            changes = tuple(change for change in decision.cookies if change.name != self._own.mode)
            decision = replace(decision, cookies=changes)
        return decision

    def _ask(self, visit: Visit, cookies: Mapping[str, str]) -> Generator[Call, Reply, decisions.Answer]:
        compress, counted = self._compress, self._counts(visit)
        data = {**self._data, **requests.flatten(visit.data)} if visit.data else self._data
        call = requests.call(
            self._control_url,
            visit,
            self._body(visit, cookies, data, counted=counted),
            compress=compress,
            # Repeating it counts a second view where it counts one at all.
            replay_safe=not counted,
            # Two calls at once could deal a new visitor twice; one with a control cookie keeps what it has.
            hedge_safe=not counted and any(map(self._own.is_control, cookies)),
        )
        try:
            reply = yield call
        except TransportError as error:
            return decisions.Answer([], error.code)
        answer = decisions.read(reply)
        if compress and tracks.gzip_refused(reply, answer.elements):
            self._compress = False
        return answer

    def _counts(self, visit: Visit) -> bool:
        """Say whether a decision for *visit* counts as a view."""
        return self.exposure == "decide" and visit.record

    def _body(
        self, visit: Visit, cookies: Mapping[str, str], data: Mapping[str, Any], *, counted: bool
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "keyToken": self._token.reveal(),
            "url": self.url if self.decides_by == "site" else self.url.replace("{path}", sound(visit.path)),
            "_wt.encrypted": self._encrypted,
            "_wt.track": "true" if counted else "false",
        }
        if self.staging or visit.staging:
            body["s_mode"] = "staging"
        if cookies:
            body["cookies"] = requests.cookie_object(cookies)
        if data:
            body["data"] = data
        if self.debug:
            body["debug"] = "true"
        body.update(self._extra)
        return body

    def identity(self, state: VisitorState) -> str:
        """Return the visitor's cookies of this account as one text: a decision holds for exactly these."""
        return "; ".join([f"{name}={value}" for name, value in sorted(state.cookies.items())])

    def names_visitor(self, name: str) -> bool:
        """Say whether the cookie *name* is the one that tells visitors apart."""
        return name == self._own.user

    # Track and view

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Return the projects that *track* counts for: those the visitor has a control cookie of.

        Raises:
            ValueError: the metric's name is nothing that the vendor takes.
        """
        if not self._metric.fullmatch(track.metric):
            raise ValueError(f"metric must match {self._metric.pattern} for {self.name}: letters, digits, spaces, _")
        return self._enrolled(track.aliases, state)

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Return the projects whose views can be reported: those the visitor has a control cookie of."""
        return self._enrolled(tuple(variant.alias for variant in variants), state)

    def _enrolled(self, wanted: Sequence[str] | None, state: VisitorState) -> Participation:
        enrolled = {alias: name for name in state.cookies if (alias := self._own.alias_of(name)) is not None}
        aliases = tuple(alias for alias in (enrolled if wanted is None else wanted) if alias in enrolled)
        if not aliases:
            return Participation()
        names = (self._own.user, self._own.mode, *(enrolled[alias] for alias in aliases))
        return Participation(aliases, {name: state.cookies[name] for name in names if name in state.cookies})

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Send each track as one request for all its aliases, and one request for each alias of an exposure."""
        outcomes: list[Outcome] = []
        for event in batch:
            if event.kind == "exposure":
                outcomes.append((yield from self._view(event)))
                continue
            track = event.track
            data = requests.flatten(track.data)
            if track.value is not None:
                data.setdefault("revenue", track.value)
            if track.currency is not None:
                data.setdefault("currency", track.currency)
            # A view is counted by decisions only; the field has no meaning here but is part of every body.
            body = self._body(event.visit, self._own.read(event.visit.cookies), data, counted=True)
            body["conversionPoint"] = track.metric
            url = requests.endpoint(self.base_url, "track", self.domain_id, event.aliases)
            compress = self._compress
            try:
                reply = yield requests.call(url, event.visit, body, compress=compress)
            except TransportError as error:
                outcomes.append(unanswered(error))
                continue
            outcomes.append(tracks.judge(reply, event, compressed=compress))
            if outcomes[-1] is tracks.GZIP_REFUSED:
                self._compress = False
        return outcomes

    def _view(self, event: Event) -> Generator[Call, Reply, Outcome]:
        """Count a view for each alias: by repeating its decision, which the control cookie keeps the same.

        No document says how a view is reported later; a decision is the only request that is known to count one.
        """
        cookies = self._own.read(event.visit.cookies)
        data = {**self._data, **requests.flatten(event.visit.data)}
        verdicts: dict[str, Outcome] = {}
        for alias in event.aliases:
            own = {name: value for name, value in cookies.items() if not self._own.is_control(name)}
            control = self._own.control(alias)
            if control in cookies:
                own[control] = cookies[control]
            url = requests.endpoint(self.base_url, "control", self.domain_id, (alias,))
            body, compress = self._body(event.visit, own, data, counted=True), self._compress
            try:
                reply = yield requests.call(url, event.visit, body, compress=compress)
            except TransportError as error:
                verdicts[alias] = unanswered(error)
                # There is no more time, or nobody there: the others wait for the next attempt.
                rest = event.aliases[len(verdicts) :]
                verdicts.update({other: Retry(error.code) for other in rest})
                break
            verdicts[alias] = tracks.judge_view(reply, event, alias, compressed=compress)
            if verdicts[alias] is tracks.GZIP_REFUSED:
                self._compress = False
        return tracks.together(verdicts, event)


def _fields(owner: str, field: str, value: Any) -> dict[str, Any]:
    """Return a copy of *value*, which is a mapping that JSON can carry, or None for an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{owner}: {field} must be a mapping with texts as keys")
    try:
        orjson.dumps(dict(value), option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS)
    except orjson.JSONEncodeError:
        raise ConfigError(f"{owner}: {field} holds what JSON cannot carry; use texts, numbers and booleans") from None
    return dict(value)


def _pattern(owner: str, metric_pattern: Any) -> re.Pattern[str]:
    if metric_pattern is None:
        return _METRIC
    try:
        compiled = re.compile(metric_pattern)
        compiled.fullmatch("")  # refuses a pattern for bytes
        return compiled
    except (re.error, TypeError):
        raise ConfigError(f"{owner}: metric_pattern must be a regular expression") from None
