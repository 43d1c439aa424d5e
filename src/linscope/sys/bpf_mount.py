"""A mount of the bpf file system that nobody else sees, and what file system a path is in.

Source: fsopen(2), fsconfig(2), fsmount(2), statfs(2); numbers from include/uapi/asm-generic/unistd.h, the same on all
architectures but alpha; include/uapi/linux/magic.h.
"""

from __future__ import annotations

import ctypes
import os
import sys

BPF_FS_MAGIC = 0xCAFE4A11
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6  # include/uapi/linux/mount.h


def private_bpffs() -> int:
    """A descriptor of a new bpf file system that is attached nowhere; -1 where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    context = libc.syscall(_SYS_FSOPEN, b"bpf", _FSOPEN_CLOEXEC)
    if context < 0:
        return -1
    try:
        if libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0) < 0:
            return -1
        return int(libc.syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0))
    finally:
        os.close(context)


def file_system_type(path: str) -> int:
    """f_type of statfs(2): *_MAGIC.  Raises OSError."""
    buffer = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(path.encode(), buffer) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    word = ctypes.sizeof(ctypes.c_long)
    return int.from_bytes(buffer.raw[:word], sys.byteorder) & 0xFFFFFFFF
