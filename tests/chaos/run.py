"""The long form: `make chaos ARGS="--seconds 600 --seed 7"`."""

from __future__ import annotations

import argparse
import random
import sys

from tests.chaos import battle
from tests.chaos.attacks import ATTACKS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats a run; a new one where omitted, printed at the start")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long attacks go on")
    parser.add_argument("--settle", type=float, default=90.0, help="seconds at most for what is left after that")
    parser.add_argument("--sweep", type=float, default=90.0, help="seconds at most for `flagmw deliver --once` then")
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), default=(), help="these attacks alone")
    parser.add_argument("--visitors", type=int, default=3, help="honest visitors of each shop who buy all the time")
    parser.add_argument("--at-once", type=int, default=3, help="attacks at a time on each shop")
    parser.add_argument("--no-server", action="store_true", help="without the shop on a Valkey server")
    given = parser.parse_args()
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    report = battle.run(
        seed,
        given.seconds,
        only=given.only,
        server=not given.no_server,
        settle_s=given.settle,
        sweep_s=given.sweep,
        visitors=given.visitors,
        at_once=given.at_once,
    )
    print(report.text(), flush=True)
    return 1 if report.trouble else 0


if __name__ == "__main__":
    sys.exit(main())
