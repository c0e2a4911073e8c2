"""One request's exchange with the vendors, without any I/O: what is known already, what they decided, what happened.

Settling means: variants by precedence, cookies checked and cut to the budget, the flags, and what is remembered of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from logging import ERROR, WARNING
from typing import Any

from flagmw._cookies.header import format_set_cookie
from flagmw._cookies.own import ASKED, DECISION, RULE, VISITOR
from flagmw._exchange.context import REFRESH_S, Context
from flagmw._exchange.incoming_cookies import CookiesAfter, IncomingCookies, ReadyFlags
from flagmw._exchange.merge import merge, overridden
from flagmw._exchange.outgoing_cookies import COOKIES_MAX, OutgoingCookies, header_bytes, room_for
from flagmw._exchange.remembered import Key, RememberedDecision
from flagmw._exchange.reports import SILENT, UNSEEN, Reports
from flagmw._exchange.reuse import ReuseLookup
from flagmw._support.link_token import OVERRIDE
from flagmw._visitor_store import base as visitor_store
from flagmw._web import consent as consent_gate
from flagmw._web import link_page
from flagmw._web import overrides as override_tokens
from flagmw._web.consent import Consent
from flagmw._web.inbound import Inbound, host_of, visit_of
from flagmw._web.overrides import Override
from flagmw.codes import ErrorCode, Reason
from flagmw.flags import testing_hooks
from flagmw.flags.flags import Flags
from flagmw.flags.track import checked_data, checked_id
from flagmw.types import EMPTY, Decision, Put, Scalar, Variant, Visit, VisitorState

__all__ = ["Context", "Exchange", "failed"]

# What visitors who were kept are remembered as among the cookies that were sent; no cookie has such a name.
_STORED = "; stored"


class Exchange(Reports):
    """What one request and the vendors have to say to each other.

    Args:
        visit: who asks; None to make it of *inbound* when it is first needed.
        states: each configured vendor's own cookies of this visitor, in the order of the vendors.
        sink: where events go at once; None collects them until `drain`.
        inbound, carried: the request itself, and what its Cookie header held.

    Attributes:
        kept_from: why no vendor is to hear of this visitor, if none is.
        override: what a tester has chosen.
        asks: whether this request is one that vendors are asked about.
        instead: what is sent in place of the application's response; None for all but an override's link.
        remembered: what is remembered of each vendor, after `recall`.
        loaded: whether the visitor's cookies were fetched from where they are kept.
        unkept: whether what becomes of them must not be kept, because they could not be fetched.
        known: the decisions that need not be asked for, None for each vendor that is to be asked; empty before that
            was looked at.
    """

    kept_from: ErrorCode | None = None
    override: Override | None = None
    asks = True
    instead: link_page.Page | None = None
    loaded = unkept = False
    known: Sequence[Decision | None] = ()
    consent = Consent.FULL
    remembered: Sequence[RememberedDecision | None] = ()
    _ended = False
    _jars: OutgoingCookies | CookiesAfter | None = None
    _own_lines: tuple[str, ...] = ()
    _recall: ReuseLookup | None = None
    _stored_id: visitor_store.VisitorId | None = None
    _stored_key: str | None = None
    _user: tuple[str | None, Mapping[str, Scalar]] | None = None

    def __init__(
        self,
        context: Context,
        visit: Visit | None,
        states: Sequence[VisitorState],
        sink: Put | None = None,
        *,
        inbound: Inbound | None = None,
        carried: IncomingCookies | None = None,
    ) -> None:
        self._context, self._visit, self.states = context, visit, states
        self.inbound, self.carried = inbound, carried
        self.now = context.clock() if visit is None else visit.now
        if sink is not None:
            self._sink = sink

    def begun(self) -> Exchange:
        """Return this exchange; see `DeferredExchange`."""
        return self

    # Who it is

    @property
    def visit(self) -> Visit:
        """Who asks, and what for; made of the request at first use."""
        if self._visit is None:
            assert self.inbound is not None and self.carried is not None
            config, carried = self._context.config, self.carried
            made = visit_of(self.inbound, config, self.states, carried.site_bytes, self.now, self._identity_failed)
            self._visit = self._chosen(made)
        return self._visit

    @property
    def host(self) -> str:
        """The host that the visitor asked for."""
        return self._visit.host if self._visit is not None or self.inbound is None else host_of(self.inbound)  # type: ignore[union-attr]

    @property
    def recorded(self) -> bool:
        """Whether vendors may count this visitor, whatever a tester's override makes of this visit."""
        return self.consent is Consent.FULL if self.inbound is not None else self.visit.record

    def who(self) -> tuple[str | None, Mapping[str, Scalar]]:
        """Return the visitor's id and attributes."""
        if self._visit is None and self._context.config.identify is None and self._user is None:
            return None, EMPTY
        return self.visit.user_id, self.visit.data

    def identify(self, user_id: Any, data: Mapping[str, Any] | None) -> None:
        """Say who the visitor is, before anything was decided.

        Raises:
            ValueError: this cannot be told to vendors, see `Identity`.
        """
        told = replace(
            self.visit,
            user_id=checked_id("user_id", user_id) or self.visit.user_id,
            data={**self.visit.data, **checked_data("data", data)},
        )
        self._visit, self._user = told, (told.user_id, told.data)
        self.known = ()  # what is known of somebody else

    def jar(self, n: int) -> Mapping[str, str]:
        """Return the cookies of vendor *n* as the visitor has them after this response."""
        return self.states[n].cookies if self._jars is None else self._jars.now[n]

    def _chosen(self, visit: Visit) -> Visit:
        """Return *visit* with what consent and a tester's override make of it."""
        if self.consent is Consent.FULL and self.override is None and self.kept_from not in SILENT:
            return visit
        override = self.override or Override()
        return replace(visit, record=False, staging=override.staging, preview=override.preview)

    def _identity_failed(self, error: Exception) -> None:
        self._context.counts.add("identify_failed")
        self._context.throttle.log(ERROR, "IDENTIFY", "identify failed, no identity", error=type(error).__name__)

    # Where the vendors' cookies are kept on the server

    def stored_key(self) -> str | None:
        """Return what this visitor's cookies are kept under; None for one who is new."""
        if self._stored_key is None:
            user_id = self.who()[0]
            token = None if self.carried is None else self.carried.own.get(VISITOR)
            if user_id is None:
                self._stored_id = visitor_store.read_id(token, self._context.config.signing_keys, self.now)
            self._stored_key = visitor_store.key_of(user_id, None if self._stored_id is None else self._stored_id.id)
        return self._stored_key

    @property
    def brings_cookies(self) -> bool:
        """Whether this is no web request and the caller has named the visitor's cookies: those count then."""
        return self.inbound is None and any(state.cookies for state in self.states)

    def stored(self, value: bytes | None) -> None:
        """Take the visitor's cookies from what the store had."""
        self.states = visitor_store.load(self._context.config.vendors, value)
        if self._visit is not None:
            cookies = {name: text for state in self.states for name, text in state.cookies.items()}
            self._visit = replace(self._visit, cookies=cookies)

    def to_store(self) -> tuple[str, bytes] | None:
        """Return key and value to be kept, None where nothing is new; a new visitor gets an id for it.

        Once a day a visitor is kept anew, and gets their id anew, so that both live on while the visitor comes.
        """
        jars = [self.jar(n) for n in range(len(self.states))]
        before = [state.cookies for state in self.states]
        key, renewed = self.stored_key(), self._renewed(before)
        if jars == before and not renewed:
            return None
        given = self._stored_id
        if key is None:
            key = self._stored_key = visitor_store.key_of(None, self.visit.fresh_id)
            self._give_id(self.visit.fresh_id)
        elif given is not None and self.now - given.issued >= REFRESH_S:
            self._give_id(given.id)
        assert key is not None
        self._context.refreshed.sent(_STORED, key, self.now)
        return key, visitor_store.dump(self._context.config.vendors, jars)

    def _renewed(self, before: Sequence[Mapping[str, str]]) -> bool:
        """Say whether it is time to keep the visitor once more, though nothing has changed."""
        key = self.stored_key()
        if key is None or not self.loaded or not any(before):
            return False
        if self._stored_id is not None:
            return self.now - self._stored_id.issued >= REFRESH_S
        return self._context.refreshed.due(_STORED, key, self.now, visitor_store.LIFE_S)

    def _give_id(self, id: str) -> None:
        token = self._context.config.signing_keys.sign("visitor", {"id": id}, self.now, visitor_store.LIFE_S)
        self._own_lines = (*self._own_lines, self._own_line(VISITOR, token, visitor_store.LIFE_S))

    # Gates

    def admit(self) -> None:
        """Look at consent, at who is nobody, and at overrides; note what keeps vendors out."""
        config, inbound = self._context.config, self.inbound
        assert inbound is not None
        if config.consent is not None:
            self.consent = consent_gate.consent(inbound, config, self._gate_failed)
            if self.consent is Consent.NONE:
                self.kept_from = ErrorCode.NO_CONSENT
                return
        if config.bots is not False:
            self.kept_from = consent_gate.nobody(inbound, config, self._gate_failed)
            if self.kept_from is ErrorCode.BOT:
                return
        if config.overrides:
            self._look_for_override(inbound)

    def _gate_failed(self, error: Exception) -> None:
        self._context.counts.add("gate_failed")
        self._context.throttle.log(ERROR, "GATE", "consent or bots failed", error=type(error).__name__)

    def _look_for_override(self, inbound: Inbound) -> None:
        config = self._context.config
        cookie = None if self.carried is None else self.carried.own.get(OVERRIDE)
        token, by_link = override_tokens.sent(inbound.query, inbound.header(override_tokens.HEADER), cookie)
        if token is None:
            return
        if token == override_tokens.OFF:
            if cookie is not None:
                self._own_lines, self._ended = (self._own_line(OVERRIDE, "", 0),), True
            return
        found = override_tokens.read(token, config.signing_keys, self.host, self.now, unsigned=config.debug)
        if isinstance(found, ErrorCode):
            self._context.counts.add("override_rejected", "", found)
            self._context.throttle.log(WARNING, found, "an override was not accepted")
            return
        self.override = found
        # An unsigned one may be text that no cookie holds; then it is for this page only.
        if by_link and RULE.value_ok(token):
            self._opened(inbound, token, found, cookie)

    def _opened(self, inbound: Inbound, token: str, found: Override, cookie: str | None) -> None:
        """Keep what came by a link, once the visitor has said yes; until then it is for this request alone."""
        kept = self._own_line(OVERRIDE, token, int(found.until - self.now))
        if not found.signed:
            self._own_lines = (kept,)
            return
        if self.kept_from is not None or not link_page.is_opened(inbound):
            return
        asked = None if self.carried is None else self.carried.own.get(ASKED)
        if cookie == token:
            self.instead = link_page.redirect(inbound)
        elif link_page.said_yes(inbound, token, asked):
            self._own_lines = (kept, self._own_line(ASKED, "", 0))
            self.instead = link_page.redirect(inbound)
        else:
            nonce = link_page.nonce_of(asked)
            self._own_lines = (self._own_line(ASKED, nonce, link_page.ASKED_S),)
            self.instead = link_page.question(inbound, token, found, self.host, nonce)
        self.asks = False

    # What is known already

    def again(self) -> Flags | None:
        """Return the flags of a visitor who was here a moment ago with the very same cookies, None for any other."""
        carried = self.carried
        if carried is None or not carried.ready or not self._ordinary():
            return None
        assert self.inbound is not None
        ready = carried.ready.get((self.inbound.header("host"), self.inbound.scheme))
        if ready is None or not ready.since <= self.now < ready.until:
            return None
        self._jars = ready.after
        config = self._context.config
        made = Flags(
            ready.variants,
            defaults=config.defaults,
            misses=ready.misses,
            notice=ready.notice,
            on=config.on,
            recorder=self,
            hints=ready.hints,
        )
        self._read = made._exposed
        return made

    def _ordinary(self) -> bool:
        """Say whether nothing but the cookies decides what this visitor gets."""
        return self.override is None and self._user is None and self.consent is Consent.FULL

    def _come_again(self, decisions: Sequence[Decision], flags: Flags) -> None:
        """Keep what `again` needs, where nothing but time can change it."""
        carried = self.carried
        if carried is None or not self._context.same_everywhere or not self._ordinary():
            return
        if any(decision.error for decision in decisions):
            return
        assert self.inbound is not None
        oldest = min((part.at for part in self.remembered if part is not None), default=0.0)
        jars = self._jars
        ready = ReadyFlags(
            since=oldest - 60.0,
            until=oldest + self._context.config.reuse_s,
            variants=flags._variants,
            misses=flags._misses,
            notice=flags._notice,
            hints=flags._hints,
            after=None if jars is None else CookiesAfter(jars.now, jars.set_cookies),
        )
        weight = sum([part.weigh() for part in self.remembered if part is not None])
        self._context.read.make_ready(carried, self.inbound.header("host"), self.inbound.scheme, ready, weight)

    def recall(self) -> list[Decision | None]:
        """Return the decision of each vendor that need not be asked, None for those that are to be.

        A failure that is held counts: the vendor is not asked, and has its default.
        """
        config = self._context.config
        undecided: list[Decision | None] = [None] * len(self.states)
        if not (config.reuse_s or config.stale_s or config.hold_s) or self._asks_otherwise():
            return undecided
        self._recall = ReuseLookup(self._context, self)
        self.remembered = self._recall.find()
        for n, part in enumerate(self.remembered):
            if part is None:
                continue
            failure = part.error is not None
            if part.within(config.hold_s if failure else config.reuse_s, self.now):
                undecided[n] = part.decision
        return undecided

    def _asks_otherwise(self) -> bool:
        return self.override is not None and self.override.asks_otherwise

    def key(self, n: int) -> Key | None:
        """Return what vendor *n*'s answer for this visitor is kept by; None where nobody could find it again."""
        return None if self._recall is None or self.override is not None else self._recall.known(n)

    @property
    def unknown(self) -> list[int]:
        """The places of the vendors that are to be asked."""
        return [n for n, decision in enumerate(self.known) if decision is None]

    @property
    def is_new(self) -> bool:
        """Whether neither the site, nor a vendor, nor flagmw has given this visitor a name, as far as can be told.

        Cookies alone are no proof, since anybody can make some up.
        """
        if self.who()[0] is not None or self.brings_cookies:
            return False
        if self._context.on_server:
            return self.stored_key() is None
        if any(part is not None and part.error is None for part in self.remembered):
            return False
        known = self._context.known
        return known is None or not known.has(self.states, () if self.carried is None else self.carried.given)

    # Settle

    def undecided(self, code: ErrorCode) -> Flags:
        """Return flags for a request that no vendor is asked about, for *code* or for what kept it from that."""
        placed = testing_hooks.override()
        if placed is not None:
            return self.placed(placed)
        config = self._context.config
        variants = {} if self.override is None else overridden({}, self.override)
        made = Flags(variants, defaults=config.defaults, error_code=self.kept_from or code, on=config.on, recorder=self)
        return self._given(made)

    def placed(self, override: testing_hooks.TestOverride) -> Flags:
        """Return the flags that a test has put in place."""
        config = self._context.config
        variants = {
            alias: Variant(alias=alias, key=key, reason=Reason.STATIC) for alias, key in override.variants.items()
        }
        made = Flags(variants, defaults=config.defaults, on=config.on, recorder=self, strict=override.strict)
        return self._given(made)

    def settle(self, decisions: Sequence[Decision], asked: Collection[int] | None = None) -> Flags:
        """Return the flags that *decisions* (one per vendor, in order) make together.

        Args:
            asked: the places of those vendors that have been asked now; all when left out.
        """
        fresh = set(range(len(decisions))) if asked is None else {*asked}
        settled = [
            self._instead(n, decision) if n in fresh and decision.error is not None else decision
            for n, decision in enumerate(decisions)
        ]
        evicted: set[tuple[int, str]] = set()
        changes = any(decision.cookies for decision in settled) or not self._room_enough()
        jars = OutgoingCookies(self._context, self.visit, self.states) if changes else None
        if jars is not None:
            evicted = jars.change(settled)
            self._jars = jars
        if (fresh or changes) and self._recall is not None and self.override is None:
            self._keep(settled, fresh, jars)
        if self._context.known is not None:
            for n in fresh:
                if decisions[n].error is None:
                    self._context.known.note(n, self.jar(n))
        flags = self._given(merge(self._context, settled, evicted, self.override, self))
        self._recall = None  # it knows this exchange: no circles
        if not fresh and (jars is None or self._lasts(jars)):
            self._come_again(settled, flags)
        return flags

    def _room_enough(self) -> bool:
        """Say whether the cookies that the visitor carries leave the header small enough."""
        count = sum(len(state.cookies) for state in self.states)
        if self.carried is not None:
            size, site = self.carried.vendor_bytes + self.carried.token_bytes, self.carried.site_bytes
        else:
            size, site = header_bytes(state.cookies for state in self.states), self.visit.site_cookie_bytes
        return not size or (count <= COOKIES_MAX and size <= room_for(self._context.config, site))

    def _instead(self, n: int, decision: Decision) -> Decision:
        """Return what is served in place of a failure: an older decision where there is one."""
        part = self.remembered[n] if self.remembered else None
        assert decision.error is not None
        if part is None or part.error is not None or not part.within(self._context.config.stale_s, self.now):
            return decision
        self._context.counts.add("stale", decision.vendor, decision.error)
        return replace(part.stale(decision.error), cookies=(*part.cookies, *decision.cookies))

    def _lasts(self, jars: OutgoingCookies) -> bool:
        """Say whether the response says the same of cookies whenever the visitor comes with the same ones."""
        config = self._context.config
        as_proxies_say = config.cookie_secure == "auto" and bool(config.trusted_proxies)
        return jars.lasting and not self._own_lines and not as_proxies_say

    def _keep(self, decisions: Sequence[Decision], fresh: set[int], jars: OutgoingCookies | None) -> None:
        """Remember what was decided, here and at the visitor."""
        assert self._recall is not None
        after = [self.jar(n) for n in range(len(self.states))]
        parts = self._recall.keep(decisions, self.remembered, fresh, after)
        if not self._context.config.signing_keys or self.carried is None or self._context.on_server:
            return
        own = self.carried.own.get(DECISION)
        room = (jars or OutgoingCookies(self._context, self.visit, self.states)).room() - len(DECISION) - 3
        if own is not None and len(own) <= room and self._recall.told(parts):
            return
        token = self._recall.token(parts, room, after)
        if token is not None:
            self._own_lines = (*self._own_lines, self._own_line(DECISION, token, int(self._recall.longest_s)))
        elif own is not None:
            # It fits these cookies no more, or there is no room for it: it would only make the header long.
            self._own_lines = (*self._own_lines, self._own_line(DECISION, "", 0))

    # What the response needs

    @property
    def set_cookies(self) -> tuple[str, ...]:
        """Set-Cookie values that are due for this visitor."""
        if self.kept_from in UNSEEN:
            return ()
        if self._jars is None or (self._context.on_server and not self.brings_cookies):
            return self._own_lines
        return (*self._jars.set_cookies, *self._own_lines)

    @property
    def no_store(self) -> bool:
        """Whether nobody may keep the response: a tester has chosen what is in it, or has just ended that."""
        return self.override is not None or self._ended

    def _own_line(self, name: str, value: str, max_age_s: int) -> str:
        config = self._context.config
        secure = self.visit.secure if config.cookie_secure == "auto" else bool(config.cookie_secure)
        return format_set_cookie(name, value, max_age_s=max_age_s, domain=None, secure=secure, http_only=True)


def failed(vendor: str, code: ErrorCode, *, trips: bool = False) -> Decision:
    """Return the decision of a vendor that was not asked, or did not answer."""
    return Decision(vendor=vendor, error=code, trips=trips)
