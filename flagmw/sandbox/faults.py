"""Fault rules for requests, shared by all emulated vendors.

Kinds and their fields (each rule also takes `route`, `probability` and `times`):

    delay          ms                        answers after this time
    drip           ms, bytes                 sends so many bytes of the body, then waits so long, and so on
    hang           ms                        no answer; the connection closes after ms (never when 0)
    reset          processed                 TCP reset (RST) instead of an answer
    close          processed                 orderly close (FIN) instead of an answer
    status         status, retry_after       a bare HTTP status; retry_after in seconds
    html           status                    an HTML page, as a proxy or a captive portal sends
    empty          status                    no body at all
    redirect       status, location          a redirect that no client should follow
    gzip_bomb      bytes                     a small gzip body that inflates to so many bytes
    truncate       bytes                     Content-Length of the whole body, then only so many bytes of it
    error          code, alias               the vendor's own error; only for that alias where given
    huge_cookie    bytes                     pads a cookie to this size
    bad_cookie     name, value               adds cookies that must not reach a browser
    trailing_comma                           JSON with trailing commas
    comments                                 JSON with comments

The last five are written by the vendor's own module. Contentstack sets no cookies but names the visitor and gives the
page its manifest: `huge_cookie` pads the manifest, `bad_cookie` names the visitor *value* ("null" when there is none),
`error` is a project that is not found. A request under `delay`, `drip`, `truncate` or one of the
last five is processed (and counted); under the others it is not, unless `processed` says so. What
was not processed is in the ledger's requests all the same, with its `fault` and an answer without a status.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from flagmw.exceptions import ConfigError
from flagmw.sandbox.schema import build

Kind = Literal[
    "delay", "drip", "hang", "reset", "close", "status", "html", "empty", "redirect", "gzip_bomb", "truncate",
    "error", "huge_cookie", "bad_cookie", "trailing_comma", "comments",
]  # fmt: skip
VENDOR_KINDS = frozenset({"error", "huge_cookie", "bad_cookie", "trailing_comma", "comments"})
PROCESSED_KINDS = VENDOR_KINDS | {"delay", "drip", "truncate"}
SCOPE_KEY = "flagmw.sandbox.fault"

_STATUS = {"status": 503, "html": 502, "empty": 200, "redirect": 302}
_BYTES = {"drip": 16, "gzip_bomb": 64 * 1024 * 1024, "huge_cookie": 8192}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One fault. Fields that its kind does not use are ignored.

    Attributes:
        route: "control", "track", "webtrends.track", "*" and the like.
        times: after so many hits the rule is spent; None means for ever.
        probability: the share of matching requests that it hits.
    """

    kind: Kind
    route: str = "*"
    probability: float = 1.0
    times: int | None = None
    ms: int = 0
    status: int | None = None
    code: int = 100
    alias: str | None = None
    retry_after: int | None = None
    bytes: int | None = None
    processed: bool = False
    location: str = "/__sandbox__/redirected"
    name: str | None = None
    value: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError("probability must be between 0 and 1")
        for field in ("ms", "times", "bytes"):
            if (getattr(self, field) or 0) < 0:
                raise ConfigError(f"{field} must not be negative")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ConfigError("status must be between 200 and 599")
        if self.kind == "drip" and self.bytes == 0:
            raise ConfigError("bytes must be positive for drip")

    def http_status(self) -> int:
        """Return the status to answer with, the kind's usual one where none was given."""
        return self.status if self.status is not None else _STATUS.get(self.kind, 200)

    def size(self, otherwise: int = 0) -> int:
        """Return `bytes`, else the kind's usual size, else *otherwise*."""
        return self.bytes if self.bytes is not None else _BYTES.get(self.kind, otherwise)


def dice(seed: int | None) -> random.Random:
    """Return the random numbers of a sandbox: assignment must be repeatable, and none of them is a secret."""
    return random.Random(seed)  # noqa: S311


class Faults:
    """The active rules, in order: the first that matches a request hits it. Thread-safe."""

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._hits: list[int] = []
        self._rng = dice(seed)

    def replace(self, rules: Iterable[Rule | Mapping[str, Any]]) -> None:
        """Set the rules; hit counters start again.

        Raises:
            ConfigError: a rule has an unknown field or kind, or a value that cannot be.
        """
        parsed = [r if isinstance(r, Rule) else build(Rule, r, f"rules[{index}]") for index, r in enumerate(rules)]
        with self._lock:
            self._rules, self._hits = parsed, [0] * len(parsed)

    def reset(self, seed: int | None = None) -> None:
        """Remove all rules and seed the dice again."""
        with self._lock:
            self._rules, self._hits, self._rng = [], [], dice(seed)

    def pick(self, vendor: str, route: str) -> Rule | None:
        """Return the rule that hits a request of this route, and count the hit."""
        with self._lock:
            for index, rule in enumerate(self._rules):
                if rule.route not in ("*", route, f"{vendor}.{route}", f"{vendor}.*"):
                    continue
                if rule.times is not None and self._hits[index] >= rule.times:
                    continue
                if rule.probability < 1 and self._rng.random() >= rule.probability:
                    continue
                self._hits[index] += 1
                return rule
        return None

    def shown(self) -> list[dict[str, Any]]:
        """Return the rules as JSON-ready objects, each with its `hits`."""
        with self._lock:
            pairs = list(zip(self._rules, self._hits, strict=True))
        return [{**{k: v for k, v in asdict(rule).items() if v is not None}, "hits": hits} for rule, hits in pairs]
