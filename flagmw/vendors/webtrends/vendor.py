"""Webtrends Optimize: decisions and events over its OTS REST API.

Source of the rules: the vendor's "OTS REST API guide" (endpoints, bodies, answers, error codes, cookies).
Where no public page describes the behaviour of the service, there is an option with a default.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flagmw.exceptions import TransportError
from flagmw.types import Call, Decision, Event, Flow, Outcome, Reply, Scalar, Track, Variant, Visit, VisitorState
from flagmw.vendors.base import Participation
from flagmw.vendors.webtrends.cookies import Cookies
from flagmw.vendors.webtrends.decide import DecisionBuilder, refuses_cookies
from flagmw.vendors.webtrends.deliver import EventDelivery, gzip_refused
from flagmw.vendors.webtrends.options import Options
from flagmw.vendors.webtrends.refused import RecentlyRefused
from flagmw.vendors.webtrends.request import RequestBuilder, is_compressed
from flagmw.vendors.webtrends.response import Answer, read_answer

BASE_URL = "https://ots.webtrends-optimize.com/ots/api/rest-1.2"
BAD_COOKIES_S = 60.0


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
        self._set_up(
            Options.checked(
                name=name,
                domain_id=domain_id,
                key_token=key_token,
                url=url,
                project=project,
                base_url=base_url,
                exposure=exposure,
                prefix=prefix,
                staging=staging,
                data=data,
                encrypted=encrypted,
                session_cookies=session_cookies,
                serve_paused=serve_paused,
                gzip_request=gzip_request,
                metric_pattern=metric_pattern,
                at_most_once=at_most_once,
                shadow=shadow,
                debug=debug,
                extra_params=extra_params,
            )
        )

    def _set_up(self, options: Options) -> None:
        self._options = options
        self.name, self.prefix, self.base_url = options.name, options.prefix, options.base_url
        self.exposure, self.at_most_once, self.shadow = options.exposure, options.at_most_once, options.shadow
        self.decides_by, self.debug, self.staging = options.decides_by, options.debug, options.staging
        self.domain_id, self.project, self.url = options.domain_id, options.project, options.url
        self.key_token, self.gzip_request = options.key_token, options.gzip_request
        self._cookies = Cookies(
            options.domain_id,
            encrypted=options.encrypted,
            session_timeouts=options.session_cookies == "timeout",
        )
        self.cookies = self._cookies.rule()
        self._requests = RequestBuilder(options, self._cookies)
        self._decisions = DecisionBuilder(options, self._cookies)
        self._events = EventDelivery(self._requests)
        # Visitors whose cookies the vendor refused twice: it is asked without them for a while.
        self._refused = RecentlyRefused(BAD_COOKIES_S)

    def __repr__(self) -> str:
        return f"Webtrends(name={self.name!r}, domain_id={self.domain_id}, key_token=***)"

    def __fingerprint__(self) -> Mapping[str, Any]:
        return self._options.fingerprint(self.cookies)

    # Decide

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask for all projects, or for the one configured.

        If the vendor cannot use the visitor's cookies, it is asked once more without them. They are deleted in the
        browser if that helped, and also if the vendor blames the rest of them.
        """
        cookies = self._cookies.read(state.cookies)
        sent = {} if cookies and self._refused.has(cookies, visit.now) else cookies
        answer = yield from self._ask(visit, sent)
        unusable = self._decisions.unusable_cookies(answer, sent)
        if unusable:
            sent = {name: value for name, value in sent.items() if name not in unusable}
            answer = yield from self._ask(visit, sent)
            if refuses_cookies(answer, sent_cookies=bool(sent)):
                self._refused.add(cookies, visit.now)
                return self._decisions.build_refused(answer, cookies)
        left_out = {name: value for name, value in cookies.items() if name not in sent}
        decision = self._decisions.build(answer, left_out)
        if visit.staging and not self.staging:
            # The mode cookie would keep a tester in staging after the override has ended.
            changes = tuple(change for change in decision.cookies if change.name != self._cookies.mode)
            decision = replace(decision, cookies=changes)
        return decision

    def _ask(self, visit: Visit, cookies: Mapping[str, str]) -> Generator[Call, Reply, Answer]:
        counted = self.exposure == "decide" and visit.record
        call = self._requests.control(visit, cookies, counted=counted)
        try:
            reply = yield call
        except TransportError as error:
            return Answer([], error.code)
        answer = read_answer(reply)
        if is_compressed(call) and gzip_refused(reply, answer.elements):
            self._requests.compress = False
        return answer

    def identity(self, state: VisitorState) -> str:
        """Return all cookies of this account as one text: a decision holds for exactly these."""
        return "; ".join([f"{name}={value}" for name, value in sorted(state.cookies.items())])

    def names_visitor(self, name: str) -> bool:
        """Say whether the cookie *name* is the one that tells visitors apart."""
        return name == self._cookies.user

    # Tracks and exposures

    def spell_list(self, name: str, parts: Sequence[str]) -> Mapping[str, Scalar]:
        """Return the entries of data for a list, in the vendor's way: `name[0]`, `name[1]`."""
        return {f"{name}[{index}]": part for index, part in enumerate(parts)}

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Return the projects that *track* counts for: those with a control cookie at the visitor.

        Raises:
            ValueError: the vendor does not take the metric's name.
        """
        pattern = self._options.metric_pattern
        if not pattern.fullmatch(track.metric):
            raise ValueError(f"metric must match {pattern.pattern} for {self.name}: letters, digits, spaces, _")
        return self._enrolled(track.aliases, state)

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Return the projects whose views can be reported: those with a control cookie at the visitor."""
        return self._enrolled(tuple(variant.alias for variant in variants), state)

    def _enrolled(self, wanted: Sequence[str] | None, state: VisitorState) -> Participation:
        enrolled = {alias: name for name in state.cookies if (alias := self._cookies.alias_of(name)) is not None}
        aliases = tuple(alias for alias in (enrolled if wanted is None else wanted) if alias in enrolled)
        if not aliases:
            return Participation()
        names = (self._cookies.user, self._cookies.mode, *(enrolled[alias] for alias in aliases))
        return Participation(aliases, {name: state.cookies[name] for name in names if name in state.cookies})

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Send each track as one request for all its aliases, and one request for each alias of an exposure."""
        return (yield from self._events.deliver(batch))


def uncounted(vendor: Webtrends, *, compress: bool) -> Webtrends:
    """Return a copy of *vendor* for checks: it counts no views and shares nothing with *vendor*."""
    probe = copy.copy(vendor)
    probe._set_up(replace(vendor._options, exposure="off", gzip_request=compress))
    return probe
