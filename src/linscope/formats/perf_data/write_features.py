"""The feature sections of a perf.data file: what machine, kernel and command the recording is of.

Source: tools/perf/Documentation/perf.data-file-format.txt; tools/perf/util/header.c (write_*).
Every function gives the bytes of one section, or empty bytes when this machine does not tell.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from linscope.abi import perf_file as pf
from linscope.sys.tracefs import read_text

_CPUS = "/sys/devices/system/cpu"
_NODES = "/sys/devices/system/node"


def string(text: str) -> bytes:
    """A string as the sections hold it: u32 length, then the bytes with their NUL, padded to 64."""
    data = text.encode("utf-8", "surrogateescape") + b"\0"
    padded = len(data) + (-len(data)) % pf.STRING_ALIGNMENT
    return struct.pack("=I", padded) + data.ljust(padded, b"\0")


def string_list(texts: Sequence[str]) -> bytes:
    """u32 count, then the strings."""
    return struct.pack("=I", len(texts)) + b"".join(map(string, texts))


def _read(path: str) -> str:
    try:
        return read_text(path)
    except OSError:
        return ""


def _cpu_count(path: str) -> int:
    """How many CPUs a list such as "0-3,5" holds."""
    count = 0
    for piece in _read(path).split(","):
        if piece:
            first, _dash, last = piece.partition("-")
            count += int(last or first) - int(first) + 1
    return count


def _numbered(folder: str, prefix: str) -> list[int]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - pathlib costs start-up time
    except OSError:
        return []
    return sorted(int(n[len(prefix) :]) for n in names if n.startswith(prefix) and n[len(prefix) :].isdigit())


def machine_features() -> dict[int, bytes]:
    """Sections that depend on the machine only, HOSTNAME to CACHE and MEM_TOPOLOGY."""
    name = os.uname()
    present = _numbered(_CPUS, "cpu")
    online = _cpu_count(_CPUS + "/online") or os.cpu_count() or 1
    available = _cpu_count(_CPUS + "/present") or len(present) or online
    description, identity = _cpu_identity()
    sections = {
        pf.HEADER_HOSTNAME: string(name.nodename),
        pf.HEADER_OSRELEASE: string(name.release),
        pf.HEADER_ARCH: string(name.machine),
        pf.HEADER_NRCPUS: struct.pack("=II", available, online),
        pf.HEADER_CPUDESC: string(description) if description else b"",
        pf.HEADER_CPUID: string(identity) if identity else b"",
        pf.HEADER_TOTAL_MEM: struct.pack("=Q", _meminfo("/proc/meminfo").get("MemTotal", 0)),
        pf.HEADER_CPU_TOPOLOGY: _cpu_topology(present, available),
        pf.HEADER_NUMA_TOPOLOGY: _numa_topology(),
        pf.HEADER_CACHE: _caches(present),
        pf.HEADER_MEM_TOPOLOGY: _memory_topology(),
        pf.HEADER_PMU_MAPPINGS: _pmu_mappings(),
        pf.HEADER_CPU_PMU_CAPS: _cpu_pmu_caps(),
    }
    return {bit: content for bit, content in sections.items() if content}


def _cpu_identity() -> tuple[str, str]:
    """(description, "vendor,family,model,stepping") from the first processor in /proc/cpuinfo."""
    fields: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            head = file.read(4096)
    except OSError:
        return "", ""
    for line in head.split("\n"):
        if not line.strip():
            break
        key, _colon, value = line.partition(":")
        fields[key.strip()] = value.strip()
    names = ("vendor_id", "cpu family", "model", "stepping")
    identity = ",".join(fields[n] for n in names) if all(n in fields for n in names) else ""
    return fields.get("model name", "") or fields.get("cpu model", "") or fields.get("cpu", ""), identity


def _meminfo(path: str, prefix: str = "") -> dict[str, int]:
    """Kilobytes by name of a meminfo file; prefix: "Node 0 " of a node's file."""
    values = {}
    for line in _read(path).split("\n"):
        key, colon, rest = line.removeprefix(prefix).partition(":")
        if colon and key in ("MemTotal", "MemFree"):
            values[key] = int(rest.split()[0])
    return values


def _cpu_topology(present: list[int], available: int) -> bytes:
    cores: list[str] = []
    threads: list[str] = []
    dies: list[str] = []
    places = {}
    for cpu in present:
        folder = f"{_CPUS}/cpu{cpu}/topology/"
        for found, names in (
            (cores, ("package_cpus_list", "core_siblings_list")),
            (threads, ("core_cpus_list", "thread_siblings_list")),
            (dies, ("die_cpus_list",)),
        ):
            text = next((t for n in names if (t := _read(folder + n))), "")
            if text and text not in found:
                found.append(text)
        places[cpu] = [
            int(_read(folder + n) or -1) & 0xFFFFFFFF for n in ("core_id", "physical_package_id", "die_id")
        ]
    if not cores:
        return b""
    none = [0xFFFFFFFF] * 3
    content = string_list(cores) + string_list(threads)
    content += b"".join(struct.pack("=II", *places.get(cpu, none)[:2]) for cpu in range(available))
    if dies:
        content += string_list(dies)
        content += b"".join(struct.pack("=I", places.get(cpu, none)[2]) for cpu in range(available))
    return content


