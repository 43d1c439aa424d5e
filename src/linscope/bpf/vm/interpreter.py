"""The reference machine: one instruction after the other, every access checked.  The JIT must do the same.

What the instruction set leaves open is fixed here, so that both machines agree bit for bit: registers that were never
written read as zero, r1 to r5 read as zero after a call, every frame starts zeroed.  The budget is counted in slots
where programs can take long: a jump backwards costs the slots it goes over, a call those of the function it calls.
``may_goto`` goes when half of the budget is used.
Source: RFC 9669; kernel/bpf/core.c, ___bpf_prog_run.
"""

from __future__ import annotations

import ctypes

from linscope.abi import bpf as b
from linscope.bpf.instructions import signed32, signed64
from linscope.bpf.vm import errors as e
from linscope.bpf.vm import validate as v
from linscope.bpf.vm.state import (
    FRAME_BYTES,
    FUNCTION_TOKEN,
    HELPER_NUMBER,
    HELPER_TYPE,
    HELPERS,
    MAX_TAIL_CALLS,
    PROGRAM_SHIFT,
)

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.bpf.vm.loaded import Core, Loaded

M32 = (1 << 32) - 1
M64 = (1 << 64) - 1
_TAIL_CALL = HELPER_NUMBER["tail_call"]
_LOOP = HELPER_NUMBER["loop"]
_FOR_EACH = HELPER_NUMBER["for_each_map_elem"]
_EINVAL = -22 & M64
_E2BIG = -7 & M64


def _signed_divide(a: int, c: int) -> int:
    """Quotient rounded to zero, as C does it."""
    quotient = abs(a) // abs(c)
    return -quotient if (a < 0) != (c < 0) else quotient


def _signed_modulo(a: int, c: int) -> int:
    remainder = abs(a) % abs(c)
    return -remainder if a < 0 else remainder


