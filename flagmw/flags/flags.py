"""Flags of one request: a map of aliases to variants."""

from __future__ import annotations

import math
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any, NamedTuple, Protocol

import orjson

from flagmw.codes import ErrorCode, Reason
from flagmw.flags import bootstrap as bootstrapping
from flagmw.types import EMPTY, Variant

_ON = frozenset({"true", "1", "on", "yes", "enabled", "variation", "treatment"})


class Recorder(Protocol):
    """The recorder of the request that `Flags` belong to."""

    def track(self, metric: str, **arguments: Any) -> str | None: ...

    def identified_late(self) -> None:
        """Note that the visitor was named when the flags had been decided."""

    def mismatch(self, alias: str) -> None:
        """Note that the variant of *alias* could not be read as the type that was asked for."""

    def save(self) -> bytes: ...

    @property
    def set_cookies(self) -> tuple[str, ...]: ...


class Pending(Protocol):
    """Flags that are still to be decided, in lazy mode."""

    def read(self, flags: Flags) -> None:
        """Decide because something is read now; where this cannot wait, note that and decide nothing."""

    async def load(self, flags: Flags) -> None:
        """Decide, for a coroutine that waits."""

    def before_track(self, flags: Flags) -> None:
        """Decide if only that can make a track count: the visitor is in no test yet."""

    def identify(self, user_id: Any, data: Mapping[str, Any] | None) -> bool:
        """Say who the visitor is before anything is decided; return whether it was in time."""


