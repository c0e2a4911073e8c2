"""An upload whose process is killed in the middle goes on where it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flagmw.sandbox import SandboxServer
from tests.sandbox.monetate_admin import boxed

# Six hundred records in parts of fifty.
RUN = """
import sys, time
from flagmw.admin import GivenToken, MonetateAdmin
url, journal, schema = sys.argv[1:]
rows = ({"customer_id": f"c{n}", **({"at": "2026-01-01"} if schema == "visits" else {})} for n in range(600))
with MonetateAdmin("acme", GivenToken("sandbox-token", scheme="Token"), base_url=url) as admin:
    result = admin.data.upsert(schema, rows, journal=journal, max_rows=50)
print(result.rows, sum(part.maybe_twice for part in result.parts))
"""


@pytest.mark.parametrize("schema", ["customers", "visits"])
def test_killed_while_it_sends(tmp_path: Path, schema: str) -> None:
    """Each record is there once; where that cannot be known, the run says so instead of sending twice."""
    with SandboxServer(boxed.scenario(), seed=7) as box:
        command = [sys.executable, "-c", RUN, box.url, str(tmp_path / "run"), schema]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            until = time.monotonic() + 30
            while len(box.ledger()["requests"]) < 6 and time.monotonic() < until:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            time.sleep(0.2)  # what was on its way may still arrive
        dataset = box.sandbox.monetate.stores["acme"].datasets[schema]
        before = len(dataset.rows)
        assert 0 < before < 600
        again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if schema == "visits" and "AmbiguousError" in again.stderr:
            # The kill came while a part was on its way.
            assert "without a unique key" in again.stderr and len(dataset.rows) == before

        else:
            assert again.returncode == 0, again.stderr
            assert again.stdout.split()[0] == "600" and len(dataset.rows) == 600
