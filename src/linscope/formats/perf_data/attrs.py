"""struct perf_event_attr as found in a recording, and what it decides about records."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from linscope.abi import perf_event as pe
from linscope.errors import FormatError

_HARDWARE = (
    "cycles",
    "instructions",
    "cache-references",
    "cache-misses",
    "branches",
    "branch-misses",
    "bus-cycles",
    "stalled-cycles-frontend",
    "stalled-cycles-backend",
    "ref-cycles",
)
_SOFTWARE = (
    "cpu-clock",
    "task-clock",
    "page-faults",
    "context-switches",
    "cpu-migrations",
    "minor-faults",
    "major-faults",
    "alignment-faults",
    "emulation-faults",
    "dummy",
    "bpf-output",
    "cgroup-switches",
)


_MODES = (("k", "kernel"), ("u", "user"), ("h", "hv"))
# tools/perf/util/evsel.c, evsel__hw_cache: how each cache, operation and result is written
_CACHES = ("L1-dcache", "L1-icache", "LLC", "dTLB", "iTLB", "branch", "node")
_CACHE_OPERATIONS = (("load", "loads"), ("store", "stores"), ("prefetch", "prefetches"))


def _cache_name(config: int) -> str:
    """The name of a PERF_TYPE_HW_CACHE event, "" for one that the kernel does not define."""
    cache, operation, result = config & 0xFF, config >> 8 & 0xFF, config >> 16 & 0xFF
    if cache >= len(_CACHES) or operation >= len(_CACHE_OPERATIONS) or result > 1:
        return ""
    one, many = _CACHE_OPERATIONS[operation]
    return f"{_CACHES[cache]}-{one}-misses" if result else f"{_CACHES[cache]}-{many}"


@dataclass
class EventAttr:
    """One event of a recording: its attr, the ids of its instances and its name."""

    type: int
    size: int  # bytes of the attr in the file
    config: int
    sample_period: int  # a frequency in Hz when flags["freq"]
    sample_type: int
    read_format: int
    flags: dict[str, int]
    config1: int = 0
    config2: int = 0
    branch_sample_type: int = 0
    sample_regs_user: int = 0
    sample_stack_user: int = 0
    clockid: int = 0
    sample_regs_intr: int = 0
    ids: list[int] = field(default_factory=list)
    name: str = ""

    def layout(self) -> tuple[int, ...]:
        """The eight words that ``binfmt.perf_records.Scanner`` needs to take records of this event apart."""
        return (
            self.sample_type,
            self.read_format,
            self.branch_sample_type,
            self.sample_regs_user,
            self.sample_regs_intr.bit_count(),
            self.flags["sample_id_all"],
            self.sample_period,
            self.flags["inherit"],
        )

    def default_name(self, tracepoints: dict[int, str]) -> str:
        """The event's name when the file gives none; tracepoints: "system:name" by id."""
        config = self.config & pe.PERF_HW_EVENT_MASK
        base = f"unknown({self.type},{self.config:#x})"
        if self.type == pe.PERF_TYPE_HARDWARE and config < len(_HARDWARE):
            base = _HARDWARE[config]
        elif self.type == pe.PERF_TYPE_SOFTWARE and config < len(_SOFTWARE):
            base = _SOFTWARE[config]
        elif self.type == pe.PERF_TYPE_TRACEPOINT:
            return tracepoints.get(self.config, f"tracepoint:{self.config}")
        elif self.type == pe.PERF_TYPE_RAW:
            base = f"raw {self.config:#x}"
        elif self.type == pe.PERF_TYPE_HW_CACHE:
            base = _cache_name(config) or base
        elif self.type == pe.PERF_TYPE_BREAKPOINT:
            base = f"mem:{self.config1:#x}"
        modifiers = self._modifiers()
        return f"{base}:{modifiers}" if modifiers else base

    def _modifiers(self) -> str:
        """What perf writes behind the colon: tools/perf/util/evsel.c, evsel__add_modifiers."""
        flags = self.flags
        some = bool(flags["exclude_kernel"] or flags["exclude_user"] or flags["exclude_hv"])
        found = ""
        if some:
            found += "".join(m for m, what in _MODES if not flags[f"exclude_{what}"])
        found += "p" * flags["precise_ip"]
        no_guest = some or bool(flags["precise_ip"])
        if flags["exclude_host"] or bool(flags["exclude_guest"]) == no_guest:
            found += "".join(m for m, what in (("H", "host"), ("G", "guest")) if not flags[f"exclude_{what}"])
        return found


def _flags(word: int, big_endian: bool) -> dict[str, int]:
    flags = {}
    at = 0
    for name, width in pe.PERF_ATTR_FLAG_BITS:
        shift = 64 - at - width if big_endian else at
        flags[name] = (word >> shift) & ((1 << width) - 1)
        at += width
    return flags


def parse_attr(data: bytes | memoryview, big_endian: bool, *, offset: int) -> EventAttr:
    """The attr at the start of data, which may be shorter or longer than the newest one that we know.

    offset: of data in the file, for the error.  Raises FormatError when it is shorter than the oldest attr.
    Source: include/uapi/linux/perf_event.h, struct perf_event_attr; unknown tails are left alone.
    """
    if len(data) < pe.PERF_ATTR_SIZE_VER0:
        raise FormatError(
            f"an event description of {len(data)} bytes", offset=offset, why="at least 64 are needed"
        )
    byte_order = ">" if big_endian else "<"
    whole = struct.calcsize("<" + pe.PERF_ATTR_FORMAT)
    padded = bytes(data[:whole]).ljust(whole, b"\0")
    values = dict(
        zip(pe.PERF_ATTR_FIELDS, struct.unpack(byte_order + pe.PERF_ATTR_FORMAT, padded), strict=True)
    )
    return EventAttr(
        type=values["type"],
        size=values["size"] or pe.PERF_ATTR_SIZE_VER0,
        config=values["config"],
        sample_period=values["sample_period"],
        sample_type=values["sample_type"],
        read_format=values["read_format"],
        flags=_flags(values["flags"], big_endian),
        config1=values["config1"],
        config2=values["config2"],
        branch_sample_type=values["branch_sample_type"],
        sample_regs_user=values["sample_regs_user"],
        sample_stack_user=values["sample_stack_user"],
        clockid=values["clockid"],
        sample_regs_intr=values["sample_regs_intr"],
    )
