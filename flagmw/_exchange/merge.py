"""Merging of the vendors' decisions into one visitor's flags, by precedence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flagmw._exchange.context import Context
from flagmw._web.overrides import Override
from flagmw.codes import ErrorCode, Reason
from flagmw.flags.flags import Flags, Recorder
from flagmw.types import Decision, Variant


def merge(
    context: Context,
    decisions: Sequence[Decision],
    evicted: set[tuple[int, str]],
    override: Override | None,
    recorder: Recorder,
) -> Flags:
    """Return the flags that *decisions* (one per vendor, in order) make together.

    Args:
        evicted: (place of the vendor, alias) of those whose cookie had no room.
        override: a tester's choice of variants.
    """
    config = context.config
    error: ErrorCode | None = None
    notice: ErrorCode | None = None
    if len(decisions) == 1 and not config.vendors[0].prefix and not decisions[0].rejected:
        decision = decisions[0]
        variants, misses = decision.variants, decision.misses
        error, notice = decision.error, decision.notice
        owners: dict[str, int] = dict.fromkeys(variants, 0) if evicted else {}
    else:
        variants, misses, owners = _by_precedence(context, decisions)
        error = next((decision.error for decision in decisions if decision.error), None)
        notice = next((decision.notice for decision in decisions if decision.notice), None)
    lost = {flag for place, alias in evicted if owners.get(flag := config.vendors[place].prefix + alias) == place}
    if lost:
        variants = {alias: variant for alias, variant in variants.items() if alias not in lost}
        misses = {**misses, **dict.fromkeys(lost, ErrorCode.COOKIE_BUDGET)}
    return Flags(
        variants if override is None else overridden(variants, override),
        defaults=config.defaults,
        misses=misses,
        error_code=error,
        notice=notice,
        on=config.on,
        recorder=recorder,
        hints={decision.vendor: decision.hints for decision in decisions if decision.hints},
    )


def overridden(variants: Mapping[str, Variant], override: Override) -> dict[str, Variant]:
    """Return *variants* with a tester's choices in their place."""
    chosen = {
        alias: Variant(alias=alias, key=key, reason=Reason.STATIC, error_code=ErrorCode.OVERRIDDEN)
        for alias, key in override.variants.items()
    }
    return {**variants, **chosen}


def _by_precedence(
    context: Context, decisions: Sequence[Decision]
) -> tuple[dict[str, Variant], dict[str, ErrorCode], dict[str, int]]:
    """Return variants and misses of all vendors, and whose each variant is: the first that decides has it."""
    variants: dict[str, Variant] = {}
    misses: dict[str, ErrorCode] = {}
    owners: dict[str, int] = {}
    for place, (traits, decision) in enumerate(zip(context.traits, decisions, strict=True)):
        prefix = traits.prefix
        for alias, variant in decision.variants.items():
            flag = prefix + alias
            if flag not in variants:
                variants[flag] = variant if not prefix else variant.renamed(flag)
                owners[flag] = place
        for alias, miss in decision.misses.items():
            misses.setdefault(prefix + alias, miss)
        for rejected in decision.rejected:
            context.counts.add("answer_rejected", decision.vendor, rejected)
    return variants, misses, owners
