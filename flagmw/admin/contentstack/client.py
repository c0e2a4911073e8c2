"""The clients for Contentstack Personalize: `ContentstackAdmin` and `AsyncContentstackAdmin`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypedDict, Unpack

from flagmw.admin.auth.given import GivenToken
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.contentstack.auth import authtoken, oauth
from flagmw.admin.contentstack.checks import checked_uid
from flagmw.admin.contentstack.regions import management_url
from flagmw.admin.contentstack.resources.experiences import Analytics, Experiences, Priority
from flagmw.admin.contentstack.resources.geolocation import Geolocation
from flagmw.admin.contentstack.resources.project import Attributes, Audiences, Events
from flagmw.admin.contentstack.resources.versions import Versions
from flagmw.admin.contentstack.wire import fault_of
from flagmw.admin.errors import InvalidError
from flagmw.admin.flow.aio import AsyncDriver
from flagmw.admin.flow.blocking import BlockingDriver
from flagmw.admin.flow.operation import Async, Blocking, M
from flagmw.admin.http.exchange import Exchange, Policy
from flagmw.admin.http.library import Options
from flagmw.admin.http.notes import CallNote
from flagmw.admin.limits.window import Limiter, Window
from flagmw.exceptions import ConfigError
from flagmw.vendors.common.options import checked_base_url, leaves_machine_unencrypted

# The vendor allows an organisation 10; the rest is left to its other programs.
CALLS_PER_SECOND = 8


class ClientOptions(TypedDict, total=False):
    """The options of both clients; what they mean stands at `ContentstackCore`."""

    region: str
    base_url: str | None
    limiter: Limiter | None
    timeout_s: float
    attempts: int
    max_wait_s: float
    repeat_post: bool
    max_answer_bytes: int
    dry_run: bool
    on_call: Callable[[CallNote], object] | None
    verify: Any
    trust_env: bool
    transport: Any
    clock: Callable[[], float]


class ContentstackCore(Generic[M]):
    """What the blocking and the asynchronous client have in common.

    Args:
        project_uid: 24 hex digits, from the project's settings.
        auth: `Authtoken(...)`, `ContentstackOAuth(...)`, or a function that returns an OAuth token, which is asked
            again when the vendor refuses one; `GivenToken(...)` for one whose life is known.
        region: NA, EU, AU, AZURE_NA, AZURE_EU, GCP_NA or GCP_EU.
        base_url: of the Management API, instead of the region's.
        limiter: decides when calls may be made; 8 a second for this client by default. The vendor's limit is 10 for
            the whole organisation: `SharedLimiter(url, organisation, 8, per_s=1)` shares it between processes.
        timeout_s: how long a call may take, in seconds.
        attempts: how often a call that may be repeated is made at most.
        max_wait_s: how long a call may wait for the limit or a throttling vendor, in seconds.
        repeat_post: whether a POST is sent again after a 429, as everything else is.
        max_answer_bytes: how large an answer may be, decompressed.
        dry_run: return every request as a `PlannedRequest` instead of sending it.
        on_call: called with a `CallNote` after every call.
        verify: False, a file of authorities, or an `ssl.SSLContext`.
        trust_env: whether the environment's proxies are used.
        transport: a transport of httpx2 instead of connections, for tests.
        clock: seconds, monotonic; for the limit and the back-off.

    Raises:
        ConfigError: an option is missing or cannot work.
    """

    is_async: bool

    def __init__(
        self,
        project_uid: str,
        auth: TokenSource | Callable[[], str],
        *,
        region: str = "NA",
        base_url: str | None = None,
        limiter: Limiter | None = None,
        timeout_s: float = 30.0,
        attempts: int = 5,
        max_wait_s: float = 120.0,
        repeat_post: bool = False,
        max_answer_bytes: int = 64 << 20,
        dry_run: bool = False,
        on_call: Callable[[CallNote], object] | None = None,
        verify: Any = True,
        trust_env: bool = True,
        transport: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self.project_uid = checked_uid(project_uid, "project_uid")
        except InvalidError as error:
            raise ConfigError(str(error)) from None
        self.root = checked_base_url(
            "ContentstackAdmin", management_url(region) if base_url is None else base_url, "base_url"
        )
        if leaves_machine_unencrypted(self.root):
            raise ConfigError("ContentstackAdmin: base_url must be https: credentials must not cross a network openly")
        self.dry_run = dry_run
        policy = Policy(
            timeout_s=timeout_s,
            attempts=attempts,
            max_wait_s=max_wait_s,
            throttle_s=1.0,
            repeat_post=repeat_post,
            max_answer_bytes=max_answer_bytes,
        )
        self.limiter: Limiter = limiter or Window(CALLS_PER_SECOND, 1.0, clock=clock)
        source = auth if isinstance(auth, TokenSource) else GivenToken(_function(auth))
        cure = authtoken.CURE if "authtoken" in source.planned_headers() else oauth.CURE
        faults = partial(fault_of, refused=cure)
        self.exchange = Exchange(
            "contentstack", faults, source, policy=policy, limiter=self.limiter, on_call=on_call, clock=clock
        )
        self.options = Options(verify=verify, trust_env=trust_env, transport=transport)
        self.attributes: Attributes[M] = Attributes(self)
        self.audiences: Audiences[M] = Audiences(self)
        self.events: Events[M] = Events(self)
        self.experiences: Experiences[M] = Experiences(self)
        self.versions: Versions[M] = Versions(self)
        self.priority: Priority[M] = Priority(self)
        self.analytics: Analytics[M] = Analytics(self)
        self.geolocation: Geolocation[M] = Geolocation(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.project_uid!r}, {self.root!r})"


class ContentstackAdmin(ContentstackCore[Blocking]):
    """Manage a project; safe from any thread and after a fork. Use it as a context manager, or call `close`.

    The options are those of `ContentstackCore`; *sleep* waits for seconds, for tests.
    """

    is_async = False

    def __init__(
        self,
        project_uid: str,
        auth: TokenSource | Callable[[], str],
        *,
        sleep: Callable[[float], object] = time.sleep,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(project_uid, auth, **options)
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


class AsyncContentstackAdmin(ContentstackCore[Async]):
    """Manage a project from asynchronous code. Use it as a context manager, or call `aclose`.

    The options are those of `ContentstackCore`; *sleep* waits for seconds, for tests.
    """

    is_async = True

    def __init__(
        self,
        project_uid: str,
        auth: TokenSource | Callable[[], str],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(project_uid, auth, **options)
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


def _function(auth: object) -> Callable[[], str]:
    if not callable(auth):
        raise ConfigError("auth must be Authtoken(...), ContentstackOAuth(...), or a function that returns a token")
    return auth
