"""Assignment follows the configured splits: chi-square over seeded visitors."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from flagmw.sandbox.segments import VisitFacts
from flagmw.sandbox.webtrends.decide import Hit, decide
from flagmw.sandbox.webtrends.model import Project, Variation
from flagmw.sandbox.webtrends.model import Test as Experiment

N = 20_000
# The 99.9 % quantiles of chi-square for 1 to 3 degrees of freedom.
LIMIT = {1: 10.83, 2: 13.82, 3: 16.27}


def chi_square(observed: Counter[str], shares: dict[str, float]) -> float:
    return sum((observed[key] - N * share) ** 2 / (N * share) for key, share in shares.items())


@pytest.mark.parametrize("splits", [(50, 50), (90, 10), (1, 1, 1), (40, 30, 20, 10)])
def test_splits(splits: tuple[int, ...]) -> None:
    """Variations get visitors in proportion to their splits."""
    variations = tuple(Variation(key=str(n), split=split, experiment_id=n + 1) for n, split in enumerate(splits))
    project = Project(alias="a", tests=(Experiment(variations=variations, run_id=1),))
    rng, seen = random.Random(11), Counter[str]()
    for _ in range(N):
        outcome = decide(project, None, VisitFacts("a"), "normal", rng, lambda line: None, rethrottle=False)
        assert isinstance(outcome, Hit)
        seen[outcome.variation.key] += 1
    shares = {str(n): split / sum(splits) for n, split in enumerate(splits)}
    assert chi_square(seen, shares) < LIMIT[len(splits) - 1]


def test_throttle_and_weights() -> None:
    """The throttles multiply, and unsegmented tests share a project by weight."""
    tests = tuple(
        Experiment(variations=(Variation(key=key, experiment_id=n),), run_id=n, weight=weight, throttle=0.5)
        for n, (key, weight) in enumerate((("light", 1.0), ("heavy", 3.0)), 1)
    )
    project = Project(alias="a", tests=tests, throttle=0.8)
    rng, seen = random.Random(11), Counter[str]()
    for _ in range(N):
        outcome = decide(project, None, VisitFacts("a"), "normal", rng, lambda line: None, rethrottle=False)
        seen[outcome.variation.key if isinstance(outcome, Hit) else "out"] += 1
    assert chi_square(seen, {"light": 0.1, "heavy": 0.3, "out": 0.6}) < LIMIT[2]
