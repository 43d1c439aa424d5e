"""tracefs: where it is mounted, the ids, formats and names of the kernel's tracepoints.

Source: Documentation/trace/events.rst; fs/tracefs/inode.c.
"""

from __future__ import annotations

import ctypes
import os

from linscope.errors import NotInKernel, PermissionDenied

MOUNT_POINT = "/sys/kernel/tracing"
_OLD_MOUNT_POINT = "/sys/kernel/debug/tracing"


def find_tracefs() -> str:
    """The folder of tracefs; mounted at its usual place when it is not and root asks (as perf does).

    Raises PermissionDenied when it cannot be read by this user or must be mounted first, NotInKernel
    without tracefs.
    """
    for place in (MOUNT_POINT, _OLD_MOUNT_POINT):
        if os.path.exists(place + "/events/header_page"):  # noqa: PTH110 - pathlib costs start-up time
            return place
        if os.path.isdir(place) and not os.access(place, os.X_OK):  # noqa: PTH112
            raise PermissionDenied(
                "tracepoints cannot be looked up",
                errno=13,
                where=place,
                next_step="run as root, or let a group in: mount -o remount,mode=755 " + place,
            )
    if os.geteuid() == 0 and os.path.isdir(MOUNT_POINT):  # noqa: PTH112
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"tracefs", MOUNT_POINT.encode(), b"tracefs", 0, None) == 0:
            return MOUNT_POINT
    if not os.path.isdir(MOUNT_POINT):  # noqa: PTH112
        raise NotInKernel("the kernel has no tracepoints", why="CONFIG_FTRACE and CONFIG_TRACEFS_FS are off")
    raise PermissionDenied(
        "tracefs is not mounted", where=MOUNT_POINT, next_step=f"sudo mount -t tracefs tracefs {MOUNT_POINT}"
    )


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
