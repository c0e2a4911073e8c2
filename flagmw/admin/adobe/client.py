"""The clients for Adobe Target: `AdobeAdmin` and `AsyncAdobeAdmin`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypedDict, Unpack

from flagmw.admin.adobe.auth.profile import ProfileToken
from flagmw.admin.adobe.resources.account import (
    Environments,
    Mboxes,
    ProfileAttributes,
    Properties,
    ResponseTokens,
    Tokens,
)
from flagmw.admin.adobe.resources.activities import Activities
from flagmw.admin.adobe.resources.audiences import Audiences
from flagmw.admin.adobe.resources.batches import Batches
from flagmw.admin.adobe.resources.offers import Offers
from flagmw.admin.adobe.resources.profiles import Profiles
from flagmw.admin.adobe.resources.reports import Reports
from flagmw.admin.adobe.wire import fault_of, segment
from flagmw.admin.auth.source import TokenSource
from flagmw.admin.flow.aio import AsyncDriver
from flagmw.admin.flow.blocking import BlockingDriver
from flagmw.admin.flow.operation import Async, Blocking, M
from flagmw.admin.http.exchange import Exchange, Policy
from flagmw.admin.http.library import Options
from flagmw.admin.http.notes import CallNote
from flagmw.admin.limits.window import Limiter, Window
from flagmw.exceptions import ConfigError
from flagmw.vendors.common.options import checked_base_url, leaves_machine_unencrypted

BASE_URL = "https://mc.adobe.io"
CALLS_PER_MINUTE = 50
# Adobe answers 503 when there were more, and at an outage as well.
LIMIT_STATUSES = frozenset({429, 503})


class ClientOptions(TypedDict, total=False):
    """The options of both clients; what they mean stands at `AdobeCore`."""

    api_key: str | None
    client_code: str | None
    profile_auth: TokenSource | None
    base_url: str
    profile_url: str | None
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


class AdobeCore(Generic[M]):
    """What the blocking and the asynchronous client have in common.

    Args:
        tenant: the path's first part; not always the client code.
        auth: `OAuthServerToServer(...)`, `GivenToken(...)`, or the retired `LegacyJWT(...)`.
        api_key: sent as X-Api-Key; the client id of *auth* by default.
        client_code: for the Profile API; the host is `{client_code}.tt.omtrdc.net`.
        profile_auth: credentials of the Profile API, where its authentication is switched on: `ProfileToken()` takes
            them from the Admin API, `GivenToken(...)` is a token made elsewhere. None sends none.
        base_url: of the Admin API.
        profile_url: of the Profile API, instead of the client code's host.
        limiter: decides when calls may be made; 50 a minute for this client by default. `SharedLimiter` shares a
            limit between processes.
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
        tenant: str,
        auth: TokenSource,
        *,
        api_key: str | None = None,
        client_code: str | None = None,
        profile_auth: TokenSource | None = None,
        base_url: str = BASE_URL,
        profile_url: str | None = None,
        limiter: Limiter | None = None,
        timeout_s: float = 60.0,
        attempts: int = 3,
        max_wait_s: float = 600.0,
        repeat_post: bool = False,
        max_answer_bytes: int = 64 << 20,
        dry_run: bool = False,
        on_call: Callable[[CallNote], object] | None = None,
        verify: Any = True,
        trust_env: bool = True,
        transport: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = f"{_url('base_url', base_url)}/{segment(tenant, 'tenant')}/target"
        key = api_key if api_key is not None else getattr(auth, "client_id", None)
        if not isinstance(key, str) or not key.isascii() or not key.isprintable() or not key:
            raise ConfigError("api_key is missing: pass the client id of the credential as api_key=")
        self.api_key = key
        self.client_code = client_code
        self.profile_root = _url("profile_url", profile_url) if profile_url else _profile_host(client_code)
        self.dry_run = dry_run
        policy = Policy(
            timeout_s=timeout_s,
            attempts=attempts,
            max_wait_s=max_wait_s,
            repeat_post=repeat_post,
            limit_statuses=LIMIT_STATUSES,
            max_answer_bytes=max_answer_bytes,
        )
        self.limiter: Limiter = limiter or Window(CALLS_PER_MINUTE, 60.0, clock=clock)
        shared: dict[str, Any] = {"policy": policy, "on_call": on_call, "clock": clock}
        self.exchange = Exchange("adobe", fault_of, auth, limiter=self.limiter, **shared)
        if isinstance(profile_auth, ProfileToken):
            profile_auth.bind(self)
        self.profile_exchange = Exchange("adobe", fault_of, profile_auth, **shared)
        # Uploads count against the limit of the Admin API; single updates and reads do not.
        self.bulk_exchange = Exchange("adobe", fault_of, profile_auth, limiter=self.limiter, **shared)
        self.options = Options(verify=verify, trust_env=trust_env, transport=transport)
        self.activities: Activities[M] = Activities(self)
        self.offers: Offers[M] = Offers(self)
        self.audiences: Audiences[M] = Audiences(self)
        self.properties: Properties[M] = Properties(self)
        self.reports: Reports[M] = Reports(self)
        self.mboxes: Mboxes[M] = Mboxes(self)
        self.profile_attributes: ProfileAttributes[M] = ProfileAttributes(self)
        self.environments: Environments[M] = Environments(self)
        self.batch: Batches[M] = Batches(self)
        self.tokens: Tokens[M] = Tokens(self)
        self.profiles: Profiles[M] = Profiles(self)
        self.response_tokens: ResponseTokens[M] = ResponseTokens(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root!r})"


class AdobeAdmin(AdobeCore[Blocking]):
    """Manage Adobe Target; safe from any thread and after a fork. Use it as a context manager, or call `close`.

    The options are those of `AdobeCore`; *sleep* waits for seconds, for tests.
    """

    is_async = False

    def __init__(
        self,
        tenant: str,
        auth: TokenSource,
        *,
        sleep: Callable[[float], object] = time.sleep,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(tenant, auth, **options)
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


class AsyncAdobeAdmin(AdobeCore[Async]):
    """Manage Adobe Target from asynchronous code. Use it as a context manager, or call `aclose`.

    The options are those of `AdobeCore`; *sleep* waits for seconds, for tests.
    """

    is_async = True

    def __init__(
        self,
        tenant: str,
        auth: TokenSource,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(tenant, auth, **options)
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


def _url(option: str, url: str) -> str:
    url = checked_base_url("AdobeAdmin", url, option)
    if leaves_machine_unencrypted(url):
        raise ConfigError(f"AdobeAdmin: {option} must be https: credentials must not cross a network in the clear")
    return url


def _profile_host(client_code: str | None) -> str | None:
    if client_code is None:
        return None
    if not client_code.isascii() or not client_code.replace("-", "").replace("_", "").isalnum():
        raise ConfigError("client_code must be letters, digits, hyphens and underscores; it stands in a host name")
    return f"https://{client_code}.tt.omtrdc.net"
