"""Frozen values that flagmw's parts exchange."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar
from urllib.parse import urlsplit

from flagmw._support.link_token import without_token
from flagmw.codes import ErrorCode, Reason

T = TypeVar("T")
Scalar: TypeAlias = str | int | float | bool
EMPTY: Mapping[str, Any] = MappingProxyType({})


def empty() -> Mapping[Any, Any]:
    """Return the one empty mapping (dataclasses take it only from a factory)."""
    return EMPTY


class Inbound(Protocol):
    """A request, as `consent`, `bots` and `identify` get it in every framework.

    Headers and cookies are read when asked for, not before.
    """

    @property
    def request(self) -> Any:
        """The framework's own request: Django's, Flask's, Starlette's; elsewhere the WSGI environ or the ASGI scope."""

    @property
    def method(self) -> str:
        """The method, in capitals."""

    @property
    def scheme(self) -> str:
        """`"http"` or `"https"`, as the server says; `"ws"` or `"wss"` for a WebSocket."""

    @property
    def path(self) -> str:
        """The decoded path, with the mount point."""

    @property
    def raw_path(self) -> str:
        """The path as it was sent, percent-encoded, without the query."""

    @property
    def query(self) -> str:
        """The query string as it was sent, without the question mark."""

    @property
    def peer(self) -> str | None:
        """The address at the other end of the connection; None for a Unix socket."""

    def headers(self, name: str) -> Sequence[str]:
        """Return the values of header *name* (lower case), in order."""

    def header(self, name: str) -> str | None:
        """Return the first value of header *name* (lower case), or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What one request tells the vendors about its visitor.

    Attributes:
        url: the page, `scheme://host/path`, without the query unless it was allowed.
        host: lower-case host name without port; taken from *url* when empty.
        path: the raw path, still percent-encoded; taken from *url* when empty.
        secure: whether the visitor's own connection is https; decides the `Secure` attribute of cookies.
        client_ip: the address that may be told to vendors, as `client_ip=` of the configuration allows.
        cookies: the vendors' own cookies that the visitor sent, raw; no other cookie of the site.
        site_cookie_bytes: how much of the visitor's Cookie header belongs to the site itself, in bytes.
        data: attributes for segments and locations.
        staging: ask for tests in staging; only the application may switch it on, never the visitor.
        record: whether vendors may count this visit (views, impressions). False under functional consent, for a QA
            override and for a shadow vendor; the vendor then decides in the way of its protocol that counts nothing.
        preview: by the name of the vendor, parameters of its own previews, from a signed override.
        now: seconds since the epoch.
        fresh_id: 32 random hex digits, for a vendor that has to name a new visitor.
    """

    url: str
    host: str = ""
    path: str = ""
    secure: bool = True
    method: str = "GET"
    client_ip: str | None = field(default=None, repr=False)
    user_agent: str | None = None
    referer: str | None = field(default=None, repr=False)
    language: str | None = None
    cookies: Mapping[str, str] = field(default_factory=empty, repr=False)
    site_cookie_bytes: int = 0
    user_id: str | None = field(default=None, repr=False)
    data: Mapping[str, Scalar] = field(default_factory=empty, repr=False)
    staging: bool = False
    record: bool = True
    preview: Mapping[str, Mapping[str, Any]] = field(default_factory=empty, repr=False)
    now: float = field(default_factory=time.time)
    fresh_id: str = field(default_factory=lambda: os.urandom(16).hex(), repr=False)

    def __post_init__(self) -> None:
        if not self.host or not self.path:
            parts = urlsplit(self.url)
            object.__setattr__(self, "host", self.host or (parts.hostname or ""))
            object.__setattr__(self, "path", self.path or parts.path or "/")
        # Vendors, the outbox and logs see of an address what is here.
        for name, address in (("url", self.url), ("path", self.path), ("referer", self.referer)):
            if address and (clean := without_token(address)) is not address:
                object.__setattr__(self, name, clean)


@dataclass(frozen=True, slots=True)
class VisitorState:
    """One vendor's view of the visitor: the cookies that are its own, by name, raw."""

    cookies: Mapping[str, str] = field(default_factory=empty, repr=False)


