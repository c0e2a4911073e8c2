"""The long form: `make bulk ARGS="--kills 50 --rows 500000"`."""

from __future__ import annotations

import argparse
import sys

from tests.faults.bulk import kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10, help="how often the uploading process is killed")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--part-rows", type=int, default=5_000, help="rows of one upload")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", action="store_true", help="upload by flagmw adobe profiles bulk")
    given = parser.parse_args()
    outcome = kills.run(given.kills, given.rows, given.part_rows, given.seed, by_command=given.command)
    print(outcome.text())
    last = outcome.last
    if not given.command:
        print(f"last run: {last['seconds']:.1f} s, {last['mib_over_start']:.1f} MiB over the start")
    return 0 if not (outcome.missing or outcome.unmarked or outcome.changed) else 1


if __name__ == "__main__":
    sys.exit(main())
