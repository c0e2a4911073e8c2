"""One run of a bulk update, in a process of its own that may be killed at any moment."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flagmw.admin import AdobeAdmin, GivenToken
from flagmw.admin.limits.window import Unlimited


def rows(count: int) -> Iterator[list[Any]]:
    """Return *count* customers with five attributes."""
    for number in range(count):
        yield [f"customer-{number}", "gold" if number % 3 else "silver", "Île-de-France, Paris", number, "a@b.c", True]


def peak_mib() -> float:
    """Return the most memory that this process has had. (`getrusage` counts the parent's from before the start.)"""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


COLUMNS = ("thirdPartyId", "level", "region", "orders", "email", "active")


def main(url: str, folder: str, count: int, part_rows: int) -> None:
    admin = AdobeAdmin(
        "acme",
        GivenToken("t"),
        api_key="k",
        client_code="acme",
        base_url=url,
        profile_url=url,
        limiter=Unlimited(),
    )
    before, begun = peak_mib(), time.perf_counter()
    with admin:
        result = admin.profiles.bulk_update(
            rows(count), columns=COLUMNS, id_kind="thirdPartyId", journal=folder, max_rows=part_rows
        )
    print(
        json.dumps(
            {
                "rows": result.rows,
                "parts": [[part.number, part.earlier, part.maybe_twice, part.digest] for part in result.parts],
                "seconds": time.perf_counter() - begun,
                "cpu_seconds": time.process_time(),
                "mib_over_start": peak_mib() - before,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