class Flags(Mapping[str, str]):
    """A read-only `alias -> variant key` map that never raises for an alias it does not know.

    Two notes are kept. *Touched*: anything was looked at, so the response is this visitor's own and must
    not be shared by caches. *Exposed*: the variant of a decided alias was read for use. `dict()`, `items()`
    and iteration touch but expose nothing.
    """

    __slots__ = (
        "_copying",
        "_defaults",
        "_error_code",
        "_exposed",
        "_hints",
        "_misses",
        "_notice",
        "_on",
        "_pending",
        "_recorder",
        "_strict",
        "_touched",
        "_variants",
    )

    # strict: reading an alias that is not among *variants* raises, for tests.
    def __init__(
        self,
        variants: Mapping[str, Variant] = EMPTY,
        *,
        defaults: Mapping[str, str] = EMPTY,
        misses: Mapping[str, ErrorCode] = EMPTY,
        error_code: ErrorCode | None = None,
        notice: ErrorCode | None = None,
        on: Mapping[str, frozenset[str]] = EMPTY,
        recorder: Recorder | None = None,
        strict: bool = False,
        hints: Mapping[str, Mapping[str, Any]] = EMPTY,
        pending: Pending | None = None,
    ) -> None:
        self._strict = strict
        self._hints = hints
        self._pending = pending
        self._variants = variants
        self._defaults = defaults
        self._misses = misses
        self._error_code = error_code
        self._notice = notice
        self._on = on
        self._recorder = recorder
        self._touched = False
        self._exposed: dict[str, Variant] = {}
        self._copying: list[str] = []

    # Reading

    def __getitem__(self, alias: str) -> str:
        """Return the variant's key; for an undecided alias its default, else "control".

        Raises:
            KeyError: *alias* is the name of one of this class's own attributes. Template engines look keys up
                before attributes, so this is what makes `{{ flags.items }}` work in Django.
        """
        if self._copying and alias is self._copying[-1]:
            return self._variants[self._copying.pop()].key
        variant = None if alias in _OWN_NAMES else self._look(alias)
        if variant is not None:
            return variant.key
        if alias in _OWN_NAMES:
            self._touched = True
            raise KeyError(alias)
        return self._defaults.get(alias, "control")

    def get(self, alias: str, default: Any = None) -> Any:
        """Return the variant's key, or *default* (None) when the alias is undecided."""
        variant = self._look(alias)
        return default if variant is None else variant.key

    def variant(self, alias: str) -> Variant:
        """Return the whole variant; for an undecided alias one that says why it is the default."""
        variant = self._look(alias)
        if variant is not None:
            return variant
        code = self._misses.get(alias) or self._error_code or self._notice or ErrorCode.FLAG_NOT_FOUND
        return Variant(
            alias=alias,
            key=self._defaults.get(alias, "control"),
            # "No test here" is an answer, not an error.
            reason=Reason.ERROR if code is self._error_code else Reason.DEFAULT,
            error_code=code,
        )

    def payload(self, alias: str, default: Any = None) -> Any:
        """Return the variant's content: what the vendor sent, or the JSON text that its key is."""
        variant = self._look(alias)
        if variant is None:
            return default
        if variant.payload is not None:
            return variant.payload
        try:
            return orjson.loads(variant.key)
        except orjson.JSONDecodeError:
            if variant.key.lstrip()[:1] in ("{", "["):
                self._mismatch(alias)
            return default

    def is_on(self, alias: str) -> bool:
        """Say whether the variant means "on": true, 1, on, yes, enabled, variation or treatment, in any case.

        Everything else is off. `on={alias: {keys}}` in the configuration names other keys for an alias.
        """
        variant = self._look(alias)
        key = variant.key if variant is not None else self._defaults.get(alias, "control")
        wanted = self._on.get(alias)
        return key in wanted if wanted is not None else key.lower() in _ON

    def number(self, alias: str, default: float) -> float:
        """Return the variant's key as a number (an int where it is one), *default* when it is none."""
        variant = self._look(alias)
        if variant is None:
            return default
        text = variant.key.strip()
        try:
            value = float(text)
            if len(text) <= 64 and math.isfinite(value) and "_" not in text:
                return int(text) if text.lstrip("+-").isdecimal() else value
        except ValueError:
            pass
        self._mismatch(alias)
        return default

    def __contains__(self, alias: object) -> bool:
        self._touch()
        return alias in self._variants

    def __iter__(self) -> Iterator[str]:
        self._touch()
        return iter(self._variants)

    def __len__(self) -> int:
        self._touch()
        return len(self._variants)

    def __bool__(self) -> bool:
        return len(self) > 0

    def keys(self) -> KeysView[str]:
        """Return the decided aliases. `dict(flags)` and `{**flags}` come here; what they read then exposes nothing."""
        self._touch()
        return _Keys(self)

    def items(self) -> ItemsView[str, str]:
        """Return what was decided, as (alias, key) pairs."""
        self._touch()
        return {alias: variant.key for alias, variant in self._variants.items()}.items()

    def values(self) -> ValuesView[str]:
        """Return the keys of what was decided."""
        self._touch()
        return {alias: variant.key for alias, variant in self._variants.items()}.values()

    def __repr__(self) -> str:
        shown = {alias: variant.key for alias, variant in self._variants.items()}
        code = self._error_code or self._notice
        note = ", not loaded" if self._pending is not None else f", error_code={code.value!r}" if code else ""
        return f"Flags({shown!r}{note})"

    # For the CMS and the page's scripts

    @property
    def contentstack(self) -> bootstrapping.ContentstackHints:
        """What Contentstack's CMS takes of the first Contentstack vendor's decision; empty where there is none."""
        self._touch()
        return bootstrapping.contentstack(self._hints)

    def bootstrap(self, vendor: str | None = None) -> str:
        """Return what keeps a vendor's own code in the page from deciding again, all vendors' by name for None.

        JSON that can stand in `<script type="application/json">`; `null` for a *vendor* that has nothing to say.
        """
        self._touch()
        return bootstrapping.bootstrap(self._hints, vendor)

    # Deciding late

    async def load(self) -> Flags:
        """Decide now, in lazy mode, without holding up the event loop; return these flags. Later calls cost nothing.

        Ten coroutines that wait for it at once cost one decision.
        """
        if self._pending is not None:
            await self._pending.load(self)
        return self

    def identify(self, user_id: str | int | None = None, data: Mapping[str, Any] | None = None) -> bool:
        """Say who the visitor is, in lazy mode, before the flags are decided; return whether that still counts.

        Raises:
            ValueError: the id or the attributes cannot be sent as they are, and the configuration says `debug`.
        """
        if self._pending is not None and self._pending.identify(user_id, data):
            return True
        if self._recorder is not None:
            self._recorder.identified_late()
        return False

    # What the visitor did

    def track(
        self,
        metric: str,
        *,
        data: Mapping[str, Any] | None = None,
        aliases: Iterable[str] | None = None,
        vendors: Iterable[str] | None = None,
        key: str | None = None,
        value: float | None = None,
        currency: str | None = None,
        items: Sequence[Mapping[str, Any]] | None = None,
    ) -> str | None:
        """Report that the visitor did something; it is delivered later, also if the vendor is down now.

        Args:
            metric: the vendor's name for it (Webtrends: the conversion point).
            data: custom data: up to 50 entries of str, int, float or bool, 8 KiB in all. Times, ids, decimal numbers
                and enumerations become texts, lists one text.
            aliases: the tests it counts for; all that the visitor is in when left out.
            vendors: names of the vendors to tell; all when left out.
            key: the business key, such as the order number: reported once, however often and in whichever process that
                shares the outbox this is called. Up to 250 characters; a longer one ends in a digest of all of it.
            value, currency: what it was worth, and in what (ISO 4217).
            items: cart lines, for vendors that take them; 100 at most, the last one the sum of all further ones where
                the vendor has such a line.

        Details that cannot be sent as they are get changed or left out; the counter `track_fitted` says how often.

        Returns:
            The track's id; None when it was not taken: there is no metric, the visitor is in no such test, or the key
            was reported already.

        Raises:
            ValueError: a detail cannot be sent as it is and the configuration says `debug`.
        """
        self._touched = True
        if self._recorder is None:
            return None
        if self._pending is not None:
            self._pending.before_track(self)
        return self._recorder.track(
            metric,
            data=data,
            aliases=aliases,
            vendors=vendors,
            key=key,
            value=value,
            currency=currency,
            items=items,
        )

    def save(self) -> bytes:
        """Return the visitor in a form to keep, for `Flagmw.track(..., visitor=saved)` in a job or webhook.

        It holds the vendors' cookies: store it as carefully as a session.
        """
        self._touched = True
        return b"" if self._recorder is None else self._recorder.save()

    # What the edges ask

    @property
    def touched(self) -> bool:
        """Whether anything but `repr` was done with these flags."""
        return self._touched

    @property
    def read_count(self) -> int:
        """How many different variants were read for use."""
        return len(self._exposed)

    @property
    def is_pending(self) -> bool:
        """Whether these are lazy flags that nothing has decided yet."""
        return self._pending is not None

    @property
    def exposed(self) -> tuple[Variant, ...]:
        """The decided variants that were read for use, in the order of first reading."""
        return tuple(self._exposed.values())

    @property
    def missed(self) -> tuple[str, ...]:
        """The aliases for which a vendor said why there is no variant."""
        self._decide()
        return tuple(alias for alias in self._misses if alias not in self._variants)

    @property
    def error_code(self) -> ErrorCode | None:
        """Why nothing, or not everything, was decided: a failure first, else that there is no test here."""
        self._decide()
        return self._error_code or self._notice

    @property
    def set_cookies(self) -> tuple[str, ...]:
        """Set-Cookie header values that the decision asks for, for use outside the middleware."""
        self._decide()
        return () if self._recorder is None else self._recorder.set_cookies

    def _decide(self) -> None:
        if self._pending is not None:
            self._pending.read(self)

    def _touch(self) -> None:
        self._touched = True
        if self._pending is not None:
            self._pending.read(self)

    def _look(self, alias: str) -> Variant | None:
        self._touched = True
        if self._pending is not None:
            self._pending.read(self)
        self._copying = []
        variant = self._variants.get(alias)
        if variant is not None:
            self._exposed.setdefault(alias, variant)
        elif self._strict and alias not in _OWN_NAMES:
            raise LookupError(f"flag {alias!r} is not among those that override_flags(..., strict=True) serves")
        return variant

    def _mismatch(self, alias: str) -> None:
        if self._recorder is not None:
            self._recorder.mismatch(alias)


