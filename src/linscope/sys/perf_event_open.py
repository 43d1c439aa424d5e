"""perf_event_open(2): the attr as a value, the call, and the ioctls on its descriptors.

Source: perf_event_open(2); include/uapi/linux/perf_event.h; the call's numbers from
arch/*/include/asm/unistd.h and
include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from fcntl import ioctl

from linscope.abi import perf_event as pe

_SYSCALL_NUMBER = {
    "x86_64": 298,
    "i386": 336,
    "i686": 336,
    "aarch64": 241,
    "riscv64": 241,
    "loongarch64": 241,
    "armv7l": 364,
    "ppc64le": 319,
    "ppc64": 319,
    "s390x": 331,
    "mips64": 5292,
    "sparc64": 327,
}
_libc_syscall = ctypes.CDLL(None, use_errno=True).syscall
_ATTR = struct.Struct("=" + pe.PERF_ATTR_FORMAT)
_DEFAULT_SIZE = pe.PERF_ATTR_SIZE_VER7


class Attr:
    """struct perf_event_attr: every field an int named as in the header, the bit-field in ``flags``
    (ATTR_* masks).

    ``sample_period`` holds the frequency when ATTR_FREQ is set, ``wakeup_events`` the watermark when
    ATTR_WATERMARK
    is set, ``config1``/``config2`` also bp_addr and bp_len.  ``size`` 0 means: as large as the fields
    used need.
    """

    __slots__ = pe.PERF_ATTR_FIELDS
    type: int
    size: int
    config: int
    sample_period: int
    sample_type: int
    read_format: int
    flags: int
    wakeup_events: int
    bp_type: int
    config1: int
    config2: int
    branch_sample_type: int
    sample_regs_user: int
    sample_stack_user: int
    clockid: int
    sample_regs_intr: int
    aux_watermark: int
    sample_max_stack: int
    reserved_2: int
    aux_sample_size: int
    aux_action: int
    sig_data: int
    config3: int
    config4: int

    def __init__(self, **fields: int) -> None:
        for name in pe.PERF_ATTR_FIELDS:
            setattr(self, name, fields.pop(name, 0))
        if fields:
            raise TypeError(f"perf_event_attr has no field {next(iter(fields))}")

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{n}={getattr(self, n):#x}" for n in pe.PERF_ATTR_FIELDS if getattr(self, n) and n != "size"
        )
        return f"Attr({shown})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attr) and self.pack() == other.pack()

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> Attr:
        """An independent attr of the same values."""
        return Attr(**{name: getattr(self, name) for name in pe.PERF_ATTR_FIELDS})

    @property
    def precise_ip(self) -> int:
        """0 to 3, two bits of flags."""
        return self.flags >> pe.ATTR_PRECISE_IP_SHIFT & 3

    @precise_ip.setter
    def precise_ip(self, level: int) -> None:
        self.flags = self.flags & ~(3 << pe.ATTR_PRECISE_IP_SHIFT) | level << pe.ATTR_PRECISE_IP_SHIFT

    def pack(self, size: int = 0) -> bytes:
        """The bytes for the kernel or for a perf.data file; size: 0 for the least that holds what is set."""
        if not size:
            size = self.size or _DEFAULT_SIZE
            if self.config4:
                size = pe.PERF_ATTR_SIZE_VER9
            elif self.config3:
                size = max(size, pe.PERF_ATTR_SIZE_VER8)
        values = [getattr(self, name) for name in pe.PERF_ATTR_FIELDS]
        values[1] = size
        if sys.byteorder == "big":
            values[6] = _reverse_bits(self.flags)
        return _ATTR.pack(*values)[:size]


def _reverse_bits(flags: int) -> int:
    """The bit-field as a big-endian compiler lays it out: first name in the top bits, each field kept
    whole."""
    position, result = 0, 0
    for _name, width in pe.PERF_ATTR_FLAG_BITS:
        value = flags >> position & ((1 << width) - 1)
        result |= value << (64 - position - width)
        position += width
    return result


def perf_event_open(attr: Attr, pid: int, cpu: int, group_fd: int = -1, flags: int = 0) -> int:
    """Open one event; returns the descriptor (close-on-exec).

    pid: -1 every process on the cpu, 0 the caller, or with PERF_FLAG_PID_CGROUP a cgroup directory's
    descriptor.
    cpu: -1 any.  Raises OSError with the kernel's errno; E2BIG when the kernel knows fewer attr fields
    than are set.
    """
    number = _SYSCALL_NUMBER.get(os.uname().machine)
    if number is None:
        raise OSError(38, f"perf_event_open: no system call number known for {os.uname().machine}")
    packed = ctypes.create_string_buffer(attr.pack())
    fd = _libc_syscall(
        ctypes.c_long(number),
        packed,
        ctypes.c_int(pid),
        ctypes.c_int(cpu),
        ctypes.c_int(group_fd),
        ctypes.c_ulong(flags | pe.PERF_FLAG_FD_CLOEXEC),
    )
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(fd)


def enable(fd: int) -> None:
    """PERF_EVENT_IOC_ENABLE: start counting (a group's members too, as they are enabled with their
    leader)."""
    ioctl(fd, pe.PERF_EVENT_IOC_ENABLE, 0)


def disable(fd: int) -> None:
    """PERF_EVENT_IOC_DISABLE."""
    ioctl(fd, pe.PERF_EVENT_IOC_DISABLE, 0)


def set_output(fd: int, ring_fd: int) -> None:
    """PERF_EVENT_IOC_SET_OUTPUT: write the records of fd to the ring of ring_fd (same CPU, same clock)."""
    ioctl(fd, pe.PERF_EVENT_IOC_SET_OUTPUT, ring_fd)


def set_filter(fd: int, text: str) -> None:
    """PERF_EVENT_IOC_SET_FILTER: a tracepoint's filter expression.  Raises OSError (EINVAL: not
    understood)."""
    ioctl(fd, pe.PERF_EVENT_IOC_SET_FILTER, text.encode() + b"\0")


def event_id(fd: int) -> int:
    """PERF_EVENT_IOC_ID: the id that samples carry (PERF_SAMPLE_ID, PERF_SAMPLE_IDENTIFIER)."""
    buffer = bytearray(8)
    ioctl(fd, pe.PERF_EVENT_IOC_ID, buffer)
    return int.from_bytes(buffer, sys.byteorder)
