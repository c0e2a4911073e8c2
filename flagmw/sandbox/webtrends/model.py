"""Model of a Webtrends Optimize account: projects, tests, targets, variations.

    account -> projects (alias, locations, throttle) -> tests and targets -> variations -> factors

Shares (`throttle`) are fractions of 1 with the product's granularity of 0.001; splits and weights are relative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from flagmw.exceptions import ConfigError
from flagmw.sandbox.segments import Scalar, Segment, check_regex

Kind = Literal["AB", "ABn", "MVT", "target"]
State = Literal["live", "paused", "staging", "published", "pending", "archived"]

# The container that the vendor tells people to use for code that belongs to the whole page.
PAGE_LEVEL = "[data-wt-id='head'], #wt-page-level-js"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFactor:
    """One code container of a variation; its `value` is what a server-side caller reads as the flag.

    Attributes:
        value: what a caller reads.
        name: the code container.
        operation: the vendor's number of what the page does with the value.
    """

    value: str
    name: str = PAGE_LEVEL
    operation: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """One experiment of a test.

    Attributes:
        key: its name in this file and in the ledger.
        value: the value of its only factor; the key where omitted. Ignored when `factors` is given.
        split: its share relative to its siblings.
        experiment_id: the vendor's id; numbered by position where omitted (0).
        factors: its code containers; one with `value` where omitted.
    """

    key: str
    value: str | None = None
    split: float = 1.0
    experiment_id: int = 0
    factors: tuple[ModelFactor, ...] = ()

    def __post_init__(self) -> None:
        if self.split < 0:
            raise ConfigError("split must not be negative")
        if not self.factors:
            value = self.key if self.value is None else self.value
            object.__setattr__(self, "factors", (ModelFactor(value=value),))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLocation:
    """Where a project runs: a URL, and optionally values that the request's `data` must have.

    Attributes:
        url: the page, the beginning of pages, or a regular expression.
        match: how `url` is compared.
        data: values that the request's `data` must have.
    """

    url: str
    match: Literal["exact", "prefix", "regex"] = "prefix"
    data: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.match == "regex":
            check_regex("url", self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A test or a target.

    Attributes:
        segments: one of them must match; none means everybody.
        weight: priority among the segmented tests of the project, share among the unsegmented ones.
        throttle: the share of eligible visitors that enters, on top of the project's own.
        published_variation: the key of the variation that everybody gets in state "published".
        variations: at least one with a positive split.
        id: the vendor's id; numbered by position where omitted (0).
        run_id: the id of the run; numbered by position where omitted (0).
        kind: "AB" and "ABn" have one factor, "MVT" has several; a "target" tests nothing.
        state: whether it decides, and for whom.
    """

    variations: tuple[Variation, ...]
    id: int = 0
    run_id: int = 0
    kind: Kind = "AB"
    state: State = "live"
    segments: tuple[Segment, ...] = ()
    weight: float = 1.0
    throttle: float = 1.0
    published_variation: str | None = None

    def __post_init__(self) -> None:
        keys = [variation.key for variation in self.variations]
        if not keys or sum(variation.split for variation in self.variations) <= 0:
            raise ConfigError("variations: give at least one with a positive split")
        if len(set(keys)) != len(keys):
            raise ConfigError("variations: every key must be different")
        _check_share("throttle", self.throttle)
        if self.weight <= 0:
            raise ConfigError("weight must be positive")
        if self.state == "published" and self.kind == "target":
            raise ConfigError("state: a target cannot be published; only tests can")
        if self.state == "published" and self.published_variation not in keys:
            raise ConfigError(f"published_variation: name one of {', '.join(keys)}")

    def experiment(self, experiment_id: int) -> Variation | None:
        """Return the variation with this id; None when it is gone."""
        return next((v for v in self.variations if v.experiment_id == experiment_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project; at most one of its tests reaches a visitor.

    Attributes:
        locations: where it runs; the account's own where omitted; everywhere when those are empty too.
        throttle: the share of visitors that any of its tests may see.
        view_only: whether its control cookies count views only (track answers 317).
        alias: the name by which callers read it.
        tests: its tests and targets.
    """

    alias: str
    tests: tuple[Test, ...] = ()
    locations: tuple[ModelLocation, ...] = ()
    throttle: float = 1.0
    view_only: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.alias) <= 128 or not self.alias.isprintable() or set(self.alias) & set(",;="):
            raise ConfigError("alias: use 1 to 128 printable characters without , ; =")
        _check_share("throttle", self.throttle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account of the emulated service.

    Attributes:
        key_token: what callers must send as `keyToken`.
        control_timeout_ms: the life of control and user cookies (an account setting of the product).
        session_ms: idle time after which a visitor gets a new session, and so a new view.
        sample_quirks: answer with the trailing comma and the comments of the vendor's printed samples.
        include_misses: list projects without a decision in all-projects answers too.
        http_errors: answer a lone error with HTTP 4xx instead of 200.
        rethrottle: roll again for visitors that were throttled out.
        track_paused: go on counting conversions of paused tests instead of answering 318.
        blocked: refuse everything with 207.
        domain_id: the account's id, in the path of every request.
        cookie_domain: the Domain of its cookies, such as ".mysite.com".
        projects: its projects.
        locations: where projects run that have no locations.
    """

    domain_id: int
    key_token: str = field(repr=False)
    cookie_domain: str
    projects: tuple[Project, ...] = ()
    locations: tuple[ModelLocation, ...] = ()
    control_timeout_ms: int = 7_776_000_000
    session_ms: int = 1_800_000
    sample_quirks: bool = False
    include_misses: bool = False
    http_errors: bool = False
    rethrottle: bool = False
    track_paused: bool = False
    blocked: bool = False

    def __post_init__(self) -> None:
        aliases = [project.alias for project in self.projects]
        if len(set(aliases)) != len(aliases):
            raise ConfigError("projects: every alias must be different")
        if not self.key_token:
            raise ConfigError("key_token must not be empty")
        numbered = tuple(_numbered(self.domain_id, index, project) for index, project in enumerate(self.projects))
        object.__setattr__(self, "projects", numbered)
        tests = [test for project in self.projects for test in project.tests]
        for what, ids in (
            ("test id", [test.id for test in tests]),
            ("run_id", [test.run_id for test in tests]),
            ("experiment_id", [v.experiment_id for test in tests for v in test.variations]),
        ):
            if len(set(ids)) != len(ids):
                raise ConfigError(f"projects: the same {what} is used twice")

    def project(self, alias: str) -> Project | None:
        """Return the project of this alias; None when there is none."""
        return next((project for project in self.projects if project.alias == alias), None)


def _numbered(domain_id: int, nth: int, project: Project) -> Project:
    """Give ids to what has none: by position, so that the same file always means the same ids."""
    tests = []
    for m, test in enumerate(project.tests):
        test_id = test.id or domain_id + 101 + 10_000 * nth + 500 * m
        run_id = test.run_id or test_id + 7
        variations = tuple(
            v if v.experiment_id else replace(v, experiment_id=run_id + 1 + 2 * k)
            for k, v in enumerate(test.variations)
        )
        tests.append(replace(test, id=test_id, run_id=run_id, variations=variations))
    return replace(project, tests=tuple(tests))


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ConfigError(f"{name} must be between 0 and 1, got {share}")
