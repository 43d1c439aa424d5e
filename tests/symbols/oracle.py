"""perf's own answer for any address: a recording made of samples at the addresses that we ask about.

The recording (header, one event, COMM, MMAP2 and SAMPLE records) is written by hand after
tools/perf/Documentation/perf.data-file-format.txt and include/uapi/linux/perf_event.h; ``perf script`` then
says which symbol it would show.  No program is run and nothing is sampled.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

PERF = shutil.which("perf")
MISSING = "perf is not installed: apt-get install linux-perf"

_KERNEL, _USER = 1, 2  # PERF_RECORD_MISC_KERNEL, PERF_RECORD_MISC_USER
_MMAP, _COMM, _SAMPLE, _MMAP2 = 1, 3, 9, 10
_PID = 4_000_001  # above every pid_max default: perf finds no such process to look into


class Mapping(NamedTuple):
    """One executable mapping: where it lies and which file stands behind it."""

    path: str
    start: int
    length: int
    file_offset: int
    kernel: bool = False


class Answer(NamedTuple):
    """What perf prints for one address; name is "[unknown]" when it knows none."""

    name: str
    offset: int
    dso: str


def _record(kind: int, misc: int, body: bytes) -> bytes:
    return struct.pack("<IHH", kind, misc, 8 + len(body)) + body


def _text(text: str) -> bytes:
    data = text.encode() + b"\0"
    return data + bytes(-len(data) % 8)


def write_recording(
    path: Path, mappings: Iterable[Mapping], addresses: Sequence[int], pid: int = _PID
) -> None:
    """Write a perf.data with a sample (IP, TID, TIME) for each address; the kernel's have bit 63 set."""
    attr = struct.pack("<IIQQQQQ", 1, 128, 0, 1, 7, 0, 1 << 8 | 1 << 9 | 1 << 23)  # mmap, comm, mmap2
    attr = attr.ljust(128, b"\0") + struct.pack("<QQ", 0, 0)
    parts = [_record(_COMM, 0, struct.pack("<II", pid, pid) + _text("asked"))]
    for one in mappings:
        if one.kernel:
            body = struct.pack("<iIQQQ", -1, 0, one.start, one.length, one.file_offset)
            parts.append(_record(_MMAP, _KERNEL, body + _text(one.path)))
        else:
            body = struct.pack("<IIQQQ", pid, pid, one.start, one.length, one.file_offset)
            body += struct.pack("<IIQQII", 0, 0, 0, 0, 5, 2)
            parts.append(_record(_MMAP2, _USER, body + _text(one.path)))
    for time, address in enumerate(addresses, 1):
        misc = _KERNEL if address >> 63 else _USER
        parts.append(_record(_SAMPLE, misc, struct.pack("<QIIQ", address, pid, pid, time)))
    data = b"".join(parts)
    header = b"PERFILE2" + struct.pack("<QQQQQQQQ", 104, 144, 104, 144, 248, len(data), 0, 0) + bytes(32)
    path.write_bytes(header + attr + data)


_LINE = re.compile(r"^\s*([0-9a-f]+)\s(?:(.*)\+0x([0-9a-f]+)|(\[unknown\]))(?: \((.*?)\))?$")


def ask_perf(
    folder: Path,
    mappings: Iterable[Mapping],
    addresses: Sequence[int],
    *,
    pid: int = _PID,
    options: Sequence[str] = (),
) -> list[Answer]:
    """perf's answers, one for each address, in order."""
    assert PERF, MISSING
    file = folder / "asked.data"
    write_recording(file, mappings, addresses, pid)
    command = [PERF, "script", "-i", str(file), "-F", "ip,sym,symoff,dso", "--no-inline", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = []
    for line in done.stdout.splitlines():
        found = _LINE.match(line)
        assert found, line
        answers.append(Answer(found[2] or found[4], int(found[3] or "0", 16), found[5] or ""))
    assert len(answers) == len(addresses), done.stderr
    return answers
