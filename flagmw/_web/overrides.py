"""QA overrides: signed tokens that choose variants.

A token comes by the query parameter or cookie `flagmw_override` or the header `Flagmw-Override`. One that came by the
query is kept in the cookie until it runs out, once the visitor has said yes to that; `flagmw_override=off` takes it
away. While debugging, the unsigned form
`alias:variant,alias:variant` does as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from flagmw._support.link_token import OVERRIDE
from flagmw._support.tokens import MAX_CHARS, Keys
from flagmw.codes import ErrorCode
from flagmw.types import EMPTY

HEADER = "flagmw-override"
OFF = "off"
MAX_LIFE_S = 30 * 86_400
_ALIAS_CHARS, _KEY_CHARS, _ALIASES = 250, 1024, 50


@dataclass(frozen=True, slots=True)
class Override:
    """A tester's choices.

    Attributes:
        variants: by alias, in place of what vendors say.
        staging: ask vendors for tests in staging.
        preview: by vendor, parameters of its own previews.
        until: when it runs out, seconds since the epoch.
        signed: whether a key of the site's vouches for it.
    """

    variants: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    staging: bool = False
    preview: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: EMPTY, repr=False)
    until: float = 0.0
    signed: bool = True

    @property
    def asks_otherwise(self) -> bool:
        """Whether vendors are asked for something else than they would be without it."""
        return self.staging or bool(self.preview)


def mint(keys: Keys, override: Override, host: str, now: float) -> str:
    """Return a token for *override* that works on *host* only.

    Raises:
        ValueError: it chooses nothing, lives too long, or does not fit into a token.
    """
    life_s = override.until - now
    if not override.variants and not override.asks_otherwise:
        raise ValueError("an override needs a variant, staging or a preview")
    if not 0 < life_s <= MAX_LIFE_S:
        raise ValueError(f"an override lives between a second and {MAX_LIFE_S // 86_400} days")
    if not _sound(override.variants):
        raise ValueError(f"at most {_ALIASES} printable aliases and variants can be chosen")
    claims: dict[str, Any] = {"host": host}
    if override.variants:
        claims["flags"] = dict(override.variants)
    if override.staging:
        claims["staging"] = True
    if override.preview:
        claims["preview"] = {name: dict(parameters) for name, parameters in override.preview.items()}
    token = keys.sign("override", claims, now, life_s)
    if len(token) > MAX_CHARS:
        raise ValueError(f"the override is too large: {len(token)} characters of {MAX_CHARS}")
    return token


def sent(query: str, header: str | None, cookie: str | None) -> tuple[str | None, bool]:
    """Return the token that a request brings, and whether it came by the query."""
    if OVERRIDE in query:
        for name, value in parse_qsl(query[-4 * MAX_CHARS :], max_num_fields=None)[:100]:
            if name == OVERRIDE:
                return value, True
    return (header, False) if header else (cookie, False)


def read(token: str, keys: Keys, host: str, now: float, *, unsigned: bool) -> Override | ErrorCode:
    """Return what *token* says, or why it does not count.

    Args:
        unsigned: accept `alias:variant,alias:variant` too.
    """
    if len(token) > MAX_CHARS:
        return ErrorCode.TOKEN_SIZE
    claims = keys.read("override", token, now) if keys else None
    if claims is None:
        plain = _plain(token) if unsigned else None
        return ErrorCode.BAD_TOKEN if plain is None else Override(plain, until=now + 86_400, signed=False)
    flags, preview = claims.get("flags", {}), claims.get("preview", {})
    good = claims.get("host") == host and isinstance(flags, dict) and _sound(flags) and isinstance(preview, dict)
    if not good or not all(isinstance(item, dict) for item in preview.values()):
        return ErrorCode.BAD_TOKEN
    return Override(flags, claims.get("staging") is True, preview, float(claims["exp"]))


def _plain(text: str) -> dict[str, str] | None:
    pairs = [pair.partition(":") for pair in text.split(",")]
    chosen = {alias.strip(): key.strip() for alias, colon, key in pairs if colon}
    return chosen if len(chosen) == len(pairs) and _sound(chosen) else None


def _sound(flags: Mapping[Any, Any]) -> bool:
    return len(flags) <= _ALIASES and all(
        isinstance(alias, str)
        and isinstance(key, str)
        and 0 < len(alias) <= _ALIAS_CHARS
        and 0 < len(key) <= _KEY_CHARS
        and alias.isprintable()
        and key.isprintable()
        for alias, key in flags.items()
    )
