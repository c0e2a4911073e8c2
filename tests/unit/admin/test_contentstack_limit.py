"""The limit of an organization, shared by processes through Valkey."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.contracts.outbox.on_valkey import address

CALLS, SECONDS = 10, 3.0
FOUR = """
import json, os, sys, time
from flagmw.admin import SharedLimiter
from flagmw.admin.flow.blocking import BlockingDriver

def taken(url, end):
    limiter, driver, times = SharedLimiter(url, "contentstack-org", 10, 1), BlockingDriver(), []
    while True:
        begun = time.time()
        driver.run(limiter.acquire(1, 10.0))
        now = time.time()
        if now > end:
            return times
        times.append((max(begun, times[-1][1]) if times else begun, now))

from limits.strategies import MovingWindowRateLimiter
end, readers = time.time() + float(sys.argv[2]), []
for _ in range(4):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, json.dumps(taken(sys.argv[1], end)).encode())
        os._exit(0)
    os.close(writer)
    readers.append(reader)
print(json.dumps([json.loads(os.fdopen(reader).read()) for reader in readers]))
"""


def test_four_processes_keep_ten_a_second() -> None:
    """No second holds more than ten calls of the four together, and at least nine of ten are used."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FOUR, address(), str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    processes = json.loads(done.stdout)
    assert len(processes) == 4 and all(processes), "each process gets its turns"
    # When a call was granted: a process may be late to notice it, but never early.
    granted = sorted(now for times in processes for _, now in times)
    span = granted[-1] - granted[0]
    assert len(granted) >= 9 * span
    assert len(granted) <= CALLS * (span + 1) + 1