class Factor(NamedTuple):
    """One code container of a Webtrends variation (OTS REST API guide, `body.factors`)."""

    name: str
    value: str
    operation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What the visitor got for one alias.

    Attributes:
        key: the vendor's value, verbatim ("control", "variation", a number, JSON text, ...).
        payload: content that the vendor sends beside the key; `Flags.payload()` also parses JSON in *key*.
        reason, error_code: why it is this one.
        factors: all parts of a multivariate variation, in the vendor's order.
        ids: further identifiers of the vendor, as text.
    """

    alias: str
    key: str
    payload: Any = None
    vendor: str | None = None
    reason: Reason = Reason.DEFAULT
    error_code: ErrorCode | None = None
    name: str | None = None
    experiment_id: str | None = None
    run_id: str | None = None
    test_id: str | None = None
    factors: tuple[Factor, ...] = ()
    ids: Mapping[str, str] = field(default_factory=empty, repr=False)

    def renamed(self, alias: str) -> Variant:
        """Return it as the variant of *alias*; written out, since `dataclasses.replace` looks every field up."""
        return Variant(
            alias=alias,
            key=self.key,
            payload=self.payload,
            vendor=self.vendor,
            reason=self.reason,
            error_code=self.error_code,
            name=self.name,
            experiment_id=self.experiment_id,
            run_id=self.run_id,
            test_id=self.test_id,
            factors=self.factors,
            ids=self.ids,
        )


class CookieChange(NamedTuple):
    """A cookie that a vendor wants the visitor to have. A tuple, because every decision brings a handful of them.

    Attributes:
        max_age_s: lifetime in seconds; None for the browser's session; 0 to delete.
        domain: the vendor's wish, still unchecked against the site's host; None for host-only.
    """

    name: str
    value: str
    max_age_s: int | None = None
    domain: str | None = None

    def __repr__(self) -> str:
        return f"CookieChange(name={self.name!r}, max_age_s={self.max_age_s}, domain={self.domain!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One vendor's whole answer for one visit.

    Attributes:
        variants: what was decided, by alias.
        misses: aliases for which the vendor said why there is no variant.
        cookies: to set or to delete at the visitor, in order; the last of a name wins.
        error: the decision failed as a whole, else None.
        trips: whether the failure counts against the vendor's health (the circuit breaker).
        retry_after_s: how long the vendor asks to be left alone, in seconds.
        notice: why nothing was decided although nothing failed ("no test here"), else None.
        rejected: parts of the answer that were left out, and why.
        advice: what the site's owner can do about an error or notice; a fixed text, nothing of the vendor's.
        log: the vendor's own debug log, where that was asked for.
        hints: what the vendor's own code in the page, or its CMS, takes from this decision; small and JSON-ready.
    """

    vendor: str
    variants: Mapping[str, Variant] = field(default_factory=empty)
    misses: Mapping[str, ErrorCode] = field(default_factory=empty)
    cookies: tuple[CookieChange, ...] = ()
    error: ErrorCode | None = None
    trips: bool = False
    retry_after_s: float | None = None
    notice: ErrorCode | None = None
    rejected: tuple[ErrorCode, ...] = ()
    advice: str | None = None
    log: str | None = field(default=None, repr=False)
    hints: Mapping[str, Any] = field(default_factory=empty, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """What `track()` was told, checked, before it becomes one event per vendor."""

    id: str
    metric: str
    data: Mapping[str, Scalar] = field(default_factory=empty, repr=False)
    aliases: tuple[str, ...] | None = None
    vendors: tuple[str, ...] | None = None
    key: str | None = field(default=None, repr=False)
    value: float | None = None
    currency: str | None = None
    items: tuple[Mapping[str, Scalar], ...] = field(default=(), repr=False)
    occurred_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of the outbox: a track or an exposure for one vendor.

    Attributes:
        id: made once; the same on every retry.
        track_id: shared by the rows that one `track()` made for several vendors.
        aliases: what the vendor is told it belongs to; shrinks when some of them are settled.
        visit: who did it and where, with only the cookies that this delivery needs.
        visitor_key: equal for events of one visitor, which are delivered in order; not reversible.
        exposed: of an exposure, the variants that were read, with the vendor's ids and without content; its *track*
            holds but an id, the time, and "exposure" for a metric.
        at_most_once: never send again what the vendor may already have received.
    """

    id: str
    vendor: str
    kind: Literal["track", "exposure"]
    track: Track
    aliases: tuple[str, ...]
    visit: Visit
    visitor_key: str
    exposed: tuple[Variant, ...] = ()
    at_most_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request to a vendor.

    Attributes:
        url: absolute; its host comes from the configuration alone.
        replay_safe: may be repeated on a fresh connection when a reused one turns out to be closed: for questions, and
            for what counts nothing however often it arrives. Nothing that must not be sent twice is, whatever it says.
        hedge_safe: may be made twice at the same time, the first answer counting: it records nothing at the vendor,
            and both answers would be the same.
        share: the part of the time left that it may take; less than all where another call can stand in for it.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    replay_safe: bool = False
    hedge_safe: bool = False
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A vendor's whole answer: header names in lower case, the body decoded, the time it took in seconds."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    elapsed_s: float = 0.0


Flow: TypeAlias = Generator[Call, Reply, T]
"""A vendor's protocol as a generator: yields calls, is sent replies, returns its result.

The driver throws `TransportError` at the yield when a call brings no reply, and closes it at the deadline.
"""


Put: TypeAlias = Callable[[Sequence[Event]], None]
"""Where events go at once."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The vendor has the event; *duplicate* when it says that it had it before.

    *code* tells of something odd that is worth a count (a view counted for another variant than the one shown).
    """

    duplicate: bool = False
    code: ErrorCode | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again later; *aliases* are those still open when some of them are settled, None for all."""

    code: ErrorCode
    after_s: float | None = None
    aliases: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Suspend:
    """The vendor refuses us, not the event (401, 403, TLS): keep everything and probe now and then."""

    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Dead:
    """The vendor refuses this event for good, or may: *verdict* when it judged the content itself.

    Without a verdict (a bare HTTP 4xx) it is tried a few times more before it is laid aside.
    """

    code: ErrorCode
    verdict: bool = True


@dataclass(frozen=True, slots=True)
class Dropped:
    """The event cannot count for anything any more, by the vendor's own rules."""

    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The event was sent and no usable answer came: it may or may not have been counted."""

    code: ErrorCode


Outcome: TypeAlias = Delivered | Retry | Suspend | Dead | Dropped | Ambiguous


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionNote:
    """What `on_decision` is called with: how one vendor's decision went.

    Attributes:
        decided: how many aliases got a variant.
        elapsed_s: from asking to answer, in seconds; 0 where the vendor was not asked.
        log: the vendor's own evaluation log, where `debug` asks for it; the vendor's text, and as such untrusted.
    """

    vendor: str
    decided: int
    error: ErrorCode | None
    notice: ErrorCode | None
    elapsed_s: float
    log: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventNote:
    """What `on_event` is called with: what the delivery of one event came to this time.

    Attributes:
        attempt: counts from 1; from the second on the vendor may have the event already.
        track_id: what `track()` returned.
    """

    id: str
    vendor: str
    kind: str
    metric: str
    outcome: Outcome
    attempt: int = 1
    track_id: str = ""