def _numa_topology() -> bytes:
    nodes = _numbered(_NODES, "node")
    if not nodes:
        return b""
    parts = [struct.pack("=I", len(nodes))]
    for node in nodes:
        memory = _meminfo(f"{_NODES}/node{node}/meminfo", f"Node {node} ")
        parts.append(struct.pack("=IQQ", node, memory.get("MemTotal", 0), memory.get("MemFree", 0)))
        parts.append(string(_read(f"{_NODES}/node{node}/cpulist")))
    return b"".join(parts)


def _caches(present: list[int]) -> bytes:
    found: dict[tuple[int, str, str], bytes] = {}
    for cpu in present:
        folder = f"{_CPUS}/cpu{cpu}/cache"
        for index in _numbered(folder, "index"):
            values = {
                n: _read(f"{folder}/index{index}/{n}")
                for n in (
                    "level",
                    "coherency_line_size",
                    "number_of_sets",
                    "ways_of_associativity",
                    "type",
                    "size",
                    "shared_cpu_list",
                )
            }
            if not values["level"]:
                continue
            key = (int(values["level"]), values["type"], values["shared_cpu_list"])
            if key in found:
                continue
            found[key] = struct.pack(
                "=IIII",
                key[0],
                int(values["coherency_line_size"] or 0),
                int(values["number_of_sets"] or 0),
                int(values["ways_of_associativity"] or 0),
            ) + b"".join(map(string, (values["type"], values["size"], values["shared_cpu_list"])))
    if not found:
        return b""
    return struct.pack("=II", 1, len(found)) + b"".join(found[key] for key in sorted(found))


def _memory_topology() -> bytes:
    block_size = _read("/sys/devices/system/memory/block_size_bytes")
    nodes = _numbered(_NODES, "node")
    parts = []
    for node in nodes:
        blocks = _numbered(f"{_NODES}/node{node}", "memory")
        if not blocks:
            continue
        bits = blocks[-1] + 1
        bitmap = 0
        for block in blocks:
            bitmap |= 1 << block
        words = (bits + 63) // 64
        parts.append(struct.pack("=QQQ", node, bits, bits))
        parts.append(
            b"".join(struct.pack("=Q", bitmap >> 64 * word & (1 << 64) - 1) for word in range(words))
        )
    if not block_size or not parts:
        return b""
    return struct.pack("=QQQ", 1, int(block_size, 16), len(parts) // 2) + b"".join(parts)


def _pmu_mappings() -> bytes:
    folder = "/sys/bus/event_source/devices"
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return b""
    pairs = [(int(_read(f"{folder}/{name}/type") or 0), name) for name in names]
    return struct.pack("=I", len(pairs)) + b"".join(struct.pack("=I", t) + string(n) for t, n in pairs)


def _cpu_pmu_caps() -> bytes:
    folder = "/sys/bus/event_source/devices/cpu/caps"
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return b""
    pairs = b"".join(string(name) + string(_read(f"{folder}/{name}")) for name in names)
    return struct.pack("=I", len(names)) + pairs


def event_desc(events: list[tuple[bytes, str, Sequence[int]]]) -> bytes:
    """EVENT_DESC: (packed attr, name, ids) of every event."""
    parts = [struct.pack("=II", len(events), len(events[0][0]))]
    for attr, name, ids in events:
        parts.append(attr + struct.pack("=I", len(ids)) + string(name))
        parts.append(struct.pack(f"={len(ids)}Q", *ids))
    return b"".join(parts)


def group_desc(groups: list[tuple[str, int, int]]) -> bytes:
    """GROUP_DESC: (name, index of the leader, number of members) of every group of two or more."""
    return struct.pack("=I", len(groups)) + b"".join(
        string(name) + struct.pack("=II", leader, members) for name, leader, members in groups
    )


def build_ids(entries: list[tuple[str, bytes, bool]]) -> bytes:
    """BUILD_ID: (file name, id of up to 20 bytes, of the kernel's side) of every mapped file.

    Each is a struct perf_record_header_build_id whose type is 0 and pid -1 (the host).
    """
    parts = []
    for name, build_id, kernel in entries:
        data = name.encode("utf-8", "surrogateescape") + b"\0"
        data = data.ljust(len(data) + (-len(data)) % pf.STRING_ALIGNMENT, b"\0")
        misc = (1 if kernel else 2) | pf.PERF_RECORD_MISC_BUILD_ID_SIZE
        parts.append(
            struct.pack(
                "=IHHi20sBBH", 0, misc, 36 + len(data), -1, build_id[:20], min(len(build_id), 20), 0, 0
            )
        )
        parts.append(data)
    return b"".join(parts)
