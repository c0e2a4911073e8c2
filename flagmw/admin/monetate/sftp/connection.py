"""SFTP to Monetate: dataset files up, Session Stream files down."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from flagmw._support.secret import Secret
from flagmw.admin.errors import AmbiguousError, AuthError, InvalidError, NotFoundError, UnreachableError
from flagmw.admin.monetate.sftp.dataset_files import CheckedFile
from flagmw.admin.monetate.sftp.stream_files import StreamFile, days_between, stream_file
from flagmw.exceptions import ConfigError

HOST, PORT = "sftp.monetate.net", 22
DATASETS = "/datasets"
PARTIAL = ".flagmw-part"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fetched:
    """Files of Session Stream that were fetched.

    Attributes:
        files: where they are now, in order of time.
        bytes: that were transferred; files that were there already are not fetched again.
    """

    files: tuple[Path, ...]
    bytes: int


class MonetateSFTP:
    """An SFTP user of Monetate; its methods block. Several may be called at once, each has its own connection.

    Args:
        username: made under Sites in the platform, by an administrator.
        password: or
        private_key: the path of a key file, with its *passphrase* where it has one.
        known_hosts: a file with the host's public key, in the form of OpenSSH; `~/.ssh/known_hosts` by default. A
            host whose key is not in it is refused: `ssh-keyscan sftp.monetate.net` prints it, for you to compare.
        timeout_s: for the connection, in seconds.

    Raises:
        ConfigError: an option is missing.
        ImportError: the library for SFTP is not installed.
    """

    def __init__(
        self,
        username: str,
        *,
        password: str | None = None,
        private_key: str | Path | None = None,
        passphrase: str | None = None,
        host: str = HOST,
        port: int = PORT,
        known_hosts: str | Path | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        if not isinstance(username, str) or not username or not username.isprintable():
            raise ConfigError("MonetateSFTP: username is missing; an administrator creates one under Sites")
        if (password is None) == (private_key is None):
            raise ConfigError("MonetateSFTP: give a password or a private_key")
        self._library = load_sftp()
        self._username, self._host, self._port = username, host, port
        self._password = None if password is None else Secret(password)
        self._key, self._passphrase = private_key, None if passphrase is None else Secret(passphrase)
        self._known_hosts = Path(known_hosts or "~/.ssh/known_hosts").expanduser()
        self._timeout_s = timeout_s

    def upload(
        self,
        file: CheckedFile,
        mode: Literal["full", "partial"],
        *,
        on_bytes: Callable[[int, int], object] | None = None,
    ) -> str:
        """Send a checked file and return its path at Monetate.

        It is sent under another name and gets its own at the end, so that Monetate never reads half of one.

        Args:
            mode: "full" replaces the dataset by the file, "partial" adds and updates rows.
            on_bytes: called with how many bytes were sent, and of how many.

        Raises:
            AdminError: it failed; the class says how.
        """
        if mode not in ("full", "partial"):
            raise InvalidError('must be "full" or "partial"', field="mode")
        return self._run(lambda sftp: self._put(sftp, file, mode, on_bytes))

    def fetch(
        self,
        account: str,
        begin: datetime,
        end: datetime,
        folder: str | Path,
        *,
        on_file: Callable[[StreamFile], object] | None = None,
    ) -> Fetched:
        """Fetch the Session Stream files whose quarter of an hour begins from *begin* until before *end*.

        Args:
            account: the account's id, the first part of the files' path.
            begin, end: with a time zone.
            folder: where they are put; those that are there whole are not fetched again.
            on_file: called with every file that is fetched.

        Raises:
            NotFoundError: there are none.
            AdminError: it failed; the class says how.
        """
        if begin.tzinfo is None or end.tzinfo is None or begin >= end:
            raise InvalidError("give two times with a zone, the earlier one first", field="fetch")
        if not account or "/" in account or account in (".", ".."):
            raise InvalidError("must be the account's id", field="account")
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidError(f"{target} cannot be made: {error.strerror}", field="folder") from None
        return self._run(lambda sftp: self._get(sftp, account, begin, end, target, on_file))

    async def _put(self, sftp: Any, file: CheckedFile, mode: str, on_bytes: Callable[[int, int], object] | None) -> str:
        path = f"{DATASETS}/{mode}/{file.name}"
        part = f"{path}{PARTIAL}"

        def report(_source: bytes, _target: bytes, done: int, size: int) -> None:
            if on_bytes is not None:
                on_bytes(done, size)

        try:
            await sftp.put(str(file.path), part, progress_handler=report)
            sent = (await sftp.stat(part)).size
            size = file.path.stat().st_size
            if sent != size:
                raise UnreachableError(f"{sent} of {size} bytes arrived, and nothing was changed; send it again")
        except BaseException:
            await self._removed(sftp, part)
            raise
        try:
            await sftp.rename(part, path)
        except (self._library.SFTPConnectionLost, self._library.SFTPNoConnection):
            text = f"the connection broke while {path} got its name; look whether it is there before you send it again"
            raise AmbiguousError(text) from None
        except self._library.SFTPError as error:
            await self._removed(sftp, part)
            text = f"{path} may be there from an earlier upload that Monetate has not taken yet ({error.reason})"
            raise AmbiguousError(f"{text}; wait until it is gone, or give the file another name") from None
        return path

    async def _removed(self, sftp: Any, path: str) -> None:
        try:
            await sftp.remove(path)
        except (self._library.Error, OSError):
            pass  # the connection is gone, or there is nothing

    async def _get(
        self,
        sftp: Any,
        account: str,
        begin: datetime,
        end: datetime,
        folder: Path,
        on_file: Callable[[StreamFile], object] | None,
    ) -> Fetched:
        found: list[tuple[StreamFile, str, int]] = []
        root = PurePosixPath("/") / account / "raw_data" / "session_stream"
        # Names are in UTC, and files lie in folders by day.
        for day in days_between(begin.astimezone(UTC), end.astimezone(UTC) - timedelta(microseconds=1)):
            place = root / f"{day:%Y}" / f"{day:%m}" / f"{day:%d}"
            try:
                entries = await sftp.readdir(str(place))
            except self._library.SFTPNoSuchFile:
                continue
            for entry in entries:
                file = stream_file(str(entry.filename))
                if file is not None and begin <= file.begin < end:
                    found.append((file, str(place / file.name), entry.attrs.size or 0))
        if not found:
            raise NotFoundError(f"there are no files from {begin.isoformat()} to {end.isoformat()} in {root}")
        paths, transferred = [], 0
        for file, remote, size in sorted(found, key=lambda one: (one[0].begin, one[0].name)):
            path = folder / file.name
            paths.append(path)
            if path.is_file() and path.stat().st_size == size:
                continue
            part = path.with_name(f"{path.name}.part")
            await sftp.get(remote, str(part))
            part.replace(path)
            transferred += size
            if on_file is not None:
                on_file(file)
        return Fetched(tuple(paths), transferred)

    def _run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Run *work* on a connection, in a thread of its own where this one has a running event loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._connected(work))
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(asyncio.run(self._connected(work)))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, name="flagmw-sftp", daemon=True)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    async def _connected(self, work: Callable[[Any], Awaitable[T]]) -> T:
        library = self._library
        options: dict[str, Any] = {
            "username": self._username,
            "port": self._port,
            "known_hosts": self._hosts(),
            "config": None,
            "agent_path": None,
            "connect_timeout": self._timeout_s,
            "client_keys": [],
        }
        if self._password is not None:
            options["password"] = self._password.reveal()
        else:
            options["client_keys"] = [self._loaded_key()]
        try:
            async with library.connect(self._host, **options) as connection, connection.start_sftp_client() as sftp:
                return await work(sftp)
        except library.PermissionDenied:
            raise AuthError("Monetate's SFTP host refuses the user; check name and password or key") from None
        except library.HostKeyNotVerifiable:
            text = f"the key of {self._host} is not in {self._known_hosts}; compare it and add it (ssh-keyscan)"
            raise AuthError(text) from None
        except library.SFTPPermissionDenied:
            raise AuthError("the SFTP user may not do this; ask an administrator") from None
        except library.SFTPNoSuchFile as error:
            raise NotFoundError(f"the folder or file is not there: {error.reason}; check the account") from None
        except (OSError, library.Error, TimeoutError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise InvalidError(f"{error.filename} cannot be used: {error.strerror}", field="file") from None
            text = f"no connection to {self._host}, or it broke ({type(error).__name__}); nothing was changed"
            raise UnreachableError(f"{text}: try again") from None

    def _hosts(self) -> str:
        if not self._known_hosts.is_file():
            raise ConfigError(
                f"MonetateSFTP: {self._known_hosts} does not exist; write the host's key into it: "
                f"ssh-keyscan -p {self._port} {self._host}, and compare it"
            )
        return str(self._known_hosts)

    def _loaded_key(self) -> Any:
        passphrase = None if self._passphrase is None else self._passphrase.reveal()
        try:
            return self._library.read_private_key(str(self._key), passphrase)
        except OSError as error:
            raise ConfigError(f"MonetateSFTP: {self._key} cannot be read: {error.strerror}") from None
        except (self._library.KeyImportError, self._library.KeyEncryptionError):
            raise ConfigError(f"MonetateSFTP: {self._key} is no private key, or its passphrase is wrong") from None

    def __repr__(self) -> str:
        return f"MonetateSFTP(username={self._username!r}, host={self._host!r})"


def load_sftp() -> Any:
    """Return the library for SFTP.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module("asyncssh")
    except ImportError:
        raise ImportError("SFTP needs asyncssh: pip install 'flagmw[sftp]'") from None
