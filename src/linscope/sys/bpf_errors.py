"""Why bpf(2) said no, and what to do: an OSError becomes an error with a next step.

Source: bpf(2), capabilities(7), kernel_lockdown(7); kernel/bpf/syscall.c, bpf_prog_load and map_create;
Documentation/admin-guide/sysctl/kernel.rst, unprivileged_bpf_disabled.
"""

from __future__ import annotations

from errno import E2BIG, EACCES, EINVAL, ENODEV, ENOENT, ENOSYS, ENOTSUP, EPERM

from linscope.errors import NotInKernel, PermissionDenied, SystemCallError

ENOTSUPP = 524  # include/linux/errno.h; for the kernel alone, and yet bpf(2) returns it
_CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN", 38: "CAP_PERFMON", 39: "CAP_BPF"}
_NOT_THERE = (EINVAL, ENOENT, ENODEV, ENOSYS, ENOTSUP, ENOTSUPP, E2BIG)


def explain(
    error: OSError, what: str, *, where: str = "", config: str = "", since: str = "", net: bool = False, why: str = "",
) -> SystemCallError:  # fmt: skip
    """The error to raise instead.

    what: could not be done; config: the CONFIG_ symbol that the feature needs, since: "v6.6 (89ae89f53d20)", the
    kernel that it came with: given, an errno of "no such thing" means that the kernel lacks it.  net: it needs
    CAP_NET_ADMIN too; why: known better than errno tells.
    """
    number = error.errno or 0
    if number in (EPERM, EACCES):
        reason, next_step = denial(net=net)
        return PermissionDenied(what, errno=number, where=where, why=why or reason, next_step=next_step)
    if number == ENOSYS:
        return NotInKernel(what, errno=number, where=where, why="CONFIG_BPF_SYSCALL is off")
    if number in _NOT_THERE and (config or since):
        lacks = " and ".join(filter(None, (config and f"{config} is off", since and f"it is older than {since}")))
        lacks = lacks.replace(" and ", " or ")
        return NotInKernel(what, errno=number, where=where, why=why or f"the running kernel has it not: {lacks}")
    return SystemCallError(what, errno=number, where=where, why=why)


def denial(*, net: bool = False) -> tuple[str, str]:
    """(why, next step) after EPERM: the capability, the sysctl, or the lockdown that stands in the way."""
    wanted = [39, 38] + ([12] if net else [])
    held = _effective_capabilities()
    missing = [_CAPABILITIES[number] for number in wanted if not held >> number & 1]
    if held >> 21 & 1:  # CAP_SYS_ADMIN has CAP_BPF and CAP_PERFMON in it
        missing = [name for name in missing if name == "CAP_NET_ADMIN"]
    if missing:
        why = f"this process lacks {' and '.join(missing)}"
        if _read("/proc/sys/kernel/unprivileged_bpf_disabled") in ("1", "2"):
            why += ", and kernel.unprivileged_bpf_disabled is set"
        names = ",".join(name.lower() for name in missing)
        return why, f"run as root, or: setcap {names}+ep on the program that runs this"
    lockdown = _lockdown()
    if lockdown:
        return f"the kernel is locked down ({lockdown})", "boot without lockdown=, or without Secure Boot"
    return "the kernel refuses it also to root (a security module, seccomp or a user namespace)", ""


def _effective_capabilities() -> int:
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _lockdown() -> str:
    """The mode ("integrity", "confidentiality"), or "" when there is none or it is not to be seen."""
    text = _read("/sys/kernel/security/lockdown")
    chosen = text.partition("[")[2].partition("]")[0]
    return "" if chosen == "none" else chosen


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
