"""Make the outbox that the configuration names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from flagmw.exceptions import ConfigError
from flagmw.outbox.base import Outbox
from flagmw.outbox.location import Location, default_directory
from flagmw.outbox.policy import Policy
from flagmw.outbox.sqlite.disk import remote_type


def located(location: Location | None, vendors: Iterable[str]) -> Location:
    """Return *location*, or for None the place that an application has by default."""
    if location is not None:
        return location
    return Location("sqlite", default_directory(os.environ, _home(), _working(), vendors))


def make(location: Location, *, required: bool) -> Outbox:
    """Return the store, which opens nothing before its first use.

    Raises:
        ConfigError: the key for its encryption cannot be had.
    """
    if location.scheme == "memory":
        from flagmw.outbox.memory.outbox import MemoryOutbox

        return MemoryOutbox()
    if location.server is None:
        return _files(location, Policy(), required)
    from flagmw._support.encryption import cipher_from_environment
    from flagmw.outbox.valkey.outbox import LocalPolicy, ValkeyOutbox

    seal = cipher_from_environment(location.options.get("key_env"))
    return ValkeyOutbox(location.server, _files(location, LocalPolicy(), required), seal=seal)


def on_server(location: Location) -> Outbox | None:
    """Return the part of the store that machines share, without this one's files; None where there is none.

    Raises:
        ConfigError: as `make`.
    """
    if location.server is None:
        return None
    from flagmw._support.encryption import cipher_from_environment
    from flagmw.outbox.memory.outbox import MemoryOutbox
    from flagmw.outbox.valkey.outbox import ValkeyOutbox

    return ValkeyOutbox(location.server, MemoryOutbox(), seal=cipher_from_environment(location.options.get("key_env")))


def _files(location: Location, policy: Policy, required: bool) -> Outbox:
    from flagmw._support.encryption import cipher_from_environment
    from flagmw.outbox.sqlite.outbox import MAX_BYTES, SqliteOutbox

    options = location.options
    return SqliteOutbox(
        location.path,
        policy,
        max_bytes=int(options["max_mib"]) << 20 if "max_mib" in options else MAX_BYTES,
        seal=cipher_from_environment(options.get("key_env")),
        required=required,
        allow_network=options.get("network") == "allow",
        adopt_copies=options.get("copies") == "adopt",
        full_sync=options.get("sync") != "normal",
    )


def probe(location: Location, why: str = "outbox_required=True forbids to go on without") -> None:
    """Look whether the place can be used, and make its directory.

    Args:
        why: the reason why it must be.

    Raises:
        ConfigError: it cannot; the text says why.
    """
    if location.scheme == "memory":
        raise ConfigError('outbox_required=True needs an outbox that keeps events, such as "sqlite:///directory"')
    directory = Path(location.path)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(directory, os.R_OK | os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise ConfigError(f"outbox: {directory} cannot be written, and {why}")
    remote = remote_type(directory)
    if remote is not None and location.options.get("network") != "allow":
        raise ConfigError(f"outbox: {directory} is on a network file system ({remote}); choose a local directory")


def has_slots(location: Location) -> bool:
    """True when earlier processes have left files there, with events to deliver."""
    try:
        return location.scheme == "sqlite" and any(Path(location.path).glob("slot-*.db"))
    except OSError:
        return False


def start(outbox: Outbox) -> None:
    """Take what the store needs now.

    Raises:
        OutboxError: it cannot be had.
    """
    opens = getattr(outbox, "open", None)
    if callable(opens):
        opens()


def trouble(outbox: Outbox) -> str | None:
    """Return the reason why *outbox* does not keep events on disk or server as configured, None when it does."""
    trouble_text = getattr(outbox, "trouble", None)
    return trouble_text if isinstance(trouble_text, str) else None


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:
        return "/"  # nobody's: a path that cannot be made, which is told like any other such path


def _working() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "/"
