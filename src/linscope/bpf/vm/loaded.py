"""A program made ready to run, and what all programs of one machine share."""

from __future__ import annotations

import ctypes

from linscope.abi import bpf as b
from linscope.abi.bpf_helpers import HELPER_NAMES
from linscope.bpf.instructions import wide_value
from linscope.bpf.vm import validate as v
from linscope.bpf.vm.errors import UnavailableError
from linscope.bpf.vm.maps import VmMap
from linscope.bpf.vm.runtime import Loop
from linscope.bpf.vm.state import (
    FAULT_LOG,
    FUNCTION_TOKEN,
    HELPER_NUMBER,
    HELPERS,
    PROGRAM_SHIFT,
    STACK_BYTES,
    U64,
    ContextRow,
    FaultEntry,
    FunctionEntry,
    KnownMemory,
    Region,
    new_state,
)

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.program import Map, Program

_TAIL_CALL = HELPER_NUMBER["tail_call"]
_PACKET_HELPERS = {HELPER_NUMBER["skb_load_bytes"], HELPER_NUMBER["xdp_load_bytes"]}
MAX_PROGRAMS = 1024
MAX_FUNCTIONS = 4096
MAX_MAPS = 4096


class Loaded:
    """A program whose maps exist and whose form was checked."""

    __slots__ = (
        "addressed", "code", "constants", "instructions", "loop", "maps", "name", "number", "probes", "safe", "shape",
        "slots_of",
    )  # fmt: skip

    def __init__(self, core: Core, program: Program, number: int, safe: frozenset[int], probes: frozenset[int]) -> None:
        """number: its place in core.programs; safe: slots whose accesses are proved; probes: loads that give 0.

        Raises InvalidProgram, UnavailableError.
        """
        self.name = program.name or program.section
        self.number = number
        self.instructions = program.instructions
        self.safe = safe
        self.probes = probes
        self.shape = v.validate(program.instructions, len(program.maps))
        self.maps = [core.map_for(map_) for map_ in program.maps]
        functions = self.shape.functions
        ends = [*functions[1:], len(program.instructions)]
        self.slots_of = {start: end - start for start, end in zip(functions, ends, strict=True)}
        self.addressed: set[int] = set()  # functions whose address the program takes
        self.constants: dict[int, int] = {}  # slot of a wide load -> its value
        self._resolve(core)
        self.loop = self._loop()
        self.code = 0  # address of the machine code that a tail call goes to, 0: none can

    def _resolve(self, core: Core) -> None:
        instructions = self.instructions
        slot = 0
        while slot < len(instructions):
            code, _, src, _, imm = instructions[slot]
            if code == 0x18:  # BPF_LD | BPF_IMM | BPF_DW
                self.constants[slot] = self._constant(slot, src, imm)
                slot += 1
            elif code == 0x85 and src != b.BPF_PSEUDO_CALL:  # BPF_JMP | BPF_CALL
                if src == b.BPF_PSEUDO_KFUNC_CALL:
                    raise UnavailableError(f"kernel function {imm} cannot be called here", slot=slot)
                if not 0 <= imm < HELPERS or not core.state.helpers[imm]:
                    name = f"{HELPER_NAMES[imm]} ({imm})" if 0 < imm < len(HELPER_NAMES) else str(imm)
                    raise UnavailableError(f"helper function {name} is not available", slot=slot)
            slot += 1

    def _loop(self) -> Loop:
        """What the loop over records must do for this program."""
        kinds = {v.RULES[one.code][0] for one in self.instructions if one.code}
        helpers = {one.imm for one in self.instructions if one.code == 0x85 and one.src == 0}
        anything = v.CALL_REGISTER in kinds or _TAIL_CALL in helpers
        calls = v.CALL in kinds
        back = any(target <= slot for slot, target in self.shape.jumps.items())
        return Loop(
            inline=len(self.shape.functions) == 1 and not anything and self.number == 0,
            budget=anything or calls or back or v.MAY_GOTO in kinds,
            calls=anything or calls,
            packet=anything or v.PACKET in kinds or bool(helpers & _PACKET_HELPERS),
        )

    def _constant(self, slot: int, src: int, imm: int) -> int:
        if src == 0:
            return wide_value(self.instructions, slot)
        if src == b.BPF_PSEUDO_MAP_IDX:
            return self.maps[imm].address
        if src == b.BPF_PSEUDO_MAP_IDX_VALUE:
            head = self.maps[imm].head
            offset = self.instructions[slot + 1].imm & 0xFFFFFFFF
            if head.type != b.BPF_MAP_TYPE_ARRAY or offset >= head.value_size:
                raise UnavailableError("address of a value of a map that is not an array, or beyond it", slot=slot)
            return int(head.values) + offset
        if src == b.BPF_PSEUDO_FUNC:
            target = self.shape.calls[slot]
            self.addressed.add(target)
            return FUNCTION_TOKEN | self.number << PROGRAM_SHIFT | target
        if src == b.BPF_PSEUDO_BTF_ID:
            raise UnavailableError("the address of a kernel symbol is not known here", slot=slot)
        raise UnavailableError("a map named by file descriptor", slot=slot, next_step="name it by its place in maps")


