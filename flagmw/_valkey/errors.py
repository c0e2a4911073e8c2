"""A closed vocabulary of faults of a Valkey server."""

from __future__ import annotations

import ssl
from enum import StrEnum


class Trouble(StrEnum):
    """Why the server cannot be used now."""

    DOWN = "down"
    TIMEOUT = "timeout"
    TLS = "tls"
    AUTH = "auth"
    READONLY = "readonly"
    LOADING = "loading"
    FULL = "full"
    REPLICAS = "replicas"
    CLUSTER = "cluster"
    EVICTS = "evicts"
    VERSION = "version"
    SCHEMA = "schema"
    REFUSED = "refused"


ADVICE = {
    Trouble.DOWN: "start it, or correct host and port",
    Trouble.TIMEOUT: "it hangs or is overloaded",
    Trouble.TLS: "the certificate does not fit: set ca_file, or valkeys:// for a server with TLS",
    Trouble.AUTH: "user, password or ACL are wrong; docs/valkey.md names the rights that are needed",
    Trouble.READONLY: "this is a replica; the address must lead to the primary",
    Trouble.LOADING: "it is still loading its data",
    Trouble.FULL: "maxmemory is reached; give it more, or deliver faster",
    Trouble.REPLICAS: "fewer replicas confirm than are asked for",
    Trouble.CLUSTER: "this is a cluster's node; use a server that is not clustered",
    Trouble.EVICTS: "its maxmemory-policy may evict events; set noeviction",
    Trouble.VERSION: "it is older than 7.0",
    Trouble.SCHEMA: "its keys are of a newer flagmw; update this one, or set another prefix",
    Trouble.REFUSED: "it refused a command",
}


class ServerTrouble(Exception):
    """The server did not do what it was asked.

    Args:
        sent: whether it may have done it nevertheless.
    """

    def __init__(self, trouble: Trouble, *, sent: bool = False) -> None:
        super().__init__(f"{trouble.value}: {ADVICE[trouble]}")
        self.trouble = trouble
        self.sent = sent


def classify(error: Exception) -> ServerTrouble:
    """Say what *error* of the client library means."""
    from valkey import exceptions

    text = str(error)
    if isinstance(error, exceptions.BusyLoadingError) or text.startswith("LOADING"):
        return ServerTrouble(Trouble.LOADING)
    refusals = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
    if isinstance(error, refusals) or text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")) or " NOPERM " in text:
        return ServerTrouble(Trouble.AUTH)
    if isinstance(error, exceptions.ReadOnlyError) or "READONLY" in text:
        return ServerTrouble(Trouble.READONLY)
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM" in text:
        return ServerTrouble(Trouble.FULL)
    if text.startswith(("MOVED", "CROSSSLOT", "CLUSTERDOWN")) or isinstance(
        error, exceptions.AskError | exceptions.ClusterDownError | exceptions.ClusterCrossSlotError
    ):
        return ServerTrouble(Trouble.CLUSTER)
    if "NOREPLICAS" in text or "MASTERDOWN" in text:
        return ServerTrouble(Trouble.REPLICAS)
    if isinstance(error, exceptions.TimeoutError):
        return ServerTrouble(Trouble.TIMEOUT, sent=True)
    if isinstance(error.__cause__ or error.__context__, ssl.SSLError) or "SSL" in text:
        return ServerTrouble(Trouble.TLS)
    if isinstance(error, exceptions.ConnectionError | OSError):
        return ServerTrouble(Trouble.DOWN, sent=True)
    return ServerTrouble(Trouble.REFUSED, sent=True)
