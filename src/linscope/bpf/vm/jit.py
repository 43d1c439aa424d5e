"""eBPF to x86-64 machine code, in one pass.

Beside the code the pass follows what registers point to: the record, the own frame, a map, a value of a map.  So an
access at a known offset costs nothing (frame), one compare with the record's size, or one test against NULL (value).
What it cannot follow is checked against the value that the same instruction reached last, and then by native code that
knows all memory.  A proof by the verifier (Loaded.safe) leaves the check out.
What the code does is what the interpreter does; its module says what that is.
"""

from __future__ import annotations

import ctypes
import mmap
import struct

from linscope.abi import bpf as b
from linscope.bpf.vm import errors as e
from linscope.bpf.vm import validate as v
from linscope.bpf.vm import x86
from linscope.bpf.vm.errors import NoExecutableMemory
from linscope.bpf.vm.liveness import live_registers
from linscope.bpf.vm.pointers import FRAME, MAP, NOT_NULL, OWN_FRAME, RECORD, SOMEWHERE, VALUE, Pointers
from linscope.bpf.vm.runtime import call_field, pop, push, runtime
from linscope.bpf.vm.state import (
    FRAME_BYTES,
    FUNCTION_TOKEN,
    FUNCTIONS,
    HELPER_NUMBER,
    HELPERS,
    NATIVE_HELPERS,
    OFFSET,
    PROGRAM_SHIFT,
    ROW_OFFSET,
    SITES,
)
from linscope.bpf.vm.x86 import (
    JMP,
    R10,
    R11,
    R12,
    RAX,
    RBP,
    RDI,
    RDX,
    REGISTERS,
    RSI,
    RSP,
    field,
    int32,
    load_constant,
    move,
    rm,
    rr,
)

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.vm.loaded import Core, Loaded
    from linscope.bpf.vm.pointers import Merges, Pointer


_NEVER_MAPPED = 1 << 16  # addresses below can be no memory of ours: vm.mmap_min_addr

_NUMBERS = HELPER_NUMBER
_LOOKUP, _UPDATE, _TAIL_CALL = (_NUMBERS[name] for name in ("map_lookup_elem", "map_update_elem", "tail_call"))
_CALLING_BACK = {_NUMBERS["loop"], _NUMBERS["for_each_map_elem"]}
_NEVER_FAILS = {_NUMBERS[name] for name in ("get_prandom_u32", "jiffies64", "ktime_get_boot_ns", "get_numa_node_id")}
_INLINE = {  # helper -> field of the record's row, and whether it has 64 bits
    _NUMBERS["ktime_get_ns"]: ("time_ns", True),
    _NUMBERS["get_current_pid_tgid"]: ("pid_tgid", True),
    _NUMBERS["get_current_uid_gid"]: ("uid_gid", True),
    _NUMBERS["get_smp_processor_id"]: ("cpu", False),
    _NUMBERS["get_attach_cookie"]: ("cookie", True),
    _NUMBERS["get_func_ip"]: ("ip", True),
    _NUMBERS["get_current_task"]: ("task", True),
    _NUMBERS["get_current_cgroup_id"]: ("cgroup", True),
}
_SITE_BASE = OFFSET["sites"]
_JS, _JB, _JA, _JE, _JNE, _JAE, _JLE = (bytes((0x0F, c)) for c in (0x88, 0x82, 0x87, 0x84, 0x85, 0x83, 0x8E))
_PAGE = mmap.PAGESIZE
_SPEND = rm(b"\x81", 5, R12, OFFSET["budget"])

_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Code:
    """Machine code in memory of its own, which nobody can write any more."""

    def __init__(self, code: bytes) -> None:
        """Raises NoExecutableMemory."""
        size = -(-len(code) // _PAGE) * _PAGE
        self._memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE)
        self._memory[: len(code)] = code
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        if _mprotect(self.address, size, mmap.PROT_READ | mmap.PROT_EXEC):
            raise NoExecutableMemory("machine code cannot be made executable", next_step="Machine(..., jit=False)")


