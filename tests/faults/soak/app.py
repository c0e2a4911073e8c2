"""The application that is killed: it sells, and notes every delivery attempt in a file of its process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from flagmw import Flagmw
from flagmw.types import EventNote
from flagmw.wsgi import FlagsMiddleware, flags_from
from tests.support.late import saying_late

NOTES = Path(os.environ["SOAK_NOTES"])


def note(event: EventNote) -> None:
    # One short write to a file opened for appending is whole, or not there, when the process is killed.
    line = f"{event.track_id} {event.attempt} {type(event.outcome).__name__}\n".encode()
    descriptor = os.open(NOTES / str(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


fm = Flagmw.from_mapping({"on_event": note}, file=Path(__file__).parents[3] / "integrations" / "shop.toml")
# Each worker imports this by itself: one that comes after a killed one takes over what that left, sold or not.
fm.start()


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    flags = flags_from(environ)
    body = b"ok"
    if environ["PATH_INFO"] == "/buy":
        order = parse_qs(environ["QUERY_STRING"])["order"][0]
        body = str(flags.track("purchase", aliases=["ta_Project1"], data={"order": order})).encode()
    elif environ["PATH_INFO"] == "/checkout":
        body = flags["ta_Project1"].encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


app = saying_late(FlagsMiddleware(shop, flagmw=fm), fm)
