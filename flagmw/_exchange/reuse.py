"""Reuse of remembered decisions for one request's visitor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from logging import WARNING

from flagmw._cookies.own import DECISION
from flagmw._exchange.context import Context
from flagmw._exchange.remembered import Key, RememberedDecision, pack, unpack
from flagmw._exchange.stale import may_serve
from flagmw._exchange.visitor import RequestVisitor
from flagmw._support.tokens import MAX_CHARS
from flagmw.codes import ErrorCode
from flagmw.types import Decision, VisitorState

Part = tuple[bytes, RememberedDecision]


class ReuseLookup:
    """Look up and keep decisions in memory and in the visitor's decision token."""

    __slots__ = ("_context", "_identity", "_keys", "_visitor")

    def __init__(self, context: Context, visitor: RequestVisitor) -> None:
        self._context, self._visitor = context, visitor
        self._identity = visitor.identity()
        self._keys: list[tuple[Key, bool] | None] = []

    def find(self) -> list[RememberedDecision | None]:
        """Return the remembered decision of each vendor, if it is young enough for any use."""
        config, now = self._context.config, self._visitor.now
        parts = self._token_parts() if config.signing_keys else {}
        decisions: list[RememberedDecision | None] = []
        for place, state in enumerate(self._visitor.states):
            entry = self._key_of(place, state)
            self._keys.append(entry)
            if entry is None:
                decisions.append(None)
                continue
            key, identified = entry
            decision = parts.get(key)
            in_memory = self._context.memory.get(key) if identified else None
            if in_memory is not None and (decision is None or in_memory.at > decision.at):
                decision = in_memory
            decisions.append(decision if decision is not None and decision.within(self.longest_s, now) else None)
        return decisions

    @property
    def longest_s(self) -> float:
        """The longest time that a remembered decision may be of use, in seconds."""
        config = self._context.config
        return max(config.reuse_s, config.stale_s, config.hold_s)

    def key(self, place: int) -> Key | None:
        """Return the key of one vendor's decision for the visitor; None where nothing identifies the visitor."""
        entry = self._keys[place]
        return entry[0] if entry is not None and entry[1] else None

    def keep(
        self,
        decisions: Sequence[Decision],
        remembered: Sequence[RememberedDecision | None],
        fresh: Collection[int],
        jars: Sequence[Mapping[str, str]],
    ) -> list[Part | None]:
        """Remember the *fresh* ones of *decisions*; return the part of each vendor for the decision token.

        Args:
            remembered: the decisions that were remembered before.
            jars: each vendor's cookies as the visitor has them after the response.
        """
        config, now, parts = self._context.config, self._visitor.now, list[Part | None]()
        for place, decision in enumerate(decisions):
            entry = self._keys[place]
            if entry is None:
                parts.append(None)
                continue
            key, identified = entry
            part = remembered[place]
            if place in fresh and decision.error is None:
                held, repeated = self._visitor.states[place].cookies, self._visitor.repeated_cookies
                lacking = tuple(
                    change
                    for change in decision.cookies
                    if held.get(change.name) != change.value or (place, change.name) in repeated
                )
                part = RememberedDecision(decision, now, lacking)
                if identified:
                    # If the new cookies do not reach the visitor, a later response sets these again.
                    self._context.memory.put(key, part)
            elif place in fresh and not may_serve(self._context, part, now):
                part = (
                    RememberedDecision(Decision(vendor=decision.vendor, error=decision.error), now)
                    if config.hold_s
                    else None
                )
                if part is not None and identified:
                    self._context.memory.put(key, part)
            if part is None:
                parts.append(None)
                continue
            whole, part = part, part.without_cookies()
            entry_after = self._key_of(place, VisitorState(jars[place]))
            assert entry_after is not None
            key_after, identified_after = entry_after
            arrived = place not in fresh and jars[place] == self._visitor.states[place].cookies
            if (key_after != key and identified_after) or (arrived and identified and whole is not part):
                self._context.memory.put(key_after, part)
            parts.append((key_after[1], part))
        return parts

    def token_holds(self, parts: Sequence[Part | None]) -> bool:
        """Say whether the visitor's token holds *parts* already."""
        held = self._token_parts()
        for place, part in enumerate(parts):
            if part is None:
                continue
            digest, decision = part
            in_token = held.get((place, digest))
            # In a token times are whole seconds.
            if in_token is None or in_token.error != decision.error or abs(in_token.at - decision.at) > 1:
                return False
        return True

    def token(self, parts: Sequence[Part | None], room: int, jars: Sequence[Mapping[str, str]]) -> str | None:
        """Return the decision token with *parts*; None if they are empty, or if there is no room for it.

        Args:
            jars: each vendor's cookies as the visitor has them after the response.
        """
        if not any(parts):
            return None
        config, visitor, known_visitors = self._context.config, self._visitor, self._context.known_visitors
        slim = [
            part if part is None or traits.reports_reads else _slim(part)
            for traits, part in zip(self._context.traits, parts, strict=True)
        ]
        for packed in (parts, slim) if room > 0 else ():
            claims: dict[str, object] = {"h": visitor.host, "d": pack(packed)}
            if known_visitors is not None:
                claims["i"] = known_visitors.digests(jars)
            token: str = config.signing_keys.sign("decision", claims, visitor.now, self.longest_s)
            if len(token) <= min(MAX_CHARS, room):
                return token
        self._context.counts.add("token_skipped", "", ErrorCode.TOKEN_SIZE)
        self._context.throttle.log(
            WARNING, ErrorCode.TOKEN_SIZE, "decisions do not fit into a cookie and are kept in memory only"
        )
        return None

    def _key_of(self, place: int, state: VisitorState) -> tuple[Key, bool] | None:
        """Return the key of a vendor's decision, and whether it identifies the visitor; None if there is no key."""
        reuse_key = self._context.reuse_keys[place]
        if reuse_key is None:
            return None
        user_id, data = self._identity
        if reuse_key.by == "site":
            address = ""
        else:
            visit = self._visitor.visit
            address = visit.path if reuse_key.by == "path" else visit.url
        incoming, recorded = self._visitor.incoming, self._visitor.recorded
        if incoming is None or user_id is not None or data or state is not incoming.states[place]:
            try:
                return reuse_key.key(state, address, user_id, data, recorded=recorded)
            except TypeError:  # a hand-made visit with an id or attributes that JSON cannot carry
                return None
        # The same header comes with page after page: its digest is computed once.
        entry = incoming.keys.get((place, address, recorded))
        if entry is None:
            entry = reuse_key.key(state, address, None, data, recorded=recorded)
            self._context.cookie_reader.keep_key(incoming, place, address, recorded, entry)
        return entry

    def _token_parts(self) -> Mapping[Key, RememberedDecision]:
        """Return the decisions in the visitor's token; none if it is not signed here, or for another host."""
        incoming = self._visitor.incoming
        token = None if incoming is None else incoming.own.get(DECISION)
        if incoming is None or token is None:
            return {}
        if incoming.verified is None:
            claims = self._context.config.signing_keys.read("decision", token, self._visitor.now)
            if claims is None or not isinstance(claims.get("d"), str):
                self._context.counts.add("token_rejected", "", ErrorCode.BAD_TOKEN)
                claims = {"h": None, "d": ""}
            incoming.verified = claims.get("h"), unpack(claims["d"], self._context.config.vendors)
            digests = claims.get("i")
            if isinstance(digests, list):
                incoming.given = tuple(digest for digest in digests if isinstance(digest, str))
        host, parts = incoming.verified
        return parts if host == self._visitor.host else {}


def _slim(part: Part) -> Part:
    """Return *part* without the vendor's own identifiers of variants, which take the most room."""
    digest, remembered = part
    decision = remembered.decision
    variants = {alias: replace(variant, factors=(), ids={}) for alias, variant in decision.variants.items()}
    return digest, RememberedDecision(replace(decision, variants=variants), remembered.at)
