"""Feature sections of perf.data: what perf wrote about the machine, the command and the events.

Source: tools/perf/Documentation/perf.data-file-format.txt and tools/perf/util/header.c.  A section that is damaged
is given up by itself: the records do not depend on it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from linscope.abi import perf_file as pf
from linscope.errors import FormatError
from linscope.formats.perf_data.attrs import EventAttr, parse_attr


class BuildId(NamedTuple):
    """One entry of the table of build-ids."""

    pid: int  # -1 for the host
    build_id: str  # hex
    path: str
    misc: int


class _Reader:
    """Values one after the other; raises FormatError at the end of the section."""

    def __init__(self, data: bytes, big_endian: bool, name: str, offset: int) -> None:
        self.data = data
        self.order = ">" if big_endian else "<"
        self.big_endian = big_endian
        self.name = name
        self.offset = offset  # of the section in the file
        self.at = 0

    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        if size < 0 or size > self.left():
            raise FormatError(f"the section {self.name} is cut off", offset=self.offset + self.at)
        self.at += size
        return self.data[self.at - size : self.at]

    def u32(self) -> int:
        value: int = struct.unpack(self.order + "I", self.take(4))[0]
        return value

    def u64(self) -> int:
        value: int = struct.unpack(self.order + "Q", self.take(8))[0]
        return value

    def string(self) -> str:
        return self.take(self.u32()).split(b"\0", 1)[0].decode(errors="replace")

    def strings(self) -> list[str]:
        return [self.string() for _ in range(self.count(4))]

    def count(self, entry_size: int) -> int:
        """A number of entries, of at least entry_size bytes each, that can be there."""
        count = self.u32()
        if count * entry_size > self.left():
            raise FormatError(
                f"the section {self.name} counts {count} entries", offset=self.offset + self.at - 4
            )
        return count


def _build_ids(r: _Reader) -> list[BuildId]:
    found = []
    while r.left() >= 8:
        start = r.at
        _, misc, size = struct.unpack(r.order + "IHH", r.take(8))
        if size < 8 + 4 + 24:
            raise FormatError("a build-id entry is too short", offset=r.offset + start)
        body = r.take(size - 8)
        (pid,) = struct.unpack_from(r.order + "i", body)
        length = body[4 + pf.BUILD_ID_SIZE] if misc & pf.PERF_RECORD_MISC_BUILD_ID_SIZE else pf.BUILD_ID_SIZE
        path = body[4 + 24 :].split(b"\0", 1)[0].decode(errors="replace")
        found.append(BuildId(pid, body[4 : 4 + min(length, pf.BUILD_ID_SIZE)].hex(), path, misc))
    return found


def parse_build_id_record(body: bytes, misc: int, big_endian: bool, offset: int) -> BuildId:
    """The entry in a PERF_RECORD_HEADER_BUILD_ID record of a pipe; body: without its header."""
    order = ">" if big_endian else "<"
    header = struct.pack(order + "IHH", pf.PERF_RECORD_HEADER_BUILD_ID, misc, len(body) + 8)
    return _build_ids(_Reader(header + body, big_endian, "BUILD_ID", offset))[0]


def _event_desc(r: _Reader) -> list[EventAttr]:
    count, attr_size = r.u32(), r.u32()
    if count * attr_size > r.left():
        raise FormatError("the section EVENT_DESC counts too many events", offset=r.offset)
    events = []
    for _ in range(count):
        attr = parse_attr(r.take(attr_size), r.big_endian, offset=r.offset + r.at)
        ids = r.u32()
        attr.name = r.string()
        attr.ids = list(struct.unpack(f"{r.order}{ids}Q", r.take(8 * ids)))
        events.append(attr)
    return events


def _cpu_topology(r: _Reader) -> dict[str, Any]:
    topology: dict[str, Any] = {"cores": r.strings(), "threads": r.strings()}
    if r.left():
        topology["cpus"] = [tuple(struct.unpack(r.order + "II", r.take(8))) for _ in range(r.left() // 8)]
    return topology


def _numa_topology(r: _Reader) -> list[dict[str, Any]]:
    return [
        {"node": r.u32(), "total_kb": r.u64(), "free_kb": r.u64(), "cpus": r.string()}
        for _ in range(r.count(24))
    ]


def _pmu_mappings(r: _Reader) -> dict[int, str]:
    mappings = {}
    for _ in range(r.count(8)):
        number = r.u32()
        mappings[number] = r.string()
    return mappings


def _groups(r: _Reader) -> list[dict[str, Any]]:
    return [{"name": r.string(), "leader": r.u32(), "members": r.u32()} for _ in range(r.count(12))]


def _caches(r: _Reader) -> list[dict[str, Any]]:
    r.u32()  # version
    return [
        {
            "level": r.u32(),
            "line_size": r.u32(),
            "sets": r.u32(),
            "ways": r.u32(),
            "type": r.string(),
            "size": r.string(),
            "cpus": r.string(),
        }
        for _ in range(r.count(28))
    ]


def _capabilities(r: _Reader) -> list[dict[str, str]]:
    def one() -> dict[str, str]:
        pairs = {}
        for _ in range(r.count(8)):
            name = r.string()
            pairs[name] = r.string()
        return pairs

    return [one()]


def _pmu_capabilities(r: _Reader) -> list[dict[str, Any]]:
    pmus = []
    for _ in range(r.count(8)):
        (pairs,) = _capabilities(r)
        pmus.append({"pmu": r.string(), "caps": pairs})
    return pmus


def _hybrid(r: _Reader) -> list[dict[str, str]]:
    return [{"pmu": r.string(), "cpus": r.string()} for _ in range(r.count(8))]


def _clock_data(r: _Reader) -> dict[str, int]:
    r.u32()  # version
    return {"clockid": r.u32(), "wall_ns": r.u64(), "clock_ns": r.u64()}


def _compressed(r: _Reader) -> dict[str, int]:
    return dict(
        zip(("version", "type", "level", "ratio", "mmap_len"), (r.u32() for _ in range(5)), strict=False)
    )


def _nrcpus(r: _Reader) -> dict[str, int]:
    return {"available": r.u32(), "online": r.u32()}


def _mem_topology(r: _Reader) -> dict[str, Any]:
    r.u64()  # version
    block_size, count = r.u64(), r.u64()
    return {"block_size": block_size, "nodes": count}


_PARSERS: dict[int, Callable[[_Reader], Any]] = {
    pf.HEADER_BUILD_ID: _build_ids,
    pf.HEADER_HOSTNAME: _Reader.string,
    pf.HEADER_OSRELEASE: _Reader.string,
    pf.HEADER_VERSION: _Reader.string,
    pf.HEADER_ARCH: _Reader.string,
    pf.HEADER_NRCPUS: _nrcpus,
    pf.HEADER_CPUDESC: _Reader.string,
    pf.HEADER_CPUID: _Reader.string,
    pf.HEADER_TOTAL_MEM: _Reader.u64,
    pf.HEADER_CMDLINE: _Reader.strings,
    pf.HEADER_EVENT_DESC: _event_desc,
    pf.HEADER_CPU_TOPOLOGY: _cpu_topology,
    pf.HEADER_NUMA_TOPOLOGY: _numa_topology,
    pf.HEADER_PMU_MAPPINGS: _pmu_mappings,
    pf.HEADER_GROUP_DESC: _groups,
    pf.HEADER_CACHE: _caches,
    pf.HEADER_SAMPLE_TIME: lambda r: (r.u64(), r.u64()),
    pf.HEADER_MEM_TOPOLOGY: _mem_topology,
    pf.HEADER_CLOCKID: _Reader.u64,
    pf.HEADER_DIR_FORMAT: _Reader.u64,
    pf.HEADER_COMPRESSED: _compressed,
    pf.HEADER_CPU_PMU_CAPS: _capabilities,
    pf.HEADER_CLOCK_DATA: _clock_data,
    pf.HEADER_HYBRID_TOPOLOGY: _hybrid,
    pf.HEADER_PMU_CAPS: _pmu_capabilities,
}


def parse_feature(bit: int, data: bytes, big_endian: bool, *, offset: int) -> Any:
    """A feature section's value: a string, a number, or lists and dicts of them; raw bytes where we know no better.

    offset: of the section in the file, for errors.  Raises FormatError if the section is damaged.
    """
    parser = _PARSERS.get(bit)
    if parser is None:
        return data
    return parser(_Reader(data, big_endian, pf.FEATURE_NAMES.get(bit, str(bit)), offset))
