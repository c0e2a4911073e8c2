"""A request that a dry run returns instead of sending it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson

from flagmw.admin.http.call import FileCall
from flagmw.types import Call

SECRET_HEADERS = frozenset(
    {"authorization", "access_token", "authtoken", "cookie", "proxy-authorization", "set-cookie", "x-api-key"}
)
SECRET_FIELDS = frozenset(
    {
        "access_token", "assertion", "client_secret", "code", "jwt_token", "password", "refresh_token", "token",
        "at_preview_token", "authorization", "authtoken",
    }
)  # fmt: skip
SHOWN_BYTES = 2000


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """What a call would send. Secrets show as `***`.

    Attributes:
        operation: the client's method, "activities.ab.create".
        body: of a file, its first bytes.
        cost: how many calls of the vendor's limit it uses.
    """

    operation: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)
    cost: int = 1

    @classmethod
    def of(cls, operation: str, call: Call, cost: int = 1) -> PlannedRequest:
        """Return *call* with its secrets masked."""
        body = call.body
        if isinstance(call, FileCall):
            with call.file.open("rb") as file:
                body = (call.prefix + file.read(SHOWN_BYTES))[:SHOWN_BYTES]
        if _content_type(call.headers).startswith("application/x-www-form-urlencoded"):
            body = masked_pairs(body.decode()).encode()
        return cls(operation, call.method, masked_url(call.url), masked_headers(call.headers), body, cost)

    def json(self) -> Any:
        """Return the body as it was before it was encoded; None without a body."""
        return orjson.loads(self.body) if self.body else None

    def curl(self) -> str:
        """Return the request as a command for a shell, with secrets masked."""
        words = ["curl", "-X", self.method, self.url]
        for name, value in self.headers.items():
            words += ["-H", f"{name}: {value}"]
        if self.body:
            words += ["--data-binary", self.body.decode("utf-8", "replace")]
        return " ".join(shlex.quote(word) for word in words)


class Planned(Exception):
    """Ends an operation at the request that it would send."""

    def __init__(self, request: PlannedRequest) -> None:
        super().__init__(request.operation)
        self.request = request


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* with the values of secret ones masked; the scheme of an Authorization stays."""
    return {
        name: (f"{value.partition(' ')[0]} ***" if " " in value else "***") if name.lower() in SECRET_HEADERS else value
        for name, value in headers.items()
    }


def masked_url(url: str) -> str:
    """Return *url* with the values of secret query parameters masked."""
    parts = urlsplit(url)
    return url if not parts.query else parts._replace(query=masked_pairs(parts.query)).geturl()


def masked_pairs(text: str) -> str:
    """Return form fields or a query with secret values masked; untouched when there is nothing to mask."""
    pairs = parse_qsl(text, keep_blank_values=True)
    if not any(name.lower() in SECRET_FIELDS for name, _ in pairs):
        return text
    return urlencode([(name, "***" if name.lower() in SECRET_FIELDS else value) for name, value in pairs], safe="*")


def _content_type(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() == "content-type"), "")
