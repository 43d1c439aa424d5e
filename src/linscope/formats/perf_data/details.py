"""What samples carry beside time, task, weight and stack: branches, registers, counts, memory accesses.

Decoded only when asked for, sample by sample, from where the scan found them.
Source: include/uapi/linux/perf_event.h, the comment on PERF_RECORD_SAMPLE; kernel/events/core.c, perf_output_sample.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from linscope.abi import perf_event as pe
from linscope.formats.perf_data.attrs import EventAttr
from linscope.formats.perf_data.stream import Chunk

_ONE_WORD = (  # fields of eight bytes from the start of a sample on, in order
    (pe.PERF_SAMPLE_IDENTIFIER, "id"),
    (pe.PERF_SAMPLE_IP, ""),
    (pe.PERF_SAMPLE_TID, ""),
    (pe.PERF_SAMPLE_TIME, ""),
    (pe.PERF_SAMPLE_ADDR, ""),
    (pe.PERF_SAMPLE_ID, "id"),
    (pe.PERF_SAMPLE_STREAM_ID, "stream_id"),
    (pe.PERF_SAMPLE_CPU, ""),
    (pe.PERF_SAMPLE_PERIOD, ""),
)
_LATE_WORDS = (
    (pe.PERF_SAMPLE_PHYS_ADDR, "phys_addr"),
    (pe.PERF_SAMPLE_CGROUP, "cgroup"),
    (pe.PERF_SAMPLE_DATA_PAGE_SIZE, "data_page_size"),
    (pe.PERF_SAMPLE_CODE_PAGE_SIZE, "code_page_size"),
)


class Branch(NamedTuple):
    """struct perf_branch_entry; the newest branch comes first in a sample."""

    source: int  # address of the branch
    target: int
    flags: int  # pe.PERF_BRANCH_FLAG_BITS
    counters: int = 0  # with PERF_SAMPLE_BRANCH_COUNTERS

    def flag(self, name: str) -> int:
        """One part of the flags: "mispred", "predicted", "in_tx", "abort", "cycles", "type", "spec", "priv"..."""
        shift, width = pe.PERF_BRANCH_FLAG_BITS[name]
        return self.flags >> shift & ((1 << width) - 1)


class Registers(NamedTuple):
    """Registers when the sample was taken."""

    abi: int  # PERF_SAMPLE_REGS_ABI_*; 0: none, as in a kernel thread
    values: dict[int, int]  # by the number of the register in the attr's mask (asm/perf_regs.h)


class ReadValue(NamedTuple):
    """The count of one event of a group (PERF_SAMPLE_READ)."""

    value: int
    id: int = 0  # of the event's instance; 0 without PERF_FORMAT_ID
    lost: int = 0


@dataclass
class SampleDetails:
    """The optional parts of one sample; None or empty for what its event does not record."""

    id: int | None = None
    stream_id: int | None = None
    values: list[ReadValue] = field(default_factory=list)
    time_enabled_ns: int | None = None
    time_running_ns: int | None = None
    branches: list[Branch] = field(default_factory=list)
    branch_hw_index: int | None = None
    user_registers: Registers | None = None
    user_stack: tuple[int, int] | None = None  # (first byte behind the record's header, bytes that were filled)
    weight: int | None = None  # what the hardware says an access cost, often in cycles
    instruction_latency: int | None = None  # with PERF_SAMPLE_WEIGHT_STRUCT, as the next one
    retire_latency: int | None = None
    data_src: int | None = None  # pe.PERF_MEM_BITS
    transaction: int | None = None
    interrupt_registers: Registers | None = None
    phys_addr: int | None = None
    cgroup: int | None = None
    data_page_size: int | None = None  # bytes
    code_page_size: int | None = None
    aux: tuple[int, int] | None = None  # (first byte behind the record's header, bytes)


class _Words:
    """Values one after the other; struct.error at the end of the record."""

    def __init__(self, body: memoryview, big_endian: bool) -> None:
        self.body = body
        self.at = 0
        self._order = ">" if big_endian else "<"

    def take(self) -> int:
        (value,) = struct.unpack_from(self._order + "Q", self.body, self.at)
        self.at += 8
        return int(value)

    def many(self, count: int) -> tuple[int, ...]:
        if count > (len(self.body) - self.at) // 8:
            raise struct.error("a list beyond the end of the record")
        values = struct.unpack_from(f"{self._order}{count}Q", self.body, self.at)
        self.at += 8 * count
        return values

    def skip(self, size: int) -> None:
        if size > len(self.body) - self.at:
            raise struct.error("data beyond the end of the record")
        self.at += size

    def u32(self) -> int:
        (value,) = struct.unpack_from(self._order + "I", self.body, self.at)
        self.at += 4
        return int(value)


def parse_details(body: memoryview, attr: EventAttr, big_endian: bool) -> SampleDetails:
    """The details of a sample; body: the record without its header.  Raises struct.error if it is too short."""
    words = _Words(body, big_endian)
    kind = attr.sample_type
    found = SampleDetails()
    for bit, name in _ONE_WORD:
        if kind & bit:
            value = words.take()
            if name:
                setattr(found, name, value)
    if kind & pe.PERF_SAMPLE_READ:
        _read_values(words, attr.read_format, found)
    if kind & pe.PERF_SAMPLE_CALLCHAIN:
        words.many(words.take())
    if kind & pe.PERF_SAMPLE_RAW:
        words.skip(words.u32())
    if kind & pe.PERF_SAMPLE_BRANCH_STACK:
        _branches(words, attr.branch_sample_type, found)
    if kind & pe.PERF_SAMPLE_REGS_USER:
        found.user_registers = _registers(words, attr.sample_regs_user)
    if kind & pe.PERF_SAMPLE_STACK_USER:
        size, start = words.take(), words.at
        words.skip(size)
        found.user_stack = (start, min(size, words.take() if size else 0))
    if kind & pe.PERF_SAMPLE_WEIGHT_TYPE:
        weight = words.take()
        found.weight = weight
        if kind & pe.PERF_SAMPLE_WEIGHT_STRUCT:  # union perf_sample_weight
            found.weight, found.instruction_latency = weight & 0xFFFFFFFF, weight >> 32 & 0xFFFF
            found.retire_latency = weight >> 48
    if kind & pe.PERF_SAMPLE_DATA_SRC:
        found.data_src = words.take()
    if kind & pe.PERF_SAMPLE_TRANSACTION:
        found.transaction = words.take()
    if kind & pe.PERF_SAMPLE_REGS_INTR:
        found.interrupt_registers = _registers(words, attr.sample_regs_intr)
    for bit, name in _LATE_WORDS:
        if kind & bit:
            setattr(found, name, words.take())
    if kind & pe.PERF_SAMPLE_AUX:
        size, start = words.take(), words.at
        words.skip(size)
        found.aux = (start, size)
    return found


def _read_values(words: _Words, form: int, found: SampleDetails) -> None:
    grouped = form & pe.PERF_FORMAT_GROUP
    count = words.take() if grouped else 1
    first = 0 if grouped else words.take()
    if form & pe.PERF_FORMAT_TOTAL_TIME_ENABLED:
        found.time_enabled_ns = words.take()
    if form & pe.PERF_FORMAT_TOTAL_TIME_RUNNING:
        found.time_running_ns = words.take()
    if count > len(words.body) // 8:
        raise struct.error("more values than fit into the record")
    for _ in range(count):
        value = words.take() if grouped else first
        number = words.take() if form & pe.PERF_FORMAT_ID else 0
        lost = words.take() if form & pe.PERF_FORMAT_LOST else 0
        found.values.append(ReadValue(value, number, lost))


def _branches(words: _Words, branch_type: int, found: SampleDetails) -> None:
    count = words.take()
    if branch_type & pe.PERF_SAMPLE_BRANCH_HW_INDEX:
        found.branch_hw_index = words.take()
    flat = words.many(3 * count)
    counters = words.many(count) if branch_type & pe.PERF_SAMPLE_BRANCH_COUNTERS else (0,) * count
    entries = zip(flat[0::3], flat[1::3], flat[2::3], counters, strict=True)
    found.branches = [Branch(*entry) for entry in entries]


def _registers(words: _Words, mask: int) -> Registers:
    abi = words.take()
    if abi == pe.PERF_SAMPLE_REGS_ABI_NONE:
        return Registers(abi, {})
    numbers = [bit for bit in range(64) if mask >> bit & 1]
    return Registers(abi, dict(zip(numbers, words.many(len(numbers)), strict=True)))


def iter_details(chunk: Chunk, attrs: list[EventAttr], big_endian: bool) -> Iterator[SampleDetails | None]:
    """Details of each row of a chunk's samples; None for one of no known event, or too short for its layout."""
    samples = chunk.scanned.samples
    order = ">" if big_endian else "<"
    for offset, event in zip(samples["offset"].tolist(), samples["event"].tolist(), strict=True):
        start = chunk.base + offset
        (size,) = struct.unpack_from(order + "H", chunk.buffer, start + 6)
        if event >= len(attrs):
            yield None
            continue
        try:
            yield parse_details(chunk.buffer[start + 8 : start + size], attrs[event], big_endian)
        except struct.error:
            yield None
