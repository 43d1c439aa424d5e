"""The user-space eBPF machine: load a program, run it over one record or over many."""

from __future__ import annotations

import contextlib
import ctypes
import os

from linscope.bpf.vm import errors as e
from linscope.bpf.vm.buffers import Pinned
from linscope.bpf.vm.errors import Fault, MachineError, NoExecutableMemory, UnavailableError
from linscope.bpf.vm.helpers import Output, Reader, TextHelpers, native_pointer
from linscope.bpf.vm.interpreter import Interpreter
from linscope.bpf.vm.loaded import Core, Loaded
from linscope.bpf.vm.packets import PacketMemory
from linscope.bpf.vm.state import FAULT_LOG, HELPERS, PROGRAM_SHIFT, ContextRow, KnownMemory, Region

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Buffer, Iterable, Mapping, Sequence  # type: ignore[attr-defined]
    from typing import NamedTuple

    from linscope.bpf.program import Program
    from linscope.bpf.vm.helpers import Helper
    from linscope.bpf.vm.jit import Code
    from linscope.bpf.vm.maps import VmMap
else:
    from collections import namedtuple

DEFAULT_BUDGET = 10_000_000  # slots a record; see interpreter.py for how they are counted
_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_uint64)
_BAD_RECORD = 0xFFFFFFFF

if TYPE_CHECKING:

    class FaultRecord(NamedTuple):
        """Why a record ended: its place in the batch, a key of FAULTS, program, instruction, address."""

        record: int
        code: int
        program: str
        slot: int  # -1: the record itself is not inside of the buffer
        address: int

    class Batch(NamedTuple):
        """What a batch gave.  numpy.frombuffer(batch.results, "u8") makes an array without a copy."""

        records: int  # how many were run
        nonzero: int  # of which r0 was not 0
        fault_count: int
        results: memoryview  # u64 r0 of each record, 0 where it faulted; empty when it was not asked for
        codes: memoryview  # u32 of each record: 0 or a key of FAULTS; empty when it was not asked for
        faults: list[FaultRecord]  # the first 1024

else:
    FaultRecord = namedtuple("FaultRecord", "record code program slot address")
    Batch = namedtuple("Batch", "records nonzero fault_count results codes faults")


def can_compile() -> bool:
    """Whether this machine is one that the JIT makes code for."""
    return os.uname().machine == "x86_64"


