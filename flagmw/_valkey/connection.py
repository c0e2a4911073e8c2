"""One process's connection to a Valkey server, with scripts and start checks."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

from flagmw._support.log import Throttle
from flagmw._valkey.errors import ADVICE, ServerTrouble, Trouble, classify
from flagmw._valkey.url import Address
from flagmw.codes import ErrorCode
from flagmw.exceptions import ConfigError

if TYPE_CHECKING:
    from valkey import Valkey

T = TypeVar("T")
logger = logging.getLogger("flagmw.outbox")

SCHEMA = 1  # of the keys on the server: raised when older code must not touch them any more
CONNECT_S = 1.0
ANSWER_S = 2.0
_FIRST_REST_S, _LONGEST_REST_S = 0.2, 10.0
# A server in one of these troubles takes no events and can still give some away.
INTAKE_ONLY = frozenset({Trouble.FULL, Trouble.REPLICAS})
# For what a full server must still be told: that events are done.
_ALLOW_FULL = "#!lua flags=allow-oom\n"
_PARTS = {
    "forward": ("#!lua\n", "common", "server", "add", "forward"),
    "claim": (_ALLOW_FULL, "common", "server", "queue", "claim"),
    "reserve": (_ALLOW_FULL, "reserve"),
    "settle": (_ALLOW_FULL, "common", "settle"),
    "next_due": (_ALLOW_FULL, "common", "queue", "next_due"),
    "stats": (_ALLOW_FULL, "common", "stats"),
    "letters": (_ALLOW_FULL, "common", "add", "letters"),
    "audit": (_ALLOW_FULL, "common", "audit"),
}


def script(name: str) -> str:
    """Return the text of a script as the server gets it."""
    first, *parts = _PARTS[name]
    folder = resources.files("flagmw.outbox.valkey") / "lua"
    return first + "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)


class Link:
    """A client that is asked nothing for a while after it failed.

    Args:
        on_up: called when the server answers again, in the thread that found out.
    """

    def __init__(self, address: Address, rng: random.Random, on_up: Callable[[], None] = lambda: None) -> None:
        self.address, self._rng, self._on_up = address, rng, on_up
        self.trouble: Trouble | None = None
        self.warnings: tuple[str, ...] = ()
        # Whether events come that must not be sent twice, for which a server has to keep more.
        self.at_most_once = False
        # What the server keeps over its own restart: everything, or not the last claims at least.
        self.keeps_all = False
        self._throttle = Throttle(logger)
        self._scripts: dict[str, Any] = {}
        self._client: Valkey | None = None
        self._checked = False
        self._failures = 0
        self._rest_until = 0.0
        self._lock = threading.Lock()

    def rest_s(self) -> float:
        """Return the seconds until the server is asked again, 0 when it may be asked now."""
        return max(0.0, self._rest_until - time.monotonic())

    def run(self, name: str, *arguments: str | bytes | int) -> Any:
        """Run a script of the outbox and return its answer.

        Raises:
            ServerTrouble: there is no answer.
        """
        return self.use(lambda client: self._script(client, name)(keys=[self.address.prefix], args=arguments))

    def use(self, work: Callable[[Valkey], T]) -> T:
        """Do *work* with the client, after the server was looked at once.

        Raises:
            ServerTrouble: it failed, or failed a moment ago.
        """
        if self.trouble is not None and self.rest_s() > 0:
            raise ServerTrouble(self.trouble)
        try:
            result = work(self._ready())
        except Exception as error:
            if not isinstance(error, ServerTrouble) and not _of_the_library(error):
                raise
            told = error if isinstance(error, ServerTrouble) else classify(error)
            if told.trouble not in INTAKE_ONLY:
                self._failed(told.trouble)
            raise told from None
        if self.trouble is not None:
            self._recovered()
        return result

    def forward(self, arguments: Sequence[str | bytes | int]) -> Sequence[int]:
        """Hand events over; return what `forward.lua` says of each.

        Raises:
            ServerTrouble: not done, or done and not confirmed by as many replicas as the address asks for.
        """
        replicas = self.address.replicas
        if not replicas:
            return list(self.run("forward", *arguments))

        def work(client: Valkey) -> Sequence[int]:
            pipeline: Any = client.pipeline(transaction=False)
            self._script(client, "forward")(keys=[self.address.prefix], args=arguments, client=pipeline)
            pipeline.execute_command("WAIT", replicas, int(ANSWER_S * 500))
            results, confirmed = pipeline.execute()
            if confirmed < replicas:
                raise ServerTrouble(Trouble.REPLICAS, sent=True)
            return list(results)

        return self.use(work)

    def confirmed(self, key: str) -> bool | None:
        """Say whether enough replicas have *key* and what was written before it; None when the server has no such key.

        WAIT speaks of its own connection's writes only, and the connection may lead to another server by now, whose
        replicas confirm what it was never told.

        Raises:
            ServerTrouble: there is no answer.
        """
        replicas = self.address.replicas
        if not replicas:
            return True

        def work(client: Valkey) -> bool | None:
            pipeline: Any = client.pipeline(transaction=False)
            pipeline.exists(f"{self.address.prefix}{key}")
            pipeline.incr(f"{self.address.prefix}confirm")
            pipeline.execute_command("WAIT", replicas, int(ANSWER_S * 500))
            known, _, confirming = pipeline.execute()
            return bool(confirming >= replicas) if known else None

        return self.use(work)

    def look_again(self) -> None:
        """Look at the server's set-up anew before it is next used."""
        self._checked = False

    def close(self) -> None:
        with self._lock:
            client: Any = self._client
            self._client = None
        if client is not None:
            client.close()

    def _ready(self) -> Valkey:
        client = self._client
        if client is None:
            with self._lock:
                client = self._client = self._client or connect(self.address, ANSWER_S)
        if not self._checked:
            self._check(client)
        return client

    def _check(self, client: Valkey) -> None:
        """Look at how the server is set up.

        Raises:
            ServerTrouble: it cannot be trusted with events.
        """
        info: dict[str, Any] = client.info()  # type: ignore[assignment]
        if info.get("cluster_enabled"):
            raise ServerTrouble(Trouble.CLUSTER)
        if int(str(info.get("redis_version", "7")).split(".")[0]) < 7:
            raise ServerTrouble(Trouble.VERSION)
        if info.get("role") != "master":
            raise ServerTrouble(Trouble.READONLY)
        policy = str(info.get("maxmemory_policy", "noeviction"))
        # volatile-* evicts only keys with an expiry; no key of the outbox has one.
        if policy.startswith("allkeys") and not self.address.allow_eviction:
            raise ServerTrouble(Trouble.EVICTS)
        warnings = []
        if policy.startswith("allkeys"):
            warnings.append(f"{policy} may evict events that were not delivered")
        if not info.get("aof_enabled"):
            warnings.append("without appendonly a crash of the server loses every event that it has not delivered")
        if int(info.get("connected_slaves", 0)) < self.address.replicas:
            warnings.append(f"fewer than replicas={self.address.replicas} are connected: events wait on this machine")
        self.keeps_all = bool(info.get("aof_enabled")) and _syncs_always(client, self.address.prefix)
        if self.at_most_once:
            warnings += self._unkept(int(info.get("connected_slaves", 0)))
        self._check_schema(client)
        new, self.warnings = set(warnings) - set(self.warnings), tuple(warnings)
        for warning in sorted(new):
            self._throttle.change(logging.WARNING, ErrorCode.OUTBOX_FAILED, warning, server=self.address.name)
        self._checked = True

    def _unkept(self, connected: int) -> list[str]:
        """Return what keeps the server from the promise that an event is sent at most once."""
        found = []
        then = "at-most-once events that wait on the server are laid aside as AMBIGUOUS then"
        if not self.keeps_all:
            found.append(f"a restart may undo the last claims, set appendfsync always: {then}")
        if connected > self.address.replicas:
            found.append(f"a failover may undo the last claims, set replicas={connected}: {then}")
        return found

    def _check_schema(self, client: Valkey) -> None:
        """Leave alone what a later version arranged otherwise, as in the middle of a deployment."""
        name = f"{self.address.prefix}schema"
        found: Any = client.get(name)
        if found is None:
            client.set(name, SCHEMA, nx=True)
        elif int(found) > SCHEMA:
            raise ServerTrouble(Trouble.SCHEMA)

    def _script(self, client: Valkey, name: str) -> Any:
        found = self._scripts.get(name)
        if found is None:
            found = self._scripts[name] = client.register_script(script(name))
        return found

    def _failed(self, trouble: Trouble) -> None:
        with self._lock:
            first, self.trouble = self.trouble is None, trouble
            self._failures += 1
            # It may be another server that answers next, with another set-up.
            self._checked = False
            limit = min(_LONGEST_REST_S, _FIRST_REST_S * 2 ** min(self._failures, 16))
            self._rest_until = time.monotonic() + self._rng.uniform(limit / 4, limit)
        told = f"the Valkey server cannot be used, events wait on this machine ({trouble.value}: {ADVICE[trouble]})"
        if first:
            self._throttle.change(logging.ERROR, ErrorCode.OUTBOX_FAILED, told, server=self.address.name)
        else:
            self._throttle.log(logging.ERROR, ErrorCode.OUTBOX_FAILED, told, server=self.address.name)
        # A connection to what is a replica now, or was told to load, is of no use; a new one may lead elsewhere.
        client = self._client
        if client is not None:
            client.connection_pool.disconnect(inuse_connections=False)

    def _recovered(self) -> None:
        with self._lock:
            if self.trouble is None:
                return
            self.trouble, self._failures = None, 0
        self._throttle.change(
            logging.WARNING, ErrorCode.OUTBOX_FAILED, "the Valkey server works again", server=self.address.name
        )
        self._on_up()


