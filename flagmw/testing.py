"""Test helpers for applications that use flagmw, and a pytest plugin.

`override_flags` and `capture_tracks` are context managers, for unittest as well; `override_flags` is also a decorator
of tests. Where pytest is installed, both are fixtures, too, and so is `flagmw_sandbox`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from flagmw._cookies.rule import CookieRule
from flagmw.codes import ErrorCode, Reason
from flagmw.flags import testing_hooks
from flagmw.types import Decision, Delivered, Event, Flow, Outcome, Track, Variant, Visit, VisitorState
from flagmw.vendors.base import Participation
from flagmw.vendors.contract import check_vendor

if TYPE_CHECKING:
    from flagmw.sandbox import SandboxServer

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["FakeVendor", "capture_tracks", "check_vendor", "override_flags"]


class override_flags:
    """Serve these variants instead of asking vendors, in every request of this process.

        with override_flags({"ta_Checkout": "variation"}):
            client.get("/checkout")

        @override_flags({"ta_Checkout": "variation"})
        def test_checkout(client): ...

    All other aliases are undecided; nested ones add up, the innermost wins. It also holds for servers' threads,
    so it is for tests that do not share a process with each other.

    Args:
        variants: the variant of each alias.
        strict: reading an alias that is not among them raises `LookupError`: it was misspelt, or forgotten.
    """

    def __init__(self, variants: Mapping[str, str], *, strict: bool = False) -> None:
        self._override = testing_hooks.TestOverride(dict(variants), strict)

    def __enter__(self) -> Self:
        testing_hooks.push(self._override)
        return self

    def __exit__(self, *_: object) -> None:
        testing_hooks.pop(self._override)

    def __call__(self, function: F) -> F:
        """Put the variants in place while *function* runs, async or not."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def around(*args: Any, **kwargs: Any) -> Any:
                with type(self)(self._override.variants, strict=self._override.strict):
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def around(*args: Any, **kwargs: Any) -> Any:
                with type(self)(self._override.variants, strict=self._override.strict):
                    return function(*args, **kwargs)

        return around  # type: ignore[return-value]


class capture_tracks:
    """Collect tracks instead of delivering them, in every request of this process.

        with capture_tracks() as tracks:
            client.post("/buy")
        assert tracks[0].metric == "purchase"

    A track counts here whether or not the visitor is in any test. What consent, the list of crawlers or a tester's
    override refuses is refused here as well, and bad data is dropped or raises as ever.
    """

    def __init__(self) -> None:
        self._capture = testing_hooks.TestCapture()

    def __enter__(self) -> list[Track]:
        testing_hooks.push(self._capture)
        return self._capture.tracks

    def __exit__(self, *_: object) -> None:
        testing_hooks.pop(self._capture)


class FakeVendor:
    """A vendor without a service: says what it is told to, and remembers what it was asked and told.

    Args:
        variants: what every visitor gets.
        error: fail every decision with this code instead.
        exposure: "read" to be told what was read, "off" otherwise.

    Attributes:
        visits: every visit it decided for.
        delivered: every event it was told of.
        outcomes: what to answer the next deliveries with; `Delivered()` when there are none left.
    """

    at_most_once = False

    def __init__(
        self,
        variants: Mapping[str, str] | None = None,
        *,
        name: str = "fake",
        prefix: str = "",
        error: ErrorCode | None = None,
        exposure: str = "off",
    ) -> None:
        self.name, self.prefix, self.error, self.exposure = name, prefix, error, exposure
        self.variants = dict(variants or {})
        self.visits: list[Visit] = []
        self.delivered: list[Event] = []
        self.outcomes: list[Outcome] = []
        self.cookies = CookieRule(
            prefixes=(f"{name}_",),
            reads=lambda cookie: cookie.startswith(f"{name}_"),
            writes=lambda cookie: cookie.startswith(f"{name}_"),
            value_ok=lambda value: True,
        )

    def decide(self, visit: Visit, state: VisitorState) -> Flow[Decision]:
        """Decide as told."""
        self.visits.append(visit)
        if self.error is not None:
            return Decision(vendor=self.name, error=self.error)
        variants = {
            alias: Variant(alias=alias, key=key, vendor=self.name, reason=Reason.SPLIT)
            for alias, key in self.variants.items()
        }
        return Decision(vendor=self.name, variants=variants)
        yield  # what makes this a flow, as every vendor's decide is

    def participation(self, track: Track, state: VisitorState) -> Participation:
        """Take part with every alias there is."""
        wanted = track.aliases if track.aliases is not None else tuple(self.variants)
        return Participation(tuple(alias for alias in wanted if alias in self.variants))

    def identity(self, state: VisitorState) -> str:
        """Return the vendor's cookies as one text."""
        return "; ".join(f"{name}={value}" for name, value in sorted(state.cookies.items()))

    def exposes(self, variants: Sequence[Variant], state: VisitorState) -> Participation:
        """Take every exposure."""
        return Participation(tuple(variant.alias for variant in variants))

    def deliver(self, batch: Sequence[Event]) -> Flow[Sequence[Outcome]]:
        """Take the events."""
        self.delivered.extend(batch)
        return [self.outcomes.pop(0) if self.outcomes else Delivered() for _ in batch]
        yield


class Overrider(Protocol):
    """What the fixture `override_flags` is: put variants in place until the test ends."""

    def __call__(self, variants: Mapping[str, str], *, strict: bool = False) -> None: ...


try:
    import pytest
except ImportError:  # the fixtures are pytest's
    pass
else:

    @pytest.fixture(name="override_flags")
    def _override_flags() -> Iterator[Overrider]:
        """Give a function that serves variants instead of asking vendors, until the test ends."""
        placed: list[override_flags] = []

        def place(variants: Mapping[str, str], *, strict: bool = False) -> None:
            placed.append(override_flags(variants, strict=strict).__enter__())

        yield place
        for each in reversed(placed):
            each.__exit__()

    @pytest.fixture(name="capture_tracks")
    def _capture_tracks() -> Iterator[list[Track]]:
        """Give the list of tracks made during the test, none of which is delivered."""
        with capture_tracks() as tracks:
            yield tracks

    @pytest.fixture(scope="session")
    def _flagmw_sandbox_server() -> Iterator[SandboxServer]:
        # Imported late: the plugin is loaded by every pytest run on the machine, which may not need a server.
        from flagmw.sandbox import SandboxServer

        with SandboxServer(seed=1) as server:
            yield server

    @pytest.fixture
    def flagmw_sandbox(_flagmw_sandbox_server: SandboxServer) -> SandboxServer:
        """Give a running sandbox of the vendors on a port of its own, as new for each test."""
        _flagmw_sandbox_server.reset()
        return _flagmw_sandbox_server
