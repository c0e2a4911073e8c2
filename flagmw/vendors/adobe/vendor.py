"""Adobe Target: the Delivery API, decided by the service, or on this machine by the rules that it publishes.

Source of the rules: Adobe's developer guides for Target ("Delivery API", "On-device decisioning") and its OpenAPI
description; for cookies the behaviour of the vendor's own clients, which share them. Where no public page says how the
service behaves, the default is an option here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flagmw._support.secret import Secret
from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError, TransportError
from flagmw.types import Call, Decision, Event, Flow, Outcome, Reply, Track, Variant, Visit, VisitorState
from flagmw.vendors.adobe import decide as decisions
from flagmw.vendors.adobe import deliver as deliveries
from flagmw.vendors.adobe import notifications as events
from flagmw.vendors.adobe import options as checks
from flagmw.vendors.adobe import preview as previews
from flagmw.vendors.adobe import request as requests
from flagmw.vendors.adobe.clusters import Clusters
from flagmw.vendors.adobe.cookies import MBOX, Cookies, Known, cluster_of, suffix_of
from flagmw.vendors.base import Participation
from flagmw.vendors.common.options import checked_base_url, checked_decides_by, checked_flag, checked_prefix, one_of

if TYPE_CHECKING:
    from flagmw.vendors.adobe.on_device.artifact import Artifact
    from flagmw.vendors.adobe.on_device.rules import Rules

ASSETS_URL = "https://assets.adobetarget.com"

# The API takes neither of the two signs in a thirdPartyId.
_THIRD_PARTY = re.compile(r"[^+/\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,256}")


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

    batch_max = deliveries.BATCH_MAX

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
        poll_s: int = checks.POLL_MIN_S,
        analytics: str = "server_side",
        decides_by: str = "url",
        at_most_once: bool = False,
        shadow: bool = False,
        debug: bool = False,
        trace_token: str | None = None,
    ) -> None:
        owner = f"vendor {name!r}"
        self.name, self.prefix = name, checked_prefix(owner, prefix)
        self.client = checks.client(owner, client)
        self._page_load = checked_flag(owner, "page_load", page_load)
        self.mboxes = checks.mboxes(owner, mboxes, page_load=self._page_load)
        self._asked = (*self.mboxes, requests.PAGE_LOAD) if self._page_load else self.mboxes
        self._attributes = one_of(owner, "aliases", aliases, ("mboxes", "attributes")) == "attributes"
        self.at_most_once, self.debug = (
            checked_flag(owner, "at_most_once", at_most_once),
            checked_flag(owner, "debug", debug),
        )
        self.shadow = checked_flag(owner, "shadow", shadow)
        self._third_party = checked_flag(owner, "third_party_id", third_party_id)
        self._params = checks.parameters(owner, "params", "parameters", params)
        self._profile = checks.parameters(owner, "profile_params", "profileParameters", profile_params)
        self._conversions = checks.conversions(owner, conversions)
        self.decides_by = checked_decides_by(owner, decides_by)
        self._analytics = one_of(owner, "analytics", analytics, ("server_side", "client_side"))
        token = checks.secret(owner, "trace_token", trace_token)
        if self.debug and token is None:
            raise ConfigError(f"{owner}: debug needs trace_token, an authorization token for Target's traces")
        self._trace = None if token is None else Secret(token)
        own_host = None if base_url is None else checked_base_url(owner, base_url)
        self.base_url = own_host or f"https://{self.client}.tt.omtrdc.net"
        self.property_token = property_token = checks.property_token(owner, property_token)
        self.environment_id = environment_id = checks.environment_id(owner, environment_id)
        fixed: dict[str, Any] = {} if environment_id is None else {"environmentId": environment_id}
        if property_token is not None:
            fixed["property"] = {"token": property_token}
        organization = checks.org_id(owner, org_id)
        self._account = requests.Account(client=self.client, org_id=organization, base_url=own_host, fixed=fixed)
        self._clusters = Clusters()
        self._own = Cookies(organization)
        self.cookies = self._own.rule()
        self.decisioning = one_of(owner, "decisioning", decisioning, ("server", "on-device", "hybrid"))
        self.local = self.decisioning == "on-device"
        self.exposure = checks.exposure(owner, exposure, self.decisioning)
        environment = one_of(owner, "environment", environment, ("production", "staging", "development"))
        self._artifact: Artifact | None = None
        if self.decisioning != "server":
            from flagmw.vendors.adobe.on_device.artifact import Artifact  # rules are for those who decide by them

            place = "" if property_token is None else f"/{property_token}"
            url = checks.artifact_url(
                owner, artifact_url, f"{ASSETS_URL}/{self.client}/{environment}/v1{place}/rules.json"
            )
            self._artifact = Artifact(url, self.client, property_token, name, checks.poll_s(owner, poll_s))
            self.refresh: Callable[[float], Flow[float]] = self._artifact.refresh

    def __repr__(self) -> str:
        return f"AdobeTarget(name={self.name!r}, client={self.client!r}, decisioning={self.decisioning!r})"

    @property
    def refresh_fault(self) -> ErrorCode | None:
        """Why the rules could not be fetched the last time, None if they could."""
        return None if self._artifact is None else self._artifact.fault

    # Decide

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Ask for all mboxes in one request, or decide by the rules.

        Where Target cannot use the visitor's ids, it is asked once more as for a new visitor.
        """
        known = self._own.read(state.cookies, visit.now)
        given = requests.facts(visit.data, self._params, self._profile)
        preview = previews.fields(visit.preview.get(self.name, {}))
        rules = None if self._artifact is None else self._artifact.rules
        # The rules hold what is live; a preview is the service's alone.
        if rules is not None and (self.local or (not preview and rules.know(self._asked))):
            return self._decide_here(rules, visit, known, given)
        if self.local:
            return Decision(vendor=self.name, error=ErrorCode.NO_RULES, advice=_NO_RULES)
        answer = yield from self._ask(visit, known, given, preview, visit.fresh_id)
        if answer.blames_visitor and (known.session or known.device):
            known = known.forgotten()
            answer = yield from self._ask(visit, known, given, preview, f"{visit.fresh_id}-2")
        third_party = self._third_party_id(visit)
        if decisions.is_others(answer, known.device, merges=bool(third_party or known.ecid)):
            answer = decisions.Answer(fault=ErrorCode.PROTOCOL)
        confirmed = self._clusters.knows(known.edge)
        if answer.fault is None:
            self._learn(answer, known)
        changes = self._own.changes(
            visit, known, known.session or visit.fresh_id, answer.device, answer.edge_host, confirmed=confirmed
        )
        decision = decisions.settle(
            self.name, answer, self._asked, as_attributes=self._attributes, cookies=changes if not answer.fault else ()
        )
        return self._with_id_noted(decision, visit)

    def _ask(
        self, visit: Visit, known: Known, given: requests.Facts, preview: Mapping[str, Any], request_id: str
    ) -> Generator[Call, Reply, decisions.Answer]:
        counted = self.exposure == "decide" and visit.record
        details = given.detail()
        wanted: dict[str, Any] = {}
        if self.mboxes:
            wanted["mboxes"] = requests.mboxes(self.mboxes, details)
        if self._page_load:
            wanted["pageLoad"] = details
        body = {
            **self._body(visit, known, given, request_id),
            **preview,
            "execute" if counted else "prefetch": wanted,
        }
        if self.debug and self._trace is not None:
            body["trace"] = {"authorizationToken": self._trace.reveal()}
        # A repeat of a decision counts nothing twice: it has the same impression's id.
        # A visitor whom Target knows gets the same answer twice; a new one would become two.
        safe, session = not counted and known.device is not None, known.session or visit.fresh_id
        edge, began = self._clusters.pick(known.edge)
        if edge is not None:
            answer = yield from self._answer(
                self._account.call(edge, session, body, replay_safe=True, hedge_safe=safe), request_id
            )
            if answer.answered:
                self._clusters.answered(edge)
                return answer
            self._clusters.failed(edge, began)
        return (
            yield from self._answer(
                self._account.call(None, session, body, replay_safe=True, hedge_safe=safe), request_id
            )
        )

    def _answer(self, call: Call, request_id: str) -> Generator[Call, Reply, decisions.Answer]:
        try:
            reply = yield call
        except TransportError as error:
            return decisions.Answer(fault=error.code)
        return decisions.read(reply, request_id)

    def _learn(self, answer: decisions.Answer, known: Known) -> None:
        """Take note of the clusters that *answer* names, but not of what only echoes the visitor's own id."""
        if self._account.base_url is None:
            given = suffix_of(answer.device)
            self._clusters.named(cluster_of(answer.edge_host), None if given == known.suffix else given)

    def _body(self, visit: Visit, known: Known, given: requests.Facts, request_id: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "requestId": request_id,
            "impressionId": request_id,
            "context": requests.context(visit, given),
            "experienceCloud": requests.cloud(known, self._analytics),
            **self._account.fixed,
        }
        ids = requests.ids(known, self._third_party_id(visit))
        if ids:
            body["id"] = ids
        return body

    def _third_party_id(self, visit: Visit) -> str | None:
        who = visit.user_id if self._third_party else None
        return who if who is not None and _THIRD_PARTY.fullmatch(who) else None

    def _with_id_noted(self, decision: Decision, visit: Visit) -> Decision:
        """Count a user id that the API does not take, instead of leaving it out without a word."""
        if not self._third_party or visit.user_id is None or self._third_party_id(visit) is not None:
            return decision
        return replace(decision, rejected=(*decision.rejected, ErrorCode.BAD_DATA))

    def _decide_here(self, rules: Rules, visit: Visit, known: Known, given: requests.Facts) -> Decision:
        """Decide by *rules*; a visitor without any id gets one, as an answer of the service would give."""
        visitor = known.ecid or known.visitor or self._third_party_id(visit)
        device = known.device
        if visitor is None:
            seed = hashlib.blake2b(visit.fresh_id.encode(), digest_size=16).digest()
            visitor = device = str(UUID(bytes=seed, version=4))
        decision = decisions.decision(
            self.name,
            rules.decide(visit, given, visitor, self._asked),
            self._asked,
            as_attributes=self._attributes,
            cookies=self._own.changes(visit, known, known.session or visit.fresh_id, device, None),
        )
        return self._with_id_noted(decision, visit)

    def identity(self, state: VisitorState) -> str:
        """Return who the visitor is to Target: a decision holds as long as that is the same."""
        known = self._own.read(state.cookies, 0.0)
        return "; ".join(filter(None, (known.ecid, known.visitor or known.session)))

    # Track and view

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Return what *track* counts for. Target itself knows which activities the visitor is in.

        Raises:
            ValueError: the metric cannot be the name of an mbox.
        """
        events.mbox_of(track.metric, self._conversions)
        return self._known(self._asked if track.aliases is None else self._ours(track.aliases), state)

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Return all of *variants*: what was shown to a visitor with ids can be told."""
        return self._known(tuple(variant.alias for variant in variants), state)

    def _ours(self, aliases: Iterable[str]) -> tuple[str, ...]:
        """Return those of *aliases* that may be flags of this account; what keys its offers have, only answers tell."""
        return tuple(alias for alias in aliases if self._attributes or alias in self._asked)

    def _known(self, aliases: tuple[str, ...], state: VisitorState) -> Participation:
        if not aliases or MBOX not in state.cookies:
            return Participation()
        return Participation(aliases, dict(state.cookies))

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Tell of displays as notifications, and of conversions as mboxes, as many as fit in a request."""
        return (yield from deliveries.deliver(batch, self._said, self._told))

    def _said(self, event: Event) -> Sequence[events.Said]:
        if event.kind == "exposure":
            return events.displays(event)
        given = requests.facts(event.visit.data, {}, self._profile)
        try:
            return (events.conversion(event, self._conversions, given),)
        except ValueError:
            return ()

    def _told(self, event: Event, fields: Mapping[str, Any], request_id: str) -> Generator[Call, Reply, Reply]:
        """Send *fields* on behalf of the event's visitor; a cluster that fails is made up for by the account's host."""
        visit = event.visit
        known = self._own.read(visit.cookies, visit.now)
        given = requests.facts(visit.data, self._params, self._profile)
        session = known.session or hashlib.blake2b(event.visitor_key.encode(), digest_size=16).hexdigest()
        body = {**self._body(visit, known, given, request_id), **fields}
        edge, began = self._clusters.pick(known.edge)
        if edge is not None:
            try:
                reply = yield self._account.call(edge, session, body)
            except TransportError as error:
                self._clusters.failed(edge, began)
                if error.sent and event.at_most_once:
                    raise
            else:
                if reply.status < 500:
                    self._clusters.answered(edge)
                    return reply
                self._clusters.failed(edge, began)
                if event.at_most_once:
                    return reply
        reply = yield self._account.call(None, session, body)
        return reply


_NO_RULES = "the rules for on-device decisioning are not there yet: see that artifact_url can be reached and is enabled"
