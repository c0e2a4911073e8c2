"""The URL of an outbox: `memory://`, `sqlite:///` or `valkey://`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from urllib.parse import parse_qsl, unquote, urlsplit

from flagmw._valkey import url
from flagmw.exceptions import ConfigError
from flagmw.types import empty

MEMORY = "memory://"


def is_shared(text: str | None) -> bool:
    """True when *text* names a server that processes on several machines share."""
    return text is not None and text.partition("://")[0] in url.SCHEMES


_SQLITE_OPTIONS: Mapping[str, Callable[[str], object]] = {
    "key_env": re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch,
    "network": "allow".__eq__,
    "copies": "adopt".__eq__,
    "sync": ("full", "normal").__contains__,
    "max_mib": re.compile(r"[1-9][0-9]{0,6}").fullmatch,
}
_FORMS = {
    "key_env": "the name of an environment variable",
    "network": '"allow"',
    "copies": '"adopt"',
    "sync": '"full" or "normal"',
    "max_mib": "a whole number of MiB",
}


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed `outbox=`.

    Attributes:
        path, options: of the files on this machine; `memory` has none.
        server: of `valkey`, where events are forwarded to.
    """

    scheme: str
    path: str = ""
    options: Mapping[str, str] = field(default_factory=empty)
    server: url.Address | None = None


def parse(text: str) -> Location:
    """Return the location that *text* names.

    Raises:
        ConfigError: it is no such text; the error says what one looks like.
    """
    if text == MEMORY:
        return Location("memory")
    if text.partition("://")[0] in url.SCHEMES:
        return _valkey(text)
    parts = urlsplit(text)
    if parts.scheme != "sqlite":
        raise ConfigError('outbox must be "sqlite:///directory", "memory://", a Valkey URL or an outbox object')
    path = unquote(parts.path)
    if parts.netloc or not path.startswith("/") or path == "/" or parts.fragment:
        raise ConfigError('outbox: write the directory with three slashes, such as "sqlite:///var/lib/shop/flagmw"')
    return Location("sqlite", path, _checked(dict(parse_qsl(parts.query, keep_blank_values=True))))


def _valkey(text: str) -> Location:
    """Return a server, and the files from which events are forwarded to it."""
    server, rest = url.parse_with_rest(text)
    if server.directory is None or not server.directory.startswith("/"):
        raise ConfigError(
            "outbox: a Valkey URL needs dir=/directory, where events wait on this machine until they are sent"
        )
    return Location("valkey", server.directory, _checked(rest), server)


def _checked(options: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in options.items():
        if name not in _SQLITE_OPTIONS:
            raise ConfigError(f"outbox has no option {name!r}; there are {', '.join(_SQLITE_OPTIONS)}")
        if not _SQLITE_OPTIONS[name](value):
            raise ConfigError(f"outbox: {name} must be {_FORMS[name]}")
    return options


def default_directory(environ: Mapping[str, str], home: str, working: str, vendors: Iterable[str]) -> str:
    """Return the directory of an application's events when no option names one.

    That is the state folder of the XDG Base Directory Specification. What comes after it is the same for every
    process of an application, and another for each other one: it is made of the working directory and the vendors.

    Args:
        vendors: the names of the configured vendors.
    """
    state = environ.get("XDG_STATE_HOME", "")
    base = PurePath(state) if state.startswith("/") else PurePath(home) / ".local" / "state"
    who = "\0".join([working, *sorted(vendors)])
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", PurePath(working).name) or "app"
    mark = hashlib.blake2b(who.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return str(base / "flagmw" / f"{name}-{mark}")