class Compiler(Pointers):
    """Compiles one program; used once."""

    def __init__(self, core: Core, program: Loaded) -> None:
        super().__init__(program.instructions)
        self.core = core
        self.program = program
        code, self.labels = runtime(program.loop)
        self.out = bytearray(code)
        self.inline = program.loop.inline
        self.at = [0] * (len(program.instructions) + 1)  # slot -> place in the code
        self.jumps: list[tuple[int, int]] = []  # end of a 32-bit displacement, slot
        self.calls: list[tuple[int, int]] = []  # the same, first slot of a function
        self.main = 0  # place of the entry of the program itself
        self.entries: dict[int, int] = {}  # first slot of a function -> place of its entry
        self.stubs: list[tuple[int, int, int, bytes]] = []  # end of a displacement, slot, kind of fault, code
        self.checks: list[tuple[list[int], int, int, bytes, int, int]] = []
        self.live = live_registers(program.instructions, program.shape)
        self.number = program.number
        self.frames: dict[int, int] = {}  # first slot of a function -> lowest

    # -- pieces

    def _slot_to_rdi(self, slot: int) -> bytes:
        return load_constant(RDI, self.number << PROGRAM_SHIFT | slot)

    def _fault_if(self, jump: bytes, slot: int, code: int) -> None:
        """A conditional jump to the end of the record with a fault; code 0: the one that a helper has set."""
        self.out += jump + bytes(4)
        self.stubs.append((len(self.out), slot, code, b""))

    def _clear(self, registers: int) -> None:
        for register in range(1, 6):
            if registers >> register & 1:
                machine = REGISTERS[register]
                self.out += rr(b"\x31", machine, machine, False)

    def _leave(self, here: int) -> bytes:
        """The exit of a function, at a place of the code."""
        if self.inline:
            return JMP + int32(self.labels["ended"] - here - 5)
        return rr(b"\x83", 0, RSP) + b"\x08" + x86.RET

    # -- memory

    def _address(self, base: int, off: int, size: int, write: bool, slot: int, force: bool = False) -> tuple[int, int]:
        """Check an access of size bytes at a register + off; gives machine register and offset to access it with.

        force: the address is wanted in r11.
        """
        pointer = self.pointers[base]
        machine = REGISTERS[base]
        out = self.out
        at = (machine, off)
        if force:
            out += rm(b"\x8d", R11, machine, off)
            at = (R11, 0)
        place = SOMEWHERE
        kind = ""
        if pointer is not None:
            kind, offset, number = pointer
            place = offset + off
        if kind == FRAME and offset != SOMEWHERE:
            if place < self.lowest:
                self.lowest = max(place, -FRAME_BYTES)
            if -FRAME_BYTES <= place <= -size:
                return at
            if place + size > 0:
                self.reaches_up = True
        probe = not write and slot in self.program.probes
        if slot in self.program.safe and not probe and (not write or kind in (VALUE, NOT_NULL)):
            return at  # a record may be read-only memory, so what may be a write to it is always checked
        if kind == RECORD and offset != SOMEWHERE and 0 <= place < 1 << 30 and not probe:
            name = "context_writable" if write else "context_size"
            out += rm(b"\x81", 7, R12, OFFSET[name]) + int32(place + size)
            self._slow(_JB, slot, size, write, machine, off)
            return at
        if kind in (VALUE, NOT_NULL) and not probe:
            head = self.program.maps[number].head
            if place >= 0 and place + size <= min(head.value_size, _NEVER_MAPPED) and (head.writable or not write):
                if kind == VALUE:
                    out += rr(b"\x85", machine, machine) if offset == 0 else rr(b"\x81", 7, machine) + int32(offset)
                    self._slow(_JE, slot, size, write, machine, off)
                    self.pointers[base] = (NOT_NULL, offset, number)
                return at
        if not force:
            out += rm(b"\x8d", R11, machine, off)
        if kind == FRAME:
            out += rm(b"\x8d", R10, R11, FRAME_BYTES) + rr(b"\x29", RBP, R10)
            limit = rr(b"\x81", 7, R10) + int32(FRAME_BYTES)
        else:
            if kind == RECORD and not write:
                low, room = OFFSET["context"], OFFSET["context_size"]
            else:
                low = _SITE_BASE + 16 * (slot % SITES + SITES * write)
                room = low + 8
            out += move(R10, R11) + rm(b"\x2b", R10, R12, low)
            limit = rm(b"\x3b", R10, R12, room)
        out += _JB + bytes(4)
        first = len(out)
        out += rr(b"\x83", 0, R10) + bytes((size,)) + limit
        self._slow(_JA, slot, size, write, -1, 0, [first], probe)
        return R11, 0

    def _slow(
        self, jump: bytes, slot: int, size: int, write: bool, base: int, off: int, others: list[int] | None = None,
        probe: bool = False,
    ) -> None:  # fmt: skip
        """A jump to the check by native code, made later; base -1: the address is in r11."""
        self.out += jump + bytes(4)
        what = size | write << 8 | probe << 9 | (slot % SITES + SITES * write) << 16
        address = rm(b"\x8d", R11, base, off) if base >= 0 else b""
        self.checks.append(([*(others or ()), len(self.out)], slot, what, address, len(self.out), -1))

    def _after_probe(self, dst: int) -> None:
        """A load that was just made gives zero when the check says so."""
        back, slot, what, address, at, _ = self.checks[-1]
        self.checks[-1] = (back, slot, what, address, at, dst << 32 | len(self.out))

    # -- instructions

    def _alu(self, code: int, dst: int, src: int, off: int, imm: int) -> None:
        if code & b.BPF_X:
            self.out += x86.alu_register(code, REGISTERS[dst], REGISTERS[src], off)
        else:
            self.out += x86.alu_immediate(code, REGISTERS[dst], off, imm)
        self.after_alu(code, dst, src, off, imm)

    def _memory(self, kind: int, slot: int) -> None:
        code, dst, src, off, imm = self.instructions[slot]
        size = b.SIZE_BYTES[code & 0x18]
        out = self.out
        if kind == v.LOAD:
            base, offset = self._address(src, off, size, False, slot)
            out += x86.load(code, REGISTERS[dst], base, offset)
            if slot in self.program.probes and base == R11:
                self._after_probe(dst)
            self.pointers[dst] = None
        elif kind == v.STORE:
            base, offset = self._address(dst, off, size, True, slot)
            out += x86.store_immediate(code & 0x18, imm, base, offset)
        elif kind == v.STORE_REGISTER:
            if self.is_frame(src):
                self.escape()
            base, offset = self._address(dst, off, size, True, slot)
            out += x86.store(code & 0x18, REGISTERS[src], base, offset)
        elif imm == b.BPF_LOAD_ACQ:
            base, offset = self._address(src, off, size, False, slot)
            out += x86.load(code & 0x18 | b.BPF_MEM, REGISTERS[dst], base, offset)
            self.pointers[dst] = None
        else:
            if self.is_frame(src):
                self.escape()
            self._address(dst, off, size, True, slot, force=True)
            out += x86.atomic(code, R11, REGISTERS[src], imm)
            if imm == b.BPF_CMPXCHG:
                self.escape_frames(range(1))
                self.pointers[0] = None
            elif imm in v.FETCHING:
                self.pointers[src] = None

    def _jump(self, slot: int, target: int, condition: int) -> None:
        """A jump, conditional when condition (second byte of 0f 8x) is not 0; backwards it costs budget."""
        out = self.out
        if target > slot:
            out += bytes((0x0F, condition)) if condition else JMP
            out += bytes(4)
            self.jumps.append((len(out), target))
            return
        spend = _SPEND + int32(slot - target + 1)
        if condition:
            out += bytes(((condition ^ 1) - 0x10, len(spend) + 11))  # the opposite, over what follows
        out += spend
        self._fault_if(_JS, slot, e.BUDGET)
        out += JMP + bytes(4)
        self.jumps.append((len(out), target))

    def _local_call(self, slot: int, target: int) -> None:
        """Call a function of the program; registers are cleared afterwards by the caller of this."""
        out = self.out
        out += _SPEND + int32(self.program.slots_of[target])
        self._fault_if(_JS, slot, e.BUDGET)
        out += rm(b"\x8d", R11, RBP, -FRAME_BYTES) + field(b"\x3b", R11, "stack_lowest")
        self._fault_if(_JB, slot, e.DEPTH)
        out += move(RBP, R11)
        for register in REGISTERS[6:10]:
            out += push(register)
        out += x86.CALL + bytes(4)
        self.calls.append((len(out), target))
        for register in reversed(REGISTERS[6:10]):
            out += pop(register)
        out += rr(b"\x81", 0, RBP) + int32(FRAME_BYTES)

    def _helper(self, slot: int, number: int) -> None:
        pointers = self.pointers
        out = self.out
        for register in range(1, 6):
            pointer = pointers[register]
            if pointer is not None and pointer[0] == FRAME:
                if pointer[1] == SOMEWHERE or number in _CALLING_BACK:
                    self.escape()
                elif pointer[1] < self.lowest:
                    self.lowest = max(pointer[1], -FRAME_BYTES)
        native = self.core.state.helpers[number] == NATIVE_HELPERS.get(number)
        result: Pointer = None
        if native and number in _INLINE:
            name, wide = _INLINE[number]
            out += field(b"\x8b", RAX, "row") + rm(b"\x8b", RAX, RAX, ROW_OFFSET[name], wide)
        else:
            if number == _LOOKUP and native and (map_ := pointers[1]) is not None and map_[0] == MAP:
                type_ = self.program.maps[map_[2]].type
                if type_ in _PLAIN_VALUES:
                    result = (VALUE, 0, map_[2])
                if type_ == b.BPF_MAP_TYPE_ARRAY and self._array_lookup(map_[2]):
                    self._after_helper(slot, result)
                    return
            if native and (plain := self._plain_map_call(number)):
                out += move(RDI, R12) + load_constant(R11, plain) + rr(b"\xff", 2, R11, False)
                self._after_helper(slot, result)
                return
            out += field(b"\x89", RBP, "frame") + move(RDI, R12)
            if number in _CALLING_BACK:
                out += x86.load_constant(R11, self.number << PROGRAM_SHIFT | slot) + field(b"\x89", R11, "fault_slot")
            out += call_field("helpers", number)
            if number not in _NEVER_FAILS or not native:
                out += rm(b"\x83", 7, R12, OFFSET["fault"]) + b"\0"
                self._fault_if(_JNE, slot, 0)
            if number == _TAIL_CALL:
                out += rr(b"\x85", RAX, RAX) + bytes((0x74, 0))
                begin = len(out)
                out += rr(b"\x83", 0, RSP) + b"\x08" + field(b"\x8b", RSI, "context")
                out += field(b"\x8b", RDX, "context_size") + rr(b"\xff", 4, RAX, False)
                out[begin - 1] = len(out) - begin
        self._after_helper(slot, result)

    def _plain_map_call(self, number: int) -> int:
        """The address of the native function for a map helper whose arguments need no check, 0 when they do."""
        map_ = self.pointers[1]
        if number not in (_LOOKUP, _UPDATE) or map_ is None or map_[0] != MAP:
            return 0
        head = self.program.maps[map_[2]].head
        if head.type not in _PLAIN_VALUES or not self._in_frame(2, head.key_size):
            return 0
        if number == _LOOKUP:
            return FUNCTIONS["plain_lookup"]
        return FUNCTIONS["plain_update"] if head.writable and self._in_frame(3, head.value_size) else 0

    def _in_frame(self, register: int, size: int) -> bool:
        """Whether a register points to that many bytes of the own frame."""
        pointer = self.pointers[register]
        return pointer is not None and pointer[0] == FRAME and -FRAME_BYTES <= pointer[1] <= -size

    def _after_helper(self, slot: int, result: Pointer) -> None:
        self._clear(self.live[slot + 1])
        self.pointers[0:6] = (result, None, None, None, None, None)

    def _array_lookup(self, number: int) -> bool:
        """The lookup in an array with the key in the own frame, without a call; False: it is not such a case."""
        key = self.pointers[2]
        if key is None or not self._in_frame(2, 4):
            return False
        head = self.program.maps[number].head
        value = rr(b"\x69", RAX, RAX) + int32(head.value_stride) + load_constant(R11, head.values)
        value += rr(b"\x01", R11, RAX) + b"\xeb\x02"
        self.out += rm(b"\x8b", RAX, RBP, key[1], False) + b"\x3d" + int32(head.max_entries)
        self.out += bytes((0x73, len(value))) + value + rr(b"\x31", RAX, RAX, False)
        return True

    def _call_register(self, slot: int, dst: int) -> None:
        out = self.out
        self.escape_frames(range(6))
        out += move(R11, REGISTERS[dst])
        done: list[int] = []
        for target in sorted(self.program.addressed):
            out += load_constant(R10, FUNCTION_TOKEN | self.number << PROGRAM_SHIFT | target)
            out += rr(b"\x39", R10, R11) + _JNE + bytes(4)
            skip = len(out)
            self._local_call(slot, target)
            out += JMP + bytes(4)
            done.append(len(out))
            struct.pack_into("<i", out, skip - 4, len(out) - skip)
        bad: list[int] = []
        for compare, jump in ((int32(HELPERS), _JAE), (int32(_TAIL_CALL), _JE)):
            out += rr(b"\x81", 7, R11) + compare + jump + bytes(4)
            bad.append(len(out))
        out += b"\x4f\x8b\x94\xdc" + int32(OFFSET["helpers"])  # mov r10, [r12 + r11 * 8 + helpers]
        out += rr(b"\x85", R10, R10) + _JE + bytes(4)
        bad.append(len(out))
        out += field(b"\x89", RBP, "frame") + load_constant(RDI, self.number << PROGRAM_SHIFT | slot)
        out += field(b"\x89", RDI, "fault_slot") + move(RDI, R12) + rr(b"\xff", 2, R10, False)
        out += rm(b"\x83", 7, R12, OFFSET["fault"]) + b"\0"
        self._fault_if(_JNE, slot, 0)
        for end in done:
            struct.pack_into("<i", out, end - 4, len(out) - end)
        for end in bad:
            self.stubs.append((end, slot, e.BAD_CALL, b"address"))
        self._clear(0x3E)
        self.pointers[:6] = [None] * 6

    def _packet(self, slot: int, code: int, src: int, imm: int) -> None:
        out = self.out
        size = b.SIZE_BYTES[code & 0x18]
        if code & 0xE0 == b.BPF_IND:
            out += move(R11, REGISTERS[src], False) + rr(b"\x81", 0, R11, False) + int32(imm)
        else:
            out += load_constant(R11, imm & 0xFFFFFFFF)
        length = len(self._leave(0))
        out += rr(b"\x85", R11, R11, False) + b"\x78" + bytes(1)
        first = len(out)
        out += rm(b"\x8d", R10, R11, size) + field(b"\x3b", R10, "packet_size") + bytes((0x76, length + 2))
        out[first - 1] = len(out) - first
        out += b"\x31\xc0"
        out += self._leave(len(out)) + field(b"\x03", R11, "packet")
        out += x86.load(b.BPF_LDX | b.BPF_MEM | code & 0x18, RAX, R11, 0)
        if size > 1:
            out += x86.swap(b.BPF_ALU64 | b.BPF_END, RAX, size * 8)
        self._clear(self.live[slot + 1])
        self.pointers[0:6] = [None] * 6

    # -- the whole

    def compile(self) -> Code:
        """The machine code of all functions, behind the runtime."""
        functions = self.program.shape.functions
        ends = [*functions[1:], len(self.instructions)]
        for start, end in zip(functions, ends, strict=True):
            self._function(start, end)
        for start in functions:
            self._entry(start)
        out = self.out
        self._finish_checks()
        self._finish_stubs()
        pack = struct.Struct("<i").pack_into
        for end, slot in self.jumps:
            pack(out, end - 4, self.at[slot] - end)
        for end, slot in self.calls:
            pack(out, end - 4, self.entries[slot] - end)
        pack(out, self.labels["main"], self.main - self.labels["main"] - 4)
        return Code(bytes(out))

    def _function(self, start: int, end: int) -> None:
        self.lowest = 0
        first: Pointer = (RECORD, 0, 0) if start == 0 and start not in self.program.shape.calls.values() else None
        self.pointers = [None, first, *[None] * 8, OWN_FRAME]
        self._body(start, end)
        self.frames[start] = self.lowest

    def _entry(self, start: int) -> None:
        """Where a function begins: registers and frame that may be read before they are written are cleared."""
        out = self.out
        if start == 0:
            self.main = len(out)
            live = self.live[0]
            for register in (0, 3, 4, 5, 6, 7, 8, 9):
                if live >> register & 1:
                    machine = REGISTERS[register]
                    out += rr(b"\x31", machine, machine, False)
        self.entries[start] = len(out)
        if not self.inline:
            out += rr(b"\x83", 5, RSP) + b"\x08"
        whole = self.reaches_up and len(self.frames) > 1
        size = FRAME_BYTES if whole else -(self.frames[start] // 8 * 8)
        if size >= 16:
            out += b"\x0f\x57\xc0"  # xorps xmm0, xmm0
        if size % 16:
            out += rm(b"\xc7", 0, RBP, -size) + int32(0)
        for place in range(size - size % 16, 0, -16):
            out += rm(b"\x0f\x11", 0, RBP, -place, False)  # movups [rbp - place], xmm0
        out += JMP + int32(self.at[start] - (len(out) + 5))

    def _body(self, start: int, end: int) -> None:
        instructions = self.instructions
        rules = v.RULES
        jumps = self.program.shape.jumps
        at = self.at
        out = self.out
        backward = {target for slot, target in jumps.items() if target <= slot and start <= slot < end}
        merges: Merges = {}
        for slot in jumps:
            if start <= slot < end and jumps[slot] not in backward and jumps[slot] > slot:
                merges.setdefault(jumps[slot], [])
        alive = True  # whether the instruction before goes on here
        skip = False
        for slot in range(start, end):
            if skip:
                skip = False
                continue
            if slot in backward:
                self.forget()
            elif slot in merges:
                self.merge(merges[slot], alive)
            alive = True
            at[slot] = len(out)
            code, dst, src, off, imm = instructions[slot]
            kind = rules[code][0]
            if kind == v.ALU:
                self._alu(code, dst, src, off, imm)
            elif kind <= v.ATOMIC and kind >= v.LOAD:
                self._memory(kind, slot)
            elif kind == v.BRANCH:
                out += x86.compare(code, REGISTERS[dst], REGISTERS[src] if code & b.BPF_X else -1, imm)
                self._jump(slot, jumps[slot], x86.JUMPS[code & 0xF0])
                self.after_branch(code, dst, imm, jumps[slot], merges)
            elif kind == v.WIDE:
                constant = self.program.constants[slot]
                out += load_constant(REGISTERS[dst], constant)
                self.pointers[dst] = self.constant(src, imm, slot)
                skip = True
            elif kind == v.CALL:
                if src == b.BPF_PSEUDO_CALL:
                    self.escape_frames(range(6))
                    self._local_call(slot, slot + 1 + imm)
                    self._clear(self.live[slot + 1])
                    self.pointers[0:6] = [None] * 6
                else:
                    self._helper(slot, imm)
            elif kind == v.EXIT:
                out += self._leave(len(out))
                alive = False
            elif kind in (v.JUMP, v.JUMP_LONG):
                self._jump(slot, jumps[slot], 0)
                self.note(merges, jumps[slot], self.pointers)
                alive = False
            elif kind == v.END:
                self.escape_frames(range(dst, dst + 1))
                out += x86.swap(code, REGISTERS[dst], imm)
                self.pointers[dst] = None
            elif kind == v.MAY_GOTO:
                out += field(b"\x8b", R11, "budget") + field(b"\x3b", R11, "budget_half")
                self._jump(slot, jumps[slot], 0x8E)
                self.note(merges, jumps[slot], self.pointers)
            elif kind == v.PACKET:
                self._packet(slot, code, src, imm)
            else:
                self._call_register(slot, dst)

    # -- what is out of line

    def _finish_checks(self) -> None:
        out = self.out
        pack = struct.Struct("<i").pack_into
        check = self.labels["check"]
        for jumps, slot, what, address, back, probe in self.checks:
            here = len(out)
            for end in jumps:
                pack(out, end - 4, here - end)
            out += address + load_constant(R10, what) + self._slot_to_rdi(slot)
            out += x86.CALL + int32(check - (len(out) + 5))
            if probe >= 0:
                machine = REGISTERS[probe >> 32]
                clear = rr(b"\x31", machine, machine, False)
                after = probe & 0xFFFFFFFF
                out += b"\x83\xff\x02" + bytes((0x75, len(clear) + 5)) + clear  # cmp edi, 2; jne
                out += JMP + int32(after - (len(out) + 5))
            out += JMP + int32(back - (len(out) + 5))

    def _finish_stubs(self) -> None:
        out = self.out
        pack = struct.Struct("<i").pack_into
        made: dict[tuple[int, int, bytes], int] = {}
        for end, slot, code, how in self.stubs:
            here = made.get((slot, code, how))
            if here is None:
                here = made[slot, code, how] = len(out)
                label = "fault_kept" if not code else f"fault_address{code}" if how else f"fault{code}"
                out += self._slot_to_rdi(slot) + JMP + int32(self.labels[label] - 0)
                pack(out, len(out) - 4, self.labels[label] - len(out))
            pack(out, end - 4, here - end)


_PLAIN_VALUES = frozenset(
    {
        b.BPF_MAP_TYPE_HASH,
        b.BPF_MAP_TYPE_ARRAY,
        b.BPF_MAP_TYPE_PERCPU_HASH,
        b.BPF_MAP_TYPE_PERCPU_ARRAY,
        b.BPF_MAP_TYPE_LRU_HASH,
        b.BPF_MAP_TYPE_LRU_PERCPU_HASH,
        b.BPF_MAP_TYPE_LPM_TRIE,
    }
)


def compile_program(core: Core, program: Loaded) -> Code:
    """Compile, and make the functions known that helpers and tail calls may reach."""
    compiler = Compiler(core, program)
    code = compiler.compile()
    program.code = 0 if program.loop.inline else code.address + compiler.main
    for slot in program.addressed:
        entry = code.address + compiler.entries[slot]
        token = FUNCTION_TOKEN | program.number << PROGRAM_SHIFT | slot
        core.add_function(token, entry, program.slots_of[slot])
    if not core.state.trampoline:
        core.state.trampoline = code.address + compiler.labels["trampoline"]
    return code
