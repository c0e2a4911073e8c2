"""Session Stream files of any size, made up.

    python -m benchmarks.support.sessions FILE [--bytes 2000000000] [--gzip] [--broken 0]

The sessions have the columns that Monetate's demo uses and some twenty others, about a kilobyte each.
"""

from __future__ import annotations

import argparse
import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import orjson

from flagmw.admin.monetate.sessions.names import Names

EXPERIENCES, PAGE_EVENTS, TARGETS = 400, 120, 60
CITIES = ("London", "Paris", "Berlin", "New York", "Los Angeles", "Tokyo", "São Paulo", "Zürich", "Leeds", "Lyon")
DEVICES = ("desktop", "phone", "tablet")


def names() -> Names:
    """Return names for most of the ids."""
    made = Names()
    made.add_variants(
        {
            "id": own * 10 + number,
            "experience_id": own,
            "experience_name": f"Experience {own}",
            "experience_type": "Standard Test",
            "split_name": letter,
            "split_description": f"variant {letter}",
        }
        for own in range(1, EXPERIENCES - 10)
        for number, letter in enumerate("AB")
    )
    made.add_page_events({"id": own, "title": f"Event {own}"} for own in range(1, PAGE_EVENTS - 3))
    made.add_targets({"id": own, "title": f"Target {own}"} for own in range(1, TARGETS - 2))
    return made


def lines(seed: int = 7) -> Iterator[bytes]:
    """Yield sessions without an end, the same ones for the same seed."""
    rng = random.Random(seed)
    while True:
        begin = rng.randrange(1_767_225_600_000, 1_767_312_000_000)
        yield orjson.dumps(
            {
                "session_id": f"{rng.getrandbits(96):024x}",
                "monetate_id": f"2.{rng.getrandbits(31)}.{begin}",
                "account_id": 1234,
                "start_time": begin,
                "end_time": begin + rng.randrange(1_800_000),
                "city": rng.choice(CITIES),
                "region": "some region",
                "country": "GB",
                "device_type": rng.choice(DEVICES),
                "browser": "Chrome",
                "browser_version": "131.0.6778.86",
                "os": "Windows",
                "screen_width": 1920,
                "screen_height": 1080,
                "referrer": "https://www.google.com/search?q=shoes",
                "landing_url": f"https://www.mysite.com/category/shoes/{rng.getrandbits(20)}?utm_source=newsletter",
                "page_views": rng.randrange(1, 40),
                "time_on_site": rng.randrange(1, 1800),
                "new_visitor": rng.random() < 0.4,
                "products_viewed": [f"sku-{rng.getrandbits(20)}" for _ in range(rng.randrange(8))],
                "purchases": [{"id": f"o{rng.getrandbits(24)}", "value": 49.9}] if rng.random() < 0.05 else [],
                "offers": [
                    f"{int(EXPERIENCES * rng.random() ** 2) + 1}-{rng.choice('AB')}" for _ in range(rng.randrange(7))
                ],
                "page_event_ids": {
                    str(rng.randrange(1, PAGE_EVENTS)): begin + rng.randrange(900_000) for _ in range(rng.randrange(6))
                },
                "custom_targets": {str(rng.randrange(1, TARGETS)): "yes" for _ in range(rng.randrange(4))},
            }
        ) + b"\n"  # fmt: skip


def write(path: Path, size: int, *, packed: bool = False, broken: int = 0) -> int:
    """Write a file of about *size* bytes, decompressed, and return how many sessions are in it.

    Args:
        broken: after so many sessions a line that is none; 0 for no such lines.
    """
    # A few thousand different sessions again and again: making each anew would take longer than reading it.
    source = lines()
    pool = [next(source) for _ in range(20_000)]
    written = sessions = 0
    with gzip.open(path, "wb", 1) if packed else path.open("wb") as file:
        while written < size:
            for line in pool:
                written += file.write(line)
                sessions += 1
                if broken and sessions % broken == 0:
                    written += file.write(b'{"city": "London", "offers": [\n')
                if written >= size:
                    break
    return sessions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--bytes", type=int, default=2_000_000_000)
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--broken", type=int, default=0)
    given = parser.parse_args()
    print(write(given.file, given.bytes, packed=given.gzip, broken=given.broken), "sessions")


if __name__ == "__main__":
    main()
