"""Lock files that show a reserving process is alive."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # no POSIX: a reservation ends by its age alone
    fcntl = None  # type: ignore[assignment]

_NAME = "keys-{}.lock"


class OwnerLock:
    """This process, by a name that others can ask about. The lock is taken at the first call of `name`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = ""
        self._descriptor = -1

    def name(self) -> str:
        """Return the name, which is somebody's as long as the lock is held.

        Raises:
            OSError: the file cannot be made.
        """
        if not self._name or not self._path(self._name).exists():
            self.close()
            self._sweep()
            self._take()
        return self._name

    def lives(self, name: str) -> bool:
        """True when the process *name* is alive, as far as can be told."""
        if fcntl is None or name == self._name:
            return True
        try:
            descriptor = os.open(self._path(name), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def close(self) -> None:
        """Let go, and leave no file."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                self._path(self._name).unlink()
        self.forget()

    def forget(self) -> None:
        """In a forked child: drop the copy of the lock; the parent keeps its own."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._name = -1, ""

    def _take(self) -> None:
        for _ in range(5):
            name = os.urandom(6).hex()
            path = self._path(name)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Another process may have taken it for a dead one's in between.
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    self._name, self._descriptor = name, descriptor
                    return
            except OSError:
                pass
            os.close(descriptor)
        raise OSError("business keys cannot be locked")

    def _sweep(self) -> None:
        """Remove what dead processes have left."""
        for path in self._directory.glob(_NAME.format("*")):
            name = path.name.removeprefix("keys-").removesuffix(".lock")
            if not self.lives(name):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _path(self, name: str) -> Path:
        return self._directory / _NAME.format(name)
