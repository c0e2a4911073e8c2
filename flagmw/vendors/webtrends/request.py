"""Requests of the OTS REST API, with exactly the documented types."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from flagmw._support.list_text import ListText
from flagmw.types import Call, Event, Visit
from flagmw.vendors.common.json import BROKEN, sound
from flagmw.vendors.webtrends.cookies import Cookies

if TYPE_CHECKING:
    from flagmw.vendors.webtrends.options import Options


def endpoint(base_url: str, action: str, domain_id: str, aliases: Iterable[str] = ()) -> str:
    """Return the URL of *action*; the commas between aliases stay literal, other characters are encoded."""
    listed = ",".join(quote(alias, safe="") for alias in aliases)
    return f"{base_url}/{action}/{domain_id}" + (f"-{listed}" if listed else "")


def control_url(base_url: str, domain_id: str, project: str | None) -> str:
    """Return the URL that decides for *project*, or for all projects of the account."""
    return endpoint(base_url, "control", domain_id, () if project is None else (project,))


class RequestBuilder:
    """Requests of one account.

    Attributes:
        compress: whether bodies are compressed; False once the vendor has refused that.
    """

    def __init__(self, options: Options, cookies: Cookies) -> None:
        self._options, self._cookies = options, cookies
        self._control_url = control_url(options.base_url, options.domain_id, options.project)
        self.compress = options.gzip_request

    def control(self, visit: Visit, cookies: Mapping[str, str], *, counted: bool) -> Call:
        """Return the request for a decision, made with *cookies*; *counted* lets it count a view."""
        return self._call(
            self._control_url,
            visit,
            self._body(visit, cookies, self._visit_data(visit), counted=counted),
            # A repeat counts a second view if the request counts one at all.
            replay_safe=not counted,
            # Two calls at once could assign a new visitor twice. A control cookie keeps the assignment.
            hedge_safe=not counted and any(map(self._cookies.is_control, cookies)),
        )

    def track(self, event: Event) -> Call:
        """Return the request that reports the conversion of *event* for all its aliases."""
        track, visit = event.track, event.visit
        data = flatten(track.data)
        if track.value is not None:
            data.setdefault("revenue", track.value)
        if track.currency is not None:
            data.setdefault("currency", track.currency)
        # Only decisions count views. The field has no meaning here but is part of every body.
        body = self._body(visit, self._cookies.read(visit.cookies), data, counted=True)
        body["conversionPoint"] = track.metric
        return self._call(self._action_url("track", event.aliases), visit, body)

    def view(self, event: Event, alias: str) -> Call:
        """Return the request that counts a view of *alias*: its decision again, which the control cookie keeps.

        No document describes a later report of a view. A decision is the only request that is known to count one.
        """
        visit, control = event.visit, self._cookies.control(alias)
        cookies = {
            name: value
            for name, value in self._cookies.read(visit.cookies).items()
            if name == control or not self._cookies.is_control(name)
        }
        body = self._body(visit, cookies, {**self._options.data, **flatten(visit.data)}, counted=True)
        return self._call(self._action_url("control", (alias,)), visit, body)

    def _action_url(self, action: str, aliases: Iterable[str]) -> str:
        return endpoint(self._options.base_url, action, self._options.domain_id, aliases)

    def _visit_data(self, visit: Visit) -> Mapping[str, str | int | float]:
        return {**self._options.data, **flatten(visit.data)} if visit.data else self._options.data

    def _body(
        self, visit: Visit, cookies: Mapping[str, str], data: Mapping[str, Any], *, counted: bool
    ) -> dict[str, Any]:
        options = self._options
        body: dict[str, Any] = {
            "keyToken": options.key_token.reveal(),
            "url": options.url if options.decides_by == "site" else options.url.replace("{path}", sound(visit.path)),
            "_wt.encrypted": options.encrypted,
            "_wt.track": "true" if counted else "false",
        }
        if options.staging or visit.staging:
            body["s_mode"] = "staging"
        if cookies:
            body["cookies"] = {name: {"value": value} for name, value in cookies.items()}
        if data:
            body["data"] = data
        if options.debug:
            body["debug"] = "true"
        body.update(options.extra_params)
        return body

    def _call(
        self,
        url: str,
        visit: Visit,
        body: Mapping[str, Any],
        *,
        replay_safe: bool = False,
        hedge_safe: bool = False,
    ) -> Call:
        compress = self.compress
        encoded = orjson.dumps(body)
        if compress:
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)  # 31: with a gzip header
            encoded = packer.compress(encoded) + packer.flush()
        return Call(
            method="POST",
            url=url,
            headers=_headers(visit, compress=compress),
            body=encoded,
            replay_safe=replay_safe,
            hedge_safe=hedge_safe,
        )


def is_compressed(call: Call) -> bool:
    """Say whether the body of *call* is compressed."""
    return "content-encoding" in call.headers


def _headers(visit: Visit, *, compress: bool) -> dict[str, str]:
    """Return request headers with the visitor's own user agent and address, or none; never a library's name."""
    headers = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "gzip"}
    if compress:
        headers["content-encoding"] = "gzip"
    if visit.user_agent:
        headers["user-agent"] = visit.user_agent
    if visit.client_ip:
        headers["x-forwarded-for"] = visit.client_ip
    return headers


def flatten(data: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Return *data* one level deep: dotted keys for objects, `key[0]` for lists, text for booleans, no nulls.

    Values that JSON cannot carry are left out: other types, broken Unicode, NaN, integers beyond 64 bits.
    """
    return dict(_flat("", data))


def _flat(key: str, value: Any) -> Iterator[tuple[str, str | int | float]]:
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from _flat(f"{key}.{name}" if key else str(name), child)
    elif isinstance(value, list | tuple | ListText):
        for index, child in enumerate(value.parts if isinstance(value, ListText) else value):
            yield from _flat(f"{key}[{index}]", child)
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
