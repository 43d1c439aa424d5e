"""The TRACING_DATA section: the formats of the tracepoints in the file, so that any machine can read
their payloads.

Source: tools/perf/util/trace-event-info.c; Documentation/trace-cmd/trace-cmd.dat.v6.5.txt of trace-cmd
(version 0.6).
"""

from __future__ import annotations

import os
import struct
import sys

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
    by_system: dict[str, list[str]] = {}
    for system, name in dict.fromkeys(tracepoints):
        by_system.setdefault(system, []).append(name)
    own = by_system.pop("ftrace", [])
    parts.append(struct.pack("=I", len(own)))
    parts += [_file(f"{tracefs}/events/ftrace/{name}/format") for name in own]
    parts.append(struct.pack("=I", len(by_system)))
    for system, names in by_system.items():
        parts.append(system.encode() + b"\0" + struct.pack("=I", len(names)))
        parts += [_file(f"{tracefs}/events/{system}/{name}/format") for name in names]
    parts.append(struct.pack("=I", 0))  # kallsyms: readers take the kernel's symbols from elsewhere
    printk = _read(f"{tracefs}/printk_formats")
    parts.append(struct.pack("=I", len(printk)) + printk)
    parts.append(_file(f"{tracefs}/saved_cmdlines"))
    return b"".join(parts)


def _read(path: str) -> bytes:
    try:
        return read_bytes(path)
    except OSError:
        return b""


def _file(path: str) -> bytes:
    """u64 size, then the content."""
    content = _read(path)
    return struct.pack("=Q", len(content)) + content
