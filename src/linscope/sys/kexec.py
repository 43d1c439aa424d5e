"""kexec_file_load(2): the kernel that is to run after this one, or when this one crashes.

Source: kexec_file_load(2); include/uapi/linux/kexec.h; numbers from arch/*/include/asm/unistd.h and
include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os

from linscope.errors import NotInKernel, PermissionDenied, SystemCallError

KEXEC_FILE_UNLOAD, KEXEC_FILE_ON_CRASH, KEXEC_FILE_NO_INITRAMFS = 1, 2, 4
_SYSCALL_NUMBER = {"x86_64": 320, "aarch64": 294, "riscv64": 294, "ppc64le": 382, "s390x": 381, "loongarch64": 294}
_DISABLED = "/proc/sys/kernel/kexec_load_disabled"
_LOCKDOWN = "/sys/kernel/security/lockdown"


def kexec_file_load(kernel_fd: int, initrd_fd: int, command_line: str, flags: int) -> None:
    """Load a kernel image and an initramfs; initrd_fd: -1 with KEXEC_FILE_NO_INITRAMFS, both -1 to unload.

    Raises PermissionDenied, NotInKernel, SystemCallError, each with what to do.
    """
    number = _SYSCALL_NUMBER.get(os.uname().machine)
    if number is None:
        raise NotInKernel(f"kexec_file_load on {os.uname().machine}", errno=errno.ENOSYS)
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    line = command_line.encode() + b"\0"
    size = 0 if flags & KEXEC_FILE_UNLOAD else len(line)
    done = call(
        ctypes.c_long(number), ctypes.c_int(kernel_fd), ctypes.c_int(initrd_fd), ctypes.c_ulong(size),
        ctypes.c_char_p(line), ctypes.c_ulong(flags),
    )  # fmt: skip
    if done:
        raise explain(ctypes.get_errno())


def explain(number: int) -> SystemCallError:
    """What an error of kexec_file_load means."""
    what = "the kernel does not load another one"
    if number == errno.ENOSYS:
        return NotInKernel(what, errno=number, next_step="a kernel with CONFIG_KEXEC_FILE")
    if number == errno.EPERM:
        if _first_word(_DISABLED) == "1":
            why = "kernel.kexec_load_disabled is 1 until the next boot"
            return PermissionDenied(what, errno=number, why=why, next_step="reboot, and find out what sets it")
        lockdown = _first_word(_LOCKDOWN)
        if "[integrity]" in lockdown or "[confidentiality]" in lockdown:
            why = f"kernel lockdown: {lockdown}"
            return PermissionDenied(what, errno=number, why=why, next_step="an image signed with a key it trusts")
        return PermissionDenied(what, errno=number, next_step="run as root (CAP_SYS_BOOT)")
    reasons = {
        errno.EBUSY: ("another load is going on", "wait for it"),
        errno.ENOEXEC: ("the image is no kernel that it can load", "a bzImage of this machine's architecture"),
        errno.EINVAL: ("no memory is reserved, or the command line is too long", "linscope kdump status"),
        errno.EADDRNOTAVAIL: ("the reserved memory is too small", "linscope kdump estimate"),
        errno.ENOMEM: ("not enough memory", "linscope kdump estimate"),
        errno.EKEYREJECTED: ("the image's signature is not trusted", "an image signed with a key it trusts"),
        errno.ENODATA: ("the image has no signature, and the kernel wants one", "a signed image"),
    }
    why, step = reasons.get(number, ("", ""))
    return SystemCallError(what, errno=number, why=why, next_step=step)


def _first_word(path: str) -> str:
    """The first line of a small file, "" when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""
