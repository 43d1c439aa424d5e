"""Records for what existed before the recording: the kernel's and its modules' mappings, tasks, their
mappings.

As tools/perf/util/synthetic-events.c makes them: the sample_id trailer of each is zero, so that they
sort first.
"""

from __future__ import annotations

import os
import struct

from linscope.abi import perf_event as pe
from linscope.abi import perf_file as pf
from linscope.sys.tracefs import read_text

_KERNEL_PID = 0xFFFFFFFF
_PROTECTION = {"r": 1, "w": 2, "x": 4}  # PROT_READ, PROT_WRITE, PROT_EXEC
_MAP_SHARED, _MAP_PRIVATE = 1, 2
FINISHED_INIT = struct.pack("=IHH", pf.PERF_RECORD_FINISHED_INIT, 0, 8)


def _record(kind: int, misc: int, body: bytes, name: str, trailer: bytes) -> bytes:
    data = name.encode("utf-8", "surrogateescape") + b"\0"
    data = data.ljust(len(data) + (-len(data)) % 8, b"\0")
    return struct.pack("=IHH", kind, misc, 8 + len(body) + len(data) + len(trailer)) + body + data + trailer


def kernel_text() -> tuple[str, int, int] | None:
    """(reference symbol, its address, bytes of text) of the running kernel; None when addresses are hidden.

    The address is that of `_text` (else `_stext`) among the first lines of kallsyms; the size is that of
    "Kernel code" in /proc/iomem, which maps the same range, or reaches to where x86-64 has its modules.
    """
    try:
        with open("/proc/kallsyms", "rb", buffering=0) as file:
            head = b""
            while b" _text\n" not in head and len(head) < 1 << 20 and (part := file.read(4096)):
                head += part
    except OSError:
        return None
    for symbol in (b"_text", b"_stext"):
        end = head.find(b" " + symbol + b"\n")
        if end >= 0:
            start = head.rfind(b"\n", 0, end) + 1
            address = int(head[start:end].split()[0], 16)
            if address:
                return symbol.decode(), address, _kernel_text_size(address)
    return None


def _kernel_text_size(address: int) -> int:
    try:
        for line in read_text("/proc/iomem").split("\n"):
            span, _colon, what = line.partition(" : ")
            if what == "Kernel code":
                first, _dash, last = span.strip().partition("-")
                if int(last, 16):
                    return int(last, 16) - int(first, 16) + 1
    except OSError:
        pass
    modules = 0xFFFFFFFFC0000000  # Documentation/arch/x86/x86_64/mm.rst
    return modules - address if address < modules else 1 << 26


def kernel_records(trailer: bytes) -> tuple[list[bytes], list[str]]:
    """(MMAP records of the kernel and its modules, names of the modules); empty when addresses are hidden."""
    text = kernel_text()
    if text is None:
        return [], []
    symbol, address, size = text
    records = [_kernel_mmap(address, size, address, f"[kernel.kallsyms]{symbol}", trailer)]
    modules = []
    try:
        lines = read_text("/proc/modules").split("\n")
    except OSError:
        lines = []
    paths = _module_paths() if lines != [""] and lines else {}
    for line in lines:
        fields = line.split()
        if len(fields) >= 6 and (start := int(fields[5], 16)):
            modules.append(fields[0])
            name = paths.get(fields[0], f"[{fields[0]}]")
            records.append(_kernel_mmap(start, int(fields[1]), 0, name, trailer))
    return records, modules


def _kernel_mmap(start: int, size: int, page_offset: int, name: str, trailer: bytes) -> bytes:
    body = struct.pack("=IIQQQ", _KERNEL_PID, 0, start, size, page_offset)
    return _record(pe.PERF_RECORD_MMAP, pe.PERF_RECORD_MISC_KERNEL, body, name, trailer)


def _module_paths() -> dict[str, str]:
    """Module name -> file, from modules.dep."""
    folder = f"/lib/modules/{os.uname().release}"
    paths = {}
    try:
        with open(folder + "/modules.dep", encoding="utf-8") as file:
            for line in file:
                path = line.partition(":")[0]
                name = path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")
                paths[name] = f"{folder}/{path}"
    except OSError:
        pass
    return paths


def process_records(pid: int, trailer: bytes, data_mappings: bool) -> tuple[list[bytes], set[str]]:
    """(FORK, COMM and MMAP2 records of a process and its threads, files it has mapped executable).

    A process or thread that ends meanwhile is left out.  data_mappings: also what is not executable.
    """
    records: list[bytes] = []
    try:
        threads = sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208
        parent = _parent(pid)
    except OSError:
        return [], set()
    for tid in threads:
        try:
            comm = read_text(f"/proc/{pid}/task/{tid}/comm")
        except OSError:
            continue
        forker = (parent, parent) if tid == pid else (pid, pid)
        body = struct.pack("=IIIIQ", pid, forker[0], tid, forker[1], 0)
        records.append(
            struct.pack("=IHH", pe.PERF_RECORD_FORK, pe.PERF_RECORD_MISC_FORK_EXEC, 8 + len(body) + len(trailer))
            + body + trailer
        )
        records.append(_record(pe.PERF_RECORD_COMM, 0, struct.pack("=II", pid, tid), comm, trailer))
    mappings, files = _mapping_records(pid, trailer, data_mappings)
    return records + mappings, files


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def _mapping_records(pid: int, trailer: bytes, data_mappings: bool) -> tuple[list[bytes], set[str]]:
    records: list[bytes] = []
    files: set[str] = set()
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
            lines = maps.readlines()
    except OSError:
        return [], set()
    for line in lines:
        span, access, offset, device, inode, *rest = line.rstrip("\n").split(" ", 5)
        misc = pe.PERF_RECORD_MISC_USER
        if access[2] != "x":
            if not data_mappings or access[0] != "r":
                continue
            misc |= pe.PERF_RECORD_MISC_MMAP_DATA
        name = rest[0].lstrip(" ") if rest else ""
        name = name or "//anon"
        first, _dash, last = span.partition("-")
        start, end = int(first, 16), int(last, 16)
        major, _colon, minor = device.partition(":")
        protection = sum(bit for letter, bit in _PROTECTION.items() if letter in access)
        body = struct.pack(
            "=IIQQQIIQQII",
            pid,
            pid,
            start,
            end - start,
            int(offset, 16),
            int(major, 16),
            int(minor, 16),
            int(inode),
            0,
            protection,
            _MAP_SHARED if access[3] == "s" else _MAP_PRIVATE,
        )
        records.append(_record(pe.PERF_RECORD_MMAP2, misc, body, name, trailer))
        if access[2] == "x":
            files.add(name)
    return records, files


def all_processes() -> list[int]:
    """Every process there is."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208


def id_index_records(entries: list[tuple[int, int, int, int]]) -> list[bytes]:
    """ID_INDEX records: (id, index of the descriptor, cpu, tid), -1 where there is none."""
    records = []
    for first in range(0, len(entries), 2000):
        part = entries[first : first + 2000]
        body = struct.pack("=Q", len(part)) + b"".join(
            struct.pack("=QQqq", identifier, index, cpu, tid) for identifier, index, cpu, tid in part
        )
        records.append(struct.pack("=IHH", pf.PERF_RECORD_ID_INDEX, 0, 8 + len(body)) + body)
    return records
