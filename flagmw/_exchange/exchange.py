"""One request's exchange with the vendors, without I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from flagmw._cookies.own import DECISION
from flagmw._exchange.admission import ADMITTED, Admission
from flagmw._exchange.context import Context
from flagmw._exchange.incoming_cookies import CookiesAfter, ReadyFlags
from flagmw._exchange.merge import merge, overridden
from flagmw._exchange.outgoing_cookies import COOKIES_MAX, OutgoingCookies, header_bytes, room_for
from flagmw._exchange.recorder import EventRecorder
from flagmw._exchange.remembered import Key, RememberedDecision
from flagmw._exchange.reuse import ReuseLookup
from flagmw._exchange.stale import stale_or_failed
from flagmw._exchange.stored_visitor import StoredVisitor
from flagmw._exchange.visitor import RequestVisitor
from flagmw.codes import ErrorCode, Reason
from flagmw.flags import testing_hooks
from flagmw.flags.flags import Flags, content_of
from flagmw.types import Decision, Variant

if TYPE_CHECKING:
    from flagmw._web.link_page import Page

__all__ = ["Context", "Exchange", "Stage", "failed"]


class Stage(Enum):
    """The stage of one exchange.

        NEW --look up--> ASKING --vendors decide--> DECIDED
         |                  |
         +------------------+--no vendor is needed--> SERVED

    Once the response has begun, `EventRecorder.answered` is set. That is apart from these stages: lazy flags may be
    decided after it.
    """

    NEW = "nothing was looked up"
    ASKING = "remembered decisions are in `decisions`; the vendors without one have to be asked"
    DECIDED = "the flags hold the answers of vendors that were asked"
    SERVED = "the flags needed no vendor"


_UNIFY_S = 120  # `Refreshed` counts half a life

# Names of the module are found faster than members of an enumeration.
_NEW, _ASKING, _DECIDED, _SERVED = Stage.NEW, Stage.ASKING, Stage.DECIDED, Stage.SERVED


class Exchange:
    """One request between a visitor and the vendors: look up, resolve, cookies, flags.

    Attributes:
        visitor: the visitor.
        recorder: what the view reads and tracks.
        stored: the visitor's entry in the visitor store; None where there is no store.
        stage: how far the exchange is.
        asks: whether vendors are asked about requests like this one.
        page: sent in place of the application's response; None for all but an override's link.
        admission: the outcome of consent, bots and override.
        decisions: at `ASKING`, the decisions that need no vendor; None for each vendor that has to be asked.
        remembered: the remembered decision of each vendor, after `recall`; they may be too old to be served.
    """

    stage = _NEW
    asks = True
    page: Page | None = None
    admission = ADMITTED
    stored: StoredVisitor | None = None
    decisions: Sequence[Decision | None] = ()
    remembered: Sequence[RememberedDecision | None] = ()
    _lookup: ReuseLookup | None = None

    def __init__(self, context: Context, visitor: RequestVisitor) -> None:
        self._context, self.visitor = context, visitor
        self.recorder = EventRecorder(context, visitor)
        if context.on_server:
            self.stored = StoredVisitor(context, visitor)

    # For the edges; see `RequestExchange`

    def begun(self) -> Exchange:
        return self

    @property
    def set_cookies(self) -> tuple[str, ...]:
        visitor = self.visitor
        # Most responses set no cookie.
        if visitor.outgoing is None and not visitor.own_lines and not visitor.withdrawal_lines:
            return ()
        return visitor.set_cookies

    @property
    def no_store(self) -> bool:
        """Whether nobody may keep the response: a tester has chosen variants, or has just ended that."""
        return self.visitor.override is not None or self.admission.override_ended

    # Before vendors are asked

    def apply(self, admission: Admission) -> None:
        """Take over the outcome of consent, bots and overrides."""
        self.admission, self.page = admission, admission.page
        self.asks = self.asks and admission.asks

    def identify(self, user_id: Any, data: Mapping[str, Any] | None) -> None:
        """Set the visitor's id and attributes; decisions of another visitor do not count any more.

        Raises:
            ValueError: the id or the attributes cannot be sent as they are, and the configuration says `debug`.
        """
        self.visitor.identify(user_id, data)
        self.stage, self.decisions = _NEW, ()

    def reuse_ready(self) -> Flags | None:
        """Return the flags of an earlier request with the same Cookie header; None if there are none to reuse."""
        visitor = self.visitor
        incoming, inbound = visitor.incoming, visitor.inbound
        if incoming is None or inbound is None or not incoming.ready or not visitor.is_ordinary:
            return None
        ready = incoming.ready.get((inbound.header("host"), inbound.scheme))
        if ready is None or not ready.since <= visitor.now < ready.until:
            return None
        visitor.outgoing = ready.after
        config = self._context.config
        flags = Flags(
            ready.variants,
            defaults=config.defaults,
            misses=ready.misses,
            notice=ready.notice,
            on=config.on,
            recorder=self.recorder,
            hints=ready.hints,
        )
        # As `_serve`, without the call: most requests end here.
        self.stage = _SERVED
        if self._context.reports_reads:
            self.recorder.watch(flags)
        return flags

    def recall(self) -> list[Decision | None]:
        """Return the remembered decision of each vendor that need not be asked, None for the others.

        A remembered failure counts too: for `hold_s` its vendor is not asked, and has its default.
        """
        config, visitor = self._context.config, self.visitor
        decisions: list[Decision | None] = [None] * len(visitor.states)
        asks_otherwise = visitor.override is not None and visitor.override.asks_otherwise
        if asks_otherwise or not (config.reuse_s or config.stale_s or config.hold_s):
            return decisions
        self._lookup = ReuseLookup(self._context, visitor)
        self.remembered = self._lookup.find()
        for place, remembered in enumerate(self.remembered):
            if remembered is None:
                continue
            life_s = config.reuse_s if remembered.error is None else config.hold_s
            if remembered.within(life_s, visitor.now):
                decisions[place] = remembered.decision
        if visitor.repeated_cookies:
            for place in self._to_unify():
                decisions[place] = None
        return decisions

    def ask(self, decisions: Sequence[Decision | None]) -> None:
        """Note that the vendors without a decision in *decisions* have to be asked."""
        self.stage, self.decisions = _ASKING, decisions

    def key(self, place: int) -> Key | None:
        """Return the key of one vendor's decision for this visitor; None where it could not be found again."""
        if self._lookup is None or self.visitor.override is not None:
            return None
        return self._lookup.key(place)

    @property
    def unknown(self) -> list[int]:
        """The places of the vendors that have to be asked."""
        return [place for place, decision in enumerate(self.decisions) if decision is None]

    @property
    def is_new(self) -> bool:
        """Whether the visitor seems new to the site, to the vendors and to flagmw.

        Cookies alone prove nothing, since anybody can invent them.
        """
        visitor = self.visitor
        if visitor.identity()[0] is not None or visitor.brings_cookies:
            return False
        if self.stored is not None:
            return self.stored.key() is None
        if any(remembered is not None and remembered.error is None for remembered in self.remembered):
            return False
        known, incoming = self._context.known_visitors, visitor.incoming
        return known is None or not known.has(visitor.states, () if incoming is None else incoming.given)

    # Flags

    def undecided(self, code: ErrorCode) -> Flags:
        """Return flags for a request that no vendor is asked about, because of *code* or of the admission."""
        test_override = testing_hooks.override()
        if test_override is not None:
            return self.overridden_by_test(test_override)
        config, visitor = self._context.config, self.visitor
        variants = {} if visitor.override is None else overridden({}, visitor.override)
        return self._serve(
            Flags(
                variants,
                defaults=config.defaults,
                error_code=visitor.kept_from or code,
                on=config.on,
                recorder=self.recorder,
            )
        )

    def overridden_by_test(self, override: testing_hooks.TestOverride) -> Flags:
        """Return the flags of a test's override."""
        config = self._context.config
        variants = {
            alias: Variant(alias=alias, key=key, reason=Reason.STATIC) for alias, key in override.variants.items()
        }
        return self._serve(
            Flags(variants, defaults=config.defaults, on=config.on, recorder=self.recorder, strict=override.strict)
        )

    def resolve(self, decisions: Sequence[Decision], asked: Collection[int] | None = None) -> Flags:
        """Return the flags of *decisions*, one per vendor, in order: cookies, memory, precedence.

        Args:
            asked: the places of the vendors that were asked now; all when left out.
        """
        context, visitor = self._context, self.visitor
        fresh = set(range(len(decisions))) if asked is None else {*asked}
        served = [
            stale_or_failed(context, self.remembered[place] if self.remembered else None, decision, visitor.now)
            if place in fresh and decision.error is not None
            else decision
            for place, decision in enumerate(decisions)
        ]
        evicted: set[tuple[int, str]] = set()
        changes = any(decision.cookies for decision in served) or not self._has_room()
        outgoing = (
            OutgoingCookies(context, visitor.visit, visitor.states, visitor.repeated_cookies) if changes else None
        )
        if outgoing is not None:
            evicted = outgoing.change(served)
            visitor.outgoing = outgoing
        if (fresh or changes) and self._lookup is not None and visitor.override is None:
            self._remember(self._lookup, served, fresh, outgoing)
        if context.known_visitors is not None:
            for place in fresh:
                if decisions[place].error is None:
                    context.known_visitors.note(place, visitor.cookies_after(place))
        flags = self._serve(merge(context, served, evicted, visitor.override, self.recorder))
        if fresh:
            self.stage = _DECIDED
        elif outgoing is None or self._is_lasting(outgoing):
            self._keep_ready(served, flags)
        return flags

    def watch(self, flags: Flags) -> None:
        """Report what the view reads of *flags*."""
        if self._context.reports_reads:
            self.recorder.watch(flags)

    # Inside

    def _to_unify(self) -> list[int]:
        """Return the vendors that are asked only to set a repeated cookie again.

        At most once a minute for the same cookies: the other form may be impossible to delete.
        """
        context, visitor = self._context, self.visitor
        header = "" if visitor.incoming is None else visitor.incoming.header
        places = []
        for place, name in visitor.repeated_cookies:
            if place >= len(visitor.states) or not context.config.vendors[place].cookies.writes(name):
                continue
            if context.refreshed.due(f"; unify {place}", header, visitor.now, _UNIFY_S):
                context.refreshed.sent(f"; unify {place}", header, visitor.now)
                places.append(place)
        return places

    def _serve(self, flags: Flags) -> Flags:
        self.stage = _SERVED
        if self._context.reports_reads:
            self.recorder.watch(flags)
        return flags

    def _keep_ready(self, decisions: Sequence[Decision], flags: Flags) -> None:
        """Keep *flags* for `reuse_ready`, where only time can change them."""
        visitor = self.visitor
        incoming = visitor.incoming
        if incoming is None or not self._context.same_everywhere or not visitor.is_ordinary:
            return
        if any(decision.error for decision in decisions):
            return
        assert visitor.inbound is not None
        remembered = [decision for decision in self.remembered if decision is not None]
        oldest = min((decision.at for decision in remembered), default=0.0)
        content, outgoing = content_of(flags), visitor.outgoing
        ready = ReadyFlags(
            since=oldest - 60.0,
            until=oldest + self._context.config.reuse_s,
            variants=content.variants,
            misses=content.misses,
            notice=content.notice,
            hints=content.hints,
            after=None if outgoing is None else CookiesAfter(outgoing.now, outgoing.set_cookies),
        )
        weight = sum([decision.weigh() for decision in remembered])
        host, scheme = visitor.inbound.header("host"), visitor.inbound.scheme
        self._context.cookie_reader.keep_ready(incoming, host, scheme, ready, weight)

    def _has_room(self) -> bool:
        """Say whether the cookies that the visitor sent leave the Cookie header small enough."""
        visitor = self.visitor
        count = sum(len(state.cookies) for state in visitor.states)
        if visitor.incoming is not None:
            size = visitor.incoming.vendor_bytes + visitor.incoming.token_bytes
            site_bytes = visitor.incoming.site_bytes
        else:
            size = header_bytes(state.cookies for state in visitor.states)
            site_bytes = visitor.visit.site_cookie_bytes
        return not size or (count <= COOKIES_MAX and size <= room_for(self._context.config, site_bytes))

    def _is_lasting(self, outgoing: OutgoingCookies) -> bool:
        """Say whether the same Set-Cookie lines are due whenever the visitor sends these cookies."""
        config = self._context.config
        depends_on_proxy = config.cookie_secure == "auto" and bool(config.trusted_proxies)
        return outgoing.lasting and not self.visitor.own_lines and not depends_on_proxy

    def _remember(
        self,
        lookup: ReuseLookup,
        decisions: Sequence[Decision],
        fresh: set[int],
        outgoing: OutgoingCookies | None,
    ) -> None:
        """Remember *decisions* in memory and in the visitor's decision token."""
        context, visitor = self._context, self.visitor
        after = visitor.all_cookies_after()
        parts = lookup.keep(decisions, self.remembered, fresh, after)
        if not context.config.signing_keys or visitor.incoming is None or context.on_server:
            return
        token = visitor.own_cookie(DECISION)
        room = (outgoing or OutgoingCookies(context, visitor.visit, visitor.states)).room() - len(DECISION) - 3
        if token is not None and len(token) <= room and lookup.token_holds(parts):
            return
        new_token = lookup.token(parts, room, after)
        if new_token is not None:
            visitor.add_own_line(visitor.own_line(DECISION, new_token, int(lookup.longest_s)))
        elif token is not None:
            # The token does not belong to these cookies any more, or there is no room for it: it would only lengthen
            # the header.
            visitor.add_own_line(visitor.own_line(DECISION, "", 0))


def failed(vendor: str, code: ErrorCode, *, trips: bool = False) -> Decision:
    """Return the decision of a vendor that was not asked, or did not answer."""
    return Decision(vendor=vendor, error=code, trips=trips)
