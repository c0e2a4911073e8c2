"""The organisation's limit, shared by four processes through Valkey."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from tests.contracts.outbox.on_valkey import address

PROGRAM = """
import json, sys, time
from flagmw.admin import SharedLimiter
from flagmw.admin.flow.blocking import BlockingDriver
limiter, driver, taken = SharedLimiter(sys.argv[1], "organisation", 10, 1), BlockingDriver(), []
until = float(sys.argv[2])
while True:
    before = time.time()
    driver.run(limiter.acquire(1, 10.0))
    if time.time() > until:
        break
    taken.append((before, time.time()))
print(json.dumps(taken))
"""
SECONDS = 3.0


def test_four_processes_share_ten_calls_a_second() -> None:
    """No eleven calls are surely within one second, and nine in ten of the limit are used."""

    until = time.time() + SECONDS + 2
    command = [sys.executable, "-c", PROGRAM, address(), str(until)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    taken = sorted(
        (after for one in running for _, after in json.loads(one.communicate(timeout=30)[0])),
    )
    # A call is noted some time after it was taken; a tenth of a second is allowed for that.
    for first, eleventh in zip(taken, taken[10:], strict=False):
        assert eleventh - first > 0.9
    begun = taken[0]
    assert len(taken) >= 9 * int(until - begun)
    assert len({one.returncode for one in running} - {0}) == 0
