"""Measure flagmw against the floor it stands on and against what else could be used, as ratios taken in one run.

    make bench                          all sections, and benchmarks/RESULTS.md
    make bench ARGS="--only edge"       one of them; nothing is written
    make bench ARGS="--quick"           seconds instead of minutes: shows that it works, not how fast

Rounds are interleaved, medians are shown. What is measured has one core, the stub vendor and the load another.
Absolute figures belong to the machine they were taken on; only the ratios travel.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

from benchmarks.support import harness
from benchmarks.support.table import Section, summary

SECTIONS = (
    *("edge", "decide", "stall", "reuse", "vendors", "endtoend", "peers", "tail", "codec"),
    *("outbox", "track", "recovery", "valkey", "footprint", "profiles", "sessions"),
)
RESULTS = Path(__file__).parent / "RESULTS.md"


def _sections(text: str) -> list[str]:
    """Return the sections that *text* names."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in SECTIONS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown) or text!r}; there are: {', '.join(SECTIONS)}")
    return names


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", type=_sections, action="extend", help="these sections, separated by commas")
    options.add_argument("--rounds", type=int, help="how often each case is measured (5; 1 with --quick)")
    options.add_argument("--quick", action="store_true", help="as little as shows that it works")
    asked = options.parse_args()
    rounds = asked.rounds or (1 if asked.quick else 5)
    settings = harness.Settings(rounds=rounds, quick=asked.quick)
    harness.pin(harness.OWN)
    found, failed = [], []
    with harness.stub() as stub:
        for name in asked.only or SECTIONS:
            started = time.monotonic()
            stub.mode()
            try:
                section = importlib.import_module(f"benchmarks.sections.{name}").run(settings, stub)
            except Exception:
                # What the others found is not to be lost with it.
                traceback.print_exc()
                failed.append(name)
                section = Section(name, notes=["**This section failed, so it has no figures.**"])
            taken = time.monotonic() - started
            section.notes.append(f"Measuring this took {taken:.0f} s.")
            print(section.markdown(), flush=True)
            print(f"{name}: {taken:.0f} s\n", file=sys.stderr, flush=True)
            found.append(section)
    if len(found) > 1:
        print(summary([goal for section in found for goal in section.goals]), flush=True)
    if not asked.only and not asked.quick:
        RESULTS.write_text(report(found, rounds))
    return 1 if failed else 0


def report(sections: list[Section], rounds: int) -> str:
    """Return the text of RESULTS.md."""
    goals = [goal for section in sections for goal in section.goals]
    met = sum(goal.met for goal in goals)
    parts = [
        "# Results\n",
        f"Written by `make bench`: medians of {rounds} interleaved rounds, 3 where one takes seconds. {met} of "
        f"{len(goals)} goals are met. Only ratios travel: absolute figures belong to this machine.\n",
        f"{harness.machine()}\n",
        summary(goals),
        *(section.markdown() for section in sections),
    ]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
