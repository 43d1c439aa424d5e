"""The file system in which maps, programs and links have names: where it is, and one of our own.

Source: kernel/bpf/inode.c; fsopen(2), fsconfig(2), fsmount(2).
"""

from __future__ import annotations

import os

from linscope.bpf.kernel.descriptor import Closing
from linscope.errors import PermissionDenied
from linscope.sys import bpf_mount

MOUNT_POINT = "/sys/fs/bpf"


class PrivatePins(Closing):
    """A bpf file system that is attached nowhere: pins in ``path`` end with the last process that has it open.

    ``path`` is /proc/self/fd/N, so it is for this process; others reach it by /proc/PID/fd/N.
    """

    def __init__(self) -> None:
        """Raises PermissionDenied: without CAP_SYS_ADMIN, or older than v5.2."""
        self.fd = bpf_mount.private_bpffs()
        if self.fd < 0:
            raise PermissionDenied(
                "a bpf file system of our own cannot be mounted", errno=1,
                next_step=f"run as root, or: sudo mount -t bpf bpf {MOUNT_POINT}",
            )  # fmt: skip

    @property
    def path(self) -> str:
        """The folder to pin in."""
        return f"/proc/self/fd/{self.fd}"

    def close(self) -> None:
        """Unmount it; what is pinned in it alone is gone."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def is_bpffs(path: str) -> bool:
    """Whether a folder is in a bpf file system."""
    return bpf_mount.file_system_type(path) == bpf_mount.BPF_FS_MAGIC
