"""Kernel stacks in a trace.dat: the events kernel_stack that follow the event they belong to.

Their record tells how many frames it holds, whatever the format declares (kernel/trace/trace.c,
__ftrace_trace_stack).  Frames are named by the symbols that the file carries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.binfmt.event_format import EventFormat
from linscope.binfmt.perf_records import KIND_EXACT
from linscope.columns.growing import GrowingColumn
from linscope.columns.profile import EventTable, Frames, NamedFrames, Stacks
from linscope.formats.trace_dat.symbols import FileSymbols

_END = (1 << 64) - 1  # ULONG_MAX ends the stacks of old kernels
FARTHEST = 16  # events between an event and its stack: those of interrupts
# beginnings of the names of functions that take a stack
PROBES = ("trace_event_raw_event_", "trace_event_buffer_", "ftrace_call", "ftrace_regs_call")
_TRACING = (*PROBES, "__traceiter_")


class KernelStacks:
    """Collects stacks chunk by chunk."""

    def __init__(self, form: EventFormat, order: str, long_size: int, printing: Any) -> None:
        """order: byte order, in struct's sign; printing: what the format refers to."""
        self.form = form
        self.rows = GrowingColumn(np.int64)
        self.ids = GrowingColumn(np.uint32)
        self._places = {f.name: f for f in form.fields}
        self._dtype = np.dtype(f"{order}u{long_size}")
        self._order = order
        self._printing = printing
        self._known: dict[bytes, int] = {}
        self.frames: list[tuple[int, ...]] = []  # the one at the top of the stack first

    def add(
        self, buffer: NDArray[np.uint8], at: NDArray[np.uint32], size: NDArray[np.uint32], rows: NDArray[np.int64]
    ) -> None:
        """Take the records that begin at buffer[at]."""
        self.rows.extend(rows)
        self.ids.extend(np.array(self.numbers(buffer, at, size), np.uint32))

    def numbers(self, buffer: NDArray[np.uint8], at: NDArray[Any], size: NDArray[np.uint32]) -> list[int]:
        """Of each record that begins at buffer[at], the place of its stack in ``frames``."""
        count, caller = self._places.get("size"), self._places["caller"]
        word = self._dtype.itemsize
        view = buffer.data
        known = self._known
        ids = []
        for start, length in zip(at.tolist(), size.tolist(), strict=True):
            frames = max(length - caller.offset, 0) // word
            if count is not None and length >= count.offset + 4:
                told = int.from_bytes(view[start + count.offset :][:4], "big" if self._order == ">" else "little")
                frames = min(frames, told)
            raw = bytes(view[start + caller.offset :][: frames * word])
            number = known.get(raw)
            if number is None:
                number = known[raw] = len(self.frames)
                words = np.frombuffer(raw, self._dtype).tolist()
                self.frames.append(tuple(word for word in words if word not in (0, _END)))
            ids.append(number)
        return ids

    def without(self, names: tuple[str, ...], number: int, symbols: FileSymbols) -> tuple[int, ...]:
        """A stack without the functions at its top whose names begin so."""
        frames = self.frames[number]
        for inner, address in enumerate(frames):
            found = symbols(address)
            if found is None or not found[0].startswith(names):
                return frames[inner:]
        return ()

    def finish(self) -> EventTable:
        """The table: each stack is a tuple of addresses."""
        ids, frames = self.ids.finish(), self.frames
        columns = {"caller": [frames[number] for number in ids.tolist()]}
        return EventTable("ftrace:kernel_stack", self.rows.finish(), columns, self.form, self._printing)

    def tree(self, symbols: FileSymbols) -> tuple[Stacks, Frames, NamedFrames, NDArray[np.uint32]]:
        """The stacks as a tree, its frames with their names, and the node of each distinct stack.

        The functions that take the stack, at its top, are left out.
        """
        number_of: dict[int, int] = {}
        parent, frame = [0], [0]
        nodes: dict[tuple[int, int], int] = {}
        leaves = []
        names: list[str] = []
        for number in range(len(self.frames)):
            addresses = self.without(_TRACING, number, symbols)
            for address in addresses:
                if address not in number_of:
                    number_of[address] = len(number_of)
                    found = symbols(address)
                    names.append(f"{found[0]}+{found[1]:#x}" if found else "")
            node = 0
            for address in reversed(addresses):
                key = node, number_of[address]
                if key not in nodes:
                    nodes[key] = len(parent)
                    parent.append(node)
                    frame.append(key[1])
                node = nodes[key]
            leaves.append(node)
        frame[0] = len(number_of)
        count = len(number_of)
        kinds = np.full(count, pe.PERF_RECORD_MISC_KERNEL | KIND_EXACT, np.uint8)
        frames = Frames(np.zeros(count, np.uint32), np.array(list(number_of), np.uint64), kinds)
        named = NamedFrames(names, [symbols.module(address) for address in number_of], ["kernel"] * count)
        stacks = Stacks(np.array(parent, np.uint32), np.array(frame, np.uint32))
        return stacks, frames, named, np.array(leaves, np.uint32)


def owners(
    rows: NDArray[np.int64], is_stack_row: NDArray[np.bool_], pid: NDArray[np.uint32], first: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The sample that each stack belongs to: the last of its task before it that has none yet; -1: none.

    rows: the samples that are stacks, in order; is_stack_row and pid: of all samples; first: where each CPU begins.
    """
    found = rows - 1
    begin = first[np.searchsorted(first, rows, side="right") - 1]
    plain = (found >= begin) & ~is_stack_row[np.maximum(found, 0)]
    plain &= pid[np.maximum(found, 0)] == pid[rows]
    taken = set(found[plain].tolist()) if not plain.all() else set()
    for at in np.flatnonzero(~plain).tolist():
        row, low = int(rows[at]), int(begin[at])
        found[at] = -1
        for before in range(row - 1, max(low, row - FARTHEST) - 1, -1):
            if pid[before] == pid[row] and not is_stack_row[before] and before not in taken:
                found[at] = before
                taken.add(before)
                break
    return found
