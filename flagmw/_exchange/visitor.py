"""The visitor of one request: identity, cookies before and after, consent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flagmw._cookies.forms import HOST_ONLY, Form
from flagmw._cookies.header import format_set_cookie
from flagmw._cookies.own import PURPOSES
from flagmw._exchange.context import Context
from flagmw._exchange.incoming_cookies import CookiesAfter, IncomingCookies
from flagmw._exchange.outgoing_cookies import OutgoingCookies, deletions
from flagmw._web.consent import Consent
from flagmw._web.inbound import clean_path, host_of, is_secure, visit_of
from flagmw._web.overrides import Override
from flagmw.codes import ErrorCode
from flagmw.config.config import Identity
from flagmw.types import EMPTY, Inbound, Scalar, Visit, VisitorState

# Codes of `kept_from` with which no event is reported: no person is there, or there is no consent.
SILENT = frozenset({ErrorCode.NO_CONSENT, ErrorCode.BOT})
# Codes of `kept_from` with which no cookie is set.
UNSEEN = frozenset({ErrorCode.NO_CONSENT, ErrorCode.BOT, ErrorCode.PREFETCH})


class RequestVisitor:
    """The visitor, as far as one request says who it is.

    The optional parts are class attributes: most requests need none of them.

    Args:
        visit: the visitor's request; None to make it of *inbound* when it is first needed.
        states: each vendor's cookies of this visitor, in the order of the vendors.
        inbound, incoming: the web request, and its parsed Cookie header; None outside of a web server.

    Attributes:
        kept_from: the reason why vendors must not hear of this visitor; None if they may.
        consent: what the visitor has consented to.
        override: a tester's choice of variants.
        outgoing: the vendors' cookies after the response; None if they do not change.
        own_lines: Set-Cookie values of flagmw's own cookies.
        withdrawal_lines: Set-Cookie values that delete all cookies, of a visitor who has withdrawn consent.
        user: id and attributes that the view has given with `identify`.
    """

    kept_from: ErrorCode | None = None
    consent = Consent.FULL
    override: Override | None = None
    outgoing: OutgoingCookies | CookiesAfter | None = None
    own_lines: tuple[str, ...] = ()
    withdrawal_lines: tuple[str, ...] = ()
    user: tuple[str | None, Mapping[str, Scalar]] | None = None

    def __init__(
        self,
        context: Context,
        visit: Visit | None,
        states: Sequence[VisitorState],
        inbound: Inbound | None = None,
        incoming: IncomingCookies | None = None,
    ) -> None:
        self._context, self._visit, self.states = context, visit, states
        self.inbound, self.incoming = inbound, incoming
        self.now = context.clock() if visit is None else visit.now

    @property
    def visit(self) -> Visit:
        """The visit that vendors are asked about; made of the request at first use."""
        if self._visit is None:
            assert self.inbound is not None and self.incoming is not None
            site_bytes = self.incoming.site_bytes
            visit = visit_of(
                self.inbound,
                self._context.config,
                self.states,
                site_bytes,
                self.now,
                self._context.identity_failed,
                self._fitted,
            )
            self._visit = self._as_allowed(visit)
        return self._visit

    @property
    def host(self) -> str:
        """The host that the visitor asked for."""
        return self._visit.host if self._visit is not None or self.inbound is None else host_of(self.inbound)  # type: ignore[union-attr]

    @property
    def _path(self) -> str:
        if self._visit is not None or self.inbound is None:
            return self.visit.path
        return clean_path(self.inbound.raw_path)

    @property
    def recorded(self) -> bool:
        """Whether vendors may count this visitor, whatever a tester's override does to this visit."""
        return self.consent is Consent.FULL if self.inbound is not None else self.visit.record

    @property
    def is_ordinary(self) -> bool:
        """Whether the decision depends on nothing but the visitor's cookies."""
        return self.override is None and self.user is None and self.consent is Consent.FULL

    @property
    def brings_cookies(self) -> bool:
        """Whether this is no web request and the caller has named the visitor's cookies."""
        return self.inbound is None and any(state.cookies for state in self.states)

    @property
    def repeated_cookies(self) -> Collection[tuple[int, str]]:
        """The vendor's place and the name of each cookie that the browser holds in several forms."""
        return () if self.incoming is None or self._context.on_server else self.incoming.repeated

    def identity(self) -> tuple[str | None, Mapping[str, Scalar]]:
        """Return the visitor's id and attributes."""
        if self._visit is None and self._context.config.identify is None and self.user is None:
            return None, EMPTY
        return self.visit.user_id, self.visit.data

    def identify(self, user_id: Any, data: Mapping[str, Any] | None) -> None:
        """Set the visitor's id and add attributes.

        Raises:
            ValueError: the id or the attributes cannot be sent as they are, and the configuration says `debug`.
        """
        identity = Identity(user_id, data)  # type: ignore[arg-type]
        if identity.changes is not None:
            self._fitted(identity)
        visit = replace(
            self.visit,
            user_id=identity.user_id or self.visit.user_id,
            data={**self.visit.data, **identity.data},
        )
        self._visit, self.user = visit, (visit.user_id, visit.data)

    def replace_states(self, states: Sequence[VisitorState]) -> None:
        """Replace the vendors' cookies by those of the visitor store."""
        self.states = states
        if self._visit is not None:
            cookies = {name: value for state in states for name, value in state.cookies.items()}
            self._visit = replace(self._visit, cookies=cookies)

    def own_cookie(self, name: str) -> str | None:
        """Return the value of flagmw's own cookie *name*, if the visitor has sent it."""
        return None if self.incoming is None else self.incoming.own.get(name)

    def own_line(self, name: str, value: str, max_age_s: int) -> str:
        """Return the Set-Cookie value for flagmw's own cookie *name*; an age of 0 deletes it."""
        return format_set_cookie(
            name, value, max_age_s=max_age_s, domain=None, secure=self._is_secure(), http_only=True
        )

    def _is_secure(self) -> bool:
        setting = self._context.config.cookie_secure
        if setting != "auto":
            return bool(setting)
        # The visit is not made for this: it asks the application who the visitor is.
        if self._visit is None and self.inbound is not None:
            return is_secure(self.inbound, self._context.config)
        return self.visit.secure

    def unify_own_cookies(self) -> None:
        """Leave one form of each of flagmw's own cookies that the browser holds several times."""
        config, incoming = self._context.config, self.incoming
        names = {name for place, name in incoming.repeated if place == len(self.states)} if incoming else None
        if not names:
            return
        self.own_lines += tuple(
            deletions(dict.fromkeys(sorted(names), HOST_ONLY), self.host, self._path, secure=self._is_secure())
        )
        for name in sorted(names & PURPOSES.keys()):
            value = self.own_cookie(name) or ""
            claims = config.signing_keys.read(PURPOSES[name], value, self.now) if config.signing_keys else None
            if claims is not None:
                # The value may have come in one of the deleted forms.
                self.add_own_line(self.own_line(name, value, int(claims["exp"] - self.now)))

    def delete_cookies(self) -> None:
        """Delete the cookies that vendors or flagmw have set: the visitor has withdrawn consent."""
        incoming = self.incoming
        if incoming is None or not (incoming.vendor_bytes or incoming.own):
            return
        rules = [vendor.cookies for vendor in self._context.config.vendors]
        theirs = [
            (rule.priority(name), name)
            for rule, state in zip(rules, incoming.states, strict=True)
            for name in state.cookies
            if rule.writes(name)
        ]
        names: dict[str, Form | None] = dict.fromkeys([*incoming.own, *(name for _, name in sorted(theirs))])
        lines = deletions(names, self.host, self._path, secure=self._is_secure())
        self.withdrawal_lines = tuple(lines)

    def add_own_line(self, line: str) -> None:
        """Set one more cookie of flagmw's own."""
        self.own_lines = (*self.own_lines, line)

    def cookies_after(self, place: int) -> Mapping[str, str]:
        """Return the visitor's cookies of one vendor, by its place in the configuration, after this response."""
        return self.states[place].cookies if self.outgoing is None else self.outgoing.now[place]

    def all_cookies_after(self) -> list[Mapping[str, str]]:
        """Return each vendor's cookies as the visitor has them after this response."""
        return [self.cookies_after(place) for place in range(len(self.states))]

    @property
    def set_cookies(self) -> tuple[str, ...]:
        """Set-Cookie values that are due for this visitor."""
        if self.kept_from in UNSEEN:
            return self.withdrawal_lines
        if self.outgoing is None or (self._context.on_server and not self.brings_cookies):
            return self.own_lines
        return (*self.outgoing.set_cookies, *self.own_lines)

    def _as_allowed(self, visit: Visit) -> Visit:
        """Return *visit* as consent and a tester's override allow it to be sent."""
        if self.consent is Consent.FULL and self.override is None and self.kept_from not in SILENT:
            return visit
        override = self.override or Override()
        return replace(visit, record=False, staging=override.staging, preview=override.preview)

    def _fitted(self, identity: Identity) -> None:
        """Count and log what was changed or left out in *identity*.

        Raises:
            ValueError: the configuration says `debug`.
        """
        if self._context.config.debug:
            raise ValueError(identity.refusal)
        if identity.changes is not None:
            self._context.fitted("identity", "", identity.changes)
