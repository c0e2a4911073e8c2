"""Keyword options of `Flagmw`, as type checkers see them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

from flagmw.types import DecisionNote, EventNote, Inbound
from flagmw.vendors.base import Vendor

Hook = Callable[[Inbound], Any] | str
"""A function of the request, plain or async, or the dotted name of one."""


class Options(TypedDict, total=False):
    """What `Flagmw(...)` takes. `Config` describes each option; its checks also run where nobody checks types."""

    vendors: Iterable[Vendor]
    defaults: Mapping[str, str]
    deadline_ms: int
    mode: Literal["auto", "eager", "lazy"]
    reuse_s: float
    stale_s: float
    hold_s: float
    late_ms: int
    hedge_ms: int | None
    memory_mb: int
    signing_keys: str | bytes | Iterable[str | bytes]
    consent: Hook | None
    keep_cookies: bool
    bots: bool | Hook
    overrides: bool
    exposure_ttl_s: float
    visitor_store: Any
    outbox: Any
    outbox_required: bool
    shadow_report: str | Path | None
    paths: Iterable[str]
    exclude: Iterable[str]
    on: Mapping[str, Iterable[str]]
    cookie_domain: str | None
    cookie_secure: bool | Literal["auto"]
    cookie_budget: int
    hybrid: bool
    trusted_proxies: Iterable[str]
    client_ip_header: str
    client_ip: Literal["anonymised", "full", "off"]
    referer: Literal["origin", "full", "off"]
    send_query: Iterable[str]
    identify: Hook | None
    max_in_flight: int
    pool_size: int | None
    new_visitors_per_s: float | None
    tracks_per_visitor: int
    deliver: Literal["inprocess", "off"]
    max_rate: float | None
    commit_wait_ms: int
    debug: bool
    transport: Any
    trust_env: bool
    ca_file: str | Path | None
    on_decision: Callable[[DecisionNote], object] | None
    on_event: Callable[[EventNote], object] | None
