"""Decisions of the Webtrends emulator: states, segments, throttle, stickiness.

Source: Webtrends Optimize documentation on tests and targets. A project gives a visitor at most one of its tests:
targets first, then segmented tests by weight, and the unsegmented ones share the rest. Tests stick to the
visitor's control cookie even when the segment no longer matches; targets are evaluated again every time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flagmw.sandbox.segments import VisitFacts, in_segments
from flagmw.sandbox.webtrends.model import Project, Test, Variation

Note = Callable[[str], None]
_VISIBLE = {"normal": ("live", "paused", "published"), "staging": ("staging",)}


@dataclass(frozen=True, slots=True)
class Control:
    """What a control cookie remembers.

    `throttled` is whether the visitor was throttled out; `viewed` names the session in which a view was counted.
    """

    run_id: int
    test_id: int
    experiment_id: int
    throttled: bool = False
    viewed: str = ""

    def payload(self) -> dict[str, Any]:
        """Return the JSON of the cookie; the first keys are those seen in real, unencrypted ones."""
        return {
            "runid": self.run_id,
            "testid": self.test_id,
            "throttleR": "OUT" if self.throttled else "IN",
            "experimentid": self.experiment_id,
            "viewed": self.viewed,
        }

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Control:
        """Read the JSON of the cookie.

        Raises:
            ValueError: it is none of ours.
        """
        try:
            ids = int(payload["runid"]), int(payload["testid"]), int(payload["experimentid"])
            return cls(*ids, payload["throttleR"] == "OUT", str(payload["viewed"]))
        except (KeyError, TypeError):
            raise ValueError("not a control cookie") from None


@dataclass(frozen=True, slots=True)
class Hit:
    """The visitor gets a variation."""

    test: Test
    variation: Variation
    control: Control


@dataclass(frozen=True, slots=True)
class Miss:
    """The visitor gets nothing, for the reason that *code* names; `control` is set when that is to be remembered."""

    code: int
    control: Control | None = None


def visible(project: Project, mode: str) -> list[Test]:
    """Return the tests that are on the server in this mode; pending and archived ones never are."""
    return [test for test in project.tests if test.state in _VISIBLE[mode]]


def decide(
    project: Project,
    held: Control | None,
    facts: VisitFacts,
    mode: str,
    rng: random.Random,
    note: Note,
    *,
    rethrottle: bool,
) -> Hit | Miss:
    """Decide for one project whose location matches.

    Args:
        held: what the visitor's control cookie says.
        rethrottle: roll again for a visitor who was throttled out.
        note: takes lines for the `debug` log.
    """
    tests = visible(project, mode)
    note(f"{len(tests)} of {len(project.tests)} packages of {project.alias} run in {mode} mode")
    if not tests:
        return Miss(303)
    if held is not None:
        stuck = _held(tests, held, note, rethrottle)
        if stuck is not None:
            return stuck
    entering = [test for test in tests if test.state != "paused"]
    if not entering:
        note("paused: no new visitors")
        return Miss(303)
    chosen = _choose([test for test in entering if in_segments(test.segments, facts)], rng)
    if chosen is None:
        note("no segment matches")
        return Miss(302)
    note(f"run {chosen.run_id} ({chosen.kind}, {chosen.state}, {'' if chosen.segments else 'non-'}segmented)")
    if chosen.state == "published":
        variation = next(v for v in chosen.variations if v.key == chosen.published_variation)
        return _hit(chosen, variation, held)
    admitted = held is not None and held.run_id == chosen.run_id and not held.throttled
    if not admitted and rng.randrange(1000) >= round(1000 * project.throttle * chosen.throttle):
        note("throttled out")
        return Miss(417, Control(chosen.run_id, chosen.id, 0, throttled=True))
    variation = rng.choices(chosen.variations, [v.split for v in chosen.variations])[0]
    note(f"experiment {variation.experiment_id} assigned")
    return _hit(chosen, variation, held)


def _held(tests: Sequence[Test], held: Control, note: Note, rethrottle: bool) -> Hit | Miss | None:
    """Return the decision of the control cookie; None when the visitor is to be evaluated."""
    test = next((test for test in tests if test.run_id == held.run_id), None)
    if test is None or test.state == "published":
        return None  # another run by now, or the same for everyone
    if held.throttled:
        note("throttled out before")
        return None if rethrottle else Miss(417, held)
    if test.kind == "target":
        return None
    variation = test.experiment(held.experiment_id)
    if variation is None:
        note(f"experiment {held.experiment_id} is gone")
        return Miss(305)
    note(f"run {test.run_id}: experiment {held.experiment_id} from the control cookie")
    return Hit(test, variation, held)


def _choose(tests: list[Test], rng: random.Random) -> Test | None:
    ranked = [test for test in tests if test.kind == "target" or test.segments]
    first = sorted(ranked, key=lambda test: (test.kind != "target", -test.weight))
    if first:
        return first[0]
    return rng.choices(tests, [test.weight for test in tests])[0] if tests else None


def _hit(test: Test, variation: Variation, held: Control | None) -> Hit:
    control = Control(test.run_id, test.id, variation.experiment_id)
    if held is not None and (held.run_id, held.experiment_id) == (control.run_id, control.experiment_id):
        control = replace(control, viewed=held.viewed)
    return Hit(test, variation, control)
