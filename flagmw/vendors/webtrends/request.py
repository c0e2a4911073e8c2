"""Build requests of the OTS REST API: paths, headers, and bodies with exactly the documented types."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from flagmw.types import Call, Visit
from flagmw.vendors.common.json import BROKEN


def endpoint(base_url: str, action: str, domain_id: str, aliases: Iterable[str] = ()) -> str:
    """Return the URL of *action*; the commas between aliases stay literal, all else in them is encoded."""
    listed = ",".join(quote(alias, safe="") for alias in aliases)
    return f"{base_url}/{action}/{domain_id}" + (f"-{listed}" if listed else "")


def headers(visit: Visit, *, compressed: bool) -> dict[str, str]:
    """Return request headers: the visitor's own user agent and address, or none; never a library's name."""
    sent = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "gzip"}
    if compressed:
        sent["content-encoding"] = "gzip"
    if visit.user_agent:
        sent["user-agent"] = visit.user_agent
    if visit.client_ip:
        sent["x-forwarded-for"] = visit.client_ip
    return sent


def call(
    url: str,
    visit: Visit,
    body: Mapping[str, Any],
    *,
    compress: bool,
    replay_safe: bool = False,
    hedge_safe: bool = False,
) -> Call:
    """Return the POST of *body* to *url*."""
    encoded = orjson.dumps(body)
    if compress:
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)  # 31: with a gzip header
        encoded = packer.compress(encoded) + packer.flush()
    return Call(
        method="POST",
        url=url,
        headers=headers(visit, compressed=compress),
        body=encoded,
        replay_safe=replay_safe,
        hedge_safe=hedge_safe,
    )


def cookie_object(cookies: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return cookies in the shape the vendor takes, only `value` being needed."""
    return {name: {"value": value} for name, value in cookies.items()}


def flatten(data: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Return *data* one level deep: dotted keys for objects, `key[0]` for lists, text for booleans, no nulls.

    What JSON cannot carry is left out: other types, broken Unicode, NaN, integers beyond 64 bits.
    """
    return dict(_flat("", data))


def _flat(key: str, value: Any) -> Iterator[tuple[str, str | int | float]]:
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from _flat(f"{key}.{name}" if key else str(name), child)
    elif isinstance(value, list | tuple):
        for n, child in enumerate(value):
            yield from _flat(f"{key}[{n}]", child)
    elif BROKEN.search(key):
        return
    elif isinstance(value, bool):
        yield key, "true" if value else "false"
    elif isinstance(value, str):
        if not BROKEN.search(value):
            yield key, value
    elif isinstance(value, int):
        if abs(value) < 1 << 63:
            yield key, value
    elif isinstance(value, float) and math.isfinite(value):
        yield key, value
