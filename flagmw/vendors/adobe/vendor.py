"""Adobe Target: decisions by its Delivery API or its rules, and events.

Source of the rules: Adobe's developer guides for Target ("Delivery API", "On-device decisioning") and its OpenAPI
description; for cookies the behaviour of the vendor's own clients, which share them. Where no public page describes the
behaviour of the service, there is an option with a default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError
from flagmw.types import Call, Decision, Event, Flow, Outcome, Reply, Track, Variant, Visit, VisitorState
from flagmw.vendors.adobe.clusters import Clusters
from flagmw.vendors.adobe.cookies import MBOX, Cookies, Known, cluster_of, suffix_of
from flagmw.vendors.adobe.decide import DecisionBuilder, is_others
from flagmw.vendors.adobe.deliver import BATCH_MAX, EventDelivery
from flagmw.vendors.adobe.notifications import mbox_of
from flagmw.vendors.adobe.options import POLL_MIN_S, Options
from flagmw.vendors.adobe.preview import preview_fields
from flagmw.vendors.adobe.request import Facts, RequestBuilder, shared_analytics
from flagmw.vendors.adobe.response import Answer, read_answer
from flagmw.vendors.base import Participation

if TYPE_CHECKING:
    from flagmw.vendors.adobe.on_device.artifact import Artifact
    from flagmw.vendors.adobe.on_device.rules import Rules


class AdobeTarget:
    """One account of Adobe Target.

    A variant has the experience's name where the response token `experience.name` is on in Target. Otherwise it
    has the experience's id, or content that is one word. Redirects and visual changes are no flags: their alias
    gets its default with the code `BAD_VARIANT`.

    Args:
        client: The account's client code, which begins the host name `<client>.tt.omtrdc.net`.
        mboxes: The names of the mboxes (locations) to ask for, at most 50. Each is an alias. Required, unless
            `page_load` is on.
        name: The vendor's name in flags, counters and logs. Two accounts of one vendor need two names.
        page_load: Ask for the global mbox too. Its alias is `target-global-mbox`.
        aliases: `"mboxes"` makes one flag of each mbox; its variant is the experience's name. `"attributes"`
            makes one flag of each key in the JSON offers of all mboxes.
        property_token: The property (`at_property`) whose activities count.
        org_id: The organization's id. With it, the visitor's Experience Cloud id is read and sent.
        environment_id: The environment whose activities count. None leaves the choice to Target.
        params: Parameters of the mboxes, sent with every decision. Data of `identify` joins them.
        profile_params: Parameters of the visitor's profile, sent with every decision. Data of `identify` joins
            them under names that begin with `profile.`; `product.id`, `geo.countryCode` and
            `clientHints.mobile` go to their own fields.
        third_party_id: Send the site's user id as Target's `thirdPartyId`, so that a visitor is the same on all
            devices.
        conversions: The mbox that counts a metric, such as `purchase = "orderConfirmPage"`. A metric without an
            entry uses its own name.
        base_url: Your own host for the service: https, or http on this machine. None uses Adobe's hosts, and
            there the edge cluster that holds the visitor's profile.
        exposure: `"decide"` counts an impression with every decision. `"read"` reports an impression of each
            flag that the view read. `"off"` counts none. None means `"decide"`, or `"read"` for decisions on
            this machine.
        prefix: Text that is put before every alias of this vendor.
        decisioning: `"server"` asks the service. `"on-device"` decides by the account's rules without a call.
            `"hybrid"` decides by rules where they cover all mboxes, and asks otherwise. Rules need
            `flagmw[adobe]`, and `exposure="read"` or `"off"`. Geographic audiences then need `geo.countryCode`
            and the like from `identify`.
        environment: The environment of the rules: `"production"`, `"staging"` or `"development"`.
        artifact_url: Another address for the rules.
        poll_s: Seconds between two checks for new rules.
        analytics: `"server_side"` lets Target report to Adobe Analytics. `"client_side"` leaves that to the
            page, by `flags.bootstrap()`.
        tracking_server: The host that the page sends its Analytics data to, such as `"shop.sc.omtrdc.net"`. Target
            then gets it with a `supplementalDataId`, which `flags.bootstrap()` gives to the page. It needs
            `analytics="server_side"`.
        decides_by: The part of the page's address that audiences use: `"url"`, `"path"`, or `"site"` for no
            part of it. With `"site"` one decision serves all pages within `reuse_s`.
        at_most_once: Never send an event again that the vendor may have received.
        shadow: Ask the vendor after the response, only to compare. Its decisions are never served and count
            nothing.
        debug: Ask for Target's evaluation log. It needs `trace_token`, and `debug=True` of `Flagmw`.
        trace_token: The authorization token for the evaluation log. It is never shown or logged.

    Raises:
        ConfigError: An option is wrong.
    """

    batch_max = BATCH_MAX

    def __init__(
        self,
        client: str,
        mboxes: Sequence[str] = (),
        *,
        name: str = "adobe_target",
        page_load: bool = False,
        aliases: str = "mboxes",
        property_token: str | None = None,
        org_id: str | None = None,
        environment_id: int | None = None,
        params: Mapping[str, Any] | None = None,
        profile_params: Mapping[str, Any] | None = None,
        third_party_id: bool = False,
        conversions: Mapping[str, str] | None = None,
        base_url: str | None = None,
        exposure: str | None = None,
        prefix: str = "",
        decisioning: str = "server",
        environment: str = "production",
        artifact_url: str | None = None,
        poll_s: int = POLL_MIN_S,
        analytics: str = "server_side",
        tracking_server: str | None = None,
        decides_by: str = "url",
        at_most_once: bool = False,
        shadow: bool = False,
        debug: bool = False,
        trace_token: str | None = None,
    ) -> None:
        self._options = options = Options.checked(
            name=name,
            client=client,
            mboxes=mboxes,
            page_load=page_load,
            aliases=aliases,
            property_token=property_token,
            org_id=org_id,
            environment_id=environment_id,
            params=params,
            profile_params=profile_params,
            third_party_id=third_party_id,
            conversions=conversions,
            base_url=base_url,
            exposure=exposure,
            prefix=prefix,
            decisioning=decisioning,
            environment=environment,
            artifact_url=artifact_url,
            poll_s=poll_s,
            analytics=analytics,
            tracking_server=tracking_server,
            decides_by=decides_by,
            at_most_once=at_most_once,
            shadow=shadow,
            debug=debug,
            trace_token=trace_token,
        )
        self.name, self.prefix, self.base_url = options.name, options.prefix, options.base_url
        self.exposure, self.at_most_once, self.shadow = options.exposure, options.at_most_once, options.shadow
        self.decides_by, self.debug = options.decides_by, options.debug
        self.client, self.mboxes, self.decisioning = options.client, options.mboxes, options.decisioning
        self.property_token, self.environment_id = options.property_token, options.environment_id
        self.local = options.decisioning == "on-device"
        self._clusters = Clusters()
        self._cookies = Cookies(options.org_id)
        self.cookies = self._cookies.rule()
        self._requests = RequestBuilder(options)
        self._decisions = DecisionBuilder(options)
        self._events = EventDelivery(options, self._requests, self._cookies, self._clusters)
        self._artifact: Artifact | None = None
        if options.artifact_url is not None and options.poll_s is not None:
            from flagmw.vendors.adobe.on_device.artifact import Artifact  # only decisions by rules need its libraries

            self._artifact = Artifact(
                options.artifact_url, options.client, options.property_token, options.name, options.poll_s
            )
            self.refresh: Callable[[float], Flow[float]] = self._artifact.refresh

    def __repr__(self) -> str:
        return f"AdobeTarget(name={self.name!r}, client={self.client!r}, decisioning={self.decisioning!r})"

    def __fingerprint__(self) -> Mapping[str, Any]:
        return self._options.fingerprint(self.cookies)

    @property
    def refresh_fault(self) -> ErrorCode | None:
        """Why the last fetch of the rules failed; None if it succeeded."""
        return None if self._artifact is None else self._artifact.fault

    # Decide

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask for all mboxes in one request, or decide by the rules.

        If Target cannot use the visitor's ids, it is asked once more as for a new visitor.
        """
        known = self._cookies.read(state.cookies, visit.now)
        given = self._requests.facts(visit)
        preview = preview_fields(visit.preview.get(self.name, {}))
        rules = None if self._artifact is None else self._artifact.rules
        # The rules hold live activities only. Previews come from the service.
        if rules is not None and (self.local or (not preview and rules.know(self._options.asked))):
            return self._decide_by_rules(rules, visit, known, given)
        if self.local:
            return Decision(vendor=self.name, error=ErrorCode.NO_RULES, advice=_NO_RULES)
        answer = yield from self._ask(visit, known, given, preview, visit.fresh_id)
        if answer.blames_visitor and (known.session or known.device):
            known = known.forgotten()
            answer = yield from self._ask(visit, known, given, preview, f"{visit.fresh_id}-2")
        third_party = self._requests.third_party_id(visit)
        if is_others(answer, known.device, merges=bool(third_party or known.ecid)):
            answer = Answer(fault=ErrorCode.PROTOCOL)
        confirmed = self._clusters.knows(known.edge)
        if answer.fault is None:
            self._learn(answer, known)
        changes = self._cookies.changes(
            visit, known, known.session or visit.fresh_id, answer.device, answer.edge_host, confirmed=confirmed
        )
        return self._with_id_noted(self._with_analytics(self._decisions.build(answer, changes), visit), visit)

    def _with_analytics(self, decision: Decision, visit: Visit) -> Decision:
        """Return *decision* with what joins the page's Analytics data to it."""
        shared = shared_analytics(self._options.tracking_server, visit)
        if not shared or decision.error is not None:
            return decision
        # An mbox of such a name keeps its place.
        return replace(
            decision, hints={**decision.hints, "bootstrap": {**shared, **decision.hints.get("bootstrap", {})}}
        )

    def _ask(
        self, visit: Visit, known: Known, given: Facts, preview: Mapping[str, Any], request_id: str
    ) -> Generator[Call, Reply, Answer]:
        """Ask the visitor's cluster, then the account's own host if that gives no answer."""
        counted = self.exposure == "decide" and visit.record
        body = self._requests.decision_body(visit, known, given, preview, request_id, counted=counted)
        # A repeat of a decision counts nothing twice, because it has the same impression id. Target gives a known
        # visitor the same answer twice; a new visitor would become two.
        hedge_safe, session = not counted and known.device is not None, known.session or visit.fresh_id
        edge, began = self._clusters.pick(known.edge)
        if edge is not None:
            call = self._requests.call(edge, session, body, replay_safe=True, hedge_safe=hedge_safe)
            answer = yield from _answer(call, request_id)
            if answer.answered:
                self._clusters.answered(edge)
                return answer
            self._clusters.failed(edge, began)
        call = self._requests.call(None, session, body, replay_safe=True, hedge_safe=hedge_safe)
        return (yield from _answer(call, request_id))

    def _learn(self, answer: Answer, known: Known) -> None:
        """Add the clusters that *answer* names, except a mere echo of the visitor's own id."""
        if self._options.host is None:
            suffix = suffix_of(answer.device)
            self._clusters.named(cluster_of(answer.edge_host), None if suffix == known.suffix else suffix)

    def _with_id_noted(self, decision: Decision, visit: Visit) -> Decision:
        """Return *decision* with a code for a user id that the API does not take."""
        if not self._requests.refuses_user_id(visit):
            return decision
        return replace(decision, rejected=(*decision.rejected, ErrorCode.BAD_DATA))

    def _decide_by_rules(self, rules: Rules, visit: Visit, known: Known, given: Facts) -> Decision:
        """Decide by *rules*. A visitor without an id gets one, as from the service."""
        visitor = known.ecid or known.visitor or self._requests.third_party_id(visit)
        device = known.device
        if visitor is None:
            seed = hashlib.blake2b(visit.fresh_id.encode(), digest_size=16).digest()
            visitor = device = str(UUID(bytes=seed, version=4))
        decision = self._decisions.build_from(
            rules.decide(visit, given, visitor, self._options.asked),
            self._cookies.changes(visit, known, known.session or visit.fresh_id, device, None),
        )
        return self._with_id_noted(decision, visit)

    def identity(self, state: VisitorState) -> str:
        """Return the visitor's ids at Target: a decision holds as long as these are the same."""
        known = self._cookies.read(state.cookies, 0.0)
        return "; ".join(filter(None, (known.ecid, known.visitor or known.session)))

    # Tracks and exposures

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Return the aliases of *track*. Target itself knows the activities of the visitor.

        Raises:
            ValueError: the metric cannot be the name of an mbox.
        """
        options = self._options
        mbox_of(track.metric, options.conversions)
        if track.aliases is None:
            return _of_known_visitor(options.asked, state)
        # Which keys the offers have is known from answers only.
        by_attributes = options.aliases == "attributes"
        return _of_known_visitor(
            tuple(alias for alias in track.aliases if by_attributes or alias in options.asked), state
        )

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Return all of *variants*, if the visitor has ids."""
        return _of_known_visitor(tuple(variant.alias for variant in variants), state)

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Send displays as notifications and conversions as mboxes, as many as fit in a request."""
        return (yield from self._events.deliver(batch))


def _answer(call: Call, request_id: str) -> Generator[Call, Reply, Answer]:
    try:
        reply = yield call
    except TransportError as error:
        return Answer(fault=error.code)
    return read_answer(reply, request_id)


def _of_known_visitor(aliases: tuple[str, ...], state: VisitorState) -> Participation:
    """Return *aliases* with the visitor's cookies; nothing for a visitor without ids."""
    if not aliases or MBOX not in state.cookies:
        return Participation()
    return Participation(aliases, dict(state.cookies))


_NO_RULES = "the rules for on-device decisioning are not there yet: see that artifact_url can be reached and is enabled"
