"""The TRACING_DATA section: the formats of the tracepoints in the file, so that any machine can read
their payloads.

Source: tools/perf/util/trace-event-info.c; Documentation/trace-cmd/trace-cmd.dat.v6.5.txt of trace-cmd
(version 0.6).
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterable

from linscope.sys.tracefs import read_bytes


def tracing_data(tracefs: str, tracepoints: list[tuple[str, str]]) -> bytes:
    """The section for these (system, name) pairs.  Files that this user may not read are left empty."""
    order = 0 if sys.byteorder == "little" else 1
    parts = [
        b"\x17\x08\x44tracing0.6\0",
        struct.pack("=BBI", order, struct.calcsize("l"), os.sysconf("SC_PAGE_SIZE")),
    ]
    for name in ("header_page", "header_event"):
        parts += [name.encode() + b"\0", _file(f"{tracefs}/events/{name}")]
    by_system = format_texts(tracefs, tracepoints)
    own = by_system.pop("ftrace", [])
    parts.append(struct.pack("=I", len(own)))
    parts += map(_sized, own)
    parts.append(struct.pack("=I", len(by_system)))
    for system, texts in by_system.items():
        parts.append(system.encode() + b"\0" + struct.pack("=I", len(texts)))
        parts += map(_sized, texts)
    parts.append(struct.pack("=I", 0))  # kallsyms: readers take the kernel's symbols from elsewhere
    printk = read_if_allowed(f"{tracefs}/printk_formats")
    parts.append(struct.pack("=I", len(printk)) + printk)
    parts.append(_file(f"{tracefs}/saved_cmdlines"))
    return b"".join(parts)


def format_texts(tracefs: str, tracepoints: Iterable[tuple[str, str]]) -> dict[str, list[bytes]]:
    """The format files of these (system, name) pairs by system; b"" for those that this user may not read."""
    by_system: dict[str, list[bytes]] = {}
    for system, name in dict.fromkeys(tracepoints):
        by_system.setdefault(system, []).append(read_if_allowed(f"{tracefs}/events/{system}/{name}/format"))
    return by_system


def read_if_allowed(path: str) -> bytes:
    """The content of a kernel file; b"" when it is not there or this user may not read it."""
    try:
        return read_bytes(path)
    except OSError:
        return b""


def _file(path: str) -> bytes:
    return _sized(read_if_allowed(path))


def _sized(content: bytes) -> bytes:
    """u64 size, then the content."""
    return struct.pack("=Q", len(content)) + content
