"""The clients for Monetate: `MonetateAdmin` and `AsyncMonetateAdmin`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypedDict, Unpack

from flagmw.admin.auth.source import TokenSource
from flagmw.admin.flow.aio import AsyncDriver
from flagmw.admin.flow.blocking import BlockingDriver
from flagmw.admin.flow.operation import Async, Blocking, M
from flagmw.admin.http.exchange import Exchange, Policy
from flagmw.admin.http.library import Options
from flagmw.admin.http.notes import CallNote
from flagmw.admin.limits.window import Limiter
from flagmw.admin.monetate.datasets.spot_checks import SpotChecks
from flagmw.admin.monetate.resources.data import Data, DefaultCatalogs, Schemas, SchemaTypes, Uploads
from flagmw.admin.monetate.resources.lookup import Lookup
from flagmw.admin.monetate.resources.metadata import Accounts, CustomTargets, Experiences, PageEvents, Variants
from flagmw.admin.monetate.resources.sessions import Sessions
from flagmw.admin.monetate.wire import BASE_URL, checked_root, fault_of
from flagmw.exceptions import ConfigError

KINDS = ("accounts", "custom_targets", "experiences", "page_events", "variants")


class MonetateOptions(TypedDict, total=False):
    """The options of both clients; what they mean stands at `MonetateCore`."""

    base_url: str
    limiter: Limiter | None
    timeout_s: float
    attempts: int
    max_wait_s: float
    max_answer_bytes: int
    dry_run: bool
    on_call: Callable[[CallNote], object] | None
    verify: Any
    trust_env: bool
    transport: Any
    clock: Callable[[], float]


class MonetateCore(Generic[M]):
    """What the blocking and the asynchronous client have in common.

    Args:
        retailer: the retailer's short name, as in the addresses of the platform's own API documentation.
        auth: `MonetateKey(...)`, or `GivenToken(..., scheme="Token")`.
        base_url: of the API host.
        limiter: decides when calls may be made; Monetate names no limit but that of the check of single records,
            which holds without it.
        timeout_s: how long a call may take, in seconds.
        attempts: how often a call that may be repeated is made at most.
        max_wait_s: how long a call may wait for the limit or a throttling vendor, in seconds.
        max_answer_bytes: how large an answer may be, decompressed.
        dry_run: return every request as a `PlannedRequest` instead of sending it.
        on_call: called with a `CallNote` after every call.
        verify: False, a file of authorities, or an `ssl.SSLContext`.
        trust_env: whether the environment's proxies are used.
        transport: a transport of httpx2 instead of connections, for tests.
        clock: seconds, monotonic; for limits, caches and the back-off.

    Raises:
        ConfigError: an option is missing or cannot work.
    """

    is_async: bool

    def __init__(
        self,
        retailer: str,
        auth: TokenSource,
        *,
        base_url: str = BASE_URL,
        limiter: Limiter | None = None,
        timeout_s: float = 60.0,
        attempts: int = 3,
        max_wait_s: float = 600.0,
        max_answer_bytes: int = 64 << 20,
        dry_run: bool = False,
        on_call: Callable[[CallNote], object] | None = None,
        verify: Any = True,
        trust_env: bool = True,
        transport: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(retailer, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", retailer) or retailer in (".", ".."):
            raise ConfigError("retailer must be the retailer's short name: letters, digits, dots, dashes, underscores")
        self.root, self.retailer, self.dry_run = checked_root("MonetateAdmin", base_url), retailer, dry_run
        policy = Policy(
            timeout_s=timeout_s,
            attempts=attempts,
            max_wait_s=max_wait_s,
            # A call that is throttled was not done.
            repeat_post=True,
            max_answer_bytes=max_answer_bytes,
        )
        shared: dict[str, Any] = {"policy": policy, "on_call": on_call, "clock": clock}
        self.exchange = Exchange("monetate", fault_of, auth, limiter=limiter, **shared)
        self.options = Options(verify=verify, trust_env=trust_env, transport=transport)
        self.spot_checks = SpotChecks(clock)
        self.lookups = {kind: Lookup(clock) for kind in KINDS}
        self.page_events: PageEvents[M] = PageEvents(self)
        self.experiences: Experiences[M] = Experiences(self)
        self.variants: Variants[M] = Variants(self)
        self.custom_targets: CustomTargets[M] = CustomTargets(self)
        self.accounts: Accounts[M] = Accounts(self)
        self.data: Data[M] = Data(self)
        self.schemas: Schemas[M] = Schemas(self)
        self.schema_types: SchemaTypes[M] = SchemaTypes(self)
        self.uploads: Uploads[M] = Uploads(self)
        self.default_catalogs: DefaultCatalogs[M] = DefaultCatalogs(self)
        self.sessions: Sessions[M] = Sessions(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.retailer!r})"


class MonetateAdmin(MonetateCore[Blocking]):
    """Manage Monetate; safe from any thread and after a fork. Use it as a context manager, or call `close`.

    The options are those of `MonetateCore`; *sleep* waits for seconds, for tests.
    """

    is_async = False

    def __init__(
        self,
        retailer: str,
        auth: TokenSource,
        *,
        sleep: Callable[[float], object] = time.sleep,
        **options: Unpack[MonetateOptions],
    ) -> None:
        super().__init__(retailer, auth, **options)
        self.driver = BlockingDriver(self.options, sleep=sleep)

    def close(self) -> None:
        """Close the connections."""
        self.driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self.close()
        return False


class AsyncMonetateAdmin(MonetateCore[Async]):
    """Manage Monetate from asynchronous code. Use it as a context manager, or call `aclose`.

    The options are those of `MonetateCore`; *sleep* waits for seconds, for tests.
    """

    is_async = True

    def __init__(
        self,
        retailer: str,
        auth: TokenSource,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        **options: Unpack[MonetateOptions],
    ) -> None:
        super().__init__(retailer, auth, **options)
        self.driver = AsyncDriver(self.options, sleep=sleep)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.driver.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        await self.aclose()
        return False
