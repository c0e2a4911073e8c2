"""A file that keeps tokens between processes, readable for its owner only."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import orjson

from flagmw.admin.auth.token import Token
from flagmw.exceptions import ConfigError

logger = logging.getLogger("flagmw.admin")


class TokenCache:
    """Keep tokens in a file with mode 0600.

    Args:
        path: the file; its folder must exist. A file that others may read is refused.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).expanduser()

    def read(self, key: str) -> Token | None:
        """Return the token that is kept for *key*, None if there is none or the file makes no sense.

        Raises:
            ConfigError: others may read or write the file.
        """
        try:
            with self._path.open("rb") as file:
                self._check(os.fstat(file.fileno()))
                text = file.read()
        except FileNotFoundError:
            return None
        entry = _entries(text).get(key)
        if not isinstance(entry, dict):
            return None
        value, since, until = entry.get("value"), entry.get("obtained_at"), entry.get("expires_at")
        if not isinstance(value, str) or not isinstance(since, int | float) or not isinstance(until, int | float):
            return None
        return Token(value, float(since), float(until))

    def write(self, key: str, token: Token) -> None:
        """Keep *token* for *key*; the file is replaced as a whole, so that nobody reads half of one.

        Where it cannot be written, a warning is logged: the token is good all the same.
        """
        try:
            self._write(key, token)
        except OSError as error:
            logger.warning("the token cache %s cannot be written: %s", self._path, error.strerror)

    def _write(self, key: str, token: Token) -> None:
        try:
            entries = _entries(self._path.read_bytes())
        except FileNotFoundError:
            entries = {}
        entries[key] = {"value": token.value, "obtained_at": token.obtained_at, "expires_at": token.expires_at}
        # mkstemp makes the file with mode 0600.
        number, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(orjson.dumps(entries))
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _check(self, status: os.stat_result) -> None:
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise ConfigError(f"token cache {self._path}: others may read it; run: chmod 600 {self._path}")
        if status.st_uid != os.getuid():
            raise ConfigError(f"token cache {self._path}: it belongs to another user; choose another file")


def _entries(text: bytes) -> dict[str, Any]:
    try:
        entries = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return entries if isinstance(entries, dict) else {}
