"""The options of a trace.dat: their numbers, and the bytes of those that are more than text.

Source: trace-cmd.dat.v6(5), trace-cmd.dat.v7(5), whose sections carry the numbers of the options that point at them.
"""

from __future__ import annotations

import struct

DONE, DATE, CPUSTAT, BUFFER, TRACECLOCK, UNAME, HOOK, OFFSET, CPUCOUNT, VERSION, PROCMAPS = range(11)
TRACEID, TIME_SHIFT, GUEST, TSC2NSEC, STRINGS, HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS = range(11, 19)
KALLSYMS, PRINTK, CMDLINES, BUFFER_TEXT = range(19, 23)


def text_option(text: str) -> bytes:
    """An option that is text: CPUSTAT, TRACECLOCK, UNAME, HOOK, VERSION, PROCMAPS."""
    return text.encode() + b"\0"


def date_option(offset_us: int) -> bytes:
    """DATE: microseconds that are added to each time on reading, so that it becomes the time of day."""
    return f"{offset_us:#x}".encode() + b"\0"


def offset_option(offset_ns: int) -> bytes:
    """OFFSET: nanoseconds that are added to each time on reading."""
    return str(offset_ns).encode() + b"\0"


def trace_id_option(number: int, order: str = "=") -> bytes:
    """TRACEID: the number of a tracing session, by which recordings of a host and its guests know each other."""
    return struct.pack(order + "Q", number)


def tsc2nsec_option(multiplier: int, shift: int, offset_ns: int, order: str = "=") -> bytes:
    """TSC2NSEC: ns = (cycles * multiplier >> shift) + offset_ns, for the clock x86-tsc."""
    return struct.pack(order + "IIQ", multiplier, shift, offset_ns)