def connect(address: Address, answer_s: float) -> Valkey:
    """Return a client of the server, which is not connected yet.

    Raises:
        ConfigError: the client library is not installed.
    """
    try:
        import valkey
    except ImportError:
        raise ConfigError("a Valkey outbox needs its client: pip install 'flagmw[valkey]'") from None
    return valkey.Valkey(
        **address.options(),
        socket_connect_timeout=min(CONNECT_S, answer_s),
        socket_timeout=answer_s,
        socket_keepalive=True,
        client_name="flagmw",
    )


def _syncs_always(client: Valkey, prefix: str) -> bool:
    """Say whether every write is on the server's disk before it is answered.

    The setting itself is not for a user of few rights to see: CONFIG GET shows passwords. What is synced at once counts
    as synced right after the answer, five times in a row; otherwise a second may pass.
    """
    from valkey.exceptions import ResponseError

    try:
        for _ in range(5):
            pipeline: Any = client.pipeline(transaction=False)
            pipeline.incr(f"{prefix}confirm")
            pipeline.execute_command("WAITAOF", 1, 0, 1)
            if pipeline.execute()[1][0] < 1:
                return False
    except ResponseError:
        # Not enabled, not allowed, or a server before 7.2.
        return False
    return True


def _of_the_library(error: Exception) -> bool:
    try:
        from valkey.exceptions import ValkeyError
    except ImportError:
        # *error* says that the library is missing, and what to install.
        return False
    return isinstance(error, ValkeyError | OSError)
