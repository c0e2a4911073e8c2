"""Disk space, the reserve file and the kind of file system."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

FLOOR_BYTES = 512 * 1024 * 1024
FLOOR_SHARE = 0.05
RESERVE_BYTES = 4 * 1024 * 1024
_BLOCK = 1 << 16

# File systems over a network, or shared between machines in another way: locks or memory maps do not hold there.
_REMOTE = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "gfs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "orangefs", "smb3", "smbfs"}
)
_REMOTE_FUSE = frozenset(
    {"ceph", "cephfs", "gcsfuse", "glusterfs", "goofys", "grpcfuse", "juicefs", "mfs", "moosefs", "osxfs", "rclone"}
    | {"s3fs", "seaweedfs", "sshfs"}
)

_IMAGES = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs", "fuse-overlayfs"})


def is_low(directory: Path, more: int = 0) -> bool:
    """True when the disk has less free than the smaller of 512 MiB and 5 %; False when it does not tell.

    Args:
        more: bytes that are to be free beside that.
    """
    try:
        disk = os.statvfs(directory)
    except OSError:
        return False
    floor = min(FLOOR_BYTES, disk.f_blocks * disk.f_frsize * FLOOR_SHARE)
    return disk.f_bavail * disk.f_frsize < floor + more


def reserve_bytes(directory: Path) -> int:
    """Return the size of a reserve: 4 MiB, and half of a disk that is smaller than two of them."""
    return _at_most(RESERVE_BYTES, directory, 2)


def log_bytes(directory: Path) -> int:
    """Return the size at which a log is written back: 3 MiB, on a small disk a sixteenth of it.

    What it holds may all be new pages of the database: on a full disk the reserve must have room for them.
    """
    return _at_most(RESERVE_BYTES * 3 // 4, directory, 16)


def _at_most(size: int, directory: Path, part: int) -> int:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return size
    return min(size, max(disk.f_blocks * disk.f_frsize // part // _BLOCK * _BLOCK, 4 * _BLOCK))


def status(path: Path) -> os.stat_result | None:
    """Return the status of the file at *path*; None when there is none, or no way to it."""
    try:
        return path.stat()
    except OSError:
        return None


def sync(path: Path) -> None:
    """Have what was written to the file at *path* on the disk.

    Raises:
        OSError: it cannot be opened or synced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remote_type(directory: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the type of the network file system that *directory* lies on; None if it is local or nobody knows.

    Args:
        mounts: the table of mounts (proc_pid_mountinfo(5)); systems without one are taken to be local.
    """
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    mount_type = _type_of(os.path.realpath(directory), lines)
    outer, _, inner = mount_type.partition(".")
    remote = mount_type in _REMOTE or (outer.startswith("fuse") and inner in _REMOTE_FUSE)
    return mount_type if remote else None


def is_of_image(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """True when the file at *path* belongs to the image of a container, which is replaced with each build."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return False
    return _type_of(os.path.realpath(path), lines) in _IMAGES


def _type_of(where: str, lines: list[str]) -> str:
    """Return the type of the file system that *where* lies on, as the *lines* of a table of mounts say."""
    longest, nearest_kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ", 1)[0]
        if len(fields) < 5 or not kind:
            continue
        point = _unescaped(fields[4])
        inside = point == "/" or where == point or where.startswith(point + "/")
        # A later mount on the same point covers the earlier one.
        if inside and len(point) >= longest:
            longest, nearest_kind = len(point), kind
    return nearest_kind


class Reserve:
    """A file that only takes room, to be removed when even deleting needs some (SQLite writes before it frees)."""

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path, self._size = path, size

    def keep(self, *, partly: bool = False) -> bool:
        """Make the file, unless it is there or there is no room for it; return whether it is there.

        Args:
            partly: whether to keep what there is room for.
        """
        try:
            # Not through a link, which somebody else may have put there to have another file overwritten.
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o600)
            try:
                self._fill(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            if not partly or error.errno not in (None, errno.ENOSPC, errno.EDQUOT):
                self.release()
            return False
        return True

    def _fill(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"{self._path.name} belongs to another user")
        if status.st_size == self._size:
            return
        os.ftruncate(descriptor, 0)
        block = bytes(_BLOCK)
        for _ in range(self._size // _BLOCK):
            if os.write(descriptor, block) != _BLOCK:
                raise OSError("the disk is full")

    def release(self) -> bool:
        """Remove the file; return whether there was one."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def _unescaped(path: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path
