"""One run of a bulk update, in a process of its own that may be killed at any moment."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

from flagmw.admin import AdobeAdmin, GivenToken
from flagmw.admin.limits.window import Unlimited


def rows(count: int) -> Iterator[list[Any]]:
    """Return *count* customers with five attributes."""
    for number in range(count):
        yield [f"customer-{number}", "gold" if number % 3 else "silver", "Île-de-France, Paris", number, "a@b.c", True]


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
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
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
                "mib_over_start": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
