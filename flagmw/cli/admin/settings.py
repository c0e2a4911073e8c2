"""Credentials and addresses from the environment and from a file; never from an argument."""

from __future__ import annotations

import logging
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flagmw.admin.auth.cache import TokenCache
from flagmw.config.sources import nearest
from flagmw.exceptions import ConfigError

logger = logging.getLogger("flagmw.admin")


class Settings:
    """The settings of one vendor: environment variables before the table of the vendor in a file.

    Args:
        vendor: "adobe": the variables are called `ADOBE_...`, the table `[adobe]`.
        known: every setting with its description.
        file: the file; by default the one that `ADOBE_CREDENTIALS` names, else `flagmw/credentials.toml` below
            `$XDG_CONFIG_HOME` or `~/.config`, where there is one.

    Raises:
        ConfigError: the file cannot be read, others may read it, or it names a setting that there is not.
    """

    def __init__(
        self,
        vendor: str,
        known: Mapping[str, str],
        *,
        file: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._vendor, self._known, self._environ = vendor, known, environ
        named = environ.get(f"{vendor.upper()}_CREDENTIALS")
        self._path = file or (Path(named) if named else default_file(environ))
        self._table = _table(self._path, vendor, asked_for=file is not None or bool(named))
        for name in self._table:
            if name not in known:
                raise ConfigError(f"{self._path}: [{vendor}] {name} is no setting{nearest(name, known)}")

    def get(self, name: str) -> str | None:
        """Return a setting, None where nothing sets it."""
        if name not in self._known:
            raise KeyError(name)
        given = self._environ.get(self.variable(name))
        if given:
            return given
        value = self._table.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise ConfigError(f"{self._path}: [{self._vendor}] {name} must be a text")
        return str(value)

    def need(self, name: str, option: str | None = None) -> str:
        """Return a setting that must be there.

        Args:
            option: of the command line that gives it too; only for what is no secret.

        Raises:
            ConfigError: nothing sets it.
        """
        value = self.get(name)
        if value is None:
            ways = [f"{option}"] if option else []
            ways += [f"the environment variable {self.variable(name)}", f"{name} in [{self._vendor}] of {self._path}"]
            raise ConfigError(f"{name} is missing; give it by {' or '.join(ways)}")
        return value

    def variable(self, name: str) -> str:
        """Return the environment variable of a setting."""
        return f"{self._vendor}_{name}".upper()


def default_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file that is read when none is named."""
    return _home(environ, "XDG_CONFIG_HOME", ".config") / "flagmw" / "credentials.toml"


def token_cache(environ: Mapping[str, str] = os.environ) -> TokenCache | None:
    """Return the file that keeps access tokens between commands; None where its folder cannot be made."""
    folder = _home(environ, "XDG_CACHE_HOME", ".cache") / "flagmw"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        cure = "set XDG_CACHE_HOME, or use --no-token-cache"
        logger.warning("no token is kept for the next command: %s: %s; %s", folder, error.strerror, cure)
        return None
    return TokenCache(folder / "tokens.json")


def _home(environ: Mapping[str, str], variable: str, below: str) -> Path:
    named = environ.get(variable, "")
    return Path(named) if named.startswith("/") else Path(environ.get("HOME") or Path.home()) / below


def _table(path: Path, vendor: str, *, asked_for: bool) -> dict[str, Any]:
    """Return the table of a vendor; an empty one where a file is missing that nobody named."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read()
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not asked_for:
            return {}
        raise ConfigError(f"the credentials in {path} cannot be read: {error.strerror}") from None
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigError(f"the credentials in {path} can be read by others; run: chmod 600 {path}")
    if os.getuid() not in (0, status.st_uid):
        raise ConfigError(f"the credentials in {path} belong to another user; use a file of your own")
    try:
        table = tomllib.loads(text.decode()).get(vendor, {})
    except ValueError as error:
        # The library's text names line and column, and quotes nothing of the file beyond one character.
        problem = "it must be UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError(f"{path} is no TOML: {problem}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: [{vendor}] must be a table")
    return table