def alu(op: int, a: int, c: int, bits: int, off: int) -> int:
    """The result of one arithmetic operation on unsigned operands of 32 or 64 bits; op: code & 0xf0."""
    mask = (1 << bits) - 1
    signed = signed64 if bits == 64 else signed32
    if op == b.BPF_ADD:
        return (a + c) & mask
    if op == b.BPF_SUB:
        return (a - c) & mask
    if op == b.BPF_MUL:
        return (a * c) & mask
    if op == b.BPF_DIV:
        if c == 0:
            return 0
        return (_signed_divide(signed(a), signed(c)) if off else a // c) & mask
    if op == b.BPF_MOD:
        if c == 0:
            return a
        return (_signed_modulo(signed(a), signed(c)) if off else a % c) & mask
    if op == b.BPF_OR:
        return a | c
    if op == b.BPF_AND:
        return a & c
    if op == b.BPF_XOR:
        return a ^ c
    if op == b.BPF_LSH:
        return (a << (c & (bits - 1))) & mask
    if op == b.BPF_RSH:
        return a >> (c & (bits - 1))
    if op == b.BPF_ARSH:
        return (signed(a) >> (c & (bits - 1))) & mask
    if op == b.BPF_NEG:
        return -a & mask
    return c if not off else extend(c, off) & mask  # BPF_MOV


def extend(value: int, bits: int) -> int:
    """The low bits as a signed number."""
    return ((value & ((1 << bits) - 1)) ^ 1 << (bits - 1)) - (1 << (bits - 1))


def swap(code: int, value: int, bits: int) -> int:
    """The result of BPF_END: the low 16, 32 or 64 bits, swapped for "be" and "bswap" on this little-endian machine."""
    value &= (1 << bits) - 1
    if code & 7 == b.BPF_ALU64 or code & b.BPF_TO_BE:
        return int.from_bytes(value.to_bytes(bits // 8, "little"), "big")
    return value


CONDITIONS: dict[int, Callable[[int, int, Callable[[int], int]], bool]] = {
    b.BPF_JEQ: lambda a, c, _: a == c,
    b.BPF_JNE: lambda a, c, _: a != c,
    b.BPF_JSET: lambda a, c, _: a & c != 0,
    b.BPF_JGT: lambda a, c, _: a > c,
    b.BPF_JGE: lambda a, c, _: a >= c,
    b.BPF_JLT: lambda a, c, _: a < c,
    b.BPF_JLE: lambda a, c, _: a <= c,
    b.BPF_JSGT: lambda a, c, s: s(a) > s(c),
    b.BPF_JSGE: lambda a, c, s: s(a) >= s(c),
    b.BPF_JSLT: lambda a, c, s: s(a) < s(c),
    b.BPF_JSLE: lambda a, c, s: s(a) <= s(c),
}


class Interpreter:
    """Runs loaded programs over the memory of a machine."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.state = core.state
        self.state_address = core.state_address
        self.helpers: dict[int, Callable[..., int]] = {}
        self.program_number = 0  # of the program that runs, or that was ended

    def run_record(self, program: Loaded) -> int:
        """r0 of the record that the state describes.  Raises Fault."""
        state = self.state
        state.budget = state.budget_limit
        state.reserved_count = state.tail_calls = 0
        registers = [0] * 11
        registers[1], registers[2] = state.context, state.context_size
        self.program_number = program.number
        return self._function(program, 0, registers, state.stack_top)

    # -- memory

    def find(self, address: int, size: int, write: bool, frame: int) -> bool:
        """Whether a program whose frame this is may touch size bytes at an address."""
        state = self.state

        def within(low: int, room: int) -> bool:
            return low <= address and address + size <= low + room

        if within(frame - FRAME_BYTES, state.stack_top - (frame - FRAME_BYTES)):
            return True
        if within(state.context, state.context_writable if write else state.context_size):
            return True
        if not write and within(state.packet, state.packet_size):
            return True
        for map_ in self.core.maps:
            head = map_.head
            if (head.writable or not write) and 0 <= address - head.values < head.values_bytes:
                return bool((address - head.values) % head.value_stride + size <= head.value_size)
            if not write and 0 <= address - head.keys < head.keys_bytes:
                return bool((address - head.keys) % head.key_stride + size <= head.key_size)
        if any(within(r.low, r.size) for r in state.reservations[: state.reserved_count]):
            return True
        return any(within(r.low, r.size) and (r.writable or not write) for r in self.core.regions)

    def _check(self, address: int, size: int, write: bool, frame: int, slot: int) -> None:
        if not self.find(address, size, write, frame):
            raise e.Fault(e.WRITE if write else e.READ, slot=slot, address=address)

    def _spend(self, slots: int, slot: int) -> None:
        self.state.budget -= slots
        if self.state.budget < 0:
            raise e.Fault(e.BUDGET, slot=slot)

    # -- functions

    def _function(self, program: Loaded, start: int, r: list[int], frame: int) -> int:
        """Run a function to its exit; r: the registers it starts with, changed in place."""
        state = self.state
        ctypes.memset(frame - FRAME_BYTES, 0, FRAME_BYTES)
        r[10] = frame
        instructions = program.instructions
        slot = start
        while True:
            code, dst, src, off, imm = instructions[slot]
            kind = v.RULES[code][0]
            following = slot + 1
            if kind == v.ALU:
                bits, mask = (64, M64) if code & 7 == b.BPF_ALU64 else (32, M32)
                operand = r[src] if code & b.BPF_X else imm
                r[dst] = alu(code & 0xF0, r[dst] & mask, operand & mask, bits, off)
            elif kind == v.END:
                r[dst] = swap(code, r[dst], imm)
            elif kind == v.WIDE:
                r[dst] = program.constants[slot]
                following = slot + 2
            elif kind == v.LOAD:
                size = b.SIZE_BYTES[code & 0x18]
                address = (r[src] + off) & M64
                if slot in program.probes and not self.find(address, size, False, frame):
                    r[dst] = 0
                    state.probe_faults += 1
                else:
                    self._check(address, size, False, frame, slot)
                    value = int.from_bytes(ctypes.string_at(address, size), "little")
                    r[dst] = extend(value, size * 8) & M64 if code & 0xE0 == b.BPF_MEMSX else value
            elif kind in (v.STORE, v.STORE_REGISTER):
                size = b.SIZE_BYTES[code & 0x18]
                address = (r[dst] + off) & M64
                self._check(address, size, True, frame, slot)
                value = (imm if kind == v.STORE else r[src]) & M64
                ctypes.memmove(address, value.to_bytes(8, "little"), size)
            elif kind == v.ATOMIC:
                self._atomic(instructions[slot], r, frame, slot)
            elif kind == v.PACKET:
                found = self._packet(code, (r[src] if code & 0xE0 == b.BPF_IND else 0) + imm)
                r[1:6] = [0] * 5
                if found is None:
                    return 0
                r[0] = found
            elif kind in (v.JUMP, v.JUMP_LONG, v.MAY_GOTO, v.BRANCH):
                if kind == v.BRANCH:
                    mask, signed = (M64, signed64) if code & 7 == b.BPF_JMP else (M32, signed32)
                    operand = r[src] if code & b.BPF_X else imm
                    taken = CONDITIONS[code & 0xF0](r[dst] & mask, operand & mask, signed)
                else:
                    taken = kind != v.MAY_GOTO or state.budget <= state.budget_half
                if taken:
                    following = slot + 1 + (imm if kind == v.JUMP_LONG else off)
                    if following <= slot:
                        self._spend(slot - following + 1, slot)
            elif kind == v.EXIT:
                return r[0]
            else:  # CALL, CALL_REGISTER
                if kind == v.CALL and src == b.BPF_PSEUDO_CALL:
                    called = slot + 1 + imm
                elif kind == v.CALL:
                    called = -1
                else:
                    imm = r[dst]
                    called = self._function_at(program, imm)
                    if called < 0 and (imm >= HELPERS or imm == _TAIL_CALL or not state.helpers[imm]):
                        raise e.Fault(e.BAD_CALL, slot=slot, address=imm)
                if called >= 0:
                    self._spend(program.slots_of[called], slot)
                    if frame - FRAME_BYTES < state.stack_lowest:
                        raise e.Fault(e.DEPTH, slot=slot)
                    kept = r[6:10]
                    r[0] = self._function(program, called, r, frame - FRAME_BYTES)
                    r[6:11] = [*kept, frame]
                    self.program_number = program.number  # the function may have ended in a tail call
                elif imm == _TAIL_CALL:
                    next_program = self._tail_call(r[2], r[3], slot)
                    if next_program is not None:
                        self.program_number = next_program.number
                        r[:] = [0, state.context, state.context_size, *[0] * 8]
                        return self._function(next_program, 0, r, frame)
                    r[0] = 0
                else:
                    r[0] = self._helper(program, imm, r, frame, slot)
                r[1:6] = [0] * 5
            slot = following

    def _function_at(self, program: Loaded, token: int) -> int:
        """First slot of a function of the program by its address, or -1."""
        slot = token ^ (FUNCTION_TOKEN | program.number << PROGRAM_SHIFT)
        return slot if slot in program.addressed else -1

    def _helper(self, program: Loaded, number: int, r: list[int], frame: int, slot: int) -> int:
        state = self.state
        if number == _LOOP:
            return self._loop(program, r[1:6], frame, slot)
        if number == _FOR_EACH:
            return self._for_each(program, r[1:6], frame, slot)
        function = self.helpers.get(number)
        if function is None:
            function = self.helpers[number] = HELPER_TYPE(state.helpers[number])
        state.frame = frame
        result = function(self.state_address, *r[1:6])
        if state.fault:
            code, state.fault = state.fault, 0
            raise e.Fault(code, slot=slot, address=state.fault_address)
        return result

    def _call_back(self, program: Loaded, token: int, arguments: list[int], frame: int, slot: int) -> int:
        called = self._function_at(program, token)
        self._spend(program.slots_of[called], slot)
        if frame - FRAME_BYTES < self.state.stack_lowest:
            raise e.Fault(e.DEPTH, slot=slot)
        registers = [0, *arguments, *[0] * (10 - len(arguments))]
        result = self._function(program, called, registers, frame - FRAME_BYTES)
        self.program_number = program.number
        return result

    def _loop(self, program: Loaded, r: list[int], frame: int, slot: int) -> int:
        if self._function_at(program, r[1]) < 0:
            raise e.Fault(e.BAD_CALL, slot=slot, address=r[1])
        rounds = r[0] & M32
        if r[3]:
            return _EINVAL
        if rounds > b.BPF_MAX_LOOPS:
            return _E2BIG
        for n in range(rounds):
            if self._call_back(program, r[1], [n, r[2]], frame, slot):
                return n + 1
        return rounds

    def _for_each(self, program: Loaded, r: list[int], frame: int, slot: int) -> int:
        map_ = self.core.map_at(r[0])
        if map_ is None:
            raise e.Fault(e.ARGUMENT, slot=slot, address=r[0])
        if self._function_at(program, r[1]) < 0:
            raise e.Fault(e.BAD_CALL, slot=slot, address=r[1])
        if r[3]:
            return _EINVAL
        if not map_.iterable:
            raise e.Fault(e.ARGUMENT, slot=slot, address=r[0])
        n = cursor = 0
        while (found := map_.native.next(cursor, self.core.current.cpu)) is not None:
            cursor, key, value = found
            n += 1
            if self._call_back(program, r[1], [r[0], key, value, r[2]], frame, slot):
                break
        return n

    def _tail_call(self, address: int, index: int, slot: int) -> Loaded | None:
        state = self.state
        map_ = self.core.map_at(address)
        if map_ is None or map_.type != b.BPF_MAP_TYPE_PROG_ARRAY:
            raise e.Fault(e.ARGUMENT, slot=slot, address=address)
        value = map_.native.lookup((index & M32).to_bytes(4, "little"))
        number = int.from_bytes(value, "little") if value else 0
        if not 1 < number <= len(self.core.programs) or state.tail_calls >= MAX_TAIL_CALLS:
            return None
        program = self.core.programs[number - 1]
        self._spend(len(program.instructions), slot)
        state.tail_calls += 1
        return program

    def _packet(self, code: int, offset: int) -> int | None:
        """The big-endian value of a legacy packet load, None when it is not inside of the packet."""
        size = b.SIZE_BYTES[code & 0x18]
        offset = signed32(offset)
        if offset < 0 or offset + size > self.state.packet_size:
            return None
        return int.from_bytes(ctypes.string_at(self.state.packet + offset, size), "big")

    def _atomic(self, instruction: tuple[int, int, int, int, int], r: list[int], frame: int, slot: int) -> None:
        code, dst, src, off, op = instruction
        size = b.SIZE_BYTES[code & 0x18]
        mask = (1 << size * 8) - 1
        if op == b.BPF_LOAD_ACQ:
            address = (r[src] + off) & M64
            self._check(address, size, False, frame, slot)
            r[dst] = int.from_bytes(ctypes.string_at(address, size), "little")
            return
        address = (r[dst] + off) & M64
        self._check(address, size, True, frame, slot)
        old = int.from_bytes(ctypes.string_at(address, size), "little")
        operand = r[src] & mask
        if op in (b.BPF_XCHG, b.BPF_STORE_REL):
            new = operand
        elif op == b.BPF_CMPXCHG:
            new = operand if old == r[0] & mask else old
            r[0] = old
        else:
            new = alu(op & 0xF0, old, operand, size * 8, 0)
        if op in v.FETCHING:
            r[src] = old
        ctypes.memmove(address, new.to_bytes(8, "little"), size)
