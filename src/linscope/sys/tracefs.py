"""tracefs: where it is mounted, the ids, formats and names of the kernel's tracepoints.

Source: Documentation/trace/events.rst; fs/tracefs/inode.c.
"""

from __future__ import annotations

import ctypes
import os

from linscope.errors import NotInKernel, PermissionDenied

MOUNT_POINT = "/sys/kernel/tracing"
_OLD_MOUNT_POINT = "/sys/kernel/debug/tracing"
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6  # include/uapi/linux/mount.h


def find_tracefs() -> str:
    """The folder of tracefs.  Where it is not mounted, root gets a private mount that nobody else sees.

    Raises PermissionDenied when it cannot be read by this user or must be mounted first, NotInKernel
    without tracefs.
    """
    for place in (MOUNT_POINT, _OLD_MOUNT_POINT):
        if os.path.exists(place + "/events/header_page"):
            return place
        if os.path.isdir(place) and not os.access(place, os.X_OK):
            raise PermissionDenied(
                "tracepoints cannot be looked up",
                errno=13,
                where=place,
                next_step="run as root, or let a group in: mount -o remount,mode=755 " + place,
            )
    if not os.path.isdir(MOUNT_POINT):
        raise NotInKernel("the kernel has no tracepoints", why="CONFIG_FTRACE and CONFIG_TRACEFS_FS are off")
    private = _private_mount() if os.geteuid() == 0 else ""
    if private:
        return private
    next_step = f"run as root, or: sudo mount -t tracefs tracefs {MOUNT_POINT}"
    raise PermissionDenied("tracefs is not mounted", where=MOUNT_POINT, next_step=next_step)


_private: list[str] = []  # where our own mount is, once it was tried


def _private_mount() -> str:
    """``_mount_privately``, done once."""
    if not _private:
        _private.append(_mount_privately())
    return _private[0]


def _mount_privately() -> str:
    """A mount of tracefs that is attached nowhere and ends with this process; "" where the kernel refuses (< 5.2).

    Source: fsopen(2), fsconfig(2), fsmount(2); numbers from include/uapi/asm-generic/unistd.h, the same on all
    architectures but alpha.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    context = libc.syscall(_SYS_FSOPEN, b"tracefs", _FSOPEN_CLOEXEC)
    if context < 0:
        return ""
    try:
        if libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0) < 0:
            return ""
        mount = libc.syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)
    return f"/proc/self/fd/{mount}" if mount >= 0 else ""


def read_text(path: str) -> str:
    """The text of a small kernel file, stripped.  Raises OSError."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()


def read_bytes(path: str) -> bytes:
    """The whole of a kernel file, whose size stat(2) does not tell.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def write_text(path: str, text: str, *, truncate: bool = False) -> None:
    """Give a kernel file one write(2); truncate: empty it first, as a shell's > does.  Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | (os.O_TRUNC if truncate else 0))
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