class Core:
    """Memory, maps and programs of one machine."""

    def __init__(self, cpus: int, ring_bytes: int | None) -> None:
        self.cpus = cpus
        self.ring_bytes = ring_bytes
        self.stack = (ctypes.c_char * STACK_BYTES)()
        self.state = new_state(self.stack)
        self.state_address = ctypes.addressof(self.state)
        self.row = ContextRow()
        self.current = self.row  # of the record that the interpreter runs
        self.programs: list[Loaded] = []
        self.maps: list[VmMap] = []
        self._of: dict[int, tuple[Map, VmMap]] = {}  # id of what it is made from
        self.regions: list[Region] = []
        self.memory: list[KnownMemory] = []
        self._map_table = (U64 * MAX_MAPS)()
        self._functions = (FunctionEntry * MAX_FUNCTIONS)()
        self._programs = (FunctionEntry * MAX_PROGRAMS)()
        self.fault_log = (FaultEntry * FAULT_LOG)()
        self._regions = (Region * 0)()
        self._memory = (KnownMemory * 0)()
        state = self.state
        state.maps = ctypes.addressof(self._map_table)
        state.functions = ctypes.addressof(self._functions)
        state.programs = ctypes.addressof(self._programs)
        state.fault_log = ctypes.addressof(self.fault_log)
        state.fault_log_size = FAULT_LOG
        state.row = ctypes.addressof(self.row)

    def map_for(self, map_: Map) -> VmMap:
        """The map that this description stands for, made when it is new.  Raises UnavailableError: kind or size."""
        known = self._of.get(id(map_))
        if known is not None:
            return known[1]
        if len(self.maps) == MAX_MAPS:
            raise UnavailableError(f"more than {MAX_MAPS} maps")
        made = VmMap(map_, self.cpus, self.ring_bytes)
        self._of[id(map_)] = (map_, made)
        self._map_table[len(self.maps)] = made.address
        self.maps.append(made)
        self.state.map_count = len(self.maps)
        return made

    def map_at(self, address: int) -> VmMap | None:
        """The map of an address, None when there is none."""
        return next((map_ for map_ in self.maps if map_.address == address), None)

    def add_function(self, token: int, entry: int, slots: int) -> None:
        """A function that helpers may call back."""
        count = self.state.function_count
        if count == MAX_FUNCTIONS:
            raise UnavailableError(f"more than {MAX_FUNCTIONS} functions whose address is taken")
        self._functions[count] = FunctionEntry(token, entry, slots)
        self.state.function_count = count + 1

    def add_program(self, program: Loaded) -> None:
        """A program that tail calls may go to."""
        if program.number >= MAX_PROGRAMS:
            raise UnavailableError(f"more than {MAX_PROGRAMS} programs")
        self._programs[program.number] = FunctionEntry(0, program.code, len(program.instructions))
        self.programs.append(program)
        self.state.program_count = len(self.programs)

    def set_regions(self, regions: list[Region]) -> None:
        """More memory of this process that programs may touch."""
        self.regions = regions
        table = self._regions = (Region * max(len(regions), 1))(*regions)
        self.state.regions, self.state.region_count = ctypes.addressof(table), len(regions)

    def set_memory(self, ranges: list[KnownMemory]) -> None:
        """What is known of the recorded system's memory, for probe_read."""
        self.memory = ranges
        table = self._memory = (KnownMemory * max(len(ranges), 1))(*ranges)
        self.state.memory, self.state.memory_count = ctypes.addressof(table), len(ranges)
        self.state.memory_total = len(ranges)

    def set_row_memory(self, address: int, count: int) -> None:
        """A table of KnownMemory whose entries are known to the records only that name them."""
        self.memory = []
        self.state.memory, self.state.memory_count, self.state.memory_total = address, 0, count