class _Keys(KeysView[str]):
    """Keys by which a copy is told from use: `dict()` lists them all, then reads each of these very objects in turn."""

    _mapping: Flags

    def __iter__(self) -> Iterator[str]:
        flags = self._mapping
        listed = [(alias + " ")[:-1] for alias in flags._variants]  # new objects, which nobody else reads by
        yield from listed
        flags._copying = listed[::-1]


# For the exchange. These are functions because every public name of `Flags` is an alias less for sites.


class FlagsContent(NamedTuple):
    """The decided part of `Flags`."""

    variants: Mapping[str, Variant]
    misses: Mapping[str, ErrorCode]
    notice: ErrorCode | None
    hints: Mapping[str, Mapping[str, Any]]


def content_of(flags: Flags) -> FlagsContent:
    """Return what was decided, without touching *flags*."""
    return FlagsContent(flags._variants, flags._misses, flags._notice, flags._hints)


def failure_of(flags: Flags) -> ErrorCode | None:
    """Return why nothing, or not everything, was decided, without touching *flags*."""
    return flags._error_code


def exposed_of(flags: Flags) -> Mapping[str, Variant]:
    """Return the table of variants that were read for use; it grows while the view reads."""
    return flags._exposed


def adopt(flags: Flags, decided: Flags) -> None:
    """Give lazy *flags* the content of *decided*; what was touched before stays touched."""
    flags._variants, flags._misses, flags._hints = decided._variants, decided._misses, decided._hints
    flags._error_code, flags._notice, flags._strict = decided._error_code, decided._notice, decided._strict
    flags._recorder, flags._defaults, flags._on = decided._recorder, decided._defaults, decided._on
    flags._pending = None


def decide_now(flags: Flags) -> None:
    """Decide lazy *flags* in this thread, which may wait for it."""
    if flags._pending is not None:
        flags._pending.read(flags)


def set_pending_code(flags: Flags, code: ErrorCode) -> None:
    """Set the reason why lazy *flags* are still undecided."""
    if flags._pending is not None:
        flags._error_code = code


_OWN_NAMES = frozenset(name for name in dir(Flags) if not name.startswith("_"))
