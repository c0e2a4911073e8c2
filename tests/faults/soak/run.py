"""The long forms: `make soak ARGS="--kills 200 --outage 600 --backlog 36000"`."""

from __future__ import annotations

import argparse
import sys

from tests.faults.soak import catchup, crash, outage


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="workers that are killed; 0 leaves this run out")
    parser.add_argument("--outage", type=float, default=20.0, metavar="S", help="how long the vendor is away; 0: not")
    parser.add_argument("--backlog", type=int, default=3_000, help="events of an outage that must leave; 0: none")
    parser.add_argument("--live", type=float, default=100.0, help="events a second that go on meanwhile")
    parser.add_argument("--answer-ms", type=float, default=20.0, help="how long the vendor takes to answer then")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    good = True
    if given.kills:
        crashed = crash.run(given.kills, given.seed)
        print(crashed.text(), flush=True)
        good &= not crashed.lost and not crashed.unmarked
    if given.outage:
        cut = outage.run(given.outage, given.seed)
        print(cut.text(), flush=True)
        good &= not cut.lost
    if given.backlog:
        caught_up = catchup.run(given.backlog, given.live, given.answer_ms / 1000)
        print(caught_up.text(), flush=True)
        good &= caught_up.gone_s is not None
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
