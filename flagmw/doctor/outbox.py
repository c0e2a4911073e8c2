"""Probe of the outbox: one event is written, read and removed."""

from __future__ import annotations

import os
import random
import re
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from flagmw._valkey.connection import Link
from flagmw._valkey.errors import ServerTrouble
from flagmw.config.config import Config
from flagmw.doctor.finding import SitePage, Verdicts, is_local, listed
from flagmw.exceptions import ConfigError, OutboxError
from flagmw.outbox import factory, location
from flagmw.outbox.base import Outbox
from flagmw.types import Delivered, Event, Track, Visit

LEASE_S = 5.0
_KEEP = 'name one that outlives deployments, such as outbox="sqlite:///var/lib/shop/flagmw"'
_WRITABLE = "let the user that runs the application read and write this directory and all files in it"


def outbox(config: Config, page: SitePage | None) -> Verdicts:
    """Say where events wait, and whether they can."""
    if config.outbox is not None and not isinstance(config.outbox, str):
        yield "OK", f"events wait in {type(config.outbox).__name__}; an object from code is not tried", None
        return
    place = factory.located(
        None if config.outbox is None else location.parse(config.outbox), [vendor.name for vendor in config.vendors]
    )
    local = all(is_local(vendor) for vendor in config.vendors)
    if place.scheme == "memory":
        if local:
            yield "OK", "events wait in memory, for a vendor on this machine", None
        else:
            text = "events wait in memory: a killed process loses what it had not delivered"
            yield (
                "WARN",
                text,
                "let processes end by SIGTERM with some seconds left, and call Flagmw.close() at shutdown",
            )
        return
    yield from _files(place, chosen=config.outbox is None and not local)
    if place.server is not None:
        yield from _server(place)


def _files(place: location.Location, *, chosen: bool) -> Verdicts:
    """Try the directory on this machine.

    Args:
        chosen: nobody has named it, though events for a vendor's service wait there.
    """
    directory = Path(place.path)
    try:
        factory.probe(place)
        unusable = [file.name for file in sorted(directory.glob("slot-*.db")) if not os.access(file, os.R_OK | os.W_OK)]
        if not unusable:
            with tempfile.TemporaryDirectory(dir=directory, prefix="probe-") as folder:
                _tried(factory.make(replace(place, path=folder, server=None), required=True))
    except (ConfigError, OutboxError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).removeprefix("outbox: ")
        yield "FAIL", f"no event can be stored in {directory}: {reason}", _WRITABLE
        return
    if unusable:
        yield "FAIL", f"{directory} holds events that this user cannot read and write: {listed(unusable)}", _WRITABLE
    elif chosen:
        yield "WARN", f"events wait on disk in {directory}, which flagmw has chosen", _KEEP
    else:
        yield "OK", f"events wait on disk in {directory}; one was written, read and removed", None


def _server(place: location.Location) -> Verdicts:
    """Try the server that many machines share, under keys of this probe alone."""
    assert place.server is not None
    name = place.server.name
    server = replace(place.server, prefix=f"{place.server.prefix}probe-{uuid.uuid4().hex[:8]}:")
    try:
        store = factory.on_server(replace(place, server=server))
        assert store is not None
        try:
            _tried(store)
        finally:
            Link(server, random.Random()).use(lambda client: _remove(client, server.prefix))  # noqa: S311
    except (ConfigError, OutboxError, ServerTrouble) as error:
        text = f"no event can be stored on {name}: {error}"
        yield "FAIL", text, "check the server's address, its user and password, and that it may write"
        return
    yield "OK", f"events of all machines wait on {name}; one was written, read and removed", None


def _remove(client: Any, prefix: str) -> None:
    for key in client.scan_iter(match=re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*", count=1000):
        client.unlink(key)


def _tried(store: Outbox) -> None:
    """Write an event, read it and remove it.

    Raises:
        ConfigError, OutboxError: something of this cannot be done.
    """
    event = Event(
        id=uuid.uuid4().hex,
        vendor="probe",
        kind="track",
        track=Track(id=uuid.uuid4().hex, metric="probe"),
        aliases=("probe",),
        visit=Visit(url="https://localhost/"),
        visitor_key="probe",
    )
    now = time.time()
    try:
        factory.start(store)
        store.put_many([event], now)
        forward = getattr(store, "forward", None)
        if callable(forward):
            forward(now)
        lease = store.claim(now, 1, LEASE_S)
        if lease is None or [row.event.id for row in lease.rows] != [event.id]:
            raise OutboxError(factory.trouble(store) or "the event was stored, but not found again")
        store.ack(lease, [Delivered()], now)
    finally:
        store.close()
