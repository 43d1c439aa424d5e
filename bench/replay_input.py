"""A large recording for bench/replay.py: a small one of perf, its records repeated with later times."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np

from linscope.abi import perf_event as pe
from linscope.formats.perf_data.reader import open_perf_data
from linscope.formats.perf_data.stream import Chunk

WRITES = 260_000  # of dd, each with a read: some 60 MB


def small_recording(folder: Path) -> Path:
    """perf's recording of the system calls of dd."""
    path = folder / "syscalls.data"
    if not path.exists():
        partial = path.with_suffix(".partial")
        subprocess.run(
            ["perf", "record", "-q", "-m", "16M", "-e", "raw_syscalls:sys_enter", "-o", str(partial), "--", "dd",
             "if=/dev/zero", "of=/dev/null", "bs=1", f"count={WRITES}"],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        partial.rename(path)
    return path


def large_recording(folder: Path, size_bytes: int = 1 << 30) -> Path:
    """Of at least that size."""
    path = folder / f"syscalls-{size_bytes >> 20}.data"
    if path.exists():
        return path
    small = small_recording(folder)
    whole = bytearray(small.read_bytes())
    with open_perf_data(small) as file:
        start, size = file.header.data
        kind = file.attrs[0].sample_type
        before = sum(bool(kind & bit) for bit in (pe.PERF_SAMPLE_IDENTIFIER, pe.PERF_SAMPLE_IP, pe.PERF_SAMPLE_TID))
        places, times = [], []
        for item in file.records():
            if isinstance(item, Chunk):
                places.append(item.scanned.samples["offset"].astype(np.int64) + item.position)
                times.append(item.scanned.samples["time"])
    at = np.concatenate(places) + 8 + 8 * before
    time = np.concatenate(times)
    span = np.uint64(int(time.max() - time.min()) + 1000)
    data = np.frombuffer(whole, np.uint8)[start : start + size].copy()
    words = (at - start)[:, None] + np.arange(8)
    first = int((np.concatenate(places) - start).min())  # what is before it is told once
    copies = -(-(size_bytes - first) // (size - first))
    partial = path.with_suffix(".partial")
    with partial.open("wb") as out:
        out.write(whole[: start + first])
        for copy in range(copies):
            data[words] = (time + span * np.uint64(copy)).view(np.uint8).reshape(-1, 8)
            out.write(data[first:])
        out.write(_moved(bytes(whole[start + size :]), (size - first) * (copies - 1)))
        out.seek(48)  # struct perf_file_header, data.size
        out.write(struct.pack("<Q", first + (size - first) * copies))
    partial.rename(path)
    return path


def _moved(tail: bytes, by: int) -> bytes:
    """The table of feature sections, whose offsets count from the file's start, and the sections."""
    (first,) = struct.unpack_from("<Q", tail)
    out = bytearray(tail)
    base = first  # where the first section begins: behind the table
    count = 0
    while True:
        offset, size = struct.unpack_from("<QQ", out, 16 * count)
        struct.pack_into("<QQ", out, 16 * count, offset + by, size)
        count += 1
        if _is_end(tail, count, base):
            return bytes(out)
        assert count * 16 < len(tail)


def _is_end(tail: bytes, count: int, base: int) -> bool:
    """Whether the table ends: the next entry would not point behind those before."""
    offset, size = struct.unpack_from("<QQ", tail, 16 * count)
    last, last_size = struct.unpack_from("<QQ", tail, 16 * (count - 1))
    return not base <= offset < base + len(tail) or offset < last or size > len(tail) or offset != last + last_size


def count_events(path: Path) -> int:
    """The samples in a recording."""
    with open_perf_data(path) as file:
        return sum(len(item.scanned.samples["time"]) for item in file.records() if isinstance(item, Chunk))
