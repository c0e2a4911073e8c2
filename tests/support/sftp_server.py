"""An SFTP server on loopback over a folder, as Monetate's.

with SftpServer(folder) as server:
    ... server.port ... server.known_hosts ... server.client()
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncssh

from flagmw.admin.monetate.sftp.connection import MonetateSFTP

USER, PASSWORD = "sftp-demo", "secret of the sftp user"


class _Login(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


class SftpServer:
    """Serve *folder* as the root of the file system; `names` are the files that were put in place, in order."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.names: list[str] = []
        self.broken_after: int | None = None
        self._folder, self._key = folder, asyncssh.generate_private_key("ssh-ed25519")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.known_hosts = state / "known_hosts"
        self.port = 0

    def client(self, **more: Any) -> MonetateSFTP:
        """Return a client that knows this server's key."""
        options = {"host": "127.0.0.1", "port": self.port, "known_hosts": self.known_hosts, "password": PASSWORD}
        return MonetateSFTP(USER, **{**options, **more})

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        public = self._key.export_public_key().decode().strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> int:
        server = self

        class Files(asyncssh.SFTPServer):
            def __init__(self, channel: Any) -> None:
                super().__init__(channel, chroot=str(server._folder).encode())
                self._connection = channel.get_connection()

            def write(self, file_obj: Any, offset: int, data: bytes) -> Any:
                if server.broken_after is not None and offset + len(data) >= server.broken_after:
                    self._connection.abort()
                return super().write(file_obj, offset, data)

            def rename(self, oldpath: bytes, newpath: bytes) -> Any:
                server.names.append(newpath.decode())
                return super().rename(oldpath, newpath)

        self._listener = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[self._key], server_factory=_Login, sftp_factory=Files
        )
        return int(self._listener.get_port())

    async def _stop(self) -> None:
        self._listener.close()
        await self._listener.wait_closed()
        # The connections' own tasks end with them.
        for _ in range(50):
            if len(asyncio.all_tasks()) <= 1:
                break
            await asyncio.sleep(0.01)
