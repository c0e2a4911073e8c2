"""Interleave the requests of 200 visitors, and count what reaches anybody else.

python -m tests.faults.isolation.run
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from tests.faults.isolation.crowd import (
    TASKS,
    THREADS,
    VISITORS,
    Found,
    over_asgi,
    over_wsgi,
    reusing_over_asgi,
    reusing_over_wsgi,
)

SHORT = 50_000
# How much of all requests each kind gets: those whose vendor is asked over a transport cost more.
SHARES = {("asgi", False): 0.4, ("asgi", True): 0.1, ("wsgi", False): 0.4, ("wsgi", True): 0.1}
SWITCH_S = 0.0005  # threads change places ten times as often as usual


def part(edge: str, remote: bool, requests: int) -> Found:
    """Serve *requests* over one edge."""
    found = Found()
    if edge == "asgi":
        asyncio.run(over_asgi(found, requests, remote=remote))
    else:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        try:
            over_wsgi(found, requests, remote=remote)
        finally:
            sys.setswitchinterval(usual)
    return found


def reusing(edge: str, requests: int) -> Found:
    """Serve *requests* of browsers that come again over one edge, with reuse by memory and by cookie."""
    found = Found()
    if edge == "asgi":
        asyncio.run(reusing_over_asgi(found, requests))
    else:
        reusing_over_wsgi(found, requests)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=SHORT, help="in total; 1000000 is the long form")
    given = parser.parse_args()
    print(f"{VISITORS} visitors, {TASKS} tasks over ASGI, {THREADS} threads over WSGI")
    print(f"{'edge':<6}{'vendor':<12}{'requests':>10}{'tracks':>9}{'lost':>6}{'mix-ups':>9}{'seconds':>9}")
    requests = tracks = wrong = 0
    for (edge, remote), share in SHARES.items():
        started = time.monotonic()
        found = part(edge, remote, round(given.requests * share))
        lost = found.counts["expected tracks"] - found.counts["tracks"]
        print(
            f"{edge:<6}{'transport' if remote else 'in process':<12}{found.counts['requests']:>10}"
            f"{found.counts['tracks']:>9}{lost:>6}{len(found.mix_ups):>9}{time.monotonic() - started:>9.1f}",
            flush=True,
        )
        for mix_up in found.mix_ups[:5]:
            print("   ", mix_up)
        requests, tracks = requests + found.counts["requests"], tracks + found.counts["tracks"]
        wrong += len(found.mix_ups) + abs(lost)
    for edge in ("asgi", "wsgi"):
        started = time.monotonic()
        found = reusing(edge, given.requests // 10)
        print(
            f"{edge:<6}{'with reuse':<12}{found.counts['requests']:>10}{found.counts['reused']:>8}r{'':>6}"
            f"{len(found.mix_ups):>9}{time.monotonic() - started:>9.1f}",
            flush=True,
        )
        for mix_up in found.mix_ups[:5]:
            print("   ", mix_up)
        requests, wrong = requests + found.counts["requests"], wrong + len(found.mix_ups)
    print(f"total: {requests} requests, {tracks} tracks, {wrong} mix-ups")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
