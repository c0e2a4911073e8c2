"""The owner of a database: its file and its machine."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from flagmw.outbox.sqlite.disk import is_of_image

try:
    import fcntl
except ImportError:  # no POSIX, where no slot can be locked either
    fcntl = None  # type: ignore[assignment]

# FS_IOC_GETVERSION (linux/fs.h): a number that the file system gives each inode when it is made.
_GET_VERSION = 0x80087601 if sys.maxsize > 1 << 32 else 0x80047601


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """The identity of a file and its machine; "" stands for unknown.

    Attributes:
        inode, made: of the file; a copy has others, a file that moved with its volume keeps them.
        host: of the machine, by its machine-id(5). That of a container image says nothing: each build has another.
        boot: of the running kernel, which all containers of a machine share.
    """

    inode: int
    made: str
    host: str
    boot: str

    @classmethod
    def of(cls, path: Path) -> FileIdentity:
        """Return the identity of the file at *path*, which must not be open in SQLite yet."""
        return cls(inode=path.stat().st_ino, made=_made(path), host=host_id(), boot=_hashed(_read(_BOOT)))

    def marks(self) -> dict[str, object]:
        """Return the identity as it is stored in the file."""
        return {"host": self.host, "inode": self.inode, "made": self.made, "boot": self.boot}

    def is_of(self, known: dict[str, object]) -> bool:
        """True when the file that has kept *known* is this one, on the same machine or come here with its volume."""
        known_made = known.get("made")
        if known.get("inode") != self.inode or (known_made and self.made and known_made != self.made):
            return False
        host = known.get("host")
        return host == self.host or not host or not self.host or (bool(self.boot) and known.get("boot") == self.boot)


def host_id() -> str:
    """Return this machine's identity, "" where it has none, as in most containers."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        text = _read(path)
        if text:
            return "" if is_of_image(path) else _hashed(text)
    return ""


_BOOT = Path("/proc/sys/kernel/random/boot_id")


def _made(path: Path) -> str:
    """Return the file's time of creation as text; "" where the file system does not keep it."""
    if fcntl is None:
        return ""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return fcntl.ioctl(descriptor, _GET_VERSION, bytes(8)).hex()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _hashed(text: str) -> str:
    # The id itself is not to be shown around (machine-id(5)).
    return hashlib.blake2b(text.encode(), digest_size=12, person=b"flagmw host").hexdigest() if text else ""
