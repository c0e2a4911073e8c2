"""What is remembered for one request's visitor, and what is to be remembered after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from logging import WARNING
from typing import Protocol

from flagmw._cookies.own import DECISION
from flagmw._exchange.context import Context
from flagmw._exchange.incoming_cookies import IncomingCookies
from flagmw._exchange.remembered import Key, RememberedDecision, pack, unpack
from flagmw._support.tokens import MAX_CHARS
from flagmw.codes import ErrorCode
from flagmw.types import Decision, Scalar, Visit, VisitorState

Part = tuple[bytes, RememberedDecision]


class Request(Protocol):
    """The request as far as it matters here. *carried* is None outside of a web server."""

    @property
    def carried(self) -> IncomingCookies | None: ...

    @property
    def states(self) -> Sequence[VisitorState]: ...

    @property
    def visit(self) -> Visit: ...

    @property
    def host(self) -> str: ...

    @property
    def now(self) -> float: ...

    @property
    def recorded(self) -> bool: ...

    def who(self) -> tuple[str | None, Mapping[str, Scalar]]:
        """Return the visitor's id and attributes."""


class ReuseLookup:
    """Look up and keep decisions, by memory and by the visitor's own token."""

    __slots__ = ("_addresses", "_context", "_keys", "_request", "_who")

    def __init__(self, context: Context, request: Request) -> None:
        self._context, self._request = context, request
        self._who = request.who()
        self._keys: list[tuple[Key, bool] | None] = []

    def find(self) -> list[RememberedDecision | None]:
        """Return what is remembered of each vendor, however old it is within the limits of the configuration."""
        config, now = self._context.config, self._request.now
        parts = self._token_parts() if config.signing_keys else {}
        found: list[RememberedDecision | None] = []
        for n, state in enumerate(self._request.states):
            entry = self._key(n, state)
            self._keys.append(entry)
            if entry is None:
                found.append(None)
                continue
            key, known = entry
            part = parts.get(key)
            kept = self._context.memory.get(key) if known else None
            if kept is not None and (part is None or kept.at > part.at):
                part = kept
            found.append(part if part is not None and part.within(self.longest_s, now) else None)
        return found

    @property
    def longest_s(self) -> float:
        """How long anything that is remembered may be of use, in seconds."""
        config = self._context.config
        return max(config.reuse_s, config.stale_s, config.hold_s)

    def known(self, n: int) -> Key | None:
        """Return the key of the visitor's decisions by vendor *n*; None where there is nothing to know them by."""
        entry = self._keys[n]
        return entry[0] if entry is not None and entry[1] else None

    def keep(
        self,
        decisions: Sequence[Decision],
        found: Sequence[RememberedDecision | None],
        fresh: Collection[int],
        jars: Sequence[Mapping[str, str]],
    ) -> list[Part | None]:
        """Remember the *fresh* ones of *decisions*; return what a token should hold of each vendor.

        Args:
            found: what was remembered before.
            jars: each vendor's cookies as the visitor has them after the response.
        """
        config, now, parts = self._context.config, self._request.now, list[Part | None]()
        for n, decision in enumerate(decisions):
            entry = self._keys[n]
            if entry is None:
                parts.append(None)
                continue
            key, known = entry
            part = found[n]
            if n in fresh and decision.error is None:
                held = self._request.states[n].cookies
                lacking = tuple(change for change in decision.cookies if held.get(change.name) != change.value)
                part = RememberedDecision(decision, now, lacking)
                if known:
                    # Should the new cookies not reach the visitor, they come again with these.
                    self._context.memory.put(key, part)
            elif n in fresh and (part is None or part.error is not None or not self._serves(part)):
                part = (
                    RememberedDecision(Decision(vendor=decision.vendor, error=decision.error), now)
                    if config.hold_s
                    else None
                )
                if part is not None and known:
                    self._context.memory.put(key, part)
            if part is None:
                parts.append(None)
                continue
            whole, part = part, part.without_cookies()
            after = self._key(n, VisitorState(jars[n]))
            assert after is not None
            here = n not in fresh and jars[n] == self._request.states[n].cookies
            if (after[0] != key and after[1]) or (here and known and whole is not part):
                self._context.memory.put(after[0], part)
            parts.append((after[0][1], part))
        return parts

    def _serves(self, part: RememberedDecision) -> bool:
        """Say whether *part* is served in place of a failure."""
        return part.within(self._context.config.stale_s, self._request.now)

    def told(self, parts: Sequence[Part | None]) -> bool:
        """Say whether the visitor's token holds *parts* already."""
        held = self._token_parts()
        for n, part in enumerate(parts):
            if part is None:
                continue
            digest, kept = part
            known = held.get((n, digest))
            # In a token times are whole seconds.
            if known is None or known.error != kept.error or abs(known.at - kept.at) > 1:
                return False
        return True

    def token(self, parts: Sequence[Part | None], room: int, jars: Sequence[Mapping[str, str]]) -> str | None:
        """Return the decision token with *parts*; None where there is nothing to say, or no room for it.

        Args:
            jars: each vendor's cookies as the visitor has them after the response.
        """
        if not any(parts):
            return None
        config, request = self._context.config, self._request
        slim = [part if part is None or self._context.traits[n].reads else _slim(part) for n, part in enumerate(parts)]
        for each in (parts, slim) if room > 0 else ():
            claims: dict[str, object] = {"h": request.host, "d": pack(each)}
            if self._context.known is not None:
                claims["i"] = self._context.known.digests(jars)
            token: str = config.signing_keys.sign("decision", claims, request.now, self.longest_s)
            if len(token) <= min(MAX_CHARS, room):
                return token
        self._context.counts.add("token_skipped", "", ErrorCode.TOKEN_SIZE)
        self._context.throttle.log(
            WARNING, ErrorCode.TOKEN_SIZE, "decisions do not fit into a cookie, they are remembered in memory only"
        )
        return None

    def _key(self, n: int, state: VisitorState) -> tuple[Key, bool] | None:
        binder = self._context.traits[n].binder
        if binder is None:
            return None
        user_id, data = self._who
        if binder.by == "site":
            address = ""
        else:
            visit = self._request.visit
            address = visit.path if binder.by == "path" else visit.url
        carried, recorded = self._request.carried, self._request.recorded
        if carried is None or user_id is not None or data or state is not carried.states[n]:
            try:
                return binder.key(state, address, user_id, data, recorded=recorded)
            except TypeError:  # a visit that was made by hand, with what cannot be told apart
                return None
        # The same header comes with page after page: its digest is worked out once.
        known = carried.known.get((n, address, recorded))
        if known is None:
            known = binder.key(state, address, None, data, recorded=recorded)
            self._context.read.know(carried, n, address, recorded, known)
        return known

    def _token_parts(self) -> Mapping[Key, RememberedDecision]:
        """Return what the visitor's token holds; nothing where it is not ours, or was made for another host."""
        carried = self._request.carried
        token = None if carried is None else carried.own.get(DECISION)
        if carried is None or token is None:
            return {}
        if carried.verified is None:
            claims = self._context.config.signing_keys.read("decision", token, self._request.now)
            if claims is None or not isinstance(claims.get("d"), str):
                self._context.counts.add("token_rejected", "", ErrorCode.BAD_TOKEN)
                claims = {"h": None, "d": ""}
            carried.verified = claims.get("h"), unpack(claims["d"], self._context.config.vendors)
            given = claims.get("i")
            if isinstance(given, list):
                carried.given = tuple(each for each in given if isinstance(each, str))
        host, parts = carried.verified
        return parts if host == self._request.host else {}


def _slim(part: Part) -> Part:
    """Return *part* without the vendor's own identifiers of variants, which take the most room."""
    digest, kept = part
    variants = {alias: replace(variant, factors=(), ids={}) for alias, variant in kept.decision.variants.items()}
    return digest, RememberedDecision(replace(kept.decision, variants=variants), kept.at)