class Machine:
    """A program, its maps and its recorded surroundings; not to be used by two threads at the same time.

    r1 is the address of the record and r2 its size in bytes; all memory that the program touches is checked.
    """

    def __init__(
        self,
        program: Program,
        *,
        jit: bool = True,
        budget: int = DEFAULT_BUDGET,
        cpus: int = 1,
        seed: int = 0,
        safe: Iterable[int] = (),
        safe_size: int = 0,
        probes: Iterable[int] = (),
        helpers: Mapping[int, Helper] | None = None,
        ring_bytes: int | None = None,
    ) -> None:
        """jit: machine code where the processor is x86-64 and the system allows it (``jitted`` tells).

        budget: slots a record may take before it is ended (vm/interpreter.py says how they are counted); cpus: of the
        recording, for per-CPU maps (a record of a CPU beyond counts for CPU 0); seed: of get_prandom_u32; safe: slots
        whose memory access the verifier has proved: the JIT leaves the check of these loads out; safe_size: bytes of a
        record that the proof relies on, shorter ones are not run; probes: loads that give 0 where nothing is known to
        be (through pointers into the recorded kernel); helpers: more helper functions by number; ring_bytes: room in
        ring buffers instead of what the program asks for.
        Raises InvalidProgram: the form of the program; UnavailableError: a helper or map that is not available here.
        """
        self._core = Core(cpus, ring_bytes)
        self._state = self._core.state
        self._state.budget_limit = budget
        self._state.budget_half = budget // 2
        self._state.random = seed
        self._state.least_size = safe_size
        self._interpreter = Interpreter(self._core)
        self.output = Output()
        reader = Reader(self._core, self._interpreter)
        self._helpers: list[object] = []
        for number, helper in {**TextHelpers(reader, self.output).table(), **(helpers or {})}.items():
            if not 0 < number < HELPERS:
                raise UnavailableError(f"helper number {number} is out of range")
            function = native_pointer(self._core, helper)
            self._helpers.append(function)
            self._state.helpers[number] = ctypes.cast(function, ctypes.c_void_p).value or 0
        self.jitted = jit and can_compile()
        self._codes: list[Code] = []
        self._record = (ctypes.c_char * 4096)()
        self._packet = (ctypes.c_char * 1)()
        self._packets: PacketMemory | None = None
        self._type = program.type
        self._running = False
        self._stacks: tuple[Pinned, ...] = ()
        self._memory: tuple[Pinned, ...] = ()
        self._program = self._load(program, frozenset(safe), frozenset(probes))
        self._entry = _ENTRY(self._codes[0].address) if self.jitted else None
        self.maps: dict[str, VmMap] = {
            map_.name: made for map_, made in zip(program.maps, self._program.maps, strict=True)
        }

    def _load(self, program: Program, safe: frozenset[int], probes: frozenset[int]) -> Loaded:
        loaded = Loaded(self._core, program, len(self._core.programs), safe, probes)
        if self.jitted:
            from linscope.bpf.vm.jit import compile_program

            try:
                self._codes.append(compile_program(self._core, loaded))
            except NoExecutableMemory:
                if loaded.number:
                    raise
                self.jitted = False
        self._core.add_program(loaded)
        return loaded

    # -- surroundings

    @property
    def row(self) -> ContextRow:
        """Time, ids, CPU, name and stacks of the record that ``run`` runs, and of batches without rows of their own."""
        return self._core.row

    @property
    def seed(self) -> int:
        """The state of get_prandom_u32, 64 bits; the same seed gives the same numbers."""
        return int(self._state.random)

    @seed.setter
    def seed(self, value: int) -> None:
        self._state.random = value

    @property
    def probe_faults(self) -> int:
        """How many reads of the recorded system's memory could not be answered."""
        return int(self._state.probe_faults)

    def map_list(self) -> Sequence[VmMap]:
        """The maps in the order of Program.maps."""
        return self._program.maps

    def add_map(self, map_: object) -> VmMap:
        """A map that no instruction names, such as one to be put into a map of maps.  map_: bpf.program.Map."""
        from linscope.bpf.program import Map

        if not isinstance(map_, Map):
            raise MachineError("a map is described by linscope.bpf.program.Map")
        return self._core.map_for(map_)

    def set_stacks(self, offsets: Buffer, addresses: Buffer) -> None:
        """The table of stacks that rows name: u64 offsets (one more than stacks) and u64 addresses, innermost first.

        Raises MachineError: the offsets do not ascend inside of the addresses.
        """
        ends, frames = (memoryview(buffer).cast("B").cast("Q") for buffer in (offsets, addresses))
        last = 0
        for end in ends:
            if not last <= end <= len(frames):
                raise MachineError("offsets of stacks do not ascend, or go beyond the addresses")
            last = end
        pins = Pinned(offsets), Pinned(addresses)
        for pin in self._stacks:
            pin.close()
        self._stacks = pins
        self._state.stack_offsets, self._state.stack_addresses = pins[0].address, pins[1].address
        self._state.stack_count = max(len(ends) - 1, 0)

    def set_memory(self, ranges: Iterable[tuple[int, bytes]]) -> None:
        """Memory of the recorded system, (address, bytes) each, that probe_read and its kin can read."""
        known = [(address, Pinned(data)) for address, data in ranges]
        self._core.set_memory([KnownMemory(address, pin.size, pin.address) for address, pin in known])
        for pin in self._memory:
            pin.close()
        self._memory = tuple(pin for _, pin in known)

    def set_row_memory(self, table: Buffer) -> None:
        """Memory that single records know: entries of three u64 each (address, size, where the bytes are in this
        process); a row's ``memory`` names a range of them.  What was known to all is forgotten.

        The caller answers for the bytes: they must stay while the machine runs.  Raises MachineError: no whole entries.
        """
        pin = Pinned(table)
        if pin.size % ctypes.sizeof(KnownMemory):
            raise MachineError(f"a table of {pin.size} bytes, which are no whole entries")
        for old in self._memory:
            old.close()
        self._memory = (pin,)
        self._core.set_row_memory(pin.address, pin.size // ctypes.sizeof(KnownMemory))

    def set_regions(self, ranges: Iterable[tuple[int, int, bool]]) -> None:
        """More memory of this process that programs may touch: (address, size in bytes, writable).

        The caller answers for it: the memory must stay while the machine is used.
        """
        self._core.set_regions([Region(*one) for one in ranges])

    def set_program(self, map_name: str, index: int, program: Program, *, safe: Iterable[int] = ()) -> None:
        """Put a program into a BPF_MAP_TYPE_PROG_ARRAY, for tail calls; it shares maps that are the same objects.

        Raises MachineError: the index is out of range; InvalidProgram, UnavailableError: as the constructor.
        """
        loaded = self._load(program, frozenset(safe), frozenset())
        number = loaded.number + 1
        self.maps[map_name].update(index.to_bytes(4, "little"), number.to_bytes(4, "little"))

    # -- running

    def run(self, record: bytes | bytearray = b"", *, packet: bytes | None = None, interpret: bool = False) -> int:
        """r0 after one record, unsigned.  What the program writes into a bytearray stays in it.

        packet: what legacy packet loads read, the record itself when None; interpret: not by machine code.
        Raises Fault.
        """
        size = len(record)
        self._check_size(size)
        if size > len(self._record):
            self._record = (ctypes.c_char * size)()
        ctypes.memmove(self._record, bytes(record), size)
        address = ctypes.addressof(self._record)
        state = self._state
        state.packet, state.packet_size = address, size
        if packet is not None:
            if len(packet) > len(self._packet):
                self._packet = (ctypes.c_char * len(packet))()
            ctypes.memmove(self._packet, packet, len(packet))
            state.packet, state.packet_size = ctypes.addressof(self._packet), len(packet)
        result = ctypes.c_uint64()
        state.base, state.base_size, state.stride, state.end = address, size, size + 1, address + 1
        state.offsets = state.faults = 0
        state.context_size = state.context_writable = size
        state.packet_follows = packet is None
        state.results = ctypes.addressof(result)
        state.row, state.row_stride = ctypes.addressof(self._core.row), 0
        self._go(1, interpret)
        if isinstance(record, bytearray):
            record[:] = ctypes.string_at(address, size)
        if state.fault_count:
            fault = self._fault(0)
            raise Fault(fault.code, slot=fault.slot, address=fault.address, where=fault.program)
        return result.value

    def run_packet(
        self, packet: bytes, *, fields: Mapping[str, int] | None = None, interpret: bool = False
    ) -> tuple[int, bytes]:
        """r0 and the packet afterwards, of a program whose context points to a packet (XDP, socket filter, tc, ...).

        fields: of struct xdp_md or struct __sk_buff, beside data, data_end, data_meta, len and wire_len.
        Raises Fault; MachineError: the program's type gets no packet.
        """
        if self._packets is None:
            self._packets = PacketMemory()
        memory = self._packets
        memory.put(packet)
        context = memory.context(self._type, fields or {})
        core = self._core
        given = core.regions
        core.set_regions([*given, Region(memory.address, memory.size, 1)])
        try:
            result = self.run(context, packet=packet, interpret=interpret)
        finally:
            core.set_regions(given)
        return result, memory.get()

    def run_batch(
        self,
        records: Buffer,
        *,
        stride: int = 0,
        size: int | None = None,
        offsets: Buffer | None = None,
        sizes: Buffer | None = None,
        rows: Buffer | None = None,
        results: bool | Buffer = True,
        codes: bool = True,
        writable: bool = False,
        interpret: bool = False,
    ) -> Batch:
        """Run the program over many records, one after the other, inside of machine code.

        records: a buffer; either stride: bytes from one record to the next (size: bytes of each that the program
        sees, stride when None), or offsets (u64) and sizes (u32) of each record in the buffer.  rows: an array of
        96-byte rows (state.ContextRow, numpy.dtype(state.ROW_FIELDS)), one a record: what helpers say about time,
        process, CPU and stacks; without it, ``row`` holds for all.  results: whether r0 of each record is wanted, or a
        writable buffer (8 bytes a record) to put it into; codes: whether the fault of each is.  writable: programs
        may write into the records.
        A fault ends one record, never the batch.  Raises MachineError: the buffers do not fit together.
        """
        with contextlib.ExitStack() as stack:
            pin = stack.enter_context(Pinned(records))
            state = self._state
            state.base, state.base_size = pin.address, pin.size
            if writable and pin.readonly:
                raise MachineError("the records are in a read-only buffer")
            state.records_writable = (1 << 64) - 1 if writable else 0
            if offsets is not None and sizes is not None:
                places, lengths = stack.enter_context(Pinned(offsets)), stack.enter_context(Pinned(sizes))
                count = places.size // 8
                if lengths.size // 4 != count:
                    raise MachineError(f"{count} offsets (u64), but {lengths.size // 4} sizes (u32)")
                state.offsets, state.sizes = places.address, lengths.address
            else:
                shown = stride if size is None else size
                if stride <= 0 or not 0 <= shown <= stride:
                    raise MachineError("records need a stride and a size not above it, or offsets and sizes")
                self._check_size(shown)
                count = pin.size // stride
                state.offsets, state.stride, state.context_size = 0, stride, shown
                state.end = pin.address + count * stride
                state.context_writable = shown if writable else 0
            state.packet = state.packet_size = 0
            state.packet_follows = 1
            state.row, state.row_stride = ctypes.addressof(self._core.row), 0
            if rows is not None:
                row_pin = stack.enter_context(Pinned(rows))
                if row_pin.size < count * ctypes.sizeof(ContextRow):
                    raise MachineError(f"{count} records, but rows for {row_pin.size // ctypes.sizeof(ContextRow)}")
                state.row, state.row_stride = row_pin.address, ctypes.sizeof(ContextRow)
            made = (
                bytearray(8 * count if results else 0) if isinstance(results, bool) else results,
                bytearray(4 * count if codes else 0),
            )
            pins = [stack.enter_context(Pinned(one)) for one in made]
            if results is not False and (pins[0].size < 8 * count or pins[0].readonly):
                raise MachineError(f"{count} records need a writable buffer of {8 * count} bytes for their results")
            state.results, state.faults = (one.address if one.size else 0 for one in pins)
            self._go(count, interpret)
            faults = [self._fault(n) for n in range(min(state.fault_count, FAULT_LOG))]
            views = memoryview(made[0]).cast("B").cast("Q"), memoryview(made[1]).cast("I")
            return Batch(count, state.nonzero, state.fault_count, *views, faults)

    def _check_size(self, size: int) -> None:
        if size < self._state.least_size:
            raise MachineError(f"records of {size} bytes: the proof of the program is for {self._state.least_size}")

    def _fault(self, number: int) -> FaultRecord:
        entry = self._core.fault_log[number]
        program = self._core.programs[min(entry.slot >> PROGRAM_SHIFT, len(self._core.programs) - 1)]
        slot = entry.slot & 0xFFFFFFFF
        return FaultRecord(entry.index, entry.code, program.name, -1 if slot == _BAD_RECORD else slot, entry.address)

    def _go(self, count: int, interpret: bool) -> None:
        """Run over the records that the state describes."""
        if self._running:
            raise MachineError("the machine runs already, in a helper or another thread")
        state = self._state
        state.index, state.count = 0, count
        state.nonzero = state.fault_count = state.fault = 0
        self._running = True
        try:
            if self._entry is not None and not interpret:
                self._entry(self._core.state_address)
            else:
                self._interpret(count)
        finally:
            self._running = False

    def _interpret(self, count: int) -> None:
        """The loop over records that runtime.py has in machine code."""
        state = self._state
        offsets = (ctypes.c_uint64 * count).from_address(state.offsets) if state.offsets else None
        sizes = (ctypes.c_uint32 * count).from_address(state.sizes) if state.offsets else None
        results = (ctypes.c_uint64 * count).from_address(state.results) if state.results else None
        codes = (ctypes.c_uint32 * count).from_address(state.faults) if state.faults else None
        base = state.base
        for n in range(count):
            state.index = n
            self._core.current = ContextRow.from_address(state.row)
            value = 0
            try:
                if offsets is not None and sizes is not None:
                    if sizes[n] < state.least_size or offsets[n] + sizes[n] > state.base_size:
                        raise Fault(e.READ, slot=_BAD_RECORD)
                    state.context, state.context_size = base + offsets[n], sizes[n]
                    state.context_writable = sizes[n] & state.records_writable
                else:
                    state.context = base + n * state.stride
                if state.packet_follows:
                    state.packet, state.packet_size = state.context, state.context_size
                value = self._interpreter.run_record(self._program)
            except Fault as fault:
                if state.fault_count < FAULT_LOG:
                    entry = self._core.fault_log[state.fault_count]
                    entry.index, entry.code, entry.address = n, fault.code, fault.address
                    entry.slot = self._interpreter.program_number << PROGRAM_SHIFT | fault.slot
                state.fault_count += 1
                if codes is not None:
                    codes[n] = fault.code
            if results is not None:
                results[n] = value
            state.nonzero += value != 0
            state.row += state.row_stride
