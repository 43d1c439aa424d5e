"""/dev/kmsg: the kernel's log, a record a read.

Source: Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from linscope.errors import PermissionDenied

KMSG = "/dev/kmsg"
_MAX_RECORD = 8192  # more than PRINTKRB_RECORD_MAX and its dictionary
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


class KmsgRecord(NamedTuple):
    """One record of the kernel's log."""

    level: int  # 0 emergency to 7 debug
    facility: int  # 0: the kernel
    sequence: int
    time_ns: int  # of the kernel's log clock (local_clock), since boot
    text: str


def open_kmsg(path: str = KMSG) -> int:
    """A descriptor behind the newest record; reads do not wait.  Raises PermissionDenied, OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        step = "run as root, or: sysctl kernel.dmesg_restrict=0"
        what = "the kernel's log cannot be read"
        raise PermissionDenied(what, errno=error.errno or 0, where=path, next_step=step) from None
    os.lseek(fd, 0, os.SEEK_END)
    return fd


def read_kmsg(fd: int) -> KmsgRecord | None:
    """The next record; None when there is none yet.  Raises BrokenPipeError when records were overwritten unread."""
    try:
        data = os.read(fd, _MAX_RECORD)
    except BlockingIOError:
        return None
    return parse_kmsg(data.decode("utf-8", "replace")) if data else None


def parse_kmsg(text: str) -> KmsgRecord:
    """A record as /dev/kmsg gives it: ``6,339,5140900,-;text``, then lines of its dictionary.

    Raises ValueError when it is none.
    """
    head, _, rest = text.partition(";")
    priority, sequence, time_us = head.split(",")[:3]
    message = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), rest.partition("\n")[0])
    return KmsgRecord(int(priority) & 7, int(priority) >> 3, int(sequence), int(time_us) * 1000, message)
