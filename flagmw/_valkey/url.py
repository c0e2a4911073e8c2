"""The address of a Valkey or Redis server, from a URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from flagmw._support.secret import Secret
from flagmw.exceptions import ConfigError

SCHEMES = ("valkey", "valkeys", "redis", "rediss")
PASSWORD_VARIABLE = "FLAGMW_VALKEY_PASSWORD"  # noqa: S105 - the name of a variable
_SETTINGS = frozenset({"dir", "prefix", "replicas", "allow_eviction", "max_rows", "ca_file"})
_EXAMPLE = "valkey://user@host:6379/0?dir=/var/lib/shop/flagmw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server, and what the URL says about how to use it.

    Attributes:
        prefix: what all keys begin with; ends with a colon.
        directory: where the machine's own store is, if the URL names it.
        replicas: how many replicas must have an event before the machine's own copy goes.
        allow_eviction: use a server that may evict what was entrusted to it.
        max_rows: how many events may wait on the server, 0 for any number.
        key_env: the environment variable with the keys that encrypt events, if they are.
    """

    host: str
    port: int = 6379
    database: int = 0
    tls: bool = False
    ca_file: str | None = None
    username: str | None = None
    password: Secret | None = field(default=None, repr=False)
    prefix: str = "flagmw:"
    directory: str | None = None
    replicas: int = 0
    allow_eviction: bool = False
    max_rows: int = 0
    key_env: str | None = None

    @property
    def name(self) -> str:
        """The server without secrets, for logs and errors."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'valkeys' if self.tls else 'valkey'}://{host}:{self.port}/{self.database}"

    def options(self) -> dict[str, Any]:
        """Return what the client library calls these things."""
        found: dict[str, Any] = {"host": self.host, "port": self.port, "db": self.database}
        if self.username:
            found["username"] = self.username
        if self.password is not None:
            found["password"] = self.password.reveal()
        if self.tls:
            found |= {"ssl": True, "ssl_ca_certs": self.ca_file, "ssl_check_hostname": True}
        return found


def parse(url: str, environ: Mapping[str, str] | None = None) -> Address:
    """Return what *url* says, such as `valkey://user:password@host:6379/0?dir=/var/lib/shop/flagmw&replicas=1`.

    `redis:` means the same; `valkeys:` and `rediss:` use TLS. A password may come from `FLAGMW_VALKEY_PASSWORD`.

    Raises:
        ConfigError: something in it cannot work; the text shows neither user nor password.
    """
    address, rest = parse_with_rest(url, environ)
    if rest.keys() - {"key_env"}:
        raise ConfigError(f"the Valkey URL has no option {min(rest)!r}; it may have {', '.join(sorted(_SETTINGS))}")
    return address


def parse_with_rest(url: str, environ: Mapping[str, str] | None = None) -> tuple[Address, dict[str, str]]:
    """As `parse`, with what belongs to the machine's own store beside it, unchecked."""
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not rest:
        raise ConfigError(f"a Valkey URL begins with one of {', '.join(SCHEMES)}, such as {_EXAMPLE}")
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        raise ConfigError(f"the Valkey URL has no readable host and port; write {_EXAMPLE}") from None
    if not parts.hostname:
        raise ConfigError(f"the Valkey URL names no host; write {_EXAMPLE}")
    variables = os.environ if environ is None else environ
    password = unquote(parts.password) if parts.password else variables.get(PASSWORD_VARIABLE)
    settings = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix = settings.get("prefix", "flagmw").rstrip(":")
    if not prefix or not prefix.isprintable() or any(mark in prefix for mark in "*?[]{} "):
        raise ConfigError("prefix of the Valkey URL must be plain text, without spaces and * ? [ ] { }")
    address = Address(
        host=parts.hostname,
        port=port,
        database=_whole("the database", parts.path.strip("/") or "0"),
        tls=scheme in ("valkeys", "rediss"),
        ca_file=settings.get("ca_file"),
        username=unquote(parts.username) if parts.username else None,
        password=Secret(password) if password else None,
        prefix=f"{prefix}:",
        directory=settings.get("dir") or None,
        replicas=_whole("replicas", settings.get("replicas", "0")),
        allow_eviction=settings.get("allow_eviction", "0").lower() in ("1", "true", "yes"),
        max_rows=_whole("max_rows", settings.get("max_rows", "0")),
        key_env=settings.get("key_env") or None,
    )
    return address, {name: value for name, value in settings.items() if name not in _SETTINGS}


def _whole(what: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise ConfigError(f"{what} of the Valkey URL must be a whole number; got {value[:20]!r}")
    return int(value)
